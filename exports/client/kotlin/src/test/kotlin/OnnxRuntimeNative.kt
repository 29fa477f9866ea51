import com.sun.jna.Function
import com.sun.jna.Memory
import com.sun.jna.Native
import com.sun.jna.NativeLibrary
import com.sun.jna.Pointer
import com.sun.jna.StringArray
import com.sun.jna.ptr.LongByReference
import com.sun.jna.ptr.PointerByReference
import java.io.File
import modelfactory.ElementType
import modelfactory.Engine
import modelfactory.EngineException
import modelfactory.Session
import modelfactory.Tensor

/**
 * ONNX Runtime through JNA, so that the tests run models on a JVM without a further download: the Python wheel holds
 * the native library with its C interface. Apps use the engine of README.md, on ONNX Runtime's own package.
 *
 * The interface, `OrtApi` in `onnxruntime_c_api.h`, is a table of function pointers; later versions only append to it.
 */
class OnnxRuntimeNative(library: String) : Engine {
    private val api: Api
    private val environment: Pointer
    override val name = "onnxruntime"
    override val version: String

    init {
        // Otherwise its builds upload usage data.
        Function.getFunction("c", "setenv").invokeInt(arrayOf<Any>("ORT_DISABLE_TELEMETRY", "1", 0))
        val base = NativeLibrary.getInstance(library).getFunction("OrtGetApiBase").invokePointer(emptyArray())
        version = Function.getFunction(base.getPointer(Native.POINTER_SIZE.toLong())).invokeString(emptyArray(), false)
        val table: Pointer? = Function.getFunction(base.getPointer(0)).invokePointer(arrayOf(API_VERSION))
        api = Api(table ?: throw IllegalStateException("ONNX Runtime $version has no interface $API_VERSION"))
        environment = api.made(Api.CREATE_ENV, LOG_ERRORS, "model-factory")
    }

    override fun load(model: File, computeUnit: String, input: String, output: String): Session {
        if (computeUnit != "cpu") throw EngineException("refused", "this engine has no compute unit $computeUnit")
        val options = api.made(Api.CREATE_SESSION_OPTIONS)
        try {
            return NativeSession(api, api.made(Api.CREATE_SESSION, environment, model.path, options), input, output)
        } finally {
            api.release(Api.RELEASE_SESSION_OPTIONS, options)
        }
    }

    private companion object {
        /** The version of the interface of ONNX Runtime 1.17, the oldest one that the factory's families allow. */
        const val API_VERSION = 17
        const val LOG_ERRORS = 3
    }
}

private class NativeSession(
    private val api: Api,
    private val session: Pointer,
    private val input: String,
    private val output: String,
) : Session {
    override fun run(input: Tensor): FloatArray {
        val memory = api.made(Api.CREATE_CPU_MEMORY_INFO, DEVICE_ALLOCATOR, DEFAULT_MEMORY)
        val value = tensor(memory, input)
        val result = PointerByReference()
        try {
            api.call(
                Api.RUN, session, null, StringArray(arrayOf(this.input)), arrayOf(value), ONE,
                StringArray(arrayOf(output)), ONE, result,
            )
            return floats(result.value)
        } finally {
            api.release(Api.RELEASE_VALUE, result.value)
            api.release(Api.RELEASE_VALUE, value)
            api.release(Api.RELEASE_MEMORY_INFO, memory)
        }
    }

    override fun close() = api.release(Api.RELEASE_SESSION, session)

    private fun tensor(memory: Pointer, input: Tensor): Pointer {
        val data = Native.getDirectBufferPointer(input.values)
        val shape = Memory(Long.SIZE_BYTES.toLong() * input.shape.size)
        shape.write(0, input.shape, 0, input.shape.size)
        val type = when (input.type) {
            ElementType.FLOAT32 -> FLOAT
            ElementType.UINT8 -> UINT8
            ElementType.INT64 -> INT64
        }
        val bytes = input.values.capacity().toLong()
        return api.made(Api.CREATE_TENSOR_WITH_DATA, memory, data, bytes, shape, input.shape.size.toLong(), type)
    }

    private fun floats(value: Pointer): FloatArray {
        val shape = api.made(Api.GET_TENSOR_TYPE_AND_SHAPE, value)
        val count = LongByReference()
        try {
            api.call(Api.GET_TENSOR_SHAPE_ELEMENT_COUNT, shape, count)
        } finally {
            api.release(Api.RELEASE_TENSOR_TYPE_AND_SHAPE, shape)
        }
        return api.made(Api.GET_TENSOR_MUTABLE_DATA, value).getFloatArray(0, count.value.toInt())
    }

    private companion object {
        const val DEVICE_ALLOCATOR = 0
        const val DEFAULT_MEMORY = 0
        const val ONE = 1L

        /** Of `ONNXTensorElementDataType`. */
        const val FLOAT = 1
        const val UINT8 = 2
        const val INT64 = 7
    }
}

/** Calls the functions of `OrtApi` by their places in the table. */
private class Api(private val table: Pointer) {
    /** Calls a function that returns a status. Throws [EngineException] if it reports an error. */
    fun call(place: Int, vararg arguments: Any?) {
        val status: Pointer = function(place).invokePointer(arguments) ?: return
        val message = function(GET_ERROR_MESSAGE).invokeString(arrayOf(status), false)
        release(RELEASE_STATUS, status)
        val noMemory = OUT_OF_MEMORY.any { it in message }
        throw EngineException(if (noMemory) "out_of_memory" else "refused", "ONNX Runtime: ${message.take(200)}")
    }

    /** Calls a function whose last argument is where it puts its result. */
    fun made(place: Int, vararg arguments: Any?): Pointer =
        PointerByReference().also { call(place, *arguments, it) }.value

    fun release(place: Int, value: Pointer?) {
        if (value != null) function(place).invokeVoid(arrayOf(value))
    }

    private fun function(place: Int) = Function.getFunction(table.getPointer(place.toLong() * Native.POINTER_SIZE))

    companion object {
        const val GET_ERROR_MESSAGE = 2
        const val CREATE_ENV = 3
        const val CREATE_SESSION = 7
        const val RUN = 9
        const val CREATE_SESSION_OPTIONS = 10
        const val CREATE_TENSOR_WITH_DATA = 49
        const val GET_TENSOR_MUTABLE_DATA = 51
        const val GET_TENSOR_SHAPE_ELEMENT_COUNT = 64
        const val GET_TENSOR_TYPE_AND_SHAPE = 65
        const val CREATE_CPU_MEMORY_INFO = 69
        const val RELEASE_STATUS = 93
        const val RELEASE_MEMORY_INFO = 94
        const val RELEASE_SESSION = 95
        const val RELEASE_VALUE = 96
        const val RELEASE_TENSOR_TYPE_AND_SHAPE = 99
        const val RELEASE_SESSION_OPTIONS = 100

        /** What ONNX Runtime says in errors that have no code of their own. */
        val OUT_OF_MEMORY = listOf("bad_alloc", "bad allocation", "Failed to allocate memory", "out of memory")
    }
}

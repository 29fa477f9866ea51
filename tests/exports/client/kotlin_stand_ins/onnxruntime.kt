// The interfaces of ONNX Runtime's Java package that README.md of the Kotlin client uses, without content.
@file:Suppress("UNUSED_PARAMETER")

package ai.onnxruntime

import java.nio.ByteBuffer
import java.nio.FloatBuffer

class OrtException : Exception()

enum class OnnxJavaType { FLOAT, INT64, UINT8 }

interface OnnxValue : AutoCloseable

class OnnxTensor : OnnxValue {
    val floatBuffer: FloatBuffer = FloatBuffer.allocate(0)

    override fun close() = Unit

    companion object {
        fun createTensor(env: OrtEnvironment, data: ByteBuffer, shape: LongArray, type: OnnxJavaType) = OnnxTensor()
    }
}

class OrtSession : AutoCloseable {
    class SessionOptions {
        fun addXnnpack(options: Map<String, String>) = Unit

        fun addNnapi() = Unit
    }

    class Result : AutoCloseable {
        fun get(index: Int): OnnxValue = throw UnsupportedOperationException()

        override fun close() = Unit
    }

    fun run(inputs: Map<String, OnnxTensor>, outputs: Set<String>) = Result()

    override fun close() = Unit
}

class OrtEnvironment {
    val version = ""

    fun setTelemetry(send: Boolean) = Unit

    fun createSession(path: String, options: OrtSession.SessionOptions) = OrtSession()

    companion object {
        fun getEnvironment() = OrtEnvironment()
    }
}

package modelfactory

import java.io.Closeable
import java.io.File
import java.nio.ByteBuffer

/**
 * An engine could not load or run a model.
 *
 * @property result how that counts as a proof: `refused`, `out_of_memory`, or `crashed` if a process of its own died.
 */
class EngineException(val result: String, message: String) : Exception(message)

/** The kinds of numbers that models take. [id] is the name in a manifest. */
enum class ElementType(val id: String, val bytes: Int) {
    UINT8("uint8", 1),
    FLOAT32("float32", 4),
    INT64("int64", 8),
}

/**
 * A model's input.
 *
 * @property shape the size of each axis, the first of which is 1: a batch of one.
 * @property values in C order, little-endian; a direct buffer.
 */
class Tensor(val type: ElementType, val shape: LongArray, val values: ByteBuffer)

/** A loaded model. */
interface Session : Closeable {
    /** The model's only output, flattened. Throws [EngineException]. */
    fun run(input: Tensor): FloatArray
}

/** An inference engine. An app implements it with the engine that it ships; README.md shows one. */
interface Engine {
    /** The name by which manifests call it, for example `onnxruntime`. */
    val name: String

    /** Its version, dotted numbers. */
    val version: String

    /**
     * Loads a model.
     *
     * @param model the file that the engine opens; other files of the model lie in the same folder.
     * @param computeUnit one of the units of the facts, for example `cpu`.
     * @param input the name of the model's input, and
     * @param output the name of its output, as the manifest states them.
     * @throws EngineException the engine refuses the model or the compute unit, or memory does not suffice.
     */
    fun load(model: File, computeUnit: String, input: String, output: String): Session
}

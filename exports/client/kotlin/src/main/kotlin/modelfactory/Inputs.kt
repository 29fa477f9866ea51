package modelfactory

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The largest side of an input or a base image, in pixels. */
private const val MAX_SIDE = 4096L
private const val CHANNELS = 3

/** The steps of each version of the preprocessing, in order. */
private val STEPS = mapOf(
    1L to listOf("resize", "resize_to_model", "scale", "normalise"),
    2L to listOf("resize", "resize_to_model"),
)

/**
 * The input of a model, and what makes it from pixels.
 *
 * @property baseHeight the height to which an image is resized first, in pixels.
 * @property size the height and width of the model's input.
 * @property meanPpm the mean per channel, in parts per million of full scale; null if the model takes pixels.
 * @property deviationPpm the standard deviation per channel, likewise.
 */
class InputForm internal constructor(
    private val baseHeight: Int,
    private val baseWidth: Int,
    private val size: Int,
    private val meanPpm: LongArray?,
    private val deviationPpm: LongArray?,
) {
    private val type = if (meanPpm == null) ElementType.UINT8 else ElementType.FLOAT32
    private val side = size.toLong()
    private val shape = if (meanPpm == null) longArrayOf(1, side, side, 3) else longArrayOf(1, 3, side, side)

    /** The size of one input. */
    internal val inputBytes: Long = side * side * CHANNELS * type.bytes

    /** Whether an entry of the samples has inputs of this form. */
    internal fun takes(entry: Any?): Boolean = entry is Map<*, *> && entry["dtype"] == type.id &&
        Json.integer(entry["height"]) == side && Json.integer(entry["width"]) == side

    /** The input for an image of any size. */
    fun prepare(image: Image): Tensor {
        val values = empty()
        if (meanPpm == null || deviationPpm == null) {
            val base = resize(image, baseHeight, baseWidth, antialias = true)
            values.put(resize(base, size, size, antialias = false).rgb)
        } else {
            modelInput(fit(image, baseHeight, baseWidth), size, meanPpm, deviationPpm).forEach { values.putFloat(it) }
        }
        values.rewind()
        return Tensor(type, shape, values)
    }

    /** The inputs in raw values, one after the other. */
    internal fun unpack(data: ByteArray): List<Tensor> = (0 until data.size / inputBytes.toInt()).map { index ->
        val values = empty().put(data, index * inputBytes.toInt(), inputBytes.toInt())
        values.rewind()
        Tensor(type, shape, values)
    }

    /** An input of zeros. */
    internal fun zeros(): Tensor = Tensor(type, shape, empty())

    private fun empty(): ByteBuffer = ByteBuffer.allocateDirect(inputBytes.toInt()).order(ByteOrder.LITTLE_ENDIAN)
}

/** The form of a model's input. */
internal fun inputForm(task: Map<*, *>, model: Map<*, *>): InputForm {
    val steps = steps(task.map("preprocessing"))
    val normalise = steps["normalise"]
    val means = normalise?.let { channels(it, "mean_ppm") }
    val deviations = normalise?.let { channels(it, "std_ppm") }
    if (deviations != null && deviations.any { it <= 0 }) throw lacks("normalise.std_ppm")
    val (height, width) = steps.map("resize").let { side(it, "height") to side(it, "width") }
    return InputForm(height, width, side(model.map("input"), "width"), means, deviations)
}

/** The steps by name. */
private fun steps(preprocessing: Map<*, *>): Map<String, Map<*, *>> {
    val steps = preprocessing.some("steps").map { it as? Map<*, *> }
    val names = STEPS[preprocessing["version"]]
    val divides = names == null || "scale" !in names || steps.getOrNull(2)?.get("divisor") == 255L
    if (names == null || steps.map { it?.get("op") } != names || !divides) {
        throw ManifestException("the manifest needs a preprocessing that this app does not know; update the app")
    }
    return names.zip(steps.requireNoNulls()).toMap()
}

private fun side(value: Map<*, *>, key: String): Int =
    Json.integer(value[key])?.takeIf { it in 1..MAX_SIDE }?.toInt() ?: throw lacks(key)

private fun channels(step: Map<*, *>, key: String): LongArray {
    val values = (step[key] as? List<*>)?.filterIsInstance<Long>()
    return values?.takeIf { it.size == CHANNELS }?.toLongArray() ?: throw lacks("normalise.$key")
}

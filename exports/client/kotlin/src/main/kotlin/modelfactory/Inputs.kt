package modelfactory

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The largest side of an input or a base image, in pixels. */
private const val MAX_SIDE = 4096L
private const val CHANNELS = 3
private val FITTINGS = listOf("resize", "crop", "letterbox")

/** The steps of each version of the preprocessing, in order: one of these lists. One leads to the base size. */
private val STEPS = mapOf(
    1L to listOf(listOf("resize", "resize_to_model", "scale", "normalise")),
    2L to listOf(listOf("resize", "resize_to_model")),
    3L to listOf(listOf("crop", "resize_to_model"), listOf("letterbox", "resize_to_model")),
    4L to FITTINGS.map { listOf("gray", it, "resize_to_model") },
)

/** The input of a model. */
sealed interface Form {
    /** The size of one input. */
    val inputBytes: Long

    /** Whether an entry of the samples has inputs of this form. */
    fun takes(entry: Any?): Boolean

    /** The inputs in raw values, one after the other. */
    fun unpack(data: ByteArray): List<Tensor>

    /** An input without content: zeros, or padding. */
    fun zeros(): Tensor
}

/**
 * The input of a model that takes an image, and what makes it from pixels.
 *
 * @property fitting how an image becomes the base size: `resize`, `crop` or `letterbox`.
 * @property colour what `letterbox` does not cover, in RGB.
 * @property baseHeight the height of the base size, in pixels.
 * @property channels the channels of the model's input: 3 for RGB, 1 for gray.
 * @property height the height of the model's input.
 * @property width its width.
 * @property meanPpm the mean per channel, in parts per million of full scale; null if the model takes pixels.
 * @property deviationPpm the standard deviation per channel, likewise.
 */
class InputForm internal constructor(
    private val fitting: String,
    private val colour: ByteArray,
    private val baseHeight: Int,
    private val baseWidth: Int,
    private val channels: Int,
    private val height: Int,
    private val width: Int,
    private val meanPpm: LongArray?,
    private val deviationPpm: LongArray?,
) : Form {
    private val type = if (meanPpm == null) ElementType.UINT8 else ElementType.FLOAT32
    private val shape = if (meanPpm == null) {
        longArrayOf(1, height.toLong(), width.toLong(), channels.toLong())
    } else {
        longArrayOf(1, channels.toLong(), height.toLong(), width.toLong())
    }

    override val inputBytes: Long = height.toLong() * width * channels * type.bytes

    override fun takes(entry: Any?): Boolean = entry is Map<*, *> && entry["dtype"] == type.id &&
        Json.integer(entry["height"]) == height.toLong() && Json.integer(entry["width"]) == width.toLong()

    /** The input for an image of any size. */
    fun prepare(image: Image): Tensor {
        val values = empty()
        if (meanPpm == null || deviationPpm == null) {
            val rgb = resize(fitted(if (channels == 1) luma(image) else image), height, width, antialias = false).rgb
            values.put(if (channels == 1) ByteArray(height * width) { rgb[CHANNELS * it] } else rgb)
        } else {
            modelInput(fit(image, baseHeight, baseWidth), width, meanPpm, deviationPpm).forEach { values.putFloat(it) }
        }
        values.rewind()
        return Tensor(type, shape, values)
    }

    /** The image at the base size, in integers. */
    private fun fitted(image: Image): Image = when (fitting) {
        "crop" -> crop(image, baseHeight, baseWidth)
        "letterbox" -> letterbox(image, baseHeight, baseWidth, colour)
        else -> resize(image, baseHeight, baseWidth, antialias = true)
    }

    override fun unpack(data: ByteArray): List<Tensor> = (0 until data.size / inputBytes.toInt()).map { index ->
        val values = empty().put(data, index * inputBytes.toInt(), inputBytes.toInt())
        values.rewind()
        Tensor(type, shape, values)
    }

    override fun zeros(): Tensor = Tensor(type, shape, empty())

    private fun empty(): ByteBuffer = ByteBuffer.allocateDirect(inputBytes.toInt()).order(ByteOrder.LITTLE_ENDIAN)
}

/** The form of a model's input. */
internal fun inputForm(task: Map<*, *>, model: Map<*, *>): InputForm {
    val steps = steps(task.map("preprocessing"))
    val (fitting, first) = steps.entries.first { it.key in FITTINGS }
    val colour = if (fitting == "letterbox") channels(first, "letterbox.colour") else LongArray(CHANNELS)
    if (colour.any { it !in 0..255 }) throw lacks("letterbox.colour")
    val normalise = steps["normalise"]
    val means = normalise?.let { channels(it, "normalise.mean_ppm") }
    val deviations = normalise?.let { channels(it, "normalise.std_ppm") }
    if (deviations != null && deviations.any { it <= 0 }) throw lacks("normalise.std_ppm")
    val (baseHeight, baseWidth) = side(first, "height") to side(first, "width")
    val bytes = ByteArray(CHANNELS) { colour[it].toByte() }
    val channels = if ("gray" in steps) 1 else CHANNELS
    val (height, width) = model.map("input").let { side(it, "height") to side(it, "width") }
    if (means != null && height != width) throw lacks("input.height")
    return InputForm(fitting, bytes, baseHeight, baseWidth, channels, height, width, means, deviations)
}

/** The steps by name. */
private fun steps(preprocessing: Map<*, *>): Map<String, Map<*, *>> {
    val steps = preprocessing.some("steps").map { it as? Map<*, *> }
    val names = steps.map { it?.get("op") }
    val known = STEPS[preprocessing["version"]]?.firstOrNull { it == names }
    val divides = known == null || "scale" !in known || steps[2]?.get("divisor") == 255L
    if (known == null || !divides) {
        throw ManifestException("the manifest needs a preprocessing that this app does not know; update the app")
    }
    return known.zip(steps.requireNoNulls()).toMap()
}

private fun side(value: Map<*, *>, key: String): Int =
    Json.integer(value[key])?.takeIf { it in 1..MAX_SIDE }?.toInt() ?: throw lacks(key)

/** The three integers at [path], a step and its key. */
private fun channels(step: Map<*, *>, path: String): LongArray {
    val values = (step[path.substringAfter('.')] as? List<*>)?.filterIsInstance<Long>()
    return values?.takeIf { it.size == CHANNELS }?.toLongArray() ?: throw lacks(path)
}

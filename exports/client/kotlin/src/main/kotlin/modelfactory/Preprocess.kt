package modelfactory

import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

/** An image of [height] x [width] pixels, each three bytes in the order red, green, blue, row by row. */
class Image(val height: Int, val width: Int, val rgb: ByteArray) {
    init {
        val bytes = CHANNELS.toLong() * height * width
        require(height > 0 && width > 0 && rgb.size.toLong() == bytes) { "$height x $width pixels need $bytes bytes" }
    }
}

private const val CHANNELS = 3

/** The weights that old pixels from [first] on have in a new pixel. */
private class Taps<T>(val first: Int, val weights: T)

/**
 * Resizes an image, bilinear, in integers: every port returns the same bytes. `preprocess.py` of the client in Python
 * defines it step by step.
 *
 * @param antialias whether a new pixel averages all old pixels that it covers.
 */
internal fun resize(image: Image, height: Int, width: Int, antialias: Boolean): Image {
    if (image.height == height && image.width == width) return image
    return resampled(image, integerTaps(image.height, height, antialias), integerTaps(image.width, width, antialias))
}

/** The centre of an image, as large as possible, resized with antialiasing, in integers. */
internal fun crop(image: Image, height: Int, width: Int): Image {
    val (tall, wide) = sameProportions(image, height, width, covers = true)
    val rows = integerTaps(image.height, tall, true, (tall - height) / 2, height)
    return resampled(image, rows, integerTaps(image.width, wide, true, (wide - width) / 2, width))
}

/**
 * The whole image, resized with antialiasing, in the middle of a plain colour, in integers.
 *
 * @param colour red, green and blue of what the image does not cover.
 */
internal fun letterbox(image: Image, height: Int, width: Int, colour: ByteArray): Image {
    val (innerHeight, innerWidth) = sameProportions(image, height, width, covers = false)
    val inner = resize(image, innerHeight, innerWidth, antialias = true)
    val (top, left) = Pair((height - innerHeight) / 2, (width - innerWidth) / 2)
    val found = ByteArray(height * width * CHANNELS) { colour[it % CHANNELS] }
    val row = innerWidth * CHANNELS
    for (y in 0 until innerHeight) {
        System.arraycopy(inner.rgb, y * row, found, ((top + y) * width + left) * CHANNELS, row)
    }
    return Image(height, width, found)
}

/**
 * The height and width with the image's proportions that cover the given size or fit into it. For sides of at most 2^14
 * the products are below 2^30.
 */
private fun sameProportions(image: Image, height: Int, width: Int, covers: Boolean): Pair<Int, Int> {
    val (h, w) = Pair(image.height, image.width)
    return if ((w * height >= width * h) == covers) {
        Pair(height, max(1, (2 * w * height + h) / (2 * h)))
    } else {
        Pair(max(1, (2 * h * width + w) / (2 * w)), width)
    }
}

/** The new rows and columns, in integers that 32 bits hold: below 255 * 2^15 + 2^7, and below 255 * 2^22 + 2^21. */
private fun resampled(image: Image, rows: List<Taps<IntArray>>, columns: List<Taps<IntArray>>): Image {
    val (height, width) = Pair(rows.size, columns.size)
    val across = IntArray(image.height * width * CHANNELS)
    for (y in 0 until image.height) {
        for (i in 0 until width) {
            for (channel in 0 until CHANNELS) {
                var sum = 1 shl 7
                columns[i].weights.forEachIndexed { tap, weight ->
                    val at = (y * image.width + columns[i].first + tap) * CHANNELS + channel
                    sum += weight * (image.rgb[at].toInt() and 255)
                }
                across[(y * width + i) * CHANNELS + channel] = sum shr 8
            }
        }
    }
    val found = ByteArray(height * width * CHANNELS)
    for (i in 0 until height) {
        for (x in 0 until width * CHANNELS) {
            var sum = 1 shl 21
            rows[i].weights.forEachIndexed { tap, weight ->
                sum += weight * across[(rows[i].first + tap) * width * CHANNELS + x]
            }
            found[i * width * CHANNELS + x] = (sum shr 22).toByte()
        }
    }
    return Image(height, width, found)
}

/**
 * The weights of `count` new pixels from `start` on, on one axis; they sum to 2^15. [new] is at most 2^28 and [old] at
 * most 2^14, so that all values are below 2^53.
 */
private fun integerTaps(
    old: Int,
    new: Int,
    antialias: Boolean,
    start: Int = 0,
    count: Int = new,
): List<Taps<IntArray>> = List(count) { at ->
    val reach = (if (antialias) max(old, new) else new).toLong()
    val centre = (2L * (start + at) + 1) * old
    val share = { j: Int -> max(0L, 2 * reach - abs((2L * j + 1) * new - centre)) }
    // The first and the last old pixel that may have a weight.
    val first = max(0L, Math.floorDiv(centre - 2 * reach - new, 2L * new)).toInt()
    val last = min(old - 1L, (centre + 2 * reach) / (2L * new)).toInt()
    val inside = (first..last).filter { share(it) > 0 }
    val total = inside.sumOf(share)
    var sum = 0L
    var before = 0L
    val weights = inside.map { j ->
        sum += share(j)
        val cut = (sum * (1L shl 15) + total / 2) / total
        (cut - before).toInt().also { before = cut }
    }
    Taps(inside.first(), weights.toIntArray())
}

/** Resizes an image, bilinear with antialiasing, in floating-point numbers: version 1 of the preprocessing. */
internal fun fit(image: Image, height: Int, width: Int): Image {
    val pixels = DoubleArray(image.rgb.size) { (image.rgb[it].toInt() and 255).toDouble() }
    val across = resampled(pixels, image.height, image.width, null, antialiasedTaps(image.width, width), ::nearest)
    val found = resampled(across, image.height, width, antialiasedTaps(image.height, height), null, ::nearest)
    return Image(height, width, ByteArray(found.size) { found[it].toInt().toByte() })
}

/**
 * The normalised input of a model of version 1, channel by channel.
 *
 * @param image at the base size.
 * @param meanPpm the mean per channel, in parts per million of full scale.
 * @param deviationPpm the standard deviation per channel, likewise, above zero.
 */
internal fun modelInput(image: Image, size: Int, meanPpm: LongArray, deviationPpm: LongArray): FloatArray {
    val pixels = DoubleArray(image.rgb.size) { (image.rgb[it].toInt() and 255).toDouble() }
    val across = resampled(pixels, image.height, image.width, null, bilinearTaps(image.width, size)) { it }
    val resized = resampled(across, image.height, size, bilinearTaps(image.height, size), null) { it }
    return FloatArray(resized.size) { at ->
        val channel = at / (size * size)
        val value = resized[at % (size * size) * CHANNELS + channel] / 255.0
        ((value - meanPpm[channel] / 1e6) / (deviationPpm[channel] / 1e6)).toFloat()
    }
}

/** Values resampled along the axis that has taps. */
private fun resampled(
    values: DoubleArray,
    height: Int,
    width: Int,
    rows: List<Taps<DoubleArray>>?,
    columns: List<Taps<DoubleArray>>?,
    round: (Double) -> Double,
): DoubleArray {
    val (newHeight, newWidth) = Pair(rows?.size ?: height, columns?.size ?: width)
    return DoubleArray(newHeight * newWidth * CHANNELS) { at ->
        val (y, x) = Pair(at / (newWidth * CHANNELS), at / CHANNELS % newWidth)
        val taps = rows?.get(y) ?: columns!![x]
        var sum = 0.0
        taps.weights.forEachIndexed { tap, weight ->
            val from = if (rows != null) (taps.first + tap) * width + x else y * width + taps.first + tap
            sum += weight * values[from * CHANNELS + at % CHANNELS]
        }
        round(sum)
    }
}

private fun nearest(value: Double): Double = round(value).coerceIn(0.0, 255.0)

/** A triangle filter as wide as the scale, normalised at the borders. */
private fun antialiasedTaps(old: Int, new: Int): List<Taps<DoubleArray>> = List(new) { i ->
    val scale = max(old.toDouble() / new, 1.0)
    val centre = (i + 0.5) * old / new
    val share = { j: Int -> 1 - abs(j + 0.5 - centre) / scale }
    val inside = (0 until old).filter { share(it) > 0 }
    val total = inside.sumOf(share)
    Taps(inside.first(), inside.map { share(it) / total }.toDoubleArray())
}

/** Two neighbours each, by half-pixel centres, clamped at the borders. */
private fun bilinearTaps(old: Int, new: Int): List<Taps<DoubleArray>> = List(new) { i ->
    val centre = ((i + 0.5) * old / new - 0.5).coerceIn(0.0, old - 1.0)
    val low = floor(centre).toInt()
    val part = centre - low
    if (part == 0.0) Taps(low, doubleArrayOf(1.0)) else Taps(low, doubleArrayOf(1 - part, part))
}

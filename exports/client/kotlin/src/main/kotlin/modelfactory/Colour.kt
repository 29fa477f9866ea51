package modelfactory

/** Black, and the factors of luma, V in red, U in green, V in green, and U in blue: BT.601 in units of 2^-16. */
private val FULL = intArrayOf(0, 65536, 91881, 22553, 46802, 116130)
private val LIMITED = intArrayOf(16, 76309, 104597, 25675, 53279, 132201)

/** The order of the four bytes of a pixel with alpha. */
enum class AlphaOrder { RGBA, BGRA }

/** What follows the plane Y: pairs of U and V, pairs of V and U, or the planes U and V. */
enum class YuvLayout { NV12, NV21, I420 }

/** `FULL` if Y, U and V are 0 to 255; `LIMITED` if Y is 16 to 235, U and V are 16 to 240. */
enum class YuvRange { FULL, LIMITED }

/**
 * RGB of gray pixels of one byte.
 *
 * @throws IllegalArgumentException the data has another length.
 */
fun grayToRgb(data: ByteArray, height: Int, width: Int): Image {
    check(data, height, width, height.toLong() * width)
    return Image(height, width, ByteArray(3 * height * width) { data[it / 3] })
}

/** The gray image of an RGB image: all three channels are its luma; `colour.py` defines it. Sums stay below 2^24. */
fun luma(image: Image): Image {
    fun value(at: Int): Int = image.rgb[at].toInt() and 255
    return Image(image.height, image.width, ByteArray(image.rgb.size) {
        val at = it - it % 3
        ((19595 * value(at) + 38470 * value(at + 1) + 7471 * value(at + 2) + 32768) shr 16).toByte()
    })
}

/**
 * RGB of pixels of four bytes with straight alpha over a background, in integers, the same in every port; `colour.py`
 * of the client in Python defines it. Sums are below 2^16.
 *
 * @param background red, green and blue, 0 to 255.
 * @throws IllegalArgumentException the data has another length, or the background is not a colour.
 */
fun alphaToRgb(
    data: ByteArray,
    height: Int,
    width: Int,
    order: AlphaOrder = AlphaOrder.RGBA,
    background: List<Int> = listOf(255, 255, 255),
): Image {
    check(data, height, width, 4L * height * width)
    require(background.size == 3 && background.all { it in 0..255 }) { "the background $background is not a colour" }
    val found = ByteArray(3 * height * width)
    for (pixel in 0 until height * width) {
        val alpha = data[4 * pixel + 3].toInt() and 255
        for (channel in 0 until 3) {
            val from = 4 * pixel + if (order == AlphaOrder.RGBA) channel else 2 - channel
            val mixed = (data[from].toInt() and 255) * alpha + background[channel] * (255 - alpha)
            found[3 * pixel + channel] = ((mixed + 127) / 255).toByte()
        }
    }
    return Image(height, width, found)
}

/**
 * RGB of an image in YUV 4:2:0, BT.601, in integers, the same in every port; `colour.py` defines it. Sums are below
 * 2^26 in magnitude.
 *
 * @param data the plane Y, then chroma, all without padding; a chroma plane has half the rows and columns, rounded up.
 * @throws IllegalArgumentException the data has another length.
 */
fun yuvToRgb(data: ByteArray, height: Int, width: Int, layout: YuvLayout, levels: YuvRange): Image {
    val (rows, columns) = Pair((height + 1) / 2, (width + 1) / 2)
    check(data, height, width, height.toLong() * width + 2L * rows * columns)
    val pixels = height * width
    val step = if (layout == YuvLayout.I420) 1 else 2
    val u = pixels + if (layout == YuvLayout.NV21) 1 else 0
    val v = when (layout) {
        YuvLayout.NV12 -> pixels + 1
        YuvLayout.NV21 -> pixels
        YuvLayout.I420 -> pixels + rows * columns
    }
    val factors = if (levels == YuvRange.FULL) FULL else LIMITED
    val found = ByteArray(3 * pixels)
    for (y in 0 until height) {
        for (x in 0 until width) {
            val chroma = (y / 2 * columns + x / 2) * step
            val luma = ((data[y * width + x].toInt() and 255) - factors[0]) * factors[1] + 32768
            val blue = (data[u + chroma].toInt() and 255) - 128
            val red = (data[v + chroma].toInt() and 255) - 128
            val at = 3 * (y * width + x)
            found[at] = clamped(luma + factors[2] * red)
            found[at + 1] = clamped(luma - factors[3] * blue - factors[4] * red)
            found[at + 2] = clamped(luma + factors[5] * blue)
        }
    }
    return Image(height, width, found)
}

private fun clamped(sum: Int): Byte = (sum shr 16).coerceIn(0, 255).toByte()

private fun check(data: ByteArray, height: Int, width: Int, expected: Long) =
    require(height >= 1 && width >= 1 && data.size.toLong() == expected) {
        "$height x $width pixels need $expected bytes, not ${data.size}"
    }

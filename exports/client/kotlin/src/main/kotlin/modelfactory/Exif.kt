package modelfactory

import kotlin.math.min

private val PREFIX = byteArrayOf(0x45, 0x78, 0x69, 0x66, 0, 0)
private const val ORIENTATION_TAG = 0x0112L
private const val SHORT = 3L

/** A directory's entry: tag (2 bytes), type (2), count (4) and value (4). */
private const val ENTRY_BYTES = 12
private val NOTHING = Part(ByteArray(0), 0, 0)

/** The bytes from [start] to [end] of a file, of which nothing is copied. */
private class Part(private val data: ByteArray, private val start: Int, private val end: Int) {
    val size: Int get() = end - start

    /** A part of this one; what lies beyond its end is cut off. */
    fun part(from: Long, size: Long): Part {
        val first = min(start + from, end.toLong())
        return Part(data, first.toInt(), min(first + size, end.toLong()).toInt())
    }

    /** An unsigned integer of [count] bytes; bytes beyond the end are zeros. */
    fun number(at: Long, count: Int, little: Boolean = false): Long {
        var value = 0L
        for (k in 0 until count) {
            val from = start + at + if (little) count - 1 - k else k
            value = value * 256 + if (from < end) data[from.toInt()].toLong() and 255 else 0L
        }
        return value
    }

    fun text(at: Long, count: Int): String = String(CharArray(count) { number(at + it, 1).toInt().toChar() })

    fun withoutPrefix(): Part = if (startsWithPrefix()) part(PREFIX.size.toLong(), size.toLong()) else this

    fun startsWithPrefix(): Boolean =
        size >= PREFIX.size && PREFIX.indices.all { number(it.toLong(), 1) == PREFIX[it].toLong() }
}

/**
 * The EXIF orientation, 1 to 8, that a JPEG, PNG or WebP file states; 1 if it states none that is valid. It reads
 * hostile files, too; `exif.py` of the client in Python has the rules.
 */
fun orientation(data: ByteArray): Int {
    val file = Part(data, 0, data.size)
    return when {
        file.text(0, 2) == "\u00ff\u00d8" -> ofTiff(tiffOfJpeg(file))
        file.text(0, 8) == "\u0089PNG\r\n\u001a\n" -> ofTiff(tiffOfChunks(file, 8, png = true))
        file.text(0, 4) == "RIFF" && file.text(8, 4) == "WEBP" ->
            ofTiff(tiffOfChunks(file, 12, png = false).withoutPrefix())
        else -> 1
    }
}

/**
 * The image as a person sees it, from the pixels as they are stored, which is what `BitmapFactory` decodes.
 *
 * @param orientation 1 as stored, 2 mirrored left to right, 3 turned by 180 degrees, 4 mirrored top to bottom,
 * 5 transposed, 6 to be turned clockwise by 90 degrees, 7 transposed along the other diagonal, 8 to be turned
 * counterclockwise by 90 degrees.
 * @throws IllegalArgumentException there is no such orientation.
 */
fun upright(image: Image, orientation: Int): Image {
    require(orientation in 1..8) { "there is no orientation $orientation" }
    val turned = orientation >= 5
    val (height, width) = if (turned) Pair(image.width, image.height) else Pair(image.height, image.width)
    val (down, along) = Pair(orientation in listOf(3, 4, 7, 8), orientation in listOf(2, 3, 6, 7))
    val found = ByteArray(image.rgb.size)
    var at = 0
    for (y in 0 until height) {
        val row = if (down) height - 1 - y else y
        for (x in 0 until width) {
            val column = if (along) width - 1 - x else x
            val from = 3 * if (turned) column * image.width + row else row * image.width + column
            for (channel in 0 until 3) found[at++] = image.rgb[from + channel]
        }
    }
    return Image(height, width, found)
}

/** The TIFF structure in a JPEG; empty if there is none before the image data. */
private fun tiffOfJpeg(file: Part): Part {
    var at = 2L
    while (at + 4 <= file.size && file.number(at, 1) == 0xFFL) {
        val marker = file.number(at + 1, 1).toInt()
        if (marker == 0xFF) {
            at += 1
        } else if (marker == 0x01 || marker in 0xD0..0xD7) { // markers without a length: TEM, RST
            at += 2
        } else {
            val length = file.number(at + 2, 2)
            if (marker == 0xD9 || marker == 0xDA) break // end, and start of the image data
            val body = file.part(at + 4, length - 2)
            if (marker == 0xE1 && body.startsWithPrefix()) return body.withoutPrefix()
            at += 2 + length
        }
    }
    return NOTHING
}

/** The TIFF structure in the chunks of a PNG (big-endian) or WebP (little-endian); empty if there is none. */
private fun tiffOfChunks(file: Part, start: Long, png: Boolean): Part {
    var at = start
    while (at + 8 <= file.size) {
        val kind = file.text(if (png) at + 4 else at, 4)
        val size = file.number(if (png) at else at + 4, 4, little = !png)
        if (kind == (if (png) "eXIf" else "EXIF")) return file.part(at + 8, size)
        if (kind == "IEND") break
        at += 8 + size + if (png) 4 else size % 2 // a checksum, or a byte that makes the length even
    }
    return NOTHING
}

/** The orientation in the first directory of a TIFF structure; 1 if it has no valid one. */
private fun ofTiff(tiff: Part): Int {
    val little = tiff.text(0, 4) == "II*\u0000"
    if (!little && tiff.text(0, 4) != "MM\u0000*") return 1
    val first = tiff.number(4, 4, little) + 2
    val entries = min(tiff.number(first - 2, 2, little), (tiff.size - first) / ENTRY_BYTES)
    for (entry in 0 until entries) {
        val at = first + entry * ENTRY_BYTES
        if (tiff.number(at, 2, little) != ORIENTATION_TAG) continue
        val value = tiff.number(at + 8, 2, little)
        val isShort = tiff.number(at + 2, 2, little) == SHORT && tiff.number(at + 4, 4, little) == 1L
        return if (isShort && value in 1..8) value.toInt() else 1
    }
    return 1
}

package modelfactory

import java.io.ByteArrayOutputStream
import java.nio.ByteBuffer
import java.util.zip.CRC32
import java.util.zip.DataFormatException
import java.util.zip.Inflater
import kotlin.math.abs

/** 16 megapixels, 64 MiB as RGBA: a damaged header must not fill the memory. */
private const val MAX_PIXELS = 1L shl 24

/** Resizing takes memory in proportion to a side, too. */
private const val MAX_SIDE = 1 shl 14

/** PNG's colour type of pixels that are indices of a palette. */
private const val PALETTE = 3

/** Bytes of a pixel by PNG's colour type: gray, RGB, index of a palette, gray with alpha, RGB with alpha. */
private val PIXEL_BYTES = mapOf(0 to 1, 2 to 3, PALETTE to 1, 4 to 2, 6 to 4)
private val SIGNATURE = byteArrayOf(-0x77, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)

/** The image is damaged, or of a kind that is not read. */
class ImageException(message: String) : Exception(message)

/**
 * The pixels of a PNG file (ISO/IEC 15948): gray, RGB, either with alpha, or with a palette. Transparency is ignored.
 *
 * @throws ImageException it is no PNG of 8 bits a channel without interlacing, or damaged.
 */
fun image(data: ByteArray): Image {
    if (data.size < SIGNATURE.size || !data.copyOf(SIGNATURE.size).contentEquals(SIGNATURE)) {
        throw ImageException("the image is not a PNG; convert it")
    }
    val (header, palette, packed) = chunks(data)
    val (width, height) = header.getInt(0) to header.getInt(4)
    val colour = header.get(9).toInt()
    val step = PIXEL_BYTES[colour]
    if (header.get(8).toInt() != 8 || step == null || header.get(12).toInt() != 0) {
        throw ImageException("the PNG must have 8 bits a channel and not be interlaced; convert it")
    }
    if (width !in 1..MAX_SIDE || height !in 1..MAX_SIDE || width.toLong() * height > MAX_PIXELS) {
        throw ImageException("the PNG has $width x $height pixels, which is too many; convert it")
    }
    val raw = unpacked(packed, height * (width * step + 1))
    unfilter(raw, height, width * step, step)
    val samples = rgb(raw, height, width, step)
    return Image(height, width, if (colour == PALETTE) coloured(samples, palette) else samples)
}

/** The header, 13 bytes (zeros if there is none), the palette (empty if there is none), and the packed pixels. */
private fun chunks(data: ByteArray): Triple<ByteBuffer, ByteArray, ByteArray> {
    val whole = ByteBuffer.wrap(data)
    var header = ByteBuffer.allocate(13)
    var palette = ByteArray(0)
    val packed = ByteArrayOutputStream()
    var at = SIGNATURE.size
    while (at + 12 <= data.size) {
        val length = whole.getInt(at)
        if (length < 0 || length > data.size - at - 12) throw ImageException("the PNG is damaged: it ends too early")
        val checksum = CRC32().apply { update(data, at + 4, length + 4) }
        if (checksum.value.toInt() != whole.getInt(at + 8 + length)) {
            throw ImageException("the PNG is damaged: a checksum does not match")
        }
        when (String(data, at + 4, 4, Charsets.ISO_8859_1)) {
            "IHDR" -> if (length == 13) header = ByteBuffer.wrap(data.copyOfRange(at + 8, at + 8 + length))
            "PLTE" -> palette = data.copyOfRange(at + 8, at + 8 + length)
            "IDAT" -> packed.write(data, at + 8, length)
        }
        at += 12 + length
    }
    return Triple(header, palette, packed.toByteArray())
}

private fun unpacked(packed: ByteArray, size: Int): ByteArray {
    val inflater = Inflater().apply { setInput(packed) }
    val raw = ByteArray(size)
    try {
        var at = 0
        while (at < size) {
            val count = inflater.inflate(raw, at, size - at)
            if (count == 0) throw ImageException("the PNG is damaged: pixels are missing")
            at += count
        }
    } catch (error: DataFormatException) {
        throw ImageException("the PNG is damaged: its pixels cannot be unpacked")
    } finally {
        inflater.end()
    }
    return raw
}

/** Undoes PNG's line filters in place; a line has [row] bytes after the one that names its filter. */
private fun unfilter(raw: ByteArray, height: Int, row: Int, step: Int) {
    for (y in 0 until height) {
        val line = y * (row + 1) + 1
        val kind = raw[line - 1].toInt()
        if (kind !in 0..4) throw ImageException("the PNG is damaged: line filter $kind does not exist")
        for (x in 0 until if (kind == 0) 0 else row) {
            val left = if (x >= step) raw[line + x - step].toInt() and 255 else 0
            val up = if (y > 0) raw[line + x - row - 1].toInt() and 255 else 0
            val corner = if (y > 0 && x >= step) raw[line + x - row - 1 - step].toInt() and 255 else 0
            raw[line + x] = (raw[line + x] + predicted(kind, left, up, corner)).toByte()
        }
    }
}

/** What line filter [kind] (1 to 4: left, up, average, Paeth) predicts for a byte. */
private fun predicted(kind: Int, left: Int, up: Int, corner: Int): Int = when (kind) {
    1 -> left
    2 -> up
    3 -> (left + up) / 2
    else -> {
        val estimate = left + up - corner
        val (toLeft, toUp, toCorner) = listOf(abs(estimate - left), abs(estimate - up), abs(estimate - corner))
        if (toLeft <= toUp && toLeft <= toCorner) left else if (toUp <= toCorner) up else corner
    }
}

/** Three bytes a pixel, from lines that each start with the byte of their filter; gray and indices are repeated. */
private fun rgb(raw: ByteArray, height: Int, width: Int, step: Int): ByteArray {
    val found = ByteArray(height * width * 3)
    for (pixel in 0 until height * width) {
        val from = pixel / width + 1 + pixel * step
        for (channel in 0 until 3) found[pixel * 3 + channel] = raw[from + if (step < 3) 0 else channel]
    }
    return found
}

/** The colours of indices, each of which stands three times. */
private fun coloured(indices: ByteArray, palette: ByteArray): ByteArray = ByteArray(indices.size) { at ->
    val index = indices[at].toInt() and 255
    if (index >= palette.size / 3) throw ImageException("the PNG is damaged: its palette lacks a colour")
    palette[index * 3 + at % 3]
}

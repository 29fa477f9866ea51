package modelfactory

import java.io.IOException
import java.io.InputStream

/** Before the second attempt; twice as long before the third. */
private const val FIRST_PAUSE_SECONDS = 0.5

/** A file could not be had, or not complete. */
internal class DownloadException(message: String) : Exception(message)

/**
 * Brings the files of a release into a slot: from the other slot, from what is there of them, or from the source.
 *
 * @property source where missing files come from; null if nothing may be downloaded.
 * @property timeout the longest wait in seconds, which also limits the pauses between attempts.
 * @property tell is told the code of an event and a text for people.
 */
internal class Downloader(
    private val store: Store,
    private val source: Source?,
    private val timeout: Double,
    private val tell: (String, String) -> Unit,
) {
    /** The bytes of all bodies so far, used or not. */
    var downloadedBytes = 0L
        private set

    /**
     * Makes sure that a slot holds a file with the right size and digest.
     *
     * @param elsewhere where the store may have the same file.
     * @throws DownloadException it could not be had.
     * @throws StoreException the store cannot be written.
     */
    fun provide(slot: Slot, file: NeededFile, elsewhere: List<Pair<Slot, String>>) {
        if (isIntact(slot, file.name, file)) return
        val copy = elsewhere.firstOrNull { (other, name) -> isIntact(other, name, file) }
        setAside(slot, file)
        if (copy == null) attempts(slot, file) else copy(copy.first, copy.second, slot, file)
    }

    /** Whether a file in the store is the one of the manifest. */
    fun isIntact(slot: Slot, name: String, file: NeededFile): Boolean =
        store.size(slot, name) == file.size && digest(slot, name, 0, file.size) == file.sha256

    private fun copy(from: Slot, name: String, slot: Slot, file: NeededFile) {
        store.write(slot, file.name + PART, 0, cut = true) { put ->
            store.open(from, name).use { stream -> stream.forEachPiece(put) }
        }
        store.rename(slot, file.name + PART, file.name)
    }

    /** What is stored under the name is damaged: it becomes the start of a download. */
    private fun setAside(slot: Slot, file: NeededFile) {
        val found = store.size(slot, file.name) ?: return
        tell("damaged", "${file.name} is damaged: its size or its SHA-256 is not that of the manifest")
        if (found <= file.size) store.rename(slot, file.name, file.name + PART) else store.remove(slot, file.name)
    }

    private fun attempts(slot: Slot, file: NeededFile) {
        source ?: throw DownloadException("${file.name} is missing or damaged, and nothing can be downloaded now")
        var fault = ""
        for (number in 0 until source.attempts) {
            if (number > 0) pause(number, timeout)
            try {
                return attempt(source, slot, file)
            } catch (error: SourceException) {
                fault = error.message!!
                if (error.rangeRefused) store.remove(slot, file.name + PART) // the next attempt asks for the whole file
                if (error.final) break
            }
        }
        throw DownloadException(fault)
    }

    private fun attempt(source: Source, slot: Slot, file: NeededFile) {
        val part = file.name + PART
        var have = store.size(slot, part) ?: 0
        if (have > file.size) {
            store.remove(slot, part)
            have = 0
        }
        if (have < file.size) resume(source, slot, file, have)
        if (digest(slot, part, 0, file.size) != file.sha256) repair(source, slot, file)
        store.rename(slot, part, file.name)
    }

    /** Downloads from the byte [have] on. */
    private fun resume(source: Source, slot: Slot, file: NeededFile, have: Long) {
        source.open(file.name, file.size, have).use { body ->
            if (have > 0 && !body.whole) tell("resumed", "${file.name} is continued at $have of ${file.size} bytes")
            receive(slot, file, body, file.size, cut = true)
        }
    }

    /** Fetches the blocks again that differ, in as few ranges as possible. */
    private fun repair(source: Source, slot: Slot, file: NeededFile) {
        val ranges = damagedRanges(slot, file)
        val whole = ranges.any { (first, end) ->
            source.open(file.name, file.size, first, end - 1).use { body ->
                receive(slot, file, body, if (body.whole) file.size else end, cut = body.whole)
                body.whole
            }
        }
        if (digest(slot, file.name + PART, 0, file.size) != file.sha256) {
            store.remove(slot, file.name + PART)
            throw SourceException("${file.name} arrives damaged: its SHA-256 is not that of the manifest")
        }
        if (!whole) tell("repaired", "${file.name} was damaged and is whole again")
    }

    /** The first byte and the end of each run of blocks whose digests differ; none without blocks. */
    private fun damagedRanges(slot: Slot, file: NeededFile): List<Pair<Long, Long>> {
        val found = ArrayList<Pair<Long, Long>>()
        file.blocks.forEachIndexed { index, wanted ->
            val first = index * file.blockBytes
            val end = minOf(first + file.blockBytes, file.size)
            if (digest(slot, file.name + PART, first, end) == wanted) return@forEachIndexed
            val last = found.lastOrNull()?.takeIf { it.second == first }
            if (last != null) found.removeAt(found.size - 1)
            found.add(Pair(last?.first ?: first, end))
        }
        return found
    }

    /** Stores a body that must end before the byte [end]. */
    private fun receive(slot: Slot, file: NeededFile, body: Body, end: Long, cut: Boolean) {
        val expected = end - body.start
        if (body.length != null && body.length != expected) {
            throw SourceException("the server promises ${body.length} bytes of ${file.name}, not $expected")
        }
        var found = 0L
        store.write(slot, file.name + PART, body.start, cut) { put ->
            val buffer = ByteArray(CHUNK)
            while (true) {
                val count = body.read(buffer)
                if (count < 0) break
                found += count
                downloadedBytes += count
                if (found > expected) break
                put(buffer, count)
            }
        }
        if (found > expected) {
            throw SourceException("the server sends more than $expected bytes of ${file.name}", rangeRefused = true)
        }
        if (found < expected) {
            throw SourceException("the server stopped after $found of $expected bytes of ${file.name}")
        }
    }

    /** The SHA-256 of the bytes [first] to before [end] of a file; "" if it cannot be read. */
    private fun digest(slot: Slot, name: String, first: Long, end: Long): String {
        val found = newDigest()
        try {
            store.open(slot, name).use { stream ->
                stream.skipFully(first)
                var left = end - first
                val buffer = ByteArray(CHUNK)
                while (left > 0) {
                    val count = stream.read(buffer, 0, minOf(left, CHUNK.toLong()).toInt())
                    if (count < 0) break
                    found.update(buffer, 0, count)
                    left -= count
                }
            }
        } catch (unreadable: IOException) {
            return ""
        }
        return found.hex()
    }
}

/** Waits before the attempt [number], which counts from 0. */
internal fun pause(number: Int, timeout: Double) =
    Thread.sleep((1000 * minOf(FIRST_PAUSE_SECONDS * (1 shl (number - 1)), timeout / 4)).toLong())

private fun InputStream.forEachPiece(put: Put) {
    val buffer = ByteArray(CHUNK)
    while (true) {
        val count = read(buffer)
        if (count < 0) return
        put(buffer, count)
    }
}

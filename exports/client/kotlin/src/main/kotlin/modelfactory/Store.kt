package modelfactory

import java.io.ByteArrayOutputStream
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.channels.OverlappingFileLockException
import java.nio.file.Files
import java.nio.file.NoSuchFileException
import java.nio.file.Path
import java.nio.file.StandardCopyOption.ATOMIC_MOVE
import java.nio.file.StandardCopyOption.REPLACE_EXISTING
import java.nio.file.StandardOpenOption.CREATE
import java.nio.file.StandardOpenOption.READ
import java.nio.file.StandardOpenOption.TRUNCATE_EXISTING
import java.nio.file.StandardOpenOption.WRITE
import java.security.MessageDigest

/** The bytes that are read and hashed at a time: few enough for a small device, enough that each costs little. */
internal const val CHUNK = 1 shl 18

/** The store cannot be written: the disk is full, a quota is used up, or permissions are missing. */
class StoreException(cause: IOException) : Exception("the store cannot be written: ${cause.message}", cause)

/** What [Store.write] calls for each piece: the first bytes of a buffer. */
typealias Put = (buffer: ByteArray, bytes: Int) -> Unit

/**
 * What a launch needs of a store. Names of files are those of the manifest, which the caller has checked. Functions
 * that write throw [StoreException] if they cannot; functions that read throw [IOException].
 */
interface Store {
    /** Holds the store for one writer until it is closed. Throws [IOException] if another one has it for [seconds]. */
    fun lock(seconds: Double): Closeable

    /** The content of `state.json`; null if there is none. */
    fun readState(limit: Int): ByteArray?

    /** Replaces `state.json`, so that it holds the old or the new content whatever happens, and durably so. */
    fun writeState(data: ByteArray)

    /** The path of a file, which need not exist. */
    fun path(slot: Slot, name: String): File

    /** The size of a regular file in bytes; null if it is not there. */
    fun size(slot: Slot, name: String): Long?

    fun open(slot: Slot, name: String): InputStream

    /** Writes at [offset] what [fill] puts, whose errors pass; if [cut], the file is first cut to that length. */
    fun write(slot: Slot, name: String, offset: Long, cut: Boolean, fill: (Put) -> Unit)

    /** Renames a file after its content is durable. */
    fun rename(slot: Slot, name: String, new: String)

    /** Removes a file if it is there. */
    fun remove(slot: Slot, name: String)

    /** The names of the files in a slot. */
    fun names(slot: Slot): List<String>

    /** The free space in bytes; null if unknown. */
    fun freeBytes(): Long?
}

/**
 * A store in a folder of its own, which is made if it does not exist:
 *
 *     state.json         what the client knows
 *     slots/a, slots/b   each: manifest.json, and the files of one model under the names of the manifest
 *     lock               locked while a launch is in progress
 */
class FolderStore(private val folder: File) : Store {
    init {
        writing { Slot.values().forEach { Files.createDirectories(slotFolder(it)) } }
    }

    /** The system frees the lock when the process ends, however it ends. */
    override fun lock(seconds: Double): Closeable {
        val channel = writing { FileChannel.open(folder.toPath().resolve("lock"), CREATE, WRITE) }
        val end = System.nanoTime() + (seconds * 1e9).toLong()
        while (!isLocked(channel)) {
            if (System.nanoTime() > end) {
                channel.close()
                throw IOException("another launch has held $folder for $seconds s")
            }
            Thread.sleep(LOCK_POLL_MILLIS)
        }
        return channel
    }

    private fun isLocked(channel: FileChannel): Boolean = try {
        channel.tryLock() != null
    } catch (held: OverlappingFileLockException) { // by another thread of this process
        false
    }

    override fun readState(limit: Int): ByteArray? = try {
        readRegular(folder.toPath().resolve("state.json"), limit)
    } catch (none: NoSuchFileException) {
        null
    }

    override fun writeState(data: ByteArray) = writing {
        val fresh = folder.toPath().resolve("state.json.new")
        FileChannel.open(fresh, CREATE, WRITE, TRUNCATE_EXISTING).use { channel ->
            writeAll(channel, data, data.size)
            channel.force(true)
        }
        move(fresh, folder.toPath().resolve("state.json"))
    }

    override fun path(slot: Slot, name: String): File {
        require(FILE_NAME.matches(name)) { "the file name ${name.take(SHOWN)} is not allowed" }
        return slotFolder(slot).resolve(name).toFile()
    }

    override fun size(slot: Slot, name: String): Long? = path(slot, name).takeIf { it.isFile }?.length()

    override fun open(slot: Slot, name: String): InputStream = openRegular(path(slot, name).toPath())

    override fun write(slot: Slot, name: String, offset: Long, cut: Boolean, fill: (Put) -> Unit) {
        val path = path(slot, name).toPath()
        val channel = writing {
            Files.createDirectories(path.parent)
            FileChannel.open(path, CREATE, WRITE)
        }
        channel.use {
            writing {
                if (cut) channel.truncate(offset)
                channel.position(offset)
            }
            fill { buffer, bytes -> writing { writeAll(channel, buffer, bytes) } }
        }
    }

    override fun rename(slot: Slot, name: String, new: String) = writing {
        val path = path(slot, name).toPath()
        FileChannel.open(path, WRITE).use { it.force(true) }
        move(path, path(slot, new).toPath())
    }

    override fun remove(slot: Slot, name: String) {
        val file = path(slot, name)
        writing { if (file.isDirectory) file.deleteRecursively() else Files.deleteIfExists(file.toPath()) }
    }

    override fun names(slot: Slot): List<String> {
        val root = slotFolder(slot).toFile()
        val found = root.walkTopDown().filter { it.isFile }.map { it.relativeTo(root).invariantSeparatorsPath }
        return found.filter { FILE_NAME.matches(it) }.sorted().toList()
    }

    override fun freeBytes(): Long? = folder.usableSpace.takeIf { it > 0 }

    private fun slotFolder(slot: Slot): Path = folder.toPath().resolve("slots").resolve(slot.id)

    private fun move(path: Path, target: Path) {
        Files.move(path, target, ATOMIC_MOVE, REPLACE_EXISTING)
        val parent = try {
            FileChannel.open(target.parent, READ)
        } catch (refused: IOException) { // a system that opens no folders makes renaming durable by itself
            return
        }
        parent.use { it.force(true) }
    }

    private companion object {
        /** How often a launch that waits for another one looks again: too short for a person to notice. */
        const val LOCK_POLL_MILLIS = 50L

        inline fun <T> writing(action: () -> T): T = try {
            action()
        } catch (error: IOException) {
            throw StoreException(error)
        }

        fun writeAll(channel: FileChannel, data: ByteArray, bytes: Int) {
            val left = ByteBuffer.wrap(data, 0, bytes)
            while (left.hasRemaining()) channel.write(left)
        }
    }
}

/** A path below a family's folder: no `..`, not absolute, no hidden files. */
internal val FILE_NAME = Regex("[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")

/** Opens a regular file; the opening of a FIFO would wait for a writer. */
internal fun openRegular(path: Path): InputStream {
    if (Files.exists(path) && !Files.isRegularFile(path)) throw IOException("$path is not a regular file")
    return Files.newInputStream(path)
}

/** The content of a regular file of at most [limit] bytes. */
internal fun readRegular(path: Path, limit: Int): ByteArray = openRegular(path).use { readAtMost(it, limit) }

/** All bytes of a stream. Throws [IOException] if there are more than [limit]. */
internal fun readAtMost(stream: InputStream, limit: Int): ByteArray {
    val found = ByteArrayOutputStream()
    val buffer = ByteArray(CHUNK)
    while (true) {
        val count = stream.read(buffer)
        if (count < 0) return found.toByteArray()
        found.write(buffer, 0, count)
        if (found.size() > limit) throw IOException("it is larger than the limit of $limit bytes")
    }
}

/** Skips [bytes]. Throws [IOException] if there are fewer. */
internal fun InputStream.skipFully(bytes: Long) {
    var left = bytes
    while (left > 0) {
        val skipped = skip(left)
        if (skipped <= 0) throw IOException("it is too short")
        left -= skipped
    }
}

internal fun newDigest(): MessageDigest = MessageDigest.getInstance("SHA-256")

internal fun MessageDigest.hex(): String = digest().joinToString("") { "%02x".format(it) }

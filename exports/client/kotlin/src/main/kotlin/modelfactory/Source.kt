package modelfactory

import java.io.ByteArrayOutputStream
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.URI
import java.net.URISyntaxException
import java.net.UnknownHostException
import java.util.concurrent.ExecutionException
import java.util.concurrent.FutureTask
import java.util.concurrent.TimeUnit
import java.util.concurrent.TimeoutException

/**
 * A file, or a part of it, could not be had.
 *
 * @property answered whether anybody answered.
 * @property final whether another attempt is useless.
 * @property rangeRefused whether the file must be read from its first byte, because its source gives no such range.
 */
class SourceException(
    message: String,
    val answered: Boolean = true,
    val final: Boolean = false,
    val rangeRefused: Boolean = false,
) : Exception(message)

/**
 * What a source sends.
 *
 * @property start the offset in the file of the first byte that is sent.
 * @property length the number of bytes that it promises to send; null if it does not say.
 * @property whole whether the source sends the whole file, although a range was asked for.
 */
class Body(
    val start: Long,
    val length: Long?,
    val whole: Boolean,
    private val stream: InputStream,
    private val abandon: () -> Unit = {},
) : Closeable {
    private var ended = false

    /** Reads some bytes; -1 at the end. Throws [SourceException] if they stop coming. */
    fun read(buffer: ByteArray): Int = try {
        stream.read(buffer).also { ended = it < 0 }
    } catch (error: IOException) {
        throw SourceException("the server stopped sending: ${error.message}", answered = false)
    }

    /** All that it sends; null if that is more than [limit] bytes. */
    fun readAtMost(limit: Int): ByteArray? {
        val found = ByteArrayOutputStream()
        val buffer = ByteArray(CHUNK)
        while (true) {
            val count = read(buffer)
            if (count < 0) return found.toByteArray()
            found.write(buffer, 0, count)
            if (found.size() > limit) return null
        }
    }

    override fun close() {
        if (!ended) abandon()
        try {
            stream.close()
        } catch (_: IOException) { // nothing is read any more
        }
    }
}

/** Reads the files of a family by their names in the manifest. */
interface Source {
    /** How often a file is asked for: a server that was restarted or overloaded may be back. */
    val attempts: Int

    /** The content of `manifest.json`, at most [limit] bytes. Throws [SourceException]. */
    fun manifest(limit: Int): ByteArray

    /**
     * The bytes [first] to [last] (inclusive; null: to the end) of a file of [size] bytes.
     *
     * @throws SourceException the source does not have it, or does not answer.
     */
    fun open(name: String, size: Long, first: Long = 0, last: Long? = null): Body
}

/**
 * The source for a URL or the path of a folder.
 *
 * @param url `http://...` or `https://...` of the folder with `manifest.json`; anything else is a path.
 * @param timeout the longest wait, in seconds, for an answer and for a further byte.
 */
fun sourceOf(url: String, timeout: Double): Source =
    if (Regex("https?://.*").matches(url)) HttpSource(url, timeout) else FolderSource(File(url))

/** A folder of this machine: regular files inside it only. */
class FolderSource(private val folder: File) : Source {
    override val attempts = 1

    override fun manifest(limit: Int): ByteArray = try {
        openInside(MANIFEST).use { readAtMost(it, limit) }
    } catch (error: IOException) {
        if (!File(folder, MANIFEST).exists()) {
            throw SourceException("$MANIFEST is missing in $folder", answered = false, final = true)
        }
        throw SourceException("$MANIFEST cannot be read in $folder: ${error.message}", final = true)
    }

    override fun open(name: String, size: Long, first: Long, last: Long?): Body = try {
        val stream = openInside(name)
        val end = if (last == null) File(folder, name).length() else last + 1
        stream.skipFully(first)
        Body(first, end - first, whole = false, FirstBytes(stream, end - first))
    } catch (error: IOException) {
        throw SourceException("$name cannot be read in $folder: ${error.message}", final = true)
    }

    private fun openInside(name: String): InputStream {
        val path = folder.toPath().resolve(name)
        if (!path.toRealPath().startsWith(folder.toPath().toRealPath())) throw IOException("it leads out of the folder")
        return openRegular(path)
    }
}

private class FirstBytes(private val stream: InputStream, private var left: Long) : InputStream() {
    override fun read(): Int = ByteArray(1).let { if (read(it) < 0) -1 else it[0].toInt() and 255 }

    override fun read(buffer: ByteArray, offset: Int, count: Int): Int {
        if (left <= 0) return -1
        return stream.read(buffer, offset, minOf(count.toLong(), left).toInt()).also { left -= maxOf(it, 0) }
    }

    override fun close() = stream.close()
}

/** A folder that an HTTP server serves. Every wait is limited, because a server may be broken or hostile. */
class HttpSource(url: String, private val timeout: Double) : Source {
    override val attempts = 3
    private val url = url.trimEnd('/')

    /** The whole answer must come within the timeout. */
    override fun manifest(limit: Int): ByteArray = within(MANIFEST) { readManifest(limit) }

    /**
     * What another thread finds within the timeout; that of a connection is for a single byte, and a server that sends
     * one now and then would keep the app for ever.
     */
    private fun <T> within(name: String, abandon: () -> Unit = {}, find: () -> T): T {
        val task = FutureTask(find)
        Thread(task, name).apply { isDaemon = true }.start()
        try {
            return task.get(millis(timeout).toLong(), TimeUnit.MILLISECONDS)
        } catch (late: TimeoutException) {
            abandon()
            throw SourceException("$name did not come within $timeout s", answered = false)
        } catch (error: ExecutionException) {
            throw error.cause ?: error
        }
    }

    private fun readManifest(limit: Int): ByteArray {
        val body = body(request(MANIFEST, null), 0, whole = true)
        val tooLarge = SourceException("$MANIFEST is larger than the limit of $limit bytes", final = true)
        if ((body.length ?: 0) > limit) throw tooLarge.also { body.close() }
        val data = body.use { it.readAtMost(limit) } ?: throw tooLarge
        if (body.length != null && body.length != data.size.toLong()) {
            throw SourceException("$MANIFEST has ${data.size} bytes, the server promised ${body.length}")
        }
        return data
    }

    override fun open(name: String, size: Long, first: Long, last: Long?): Body {
        val range = if (first == 0L && last == null) null else "bytes=$first-${last ?: ""}"
        val connection = request(name, range)
        if (connection.responseCode == HttpURLConnection.HTTP_OK) return body(connection, 0, whole = true)
        val found = CONTENT_RANGE.matchEntire(connection.getHeaderField("Content-Range") ?: "")?.groupValues
        val total = found?.get(3)
        val wanted = listOf(first, last ?: (size - 1))
        if (found?.slice(1..2)?.map { it.toLong() } != wanted || (total != "*" && total?.toLong() != size)) {
            connection.disconnect()
            throw SourceException("the server answers with another range of $name", rangeRefused = true)
        }
        return body(connection, first, whole = false)
    }

    private fun body(connection: HttpURLConnection, start: Long, whole: Boolean): Body {
        val text = connection.getHeaderField("Content-Length") ?: ""
        val length = if (Regex("[0-9]{1,16}").matches(text)) text.toLong() else null
        return Body(start, length, whole, connection.inputStream) { connection.disconnect() }
    }

    /** The answer with the status 200, or 206 if a range was asked for, after few redirects. */
    private fun request(name: String, range: String?): HttpURLConnection {
        var address = try {
            URI("$url/$name")
        } catch (error: URISyntaxException) {
            throw SourceException("$url is no address: ${error.message}", answered = false, final = true)
        }
        repeat(MAX_REDIRECTS + 1) {
            val connection = connect(address, name, range)
            val status = connection.responseCode
            if (status !in REDIRECTS) return accepted(connection, name, range)
            val next = connection.getHeaderField("Location")
            connection.disconnect()
            address = redirected(address, next)
                ?: throw SourceException("a redirect of $name leads astray", final = true)
        }
        throw SourceException("more than $MAX_REDIRECTS redirects of $name", final = true)
    }

    private fun connect(address: URI, name: String, range: String?): HttpURLConnection = try {
        val connection = address.toURL().openConnection() as HttpURLConnection
        connection.connectTimeout = millis(timeout)
        connection.readTimeout = millis(timeout)
        connection.instanceFollowRedirects = false
        connection.useCaches = false
        connection.setRequestProperty("Accept-Encoding", "identity")
        range?.let { connection.setRequestProperty("Range", it) }
        val status = within("the answer for $name", connection::disconnect) { connection.responseCode }
        if (status < 0) throw IOException("it is not HTTP")
        connection
    } catch (error: UnknownHostException) { // its message is the host alone
        throw SourceException("no answer for $name: the host ${error.message} is not known", answered = false)
    } catch (error: IOException) {
        throw SourceException("no answer for $name: ${error.message}", answered = false)
    } catch (error: IllegalArgumentException) { // an address or an answer that the platform cannot read
        throw SourceException("no answer for $name: ${error.message}", answered = false)
    }

    private fun accepted(connection: HttpURLConnection, name: String, range: String?): HttpURLConnection {
        val status = connection.responseCode
        val encoding = connection.getHeaderField("Content-Encoding") ?: "identity"
        val fits = status == HttpURLConnection.HTTP_OK || (range != null && status == HttpURLConnection.HTTP_PARTIAL)
        if (fits && encoding.equals("identity", ignoreCase = true)) return connection
        connection.disconnect()
        if (fits) throw SourceException("the server packed $name, although it was asked not to")
        val message = "the server answers with the status $status for $name"
        val final = status < 500 && status !in RETRIED
        throw SourceException(message, final = final, rangeRefused = status == UNUSABLE_RANGE)
    }

    private companion object {
        const val MAX_REDIRECTS = 5
        const val UNUSABLE_RANGE = 416
        val REDIRECTS = setOf(301, 302, 303, 307, 308)

        /** Statuses below 500 that another attempt may not give: timeout, unusable range, too many requests. */
        val RETRIED = setOf(408, UNUSABLE_RANGE, 429)
        val CONTENT_RANGE = Regex("bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16}|\\*)")

        fun millis(seconds: Double): Int = (seconds * 1000).coerceIn(1.0, Int.MAX_VALUE.toDouble()).toInt()

        /** Where a redirect leads: never from https to http, which would undo the protection of the connection. */
        fun redirected(from: URI, location: String?): URI? {
            val next = try {
                from.resolve(location ?: return null)
            } catch (unreadable: IllegalArgumentException) {
                return null
            }
            return next.takeIf { it.scheme == "https" || (it.scheme == "http" && from.scheme == "http") }
        }
    }
}

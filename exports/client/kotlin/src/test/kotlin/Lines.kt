import java.io.ByteArrayOutputStream
import java.io.InputStream
import modelfactory.ClientState
import modelfactory.DeviceFacts
import modelfactory.Json
import modelfactory.JsonException
import modelfactory.Resolution
import modelfactory.UnusableManifestException
import modelfactory.UnusablePolicyException
import modelfactory.resolve

/**
 * Resolves one case per line of standard input: `{"manifest": ...}` sets the manifest, any other line is
 * `{policy, facts, state, now}` and gives one line of output in the form of `expect` in `vectors/resolver.json`. A line
 * that is not strict JSON gives the error `json`.
 *
 * With `--time N` a case gives `{"nanoseconds": [...]}` instead: how long each of N calls in a row took. The first one
 * of the process includes loading the classes, as in an app that has just started.
 */
object Lines {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val rounds = if (arguments.firstOrNull() == "--time") arguments[1].toInt() else 0
        var manifest: Any? = null
        val output = System.out.bufferedWriter()
        forEachLine(System.`in`.buffered()) { line ->
            val case = read(line)
            if (case != null && "manifest" in case) {
                manifest = case["manifest"]
            } else {
                val answer = when {
                    case == null -> mapOf("error" to "json")
                    rounds > 0 -> mapOf("nanoseconds" to List(rounds) { nanoseconds(manifest, case) })
                    else -> answer(manifest, case)
                }
                output.write(Json.write(answer) + "\n")
            }
        }
        output.flush()
    }

    /** Lines as bytes: a reader would silently replace what is not UTF-8. */
    private fun forEachLine(stream: InputStream, use: (ByteArray) -> Unit) {
        val line = ByteArrayOutputStream()
        while (true) {
            val byte = stream.read()
            if (byte >= 0 && byte != '\n'.code) {
                line.write(byte)
                continue
            }
            if (line.size() > 0) use(line.toByteArray())
            if (byte < 0) return
            line.reset()
        }
    }

    private fun read(line: ByteArray): Map<*, *>? = try {
        Json.parse(line) as? Map<*, *>
    } catch (error: JsonException) {
        null
    }

    private fun nanoseconds(manifest: Any?, case: Map<*, *>): Long {
        val facts = DeviceFacts.fromJson(case["facts"])
        val state = ClientState.fromJson(case["state"])
        val start = System.nanoTime()
        resolve(manifest, case["policy"], facts, state, case["now"] as Long)
        return System.nanoTime() - start
    }

    private fun answer(manifest: Any?, case: Map<*, *>): Map<String, Any?> = try {
        val facts = DeviceFacts.fromJson(case["facts"])
        plain(resolve(manifest, case["policy"], facts, ClientState.fromJson(case["state"]), case["now"] as Long))
    } catch (error: UnusableManifestException) {
        mapOf("error" to "manifest")
    } catch (error: UnusablePolicyException) {
        mapOf("error" to "policy")
    }

    /** A resolution without the texts for people. */
    fun plain(found: Resolution): Map<String, Any?> = linkedMapOf(
        "action" to found.action,
        "tier" to found.tier,
        "rank" to found.rank,
        "model" to found.model,
        "compute_unit" to found.computeUnit,
        "installed" to found.installed,
        "proven" to found.proven,
        "reasons" to found.reasons.map { listOf(it.tier, it.model, it.code) },
    )
}

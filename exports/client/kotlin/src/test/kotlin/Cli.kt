import java.io.File
import java.io.IOException
import kotlin.math.roundToLong
import kotlin.system.exitProcess
import modelfactory.Answer
import modelfactory.DEFAULT_TIMEOUT
import modelfactory.DeviceFacts
import modelfactory.EngineException
import modelfactory.FolderStore
import modelfactory.ImageException
import modelfactory.Json
import modelfactory.JsonException
import modelfactory.LaunchException
import modelfactory.Launched
import modelfactory.StoreException
import modelfactory.image
import modelfactory.jvmFacts
import modelfactory.launch

/** The command line of all clients, which `exports/client/README.md` defines; for the tests. */
object Cli {
    private const val USAGE = "usage: Cli launch --store DIR --url URL [--image FILE | --tokens IDS] [--facts FILE] " +
        "[--policy FILE] [--now N] [--timeout SECONDS]"

    @JvmStatic
    fun main(arguments: Array<String>) {
        try {
            println(Json.write(run(options(arguments))))
        } catch (error: CliException) {
            fail(error.message!!)
        } catch (error: LaunchException) {
            fail(error.message!!)
        } catch (error: StoreException) {
            fail(error.message!!)
        } catch (error: IOException) {
            fail(error.message.orEmpty())
        } catch (error: NumberFormatException) {
            fail("a number cannot be read: ${error.message}")
        }
        exitProcess(0) // threads that still wait for a server must not keep the process
    }

    private class CliException(message: String) : Exception(message)

    private fun options(arguments: Array<String>): Map<String, String> {
        if (arguments.firstOrNull() != "launch") throw CliException(USAGE)
        val names = setOf("--store", "--url", "--image", "--tokens", "--facts", "--policy", "--now", "--timeout")
        val found = arguments.drop(1).chunked(2).associate { it[0] to (it.getOrNull(1) ?: throw CliException(USAGE)) }
        if (!names.containsAll(found.keys) || "--store" !in found || "--url" !in found) throw CliException(USAGE)
        return found
    }

    private fun run(options: Map<String, String>): Map<String, Any?> {
        val folder = File(options.getValue("--store"))
        val store = FolderStore(folder)
        val library = System.getProperty("onnxruntime")
            ?: throw CliException("the property onnxruntime names no library")
        val engine = OnnxRuntimeNative(library)
        val gathered = jvmFacts(folder).copy(engine = engine.name, engineVersion = engine.version).toJson()
        val given = options["--facts"]?.let { json(it) as? Map<*, *> ?: throw CliException("$it is no JSON object") }
        val launched = launch(
            options.getValue("--url"),
            store,
            engine,
            DeviceFacts.fromJson(gathered + (given ?: emptyMap<String, Any?>())),
            options["--policy"]?.let(::json),
            options["--now"]?.toLong() ?: (System.currentTimeMillis() / 1000),
            options["--timeout"]?.toDouble() ?: DEFAULT_TIMEOUT,
        )
        if ("--image" in options && "--tokens" in options) throw CliException("give one of --image and --tokens")
        val tokens = options["--tokens"]?.split(",")?.filter { it.isNotBlank() }?.map { it.trim().toLong() }
        return summary(launched, logits(launched, options["--image"], tokens?.toLongArray()))
    }

    private fun json(path: String): Any? = try {
        Json.parse(File(path).readBytes())
    } catch (error: JsonException) {
        throw CliException("$path is not JSON: ${error.message}")
    }

    private fun logits(launched: Launched, path: String?, tokens: LongArray?): FloatArray? = try {
        val image = path?.let { launched.running?.logits(image(File(it).readBytes())) }
        image ?: tokens?.let { launched.running?.logits(it) }
    } catch (error: EngineException) {
        throw CliException(error.message!!)
    } catch (error: ImageException) {
        throw CliException(error.message!!)
    } catch (error: IllegalArgumentException) {
        throw CliException(error.message!!)
    }

    private fun summary(launched: Launched, logits: FloatArray?): Map<String, Any?> = try {
        summary(launched, logits, logits?.let { launched.running!!.run { decoding.answer(it, labels) } })
    } catch (error: EngineException) {
        throw CliException(error.message!!)
    }

    private fun summary(launched: Launched, logits: FloatArray?, answer: Answer?): Map<String, Any?> = linkedMapOf(
        "action" to launched.resolution.action,
        "tier" to launched.resolution.tier,
        "rank" to launched.resolution.rank,
        "model" to launched.resolution.model,
        "compute_unit" to launched.resolution.computeUnit,
        "slot" to launched.slot?.id,
        "release" to launched.release,
        "label" to answer?.labels?.firstOrNull()?.takeIf { launched.running!!.decoding.kind == "classes" },
        "answer" to answer?.let(::plain),
        "logits_micro" to logits?.map { (it * 1e6).roundToLong() },
        "reasons" to launched.resolution.reasons.map { listOf(it.tier, it.model, it.code) },
        "downloaded_bytes" to launched.downloadedBytes,
        "proof" to launched.running?.proof,
        "events" to launched.events.map { it.code },
        "seconds" to launched.seconds,
    )

    /** An answer in the form of the contract. */
    fun plain(answer: Answer): Map<String, Any?> = linkedMapOf(
        "labels" to answer.labels,
        "probabilities_nano" to answer.probabilities.map { (it * 1e9).roundToLong() },
        "values" to answer.values,
    )

    private fun fail(message: String): Nothing {
        System.err.println("launch: " + message.map { if (it.isISOControl()) ' ' else it }.joinToString(""))
        exitProcess(1)
    }
}

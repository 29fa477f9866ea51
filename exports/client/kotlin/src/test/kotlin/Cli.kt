import java.io.File
import java.io.IOException
import kotlin.math.roundToLong
import kotlin.system.exitProcess
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
    private const val USAGE = "usage: Cli launch --store DIR --url URL [--image FILE] [--facts FILE] [--policy FILE] " +
        "[--now N] [--timeout SECONDS]"

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
        val names = setOf("--store", "--url", "--image", "--facts", "--policy", "--now", "--timeout")
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
        return answer(launched, options["--image"]?.let { logits(launched, it) })
    }

    private fun json(path: String): Any? = try {
        Json.parse(File(path).readBytes())
    } catch (error: JsonException) {
        throw CliException("$path is not JSON: ${error.message}")
    }

    private fun logits(launched: Launched, path: String): FloatArray? = try {
        launched.running?.logits(image(File(path).readBytes()))
    } catch (error: EngineException) {
        throw CliException(error.message!!)
    } catch (error: ImageException) {
        throw CliException(error.message!!)
    }

    private fun answer(launched: Launched, logits: FloatArray?): Map<String, Any?> = linkedMapOf(
        "action" to launched.resolution.action,
        "tier" to launched.resolution.tier,
        "rank" to launched.resolution.rank,
        "model" to launched.resolution.model,
        "compute_unit" to launched.resolution.computeUnit,
        "slot" to launched.slot?.id,
        "release" to launched.release,
        "label" to logits?.let { launched.running!!.labels[it.indices.maxByOrNull { index -> logits[index] }!!] },
        "logits_micro" to logits?.map { (it * 1e6).roundToLong() },
        "reasons" to launched.resolution.reasons.map { listOf(it.tier, it.model, it.code) },
        "downloaded_bytes" to launched.downloadedBytes,
        "proof" to launched.running?.proof,
        "events" to launched.events.map { it.code },
        "seconds" to launched.seconds,
    )

    private fun fail(message: String): Nothing {
        System.err.println("launch: " + message.map { if (it.isISOControl()) ' ' else it }.joinToString(""))
        exitProcess(1)
    }
}

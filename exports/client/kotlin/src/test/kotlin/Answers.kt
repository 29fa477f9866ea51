import modelfactory.EngineException
import modelfactory.Json
import modelfactory.ManifestException
import modelfactory.decoding
import modelfactory.tokenForm

/** Answers one case of `vectors/decoding.json` per line of standard input with its result. */
object Answers {
    @JvmStatic
    fun main(arguments: Array<String>) {
        require(arguments.isEmpty())
        System.`in`.bufferedReader().forEachLine { line ->
            println(Json.write(attempt(Json.parse(line.toByteArray()) as Map<*, *>)))
        }
    }

    private fun attempt(case: Map<*, *>): Any? = try {
        if (case["op"] == "decode") decoded(case) else input(case)
    } catch (error: ManifestException) {
        null
    } catch (error: EngineException) {
        null
    } catch (error: IllegalArgumentException) {
        null
    }

    private fun decoded(case: Map<*, *>): Any? {
        val names = (case["labels"] as List<*>).map { it as String }
        val outputs = (case["outputs"] as List<*>).map { (it as Number).toFloat() }
        val decoding = decoding(case["task"] as Map<*, *>)
        decoding.check(names)
        return Cli.plain(decoding.answer(outputs.toFloatArray(), names))
    }

    private fun input(case: Map<*, *>): Any? {
        val tokens = (case["tokens"] as List<*>).map { it as? Long ?: return null }
        val form = tokenForm(case["task"] as Map<*, *>, case["model"] as Map<*, *>)
        val values = form.prepare(tokens.toLongArray()).values
        return List(values.remaining() / Long.SIZE_BYTES) { values.getLong() }
    }
}

import modelfactory.ClientState
import modelfactory.DeviceFacts
import modelfactory.Json
import modelfactory.Resolution
import modelfactory.UnusableManifestException
import modelfactory.UnusablePolicyException
import modelfactory.resolve

/**
 * Resolves one case per line of standard input: `{"manifest": ...}` sets the manifest, any other line is
 * `{policy, facts, state, now}` and gives one line of output in the form of `expect` in `vectors/resolver.json`.
 */
object Lines {
    @JvmStatic
    fun main(arguments: Array<String>) {
        var manifest: Any? = null
        val output = System.out.bufferedWriter()
        System.`in`.bufferedReader().forEachLine { line ->
            val case = Json.parse(line.toByteArray()) as Map<*, *>
            if ("manifest" in case) manifest = case["manifest"] else output.write(Json.write(answer(manifest, case)) + "\n")
        }
        output.flush()
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

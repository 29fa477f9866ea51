package modelfactory

private const val SUPPORTED_MAJOR = "1"

/**
 * The critical features of version 1: an app that does not support one must not use the manifest, so remove those that
 * yours does not. `image_form`: the models take gray images, or images that are not square. `labels_file`: the names of
 * the classes are in the file `task.labels_file`. `outputs`: the models return something else than a logit per class,
 * which `task.outputs` states. `pixel_input`: the models take pixels. `token_input`: they take the tokens of a text.
 */
private val SUPPORTED_CRITICAL = setOf("image_form", "labels_file", "outputs", "pixel_input", "token_input")

/** This resolver cannot use the manifest; an app should keep the last good one. */
class UnusableManifestException(message: String) : Exception(message)

/** This resolver cannot use the policy; an app should keep the last good one. */
class UnusablePolicyException(message: String) : Exception(message)

/**
 * The best model for a device: tiers by descending rank, models in the order of the list, then the floor.
 *
 * One pure function, without I/O, clock or randomness; `exports/client/README.md` has the rules. A selector with
 * anything that the resolver does not understand, be it a key, a type or a value, does not match, so an old app gets a
 * lower tier, never a heavier one. Tiers and models that it does not understand are passed over in the same way.
 *
 * @param manifest the parsed JSON of a `manifest.json`, as [Json.parse] returns it.
 * @param policy the parsed JSON of a policy, which can only revoke files; null without one.
 * @param facts the facts about the device.
 * @param state the client's own record.
 * @param now seconds since 1970.
 * @throws UnusableManifestException it has another major version, an unknown critical feature or no usable floor.
 * @throws UnusablePolicyException it has another major version, an unknown critical feature or unknown entries.
 */
fun resolve(manifest: Any?, policy: Any?, facts: DeviceFacts, state: ClientState, now: Long): Resolution {
    val usable = Usable(manifest)
    return Resolver(usable, revoked(policy), facts.plausible(), state, now).resolve()
}

/** The parts of a manifest of a supported version. */
private class Usable(manifest: Any?) {
    val tiers: List<Any?>
    val models: Map<*, *>
    val floors: List<Any?>

    init {
        val version = (manifest as? Map<*, *>)?.get("manifest_version") as? String
            ?: throw UnusableManifestException("this is not a manifest: it has no manifest_version")
        if (version.split('.')[0] != SUPPORTED_MAJOR) {
            val shown = version.take(SHOWN)
            throw UnusableManifestException("the manifest version \"$shown\" is not $SUPPORTED_MAJOR.x; update the app")
        }
        uncritical(manifest, "manifest", SUPPORTED_CRITICAL)?.let { throw UnusableManifestException(it) }
        val notManifest = UnusableManifestException("this is not a manifest: it has no tiers or no models")
        tiers = manifest["tiers"] as? List<*> ?: throw notManifest
        models = manifest["models"] as? Map<*, *> ?: throw notManifest
        floors = manifest["floors"] as? List<*> ?: emptyList<Any?>()
    }
}

/** Why the list of critical features cannot be met; null if it can. */
private fun uncritical(file: Map<*, *>, name: String, supported: Set<String>): String? {
    val critical = if ("critical" in file) file["critical"] else emptyList<Any?>()
    if (critical !is List<*>) return "the $name's list of critical features is unreadable; update the app"
    val unknown = critical.filter { it !in supported }
    if (unknown.isEmpty()) return null
    return "the $name needs the unknown features ${unknown.joinToString().take(SHOWN)}; update the app"
}

/** Throws [UnusablePolicyException] if [resolve] cannot use a policy. */
internal fun checkPolicy(policy: Any) {
    revoked(policy)
}

/** The digests that a policy revokes. */
private fun revoked(policy: Any?): Set<String> {
    if (policy == null) return emptySet()
    val version = (policy as? Map<*, *>)?.get("policy_version") as? String
        ?: throw UnusablePolicyException("this is not a policy: it has no policy_version")
    if (version.split('.')[0] != SUPPORTED_MAJOR) {
        throw UnusablePolicyException("the policy version \"${version.take(SHOWN)}\" is not $SUPPORTED_MAJOR.x")
    }
    uncritical(policy, "policy", emptySet())?.let { throw UnusablePolicyException(it) }
    val entries = if ("revoked" in policy) policy["revoked"] else emptyList<Any?>()
    val unreadable = UnusablePolicyException("the policy's list of revoked files is unreadable")
    if (entries !is List<*>) throw unreadable
    return entries.map { (it as? Map<*, *>)?.get("sha256") as? String ?: throw unreadable }.toSet()
}

/** A tier whose form is that of version 1. Its selectors are judged one by one. */
private class Tier(val id: String, val platform: String, val rank: Long, val match: List<*>, val models: List<*>) {
    companion object {
        fun of(value: Any?): Tier? {
            val json = value as? Map<*, *> ?: return null
            return Tier(
                json["id"] as? String ?: return null,
                json["platform"] as? String ?: return null,
                Json.integer(json["rank"]) ?: return null,
                json["match"] as? List<*> ?: return null,
                json["models"] as? List<*> ?: return null,
            )
        }
    }
}

/** What the resolver reads of a model. */
private class Model(
    val files: List<String>,
    val bytes: List<Long>,
    val engine: String,
    val min: String,
    val maxTested: String,
    val forwardOk: Boolean,
    val diskBytes: Long,
    val memoryBytes: Long,
) {
    companion object {
        /** Null if the form is not that of version 1. */
        fun of(value: Any): Model? {
            val json = value as? Map<*, *> ?: return null
            val engine = json["engine"] as? Map<*, *> ?: return null
            val needs = json["needs"] as? Map<*, *> ?: return null
            val files = (json["files"] as? List<*> ?: return null).map { it as? Map<*, *> ?: return null }
            if (files.isEmpty()) return null
            return Model(
                files.map { it["sha256"] as? String ?: return null },
                files.map { Json.integer(it["bytes"]) ?: return null },
                engine["name"] as? String ?: return null,
                (engine["min"] as? String)?.takeIf(::isVersion) ?: return null,
                (engine["max_tested"] as? String)?.takeIf(::isVersion) ?: return null,
                engine["forward_ok"] == true,
                Json.integer(needs["disk_bytes"]) ?: return null,
                Json.integer(needs["peak_memory_bytes"]) ?: return null,
            )
        }
    }
}

/** A model that may run, and the compute unit on which it has not failed. */
private class Candidate(
    val name: String,
    val model: Model,
    val unit: String,
    val installed: Boolean,
    val proven: Boolean,
)

private class Resolver(
    private val manifest: Usable,
    private val revoked: Set<String>,
    private val facts: DeviceFacts,
    private val state: ClientState,
    now: Long,
) {
    private val reasons = ArrayList<Reason>()
    private val blacklist =
        state.blacklist.filter { it.until == null || now < it.until }.mapTo(HashSet()) { it.sha256 }

    fun resolve(): Resolution {
        val tiers = manifest.tiers.mapNotNull { value -> Tier.of(value) ?: null.also { unknownTier(value) } }
        val floor = tiers.firstOrNull { it.rank == 0L }
            ?: throw UnusableManifestException("this is not a manifest: it has no floor (a tier of rank 0)")
        // At the same rank, a tier for the device's platform comes before one for any platform.
        val ranked = tiers.filter { it.rank > 0 }.sortedWith(compareBy({ -it.rank }, { it.platform == "any" }))
        for (tier in ranked) {
            val meets = met(tier) ?: continue
            val found = best(tier.id, tier.models, facts) ?: continue
            return result(tier.id, tier.rank, found, Reason(tier.id, found.name, "chosen", "rank ${tier.rank}: $meets"))
        }
        return platformFloor(floor.id) ?: floor(floor.id, floor.models)
    }

    private fun unknownTier(value: Any?) {
        val id = (value as? Map<*, *>)?.get("id") as? String ?: ""
        reasons.add(Reason(id, "", "tier_unknown", "its form is unknown to this app"))
    }

    /** What the device meets, for people; null, with the reason noted, if it does not get the tier. */
    private fun met(tier: Tier): String? {
        if (tier.platform != "any" && !facts.isOn(tier.platform)) {
            val device = facts.platform.ifEmpty { "of an unknown platform" }
            val text = "it is for ${tier.platform}, the device is $device"
            reasons.add(Reason(tier.id, "", "platform", text))
            return null
        }
        var first: Fault? = null
        for (selector in tier.match) {
            val fault = selectorFault(selector, facts)
                ?: return "the device meets ${plainSelector(selector as Map<*, *>).ifEmpty { "an empty selector" }}"
            first = first ?: fault
        }
        val fault = first ?: Fault("selector_unmet", "it has no selector")
        reasons.add(Reason(tier.id, "", fault.code, fault.text))
        return null
    }

    /** The first floor for the device's platform whose form is understood; null if there is none. */
    private fun platformFloor(tier: String): Resolution? {
        for (value in manifest.floors) {
            val floor = value as? Map<*, *> ?: continue
            if (!facts.isOn(floor["platform"])) continue
            when (val action = floor["action"]) {
                "cloud", "off" -> {
                    val text = "the floor of ${facts.platform} is $action"
                    reasons.add(Reason(tier, "", "floor", text))
                    return Resolution(action as String, tier, 0, null, null, false, false, reasons)
                }
                "model" -> return floor(tier, floor["models"] as? List<*> ?: continue)
            }
        }
        return null
    }

    private fun floor(tier: String, models: List<*>): Resolution {
        val unlimited = facts.copy(freeDiskBytes = null, availableMemoryBytes = null)
        val found = best(tier, models, unlimited)
        if (found == null) {
            reasons.add(Reason(tier, "", "nothing_runs", "no model runs in this app on this device"))
            return Resolution("none", tier, 0, null, null, false, false, reasons)
        }
        val tight = needsFault(found.model, facts)?.let { ", although ${it.text}" } ?: ""
        val text = "the floor is for every device that gets no tier above it$tight"
        return result(tier, 0, found, Reason(tier, found.name, "floor", text))
    }

    private fun result(tier: String, rank: Long, found: Candidate, reason: Reason): Resolution {
        reasons.add(reason)
        return Resolution("model", tier, rank, found.name, found.unit, found.installed, found.proven, reasons)
    }

    /** The first model without fault whose files are installed, else the first without fault. */
    private fun best(tier: String, models: List<*>, facts: DeviceFacts): Candidate? {
        val able = ArrayList<Candidate>()
        for (name in models) {
            val value = if (name is String) manifest.models[name] else null
            val model = value?.let(Model::of)
            val fault = when {
                value == null -> Fault("model_missing", "the manifest does not describe it")
                model == null -> Fault("model_unknown", "its form is unknown to this app")
                else -> modelFault(model, facts)
            }
            if (fault != null) {
                reasons.add(Reason(tier, name as? String ?: "", fault.code, fault.text))
                continue
            }
            able.add(candidate(name as String, model!!))
            if (able.last().installed) break
        }
        val found = able.lastOrNull()?.takeIf { it.installed } ?: return able.firstOrNull()
        for (other in able.dropLast(1)) {
            reasons.add(Reason(tier, other.name, "installed_preferred", "${found.name} is as good and installed"))
        }
        return found
    }

    private fun candidate(name: String, model: Model): Candidate {
        val unit = facts.computeUnits.first { proof(model, it)?.failed != true }
        val installed = state.installed.containsAll(model.files)
        return Candidate(name, model, unit, installed, proof(model, unit)?.result == "passed")
    }

    private fun proof(model: Model, unit: String): ProofRecord? =
        state.proofs.lastOrNull { it.isOf(model.files, unit, facts) }

    private fun modelFault(model: Model, facts: DeviceFacts): Fault? = when {
        model.files.any { it in revoked } -> Fault("revoked", "the policy revokes it")
        model.files.any { it in blacklist } -> Fault("blacklisted", "the app has blacklisted it on this device")
        else -> engineFault(model) ?: needsFault(model, facts) ?: proofFault(model)
    }

    private fun engineFault(model: Model): Fault? {
        val name = model.engine
        if (facts.engine != null && facts.engine != name) {
            return Fault("engine_other", "it is for the engine $name, the app has ${facts.engine}")
        }
        val version = facts.engineVersion ?: return null
        if (Version(version) < Version(model.min)) {
            return Fault("engine_too_old", "it needs $name ${model.min}, the app has ${version.take(SHOWN)}")
        }
        if (Version(version) > Version(model.maxTested) && !model.forwardOk) {
            val text = "it was tested up to $name ${model.maxTested}, the app has ${version.take(SHOWN)}"
            return Fault("engine_too_new", text)
        }
        return null
    }

    private fun needsFault(model: Model, facts: DeviceFacts): Fault? {
        var disk = model.diskBytes
        for ((file, bytes) in model.files.zip(model.bytes)) {
            if (file in state.installed) disk = maxOf(0, disk - bytes) // a sum of them all could overflow
        }
        // 10 % to spare, in integers: file systems take more than the bytes of a file, and a full disk breaks other
        // things. Neither product overflows: both factors are below 2^53, and 2^53 x 11 is below 2^63.
        if (facts.freeDiskBytes != null && disk > 0 && disk * 11 > facts.freeDiskBytes * 10) {
            val text = "it needs $disk bytes of disk and 10 % to spare, ${facts.freeDiskBytes} are free"
            return Fault("disk", text)
        }
        if (facts.availableMemoryBytes != null && model.memoryBytes > facts.availableMemoryBytes) {
            val text = "it needs ${model.memoryBytes} bytes of memory, ${facts.availableMemoryBytes} are available"
            return Fault("memory", text)
        }
        return null
    }

    private fun proofFault(model: Model): Fault? {
        if (facts.computeUnits.any { proof(model, it)?.failed != true }) return null
        return Fault("proof_failed", "it failed on this device on ${facts.computeUnits.joinToString()}")
    }
}

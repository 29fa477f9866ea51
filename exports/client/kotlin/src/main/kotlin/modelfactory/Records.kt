package modelfactory

/** A device's own score in a small benchmark, which the family names by its [id]. */
data class Probe(val id: String, val score: Long)

/**
 * Facts that an app can observe. Null means that the device does not report the fact. A value that cannot be true (a
 * negative size, an empty name) counts as not reported.
 *
 * @property platform the platform of the app's build: `android` for all apps of this package; "" matches `any` alone.
 * @property ramBytes the total RAM that the kernel reports, which is a little less than the size printed on the box.
 * @property cores the number of processor cores.
 * @property osVersion dotted numbers; on Android the API level.
 * @property socMaker the maker of the system on a chip, as the platform spells it; compared without case.
 * @property socModel its model, as the platform spells it; compared without case.
 * @property deviceMaker the maker of the device; compared without case.
 * @property deviceModel its model; compared without case.
 * @property features tokens of what the device can do.
 * @property probe the device's score in the family's probe.
 * @property freeDiskBytes the free disk space for models. Not checked if null.
 * @property availableMemoryBytes the memory that the app may allocate now. Not checked if null.
 * @property engine the name of the inference engine in the app. Not checked if null.
 * @property engineVersion its version, dotted numbers. Not checked if null.
 * @property computeUnits what the engine can run on, in order of preference.
 */
data class DeviceFacts(
    val platform: String = "",
    val ramBytes: Long? = null,
    val cores: Long? = null,
    val osVersion: String? = null,
    val socMaker: String? = null,
    val socModel: String? = null,
    val deviceMaker: String? = null,
    val deviceModel: String? = null,
    val features: List<String>? = null,
    val probe: Probe? = null,
    val freeDiskBytes: Long? = null,
    val availableMemoryBytes: Long? = null,
    val engine: String? = null,
    val engineVersion: String? = null,
    val computeUnits: List<String> = listOf("cpu"),
) {
    /** Whether the device is known to be of this platform. */
    internal fun isOn(platform: Any?): Boolean = this.platform.isNotEmpty() && platform == this.platform

    /** These facts with every value that cannot be true taken as not reported. */
    internal fun plausible(): DeviceFacts = copy(
        ramBytes = ramBytes.within(1),
        cores = cores.within(1),
        osVersion = osVersion?.ifEmpty { null },
        socMaker = socMaker?.ifEmpty { null },
        socModel = socModel?.ifEmpty { null },
        deviceMaker = deviceMaker?.ifEmpty { null },
        deviceModel = deviceModel?.ifEmpty { null },
        features = features?.takeIf { "" !in it },
        probe = probe?.takeIf { it.id.isNotEmpty() && it.score in 1..Json.MAX_INTEGER },
        freeDiskBytes = freeDiskBytes.within(0),
        availableMemoryBytes = availableMemoryBytes.within(0),
        engine = engine?.ifEmpty { null },
        engineVersion = engineVersion?.ifEmpty { null },
        computeUnits = computeUnits.takeIf { it.isNotEmpty() && "" !in it } ?: listOf("cpu"),
    )

    /** The JSON object that [fromJson] reads. */
    fun toJson(): Map<String, Any?> = linkedMapOf(
        "platform" to platform,
        "ram_bytes" to ramBytes,
        "cores" to cores,
        "os_version" to osVersion,
        "soc_maker" to socMaker,
        "soc_model" to socModel,
        "device_maker" to deviceMaker,
        "device_model" to deviceModel,
        "features" to features,
        "probe" to probe?.let { linkedMapOf("id" to it.id, "score" to it.score) },
        "free_disk_bytes" to freeDiskBytes,
        "available_memory_bytes" to availableMemoryBytes,
        "engine" to engine,
        "engine_version" to engineVersion,
        "compute_units" to computeUnits,
    )

    companion object {
        /** The facts in a JSON object; a value of another type counts as not reported. */
        fun fromJson(value: Any?): DeviceFacts {
            val json = value as? Map<*, *> ?: emptyMap<String, Any?>()
            return DeviceFacts(
                platform = json["platform"] as? String ?: "",
                ramBytes = Json.integer(json["ram_bytes"]),
                cores = Json.integer(json["cores"]),
                osVersion = json["os_version"] as? String,
                socMaker = json["soc_maker"] as? String,
                socModel = json["soc_model"] as? String,
                deviceMaker = json["device_maker"] as? String,
                deviceModel = json["device_model"] as? String,
                features = strings(json["features"]),
                probe = (json["probe"] as? Map<*, *>)?.let(::probe),
                freeDiskBytes = Json.integer(json["free_disk_bytes"]),
                availableMemoryBytes = Json.integer(json["available_memory_bytes"]),
                engine = json["engine"] as? String,
                engineVersion = json["engine_version"] as? String,
                computeUnits = strings(json["compute_units"]) ?: listOf("cpu"),
            ).plausible()
        }

        private fun probe(json: Map<*, *>): Probe? {
            val id = json["id"] as? String ?: return null
            return Probe(id, Json.integer(json["score"]) ?: return null)
        }

        private fun Long?.within(least: Long): Long? = this?.takeIf { it in least..Json.MAX_INTEGER }
    }
}

/** One of the two folders of the store, of which one is active. */
enum class Slot(val id: String) {
    A("a"),
    B("b"),
    ;

    val other: Slot
        get() = if (this == A) B else A
}

/** A file that must not be used: until the second [until] since 1970, or always if that is null. */
data class BlacklistEntry(val sha256: String, val until: Long? = null)

/**
 * What happened when a model was tried on one compute unit of this device.
 *
 * @property files the digests of the model's files, in the order of the manifest.
 * @property result `started` (it has not come back yet), `passed`, `wrong`, `crashed`, `out_of_memory` or `refused`.
 * @property starts how often the proof was started.
 */
data class ProofRecord(
    val files: List<String>,
    val computeUnit: String,
    val engine: String?,
    val engineVersion: String?,
    val osVersion: String?,
    val result: String,
    val starts: Long,
) {
    /** Whether the compute unit must not be tried again: the second start without a result is a crash. */
    internal val failed: Boolean
        get() = result != "passed" && (result != "started" || starts >= 2)

    internal fun isOf(model: List<String>, unit: String, facts: DeviceFacts): Boolean =
        computeUnit == unit && engine == facts.engine && engineVersion == facts.engineVersion &&
            osVersion == facts.osVersion && files == model

    internal fun sameKey(other: ProofRecord): Boolean = copy(result = other.result, starts = other.starts) == other
}

/**
 * The client's own record, which it keeps between launches.
 *
 * @property slot the slot that holds the active model; null before the first.
 * @property release the release number of the active manifest; 0 before the first.
 * @property installed digests of complete, verified files.
 * @property proofs of several with the same key the last counts.
 * @property policy the last usable policy, as parsed JSON; the resolver takes it as an argument of its own.
 */
data class ClientState(
    val slot: Slot? = null,
    val release: Long = 0,
    val installed: Set<String> = emptySet(),
    val blacklist: List<BlacklistEntry> = emptyList(),
    val proofs: List<ProofRecord> = emptyList(),
    val policy: Any? = null,
) {
    /** The state with a proof in place of an earlier one with the same key; the oldest of too many go. */
    fun withProof(made: ProofRecord): ClientState =
        copy(proofs = (proofs.filterNot { it.sameKey(made) } + made).takeLast(MAX_PROOFS))

    /** The JSON object that [fromJson] reads. */
    fun toJson(): Map<String, Any?> = linkedMapOf(
        "state_version" to STATE_VERSION,
        "slot" to slot?.id,
        "release" to release,
        "installed" to installed.sorted(),
        "blacklist" to blacklist.map { entry ->
            listOfNotNull("sha256" to entry.sha256, entry.until?.let { "until" to it }).toMap()
        },
        "proofs" to proofs.map {
            linkedMapOf(
                "files" to it.files,
                "compute_unit" to it.computeUnit,
                "engine" to it.engine,
                "engine_version" to it.engineVersion,
                "os_version" to it.osVersion,
                "result" to it.result,
                "starts" to it.starts,
            )
        },
        "policy" to policy,
    )

    companion object {
        internal const val STATE_VERSION = 1L

        /** The proofs that are kept: a dozen models on a few compute units, before and after an update. */
        private const val MAX_PROOFS = 64
        private val RESULTS = setOf("started", "passed", "wrong", "crashed", "out_of_memory", "refused")

        /** The state in a JSON object; entries that are not understood are ignored. */
        fun fromJson(value: Any?): ClientState {
            val json = value as? Map<*, *> ?: return ClientState()
            return ClientState(
                slot = Slot.values().firstOrNull { it.id == json["slot"] },
                release = Json.integer(json["release"]) ?: 0,
                installed = list(json["installed"]).filterIsInstance<String>().toSet(),
                blacklist = list(json["blacklist"]).mapNotNull { blacklistEntry(it as? Map<*, *>) },
                proofs = list(json["proofs"]).mapNotNull { proof(it as? Map<*, *>) },
                policy = json["policy"],
            )
        }

        private fun list(value: Any?): List<Any?> = value as? List<Any?> ?: emptyList()

        private fun blacklistEntry(json: Map<*, *>?): BlacklistEntry? {
            val sha256 = json?.get("sha256") as? String ?: return null
            val until = json["until"] ?: return BlacklistEntry(sha256)
            return BlacklistEntry(sha256, Json.integer(until) ?: return null)
        }

        private fun proof(json: Map<*, *>?): ProofRecord? {
            if (json == null) return null
            return ProofRecord(
                files = strings(json["files"]) ?: return null,
                computeUnit = json["compute_unit"] as? String ?: return null,
                engine = json["engine"] as? String,
                engineVersion = json["engine_version"] as? String,
                osVersion = json["os_version"] as? String,
                result = (json["result"] as? String)?.takeIf { it in RESULTS } ?: return null,
                starts = Json.integer(json["starts"]) ?: return null,
            )
        }
    }
}

/**
 * Why a candidate was passed over or, with the codes `chosen` and `floor`, selected.
 *
 * @property tier the id of the tier.
 * @property model the id of the model; "" if the whole tier was passed over.
 * @property code a part of the contract, listed in `exports/client/README.md`.
 * @property text one line for people.
 */
data class Reason(val tier: String, val model: String, val code: String, val text: String)

/**
 * The result of [resolve].
 *
 * @property action `model`, `cloud`, `off`, or `none` if nothing runs.
 * @property tier the id of the tier.
 * @property rank its rank within the platform; 0 is the floor.
 * @property model the id of the model; null unless [action] is `model`.
 * @property computeUnit what the model runs on; null without a model.
 * @property installed whether all files of the model are on the device.
 * @property proven whether the model passed its proof on the compute unit with this engine and system.
 * @property reasons one for every candidate that was considered, in order; the last is for the result.
 */
data class Resolution(
    val action: String,
    val tier: String,
    val rank: Long,
    val model: String?,
    val computeUnit: String?,
    val installed: Boolean,
    val proven: Boolean,
    val reasons: List<Reason>,
)

/** The strings of a list; null if it is no list, or one of its items is no string or empty. */
internal fun strings(value: Any?): List<String>? {
    val items = value as? List<*> ?: return null
    return items.filterIsInstance<String>().filter { it.isNotEmpty() }.takeIf { it.size == items.size }
}

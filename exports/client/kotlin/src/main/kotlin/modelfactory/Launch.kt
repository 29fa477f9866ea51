package modelfactory

import java.io.File
import java.io.IOException

/** How long a launch waits for another one, at least. */
private const val LOCK_SECONDS = 60.0

/** Seconds without an answer or a further byte: mobile networks pause for several when a phone changes cells. */
const val DEFAULT_TIMEOUT = 20.0

/** Tries beyond one per model and compute unit: a refused manifest, no network, a full disk. */
private const val FALLBACKS = 4

/** The launch cannot go on: the manifest is missing or not usable, or no model runs. */
class LaunchException(message: String) : Exception(message)

/** Something that happened; the codes are a part of the contract, the texts are for people. */
data class Event(val code: String, val text: String)

/**
 * A model that is ready.
 *
 * @property labels the names of the classes, labels or values, in the order of the outputs.
 * @property form how pixels or tokens become its input.
 * @property decoding what its outputs mean.
 * @property tokenizer the file of the tokenizer, for the app's own tokenizer; null if the model takes images.
 * @property proof `passed` in this launch, or `remembered` from an earlier one.
 */
class Running internal constructor(
    val session: Session,
    val labels: List<String>,
    val form: Form,
    val decoding: Decoding,
    val tokenizer: File?,
    val computeUnit: String,
    val proof: String,
) {
    /** What the model says about an image of any size. Throws [EngineException]. */
    fun answer(image: Image): Answer = decoding.answer(logits(image), labels)

    /** What the model says about a text, of which the app's tokenizer returned [tokens]. Throws [EngineException]. */
    fun answer(tokens: LongArray): Answer = decoding.answer(logits(tokens), labels)

    /** The outputs for an image as the model returns them, one per label. Throws [EngineException]. */
    fun logits(image: Image): FloatArray {
        require(form is InputForm) { "the model takes the tokens of a text, not an image" }
        return session.run(form.prepare(image))
    }

    /** The outputs for the tokens of a text as the model returns them, one per label. Throws [EngineException]. */
    fun logits(tokens: LongArray): FloatArray {
        require(form is TokenForm) { "the model takes an image, not the tokens of a text" }
        return session.run(form.prepare(tokens))
    }
}

/**
 * How a launch ended.
 *
 * @property resolution what the resolver said at last.
 * @property running the model; null if the action is `cloud` or `off`.
 * @property slot the active slot.
 * @property release the release of the manifest in use.
 * @property events what happened, in order.
 * @property downloadedBytes the bytes of all files that came from the source, used or not.
 * @property seconds how long each step took.
 */
class Launched internal constructor(
    val resolution: Resolution,
    val running: Running?,
    val slot: Slot?,
    val release: Long,
    val events: List<Event>,
    val downloadedBytes: Long,
    val seconds: Map<String, Double>,
)

/**
 * Launches the model of this device: gets the manifest, chooses a model, downloads, checks, proves and loads it.
 *
 * `exports/client/README.md` defines it, step by step. It keeps running what ran before if anything new fails: the
 * manifest, the download, the store or the proof. It takes seconds, and on Android must not run on the main thread.
 *
 * @param url the folder of the manifest: `https://...`, `http://...`, or a path.
 * @param store the app's store, which belongs to one family.
 * @param policy the parsed policy; null for the last usable one.
 * @param now seconds since 1970.
 * @param timeout the longest wait, in seconds, for an answer or a further byte.
 * @throws LaunchException no manifest is usable, no model runs, or another launch does not end.
 */
fun launch(
    url: String,
    store: Store,
    engine: Engine,
    facts: DeviceFacts,
    policy: Any? = null,
    now: Long = System.currentTimeMillis() / 1000,
    timeout: Double = DEFAULT_TIMEOUT,
): Launched = try {
    store.lock(maxOf(LOCK_SECONDS, timeout)).use {
        Launch(Slots(store), engine, facts.plausible(), sourceOf(url, timeout), timeout, now).run(policy)
    }
} catch (error: StoreException) {
    throw LaunchException(error.message!!)
} catch (error: IOException) {
    throw LaunchException(error.message ?: "the store cannot be read")
}

/** One launch. Functions stand in the order in which they are called. */
private class Launch(
    private val slots: Slots,
    private val engine: Engine,
    private val facts: DeviceFacts,
    private val source: Source,
    private val timeout: Double,
    private val now: Long,
) {
    private val good = slots.lastGood()

    /** Whether nothing may be downloaded, because nobody answers. */
    private var offline = false

    /** Whether only models count whose files are complete in the store. */
    private var completeOnly = false

    /** The files of models that could not be completed although they seemed complete, as digests. */
    private val avoided = HashSet<List<String>>()
    private val events = ArrayList<Event>()
    private val seconds = LinkedHashMap<String, Double>()
    private var downloadedBytes = 0L

    fun run(policy: Any?): Launched {
        slots.fault?.let { tell("state_lost", it) }
        remember(policy)
        var release = timed("manifest") { firstRelease() }
        repeat(tries(release)) {
            val resolution = timed("resolve") { resolve(release) }
            if (resolution.action == "none") {
                release = fallBack("nothing_runs", resolution.reasons.last().text, release)
            } else if (resolution.model == null) {
                save()
                return launched(resolution, null, release)
            } else {
                val (running, next) = use(resolution, resolution.model, release)
                if (running != null) return launched(resolution, running, release)
                release = next
            }
        }
        throw LaunchException("no model runs: ${events.lastOrNull()?.text}")
    }

    private fun tell(code: String, text: String) {
        events.add(Event(code, text))
    }

    private inline fun <T> timed(step: String, action: () -> T): T {
        val start = System.nanoTime()
        try {
            return action()
        } finally {
            seconds[step] = (seconds[step] ?: 0.0) + (System.nanoTime() - start) / 1e9
        }
    }

    /** Keeps a policy that is usable; the remembered one counts in place of any other. */
    private fun remember(policy: Any?) {
        var usable: Any? = null
        for (found in listOfNotNull(slots.state.policy, policy)) {
            try {
                checkPolicy(found)
                usable = found
            } catch (error: UnusablePolicyException) {
                tell("policy_refused", error.message!!)
            }
        }
        slots.state = slots.state.copy(policy = usable)
    }

    /** The release that the source has, or else the last good one. */
    private fun firstRelease(): Release {
        val found = try {
            parseRelease(fetchManifest())
        } catch (error: SourceException) {
            offline = !error.answered
            completeOnly = offline
            return fallBack(if (offline) "offline" else "manifest_refused", error.message!!, null)
        } catch (error: ManifestException) {
            return fallBack("manifest_refused", error.message!!, null)
        }
        if (good != null && found.family != good.family) {
            return fallBack("manifest_refused", "the manifest is of ${found.family}, the store of ${good.family}", null)
        }
        val installed = slots.state.release
        if (found.number < installed) {
            return fallBack("older_release", "release ${found.number} came, $installed was installed", null)
        }
        return found
    }

    private fun fetchManifest(): ByteArray {
        val attempts = if (good == null) source.attempts else 1 // with a model in the store nobody needs to wait
        for (number in 1 until attempts) {
            try {
                return source.manifest(MAX_MANIFEST_BYTES)
            } catch (error: SourceException) {
                if (error.final) throw error
                pause(number, timeout)
            }
        }
        return source.manifest(MAX_MANIFEST_BYTES)
    }

    /** The last good release in place of [release], which is of no use. Throws [LaunchException] if it is the same. */
    private fun fallBack(code: String, text: String, release: Release?): Release {
        if (good == null || (release != null && release.data.contentEquals(good.data))) {
            throw LaunchException(listOfNotNull(text, events.lastOrNull()?.text).distinct().joinToString("; "))
        }
        tell(code, text)
        return good
    }

    /** How often a model may be tried: each on each compute unit, in each release. */
    private fun tries(release: Release): Int {
        val models = release.manifest.map("models").size + (good?.manifest?.map("models")?.size ?: 0)
        return models * facts.computeUnits.size + FALLBACKS
    }

    /** Asks the resolver, without the models that cannot be completed now. */
    private fun resolve(release: Release): Resolution {
        val state = slots.state
        val out = release.modelFiles().filterValues { files ->
            files in avoided || (completeOnly && !state.installed.containsAll(files))
        }
        val models = release.manifest.map("models") - out.keys
        val manifest = release.manifest + Pair("models", models)
        val found = resolve(manifest, state.policy, facts, state, now)
        if (found.action != "none" || !completeOnly) return found
        // A model that ran before, in little memory, is better than none.
        val unlimited = facts.copy(freeDiskBytes = null, availableMemoryBytes = null)
        return resolve(manifest, state.policy, unlimited, state, now)
    }

    /** Completes, proves and loads the model; without it the release to go on with. */
    private fun use(resolution: Resolution, model: String, release: Release): Pair<Running?, Release> {
        val plan = try {
            planModel(release.manifest, model)
        } catch (error: ManifestException) {
            return Pair(null, fallBack("manifest_refused", error.message!!, release))
        }
        return try {
            val target = slots.target(release, plan)
            timed("files") { provide(plan, target, target != slots.state.slot || !resolution.proven) }
            val running = prove(resolution, plan, target)
            if (running != null) commit(target, release)
            Pair(running, release)
        } catch (error: DownloadException) {
            Pair(null, giveUp("download_failed", error.message!!, plan, release))
        } catch (error: StoreException) {
            Pair(null, giveUp("quota", error.message!!, plan, release))
        } catch (error: ManifestException) { // labels or samples with the right digests that do not fit to the manifest
            Pair(null, fallBack("manifest_refused", error.message!!, release))
        } catch (error: IOException) { // or that are too large
            Pair(null, fallBack("manifest_refused", error.toString(), release))
        }
    }

    /** Makes sure that the target has every file that is needed, whole. */
    private fun provide(plan: Plan, target: Slot, samples: Boolean) {
        val files = plan.needed(samples)
        val downloader = Downloader(slots.store, source.takeUnless { offline }, timeout, ::tell)
        try {
            for (file in files) {
                try {
                    downloader.provide(target, file, slots.elsewhere(target, file))
                } catch (error: DownloadException) {
                    slots.forget(file)
                    throw error
                }
            }
        } finally {
            downloadedBytes += downloader.downloadedBytes
        }
        slots.complete(target, files)
    }

    /** From now on only complete models count, first those of the last good release. */
    private fun giveUp(code: String, text: String, plan: Plan, release: Release): Release {
        tell(code, text)
        if (completeOnly || good == null) avoided.add(plan.files.map { it.sha256 })
        completeOnly = true
        return good ?: release
    }

    /** Loads the model, and runs the samples unless it passed before; null if it fails. */
    private fun prove(resolution: Resolution, plan: Plan, target: Slot): Running? {
        val read = { file: NeededFile -> slots.store.read(target, file.name, MAX_OTHER_BYTES) }
        val labels = plan.labels ?: labelNames(parsed(read(plan.labelsFile!!), "the file of labels"))
        plan.decoding.check(labels)
        val unit = resolution.computeUnit!!
        val started = started(plan, unit)
        var cases = emptyList<Case>()
        if (!resolution.proven) {
            cases = readCases(plan, labels.size, read)
            record(started) // durable: whatever the engine does now is known to the next launch
        }
        val model = slots.store.path(target, plan.files[0].name)
        val outcome = timed("prove") {
            attempt({ engine.load(model, unit, plan.input, plan.output) }, cases, labels.size)
        }
        if (outcome.session == null) {
            record(started.copy(result = outcome.result))
            tell("proof_failed", "${plan.model} on $unit: ${outcome.text}")
            return null
        }
        if (!resolution.proven) slots.state = slots.state.withProof(started.copy(result = outcome.result))
        val tokenizer = plan.tokenizer?.let { slots.store.path(target, it.name) }
        val proof = if (resolution.proven) "remembered" else "passed"
        return Running(outcome.session, labels, plan.form, plan.decoding, tokenizer, unit, proof)
    }

    /** The record of a proof that starts now. */
    private fun started(plan: Plan, unit: String): ProofRecord {
        val files = plan.files.map { it.sha256 }
        val key = ProofRecord(files, unit, facts.engine, facts.engineVersion, facts.osVersion, "started", 1)
        val earlier = slots.state.proofs.lastOrNull { it.sameKey(key) }?.takeIf { it.result == "started" }
        return key.copy(starts = (earlier?.starts ?: 0) + 1)
    }

    private fun record(proof: ProofRecord) {
        slots.state = slots.state.withProof(proof)
        slots.save()
    }

    private fun commit(target: Slot, release: Release) {
        if (target != slots.state.slot) {
            slots.switch(target, release)
            tell("switched", "slot ${target.id} with release ${release.number} is active")
        }
        save()
    }

    /** Stores the record; if that fails, the model still runs, and the next launch does the work again. */
    private fun save() {
        try {
            slots.save()
        } catch (error: StoreException) {
            tell("quota", error.message!!)
        }
    }

    private fun launched(resolution: Resolution, running: Running?, release: Release) =
        Launched(resolution, running, slots.state.slot, release.number, events, downloadedBytes, seconds)
}

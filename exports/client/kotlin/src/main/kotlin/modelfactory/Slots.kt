package modelfactory

import java.io.IOException

internal const val MAX_MANIFEST_BYTES = 1 shl 18

/** A policy of 256 KiB takes a third more, on lines of its own; 64 proofs and two slots take a fortieth of it. */
private const val MAX_STATE_BYTES = 1 shl 20

/**
 * A manifest that the resolver can use.
 *
 * @property data the file, byte by byte as it came.
 * @property number the number of the release.
 */
internal class Release(val data: ByteArray, val manifest: Map<*, *>, val number: Long, val family: String) {
    /** The digests of the files of each model. */
    fun modelFiles(): Map<Any?, List<String>> = manifest.map("models").mapValues { (_, model) ->
        val files = (model as? Map<*, *>)?.get("files") as? List<*> ?: emptyList<Any?>()
        files.mapNotNull { (it as? Map<*, *>)?.get("sha256") as? String }
    }
}

/** The release in a `manifest.json`. Throws [ManifestException] if this client cannot use it. */
internal fun parseRelease(data: ByteArray): Release {
    val manifest = parsed(data, MANIFEST)
    try {
        resolve(manifest, null, DeviceFacts(), ClientState(), 0)
    } catch (error: UnusableManifestException) {
        throw ManifestException(error.message!!)
    }
    val number = Json.integer((manifest as Map<*, *>)["release"])?.takeIf { it > 0 } ?: throw lacks("release")
    return Release(data, manifest, number, manifest.text("family_id"))
}

/**
 * The two slots of a store and the record of the client during one launch: what is there, what may go, and what is
 * remembered.
 *
 * If the record is damaged, or its slot has no readable manifest, the slot with the highest release is active.
 */
internal class Slots(val store: Store) {
    /** Why the stored record was not used; null if it was, or if there was none. */
    var fault: String? = null
        private set
    private var saved: ClientState? = stored()

    /** The record, with the changes of this launch. */
    var state: ClientState = saved ?: ClientState()

    init {
        if (lastGood() == null) findActive()
    }

    /** The release that ran last; null if there is none. */
    fun lastGood(): Release? = state.slot?.let(::release)

    /** The slot in which the files of a model belong; the spare one is made ready for them. */
    fun target(release: Release, plan: Plan): Slot {
        val active = state.slot
        val same = lastGood()?.data?.contentEquals(release.data) == true
        if (active != null && same && plan.files.all { isHeld(active, it.name) }) return active
        val spare = active?.other ?: Slot.A
        val keep = plan.needed(withSamples = true).flatMap { listOf(it.name, it.name + PART) }.toSet()
        store.remove(spare, MANIFEST)
        store.names(spare).filter { it !in keep }.forEach { store.remove(spare, it) }
        return spare
    }

    /** Where the store may have a file of the same content outside the target. */
    fun elsewhere(target: Slot, file: NeededFile): List<Pair<Slot, String>> {
        val named = filesNamed(release(target.other)?.manifest).filter { it.sha256 == file.sha256 }
        return (listOf(file.name) + named.map { it.name }).distinct().map { Pair(target.other, it) }
    }

    /** Remembers that these files of the target were verified. */
    fun complete(target: Slot, files: List<NeededFile>) {
        val kept = present(target.other) + if (target == state.slot) present(target) else emptySet()
        state = state.copy(installed = kept.intersect(state.installed) + files.map { it.sha256 })
    }

    /** Remembers that this file is not complete. */
    fun forget(file: NeededFile) {
        state = state.copy(installed = state.installed - file.sha256)
    }

    /** Makes the target the active slot; the only commit of a launch. */
    fun switch(target: Slot, release: Release) {
        store.write(target, MANIFEST + PART, 0, cut = true) { put -> put(release.data, release.data.size) }
        store.rename(target, MANIFEST + PART, MANIFEST)
        state = state.copy(slot = target, release = release.number)
        save()
    }

    /** Stores the record, if it has changed. */
    fun save() {
        if (state == saved) return
        store.writeState(Json.write(state.toJson()).toByteArray())
        saved = state
    }

    private fun stored(): ClientState? = try {
        store.readState(MAX_STATE_BYTES)?.let { data ->
            // It holds a policy, which may be nested as deep as any file.
            val json = Json.parse(data, maxDepth = Json.MAX_DEPTH + 1) as? Map<*, *>
            if (json?.get("state_version") != ClientState.STATE_VERSION) throw JsonException("it is of another version")
            ClientState.fromJson(json)
        }
    } catch (error: IOException) {
        null.also { fault = "state.json cannot be read: ${error.message}" }
    } catch (error: JsonException) {
        null.also { fault = "state.json is damaged: ${error.message}" }
    }

    private fun findActive() {
        val found = Slot.values().mapNotNull { slot -> release(slot)?.let { Pair(slot, it.number) } }
        val newest = found.maxByOrNull { it.second } // of equals the first
        val present = Slot.values().flatMap(::present).toSet()
        state = state.copy(
            slot = newest?.first,
            release = maxOf(newest?.second ?: 0, state.release),
            installed = state.installed.ifEmpty { present },
        )
    }

    /** The release in a slot; null if its manifest is missing or damaged. */
    private fun release(slot: Slot): Release? = try {
        parseRelease(store.read(slot, MANIFEST, MAX_MANIFEST_BYTES))
    } catch (missing: IOException) {
        null
    } catch (damaged: ManifestException) {
        null
    }

    /** The digests of the files that the manifest of a slot names and that are there with the right size. */
    private fun present(slot: Slot): Set<String> =
        filesNamed(release(slot)?.manifest).filter { store.size(slot, it.name) == it.size }.map { it.sha256 }.toSet()

    private fun isHeld(slot: Slot, name: String): Boolean =
        store.size(slot, name) != null || store.size(slot, name + PART) != null
}

/** The content of a file of at most [limit] bytes. */
internal fun Store.read(slot: Slot, name: String, limit: Int): ByteArray =
    open(slot, name).use { readAtMost(it, limit) }

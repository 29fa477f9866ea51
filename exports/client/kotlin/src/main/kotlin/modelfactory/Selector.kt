package modelfactory

/** The sizes of RAM with which devices are sold, in MiB. A part of the contract: selectors compare these classes. */
private val RAM_CLASSES_MIB =
    longArrayOf(256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536)
private const val MIB = 1L shl 20

/** The most characters of a version in a manifest. */
private const val MAX_VERSION = 32

/** The most characters of the manifest that a message quotes. */
internal const val SHOWN = 40

/** A reason code and its text for people. */
internal class Fault(val code: String, val text: String)

/** A key of a selector: [understands] its value, and whether a device [holds] it (null: unknown). */
private class Key(
    val name: String,
    val excludes: Boolean,
    val understands: (Any) -> Boolean,
    val holds: (Any, DeviceFacts) -> Boolean?,
)

/** The keys in the order in which they are judged. An excluding key holds if the fact is unknown, unless strict. */
private val KEYS: List<Key> = listOf(
    key("platforms", ::areNames) { wanted, facts -> (wanted as List<*>).any(facts::isOn) },
    key("ram_class_min", ::isInteger) { wanted, facts -> facts.ramBytes?.let { ramClassMib(it) >= number(wanted) } },
    key("ram_class_max", ::isInteger) { wanted, facts -> facts.ramBytes?.let { ramClassMib(it) < number(wanted) } },
    key("cores_min", ::isInteger) { wanted, facts -> facts.cores?.let { it >= number(wanted) } },
    key("os_min", ::isVersion) { wanted, facts -> facts.osVersion?.let { Version(it) >= Version(wanted as String) } },
    key("soc_include", ::areProducts) { wanted, facts -> isListed(wanted, facts.socMaker, facts.socModel) },
    key("soc_exclude", ::areProducts, true) { wanted, facts ->
        isListed(wanted, facts.socMaker, facts.socModel)?.not()
    },
    key("device_include", ::areProducts) { wanted, facts -> isListed(wanted, facts.deviceMaker, facts.deviceModel) },
    key("device_exclude", ::areProducts, true) { wanted, facts ->
        isListed(wanted, facts.deviceMaker, facts.deviceModel)?.not()
    },
    key("features_all", ::areNames) { wanted, facts -> facts.features?.containsAll(wanted as List<*>) },
    key("features_none", ::areNames, true) { wanted, facts ->
        facts.features?.none { (wanted as List<*>).contains(it) }
    },
    key("probe_min", ::isProbe) { wanted, facts ->
        facts.probe?.takeIf { it.id == (wanted as Map<*, *>)["id"] }
            ?.let { it.score >= number((wanted as Map<*, *>)["score"]) }
    },
    key("strict", { it is Boolean }) { _, _ -> true }, // it changes how excluding keys are judged
)
private val NAMES: Map<String, Key> = KEYS.associateBy { it.name }

private fun key(
    name: String,
    understands: (Any) -> Boolean,
    excludes: Boolean = false,
    holds: (Any, DeviceFacts) -> Boolean?,
) = Key(name, excludes, understands, holds)

/** The code and text of the first key that does not hold; null if all hold. An empty selector holds. */
internal fun selectorFault(selector: Any?, facts: DeviceFacts): Fault? {
    if (selector !is Map<*, *>) {
        return Fault("selector_key_unknown", "its selector has a form that this app does not know")
    }
    notUnderstood(selector)?.let { return it }
    for (key in KEYS) {
        val wanted = selector[key.name] ?: continue
        val holds = key.holds(wanted, facts)
        if (holds == true || (holds == null && key.excludes && selector["strict"] != true)) continue
        if (holds == null) return Fault("selector_unknown", "the device does not report what ${key.name} depends on")
        return Fault("selector_unmet", "the device does not meet ${key.name} ${plain(key.name, wanted)}")
    }
    return null
}

private fun notUnderstood(selector: Map<*, *>): Fault? {
    for ((name, wanted) in selector) {
        val key = NAMES[name]
        val shown = name.toString().take(SHOWN)
        if (key == null) {
            return Fault("selector_key_unknown", "its selector has the key \"$shown\", which this app does not know")
        }
        if (wanted != null && !key.understands(wanted)) {
            return Fault("selector_key_unknown", "its selector has a value of $shown that this app does not know")
        }
    }
    return null
}

/** What a selector asks for, for people. */
internal fun plainSelector(selector: Map<*, *>): String =
    KEYS.mapNotNull { key -> selector[key.name]?.let { "${key.name} ${plain(key.name, it)}" } }.joinToString()

private fun plain(name: String, value: Any): String = when (value) {
    is List<*> -> value.joinToString { if (it is Map<*, *>) it.values.joinToString(" ") else it.toString() }
    is Map<*, *> -> value.values.joinToString(" ")
    else -> if (name.startsWith("ram_class")) "${number(value)} MiB" else value.toString()
}

/** The RAM that the kernel reports, rounded up to the next class in MiB; the last class if it is above. */
internal fun ramClassMib(ramBytes: Long): Long =
    RAM_CLASSES_MIB.firstOrNull { ramBytes <= it * MIB } ?: RAM_CLASSES_MIB.last()

/** Whether a maker's model is in the list; there, an empty or absent model stands for all models of the maker. */
private fun isListed(wanted: Any, maker: String?, model: String?): Boolean? {
    if (maker == null) return null
    val entries = (wanted as List<*>).filter { sameText((it as Map<*, *>)["maker"] as String, maker) }
    val models = entries.map { (it as Map<*, *>)["model"] as String? }
    if (models.any { it.isNullOrEmpty() }) return true
    if (models.isNotEmpty() && model == null) return null
    return models.any { sameText(it!!, model!!) }
}

/** Equality without the case of A to Z alone: other letters fold differently from language to language. */
private fun sameText(one: String, other: String): Boolean =
    one.length == other.length && one.indices.all { lower(one[it]) == lower(other[it]) }

private fun lower(c: Char): Char = if (c in 'A'..'Z') c + ('a' - 'A') else c

internal fun isInteger(value: Any?): Boolean = Json.integer(value) != null

internal fun isVersion(value: Any?): Boolean =
    value is String && value.length <= MAX_VERSION &&
        value.split('.').all { part -> part.isNotEmpty() && part.all { it in '0'..'9' } }

private fun areNames(value: Any): Boolean = value is List<*> && value.all { it is String }

private fun areProducts(value: Any): Boolean = value is List<*> && value.all { entry ->
    entry is Map<*, *> && entry["maker"] is String && entry.keys.all { it == "maker" || it == "model" } &&
        ("model" !in entry || entry["model"] is String)
}

private fun isProbe(value: Any): Boolean =
    value is Map<*, *> && value["id"] is String && isInteger(value["score"]) && value.size == 2

private fun number(value: Any?): Long = Json.integer(value)!!

/**
 * The leading numbers of a version, without trailing zeros: `1.20.0+cpu` is 1 and 20, and 14 equals 14.0.
 *
 * Numbers are compared as digits, so they may have thousands of them.
 */
internal class Version(text: String) : Comparable<Version> {
    private val numbers: List<String>

    init {
        val found = ArrayList<String>()
        for (part in text.split('.')) {
            val digits = part.takeWhile { it in '0'..'9' }
            if (digits.isEmpty()) break
            found.add(digits.trimStart('0'))
            if (digits.length < part.length) break
        }
        numbers = found.dropLastWhile { it.isEmpty() }
    }

    override fun compareTo(other: Version): Int {
        for (index in 0 until minOf(numbers.size, other.numbers.size)) {
            val (mine, theirs) = numbers[index] to other.numbers[index]
            val order = if (mine.length != theirs.length) mine.length - theirs.length else mine.compareTo(theirs)
            if (order != 0) return order
        }
        return numbers.size - other.numbers.size
    }
}

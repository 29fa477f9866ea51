package modelfactory

import kotlin.math.abs
import kotlin.math.exp

/** The largest power of ten that a [Double] holds exactly. */
private const val MAX_DECIMALS = 22L
private const val ONE = 1_000_000L

/**
 * What a model says about an input.
 *
 * @property labels the names that apply: of classes one, of labels any number, of values none.
 * @property probabilities the probability of each name, in their order; empty for values.
 * @property values the value of each name, in the unit of the data; empty for classes and labels.
 */
class Answer internal constructor(
    val labels: List<String>,
    val probabilities: List<Double> = emptyList(),
    val values: List<Double> = emptyList(),
)

/**
 * How an answer follows from the outputs. The docstring of `decoding.py` has the definition, and
 * `vectors/decoding.json` of the clients has examples.
 *
 * @property kind `classes`, `labels` or `values`.
 */
class Decoding internal constructor(
    val kind: String,
    private val thresholds: LongArray = LongArray(0),
    private val offsets: LongArray = LongArray(0),
    private val scales: LongArray = LongArray(0),
    private val decimals: LongArray = LongArray(0),
) {
    /** Throws if there is not one name per output. */
    internal fun check(names: List<String>) {
        val stated = thresholds.size + scales.size
        if (kind != "classes" && stated != names.size) throw lacks("labels for $stated outputs")
    }

    /** The answer that the outputs for one input stand for. Throws [EngineException] unless all are finite. */
    fun answer(outputs: FloatArray, names: List<String>): Answer {
        if (outputs.size != names.size || outputs.any { it.isNaN() || it.isInfinite() }) {
            val what = "a finite number for each of ${names.size} labels"
            throw EngineException("refused", "the model does not return $what")
        }
        val numbers = outputs.map { it.toDouble() }
        return when (kind) {
            "classes" -> Answer(listOf(names[numbers.indexOf(largest(numbers))]), softmax(numbers))
            "labels" -> {
                val probabilities = numbers.map { 1 / (1 + exp(-it)) }
                val found = names.filterIndexed { i, _ -> probabilities[i] >= thresholds[i] / ONE.toDouble() }
                Answer(found, probabilities)
            }
            else -> Answer(emptyList(), values = numbers.mapIndexed { i, it -> value(i, it) })
        }
    }

    private fun value(index: Int, number: Double): Double {
        val sum = offsets[index].toDouble() + scales[index].toDouble() * number
        val power = "1e${abs(decimals[index])}".toDouble() // exact, as a power computed in steps might not be
        return if (decimals[index] >= 0) sum / power else sum * power
    }
}

/** The decoding of a manifest's `task`. */
internal fun decoding(task: Map<*, *>): Decoding {
    if (task["outputs"] == null) return Decoding("classes")
    val outputs = task.some("outputs")
    val output = outputs[0] as? Map<*, *> ?: throw lacks("outputs")
    val shape = output.some("shape")
    val given = output.map("decoding")
    val kind = given.text("kind")
    if (outputs.size != 1 || shape.size != 1 || kind !in setOf("labels", "values")) {
        throw ManifestException("the manifest has outputs that this app does not know; update the app")
    }
    val list = { key: String, range: LongRange -> integers(given, key, shape[0], range) }
    if (kind == "labels") return Decoding(kind, thresholds = list("thresholds_ppm", 1 until ONE))
    return Decoding(
        kind,
        offsets = list("offset", -Json.MAX_INTEGER..Json.MAX_INTEGER),
        scales = list("scale", 1..Json.MAX_INTEGER),
        decimals = list("decimals", -MAX_DECIMALS..MAX_DECIMALS),
    )
}

private fun integers(decoding: Map<*, *>, key: String, size: Any?, range: LongRange): LongArray {
    val listed = decoding[key] as? List<*>
    val found = listed?.filterIsInstance<Long>()?.filter { it in range }
    return found?.takeIf { it.size == listed.size && it.size.toLong() == size }?.toLongArray() ?: throw lacks(key)
}

private fun largest(numbers: List<Double>): Double = numbers.fold(numbers[0]) { a, b -> if (b > a) b else a }

private fun softmax(numbers: List<Double>): List<Double> {
    val most = largest(numbers)
    val powers = numbers.map { exp(it - most) }
    val total = powers.sum()
    return powers.map { it / total }
}

package modelfactory

import kotlin.math.abs

/** Values in a file of expected outputs: 8 samples of 50 models for 10,000 classes are 4 million. */
private const val MAX_EXPECTED_VALUES = 5_000_000

/** Half a millionth is what rounding has taken from the expected outputs. */
private const val ROUNDING_MICRO = 0.5

/** An input, and the logits in millionths that a model must return for it; without those, anything finite. */
internal class Case(val input: Tensor, val logitsMicro: LongArray?, val toleranceMicro: Long)

/** How an attempt ended: a session if the model passed, otherwise what [text] tells people. */
internal class Outcome(val result: String, val session: Session?, val text: String)

/**
 * Loads a model and runs the cases; whatever the engine throws becomes a result.
 *
 * @param load calls the engine.
 * @param cases none for a model that passed before.
 */
internal fun attempt(load: () -> Session, cases: List<Case>, classes: Int): Outcome {
    var session: Session? = null
    val outcome = try {
        session = load()
        val fault = cases.firstNotNullOfOrNull { fault(session.run(it.input), it, classes) }
        if (fault == null) Outcome("passed", session, "") else Outcome("wrong", null, fault)
    } catch (error: EngineException) {
        Outcome(error.result, null, error.message ?: "the engine fails")
    } catch (error: OutOfMemoryError) {
        Outcome("out_of_memory", null, "there is too little memory")
    } catch (error: RuntimeException) { // an engine's own exceptions, which Kotlin does not check
        Outcome("refused", null, error.toString())
    }
    if (outcome.session == null) session?.close()
    return outcome
}

/** What is wrong with the outputs; null if nothing is. */
private fun fault(logits: FloatArray, case: Case, classes: Int): String? {
    if (logits.size != classes || logits.any { it.isNaN() || it.isInfinite() }) {
        return "the model does not return a finite logit for each of the $classes labels"
    }
    val wanted = case.logitsMicro ?: return null
    val difference = logits.indices.maxOf { abs(logits[it] * 1e6 - wanted[it]) }
    if (difference <= case.toleranceMicro + ROUNDING_MICRO) return null
    return "a logit differs by $difference millionths, at most ${case.toleranceMicro} are allowed"
}

/**
 * The cases of a proof, from samples whose digests were checked.
 *
 * @param read returns the content of a file.
 */
internal fun readCases(plan: Plan, classes: Int, read: (NeededFile) -> ByteArray): List<Case> {
    val samples = plan.samples ?: return listOf(Case(plan.form.zeros(), null, 0))
    val expected = parsed(read(samples.expected), "the file of expected outputs", MAX_EXPECTED_VALUES)
    val json = (expected as? Map<*, *> ?: throw lacks("expected outputs")).map(plan.model)
    val tolerance = Json.integer(json["tolerance_micro"]) ?: throw lacks("tolerance_micro")
    val rows = json.some("logits_micro").map { row(it, classes) }
    val images = plan.form as? InputForm
    val inputs = if (samples.tensors || images == null) {
        plan.form.unpack(read(samples.inputs[0]))
    } else {
        samples.inputs.map { images.prepare(sample(read(it))) }
    }
    if (rows.size != inputs.size) throw lacks("expected outputs of ${plan.model}")
    return inputs.zip(rows) { input, row -> Case(input, row, tolerance) }
}

private fun sample(data: ByteArray): Image = try {
    image(data)
} catch (error: ImageException) {
    throw ManifestException("a sample is damaged: ${error.message}")
}

private fun row(value: Any?, classes: Int): LongArray {
    val row = (value as? List<*>)?.filterIsInstance<Long>()
    return row?.takeIf { it.size == classes }?.toLongArray() ?: throw lacks("logits_micro")
}

/** The value of a file of the family. */
internal fun parsed(data: ByteArray, name: String, maxValues: Int = Json.MAX_VALUES): Any? = try {
    Json.parse(data, maxValues)
} catch (error: JsonException) {
    throw ManifestException("$name is damaged (${error.message}); download it again")
}

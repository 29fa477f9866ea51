package modelfactory

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The most tokens of an input: half a megabyte. */
private const val MAX_LENGTH = 1L shl 16

/**
 * The input of a model that takes the tokens of a text. The app has the tokenizer; its file is one of the family.
 *
 * @property length the number of tokens that the model takes: the first of those of a text.
 * @property textLength the number of tokens to which the app's tokenizer truncates a text, and to which it is padded.
 * @property padding the token that fills a text up.
 * @property vocabulary the number of tokens; all are below it.
 */
class TokenForm internal constructor(
    val length: Int,
    val textLength: Int,
    val padding: Long,
    val vocabulary: Long,
) : Form {
    override val inputBytes: Long = length.toLong() * ElementType.INT64.bytes

    override fun takes(entry: Any?): Boolean = entry is Map<*, *> && entry["dtype"] == ElementType.INT64.id &&
        Json.integer(entry["length"]) == length.toLong()

    /**
     * The input for the tokens of a text, which the app's tokenizer returned.
     *
     * @throws IllegalArgumentException there are more than [textLength], or some that the model does not know.
     */
    fun prepare(tokens: LongArray): Tensor {
        require(tokens.size <= textLength) {
            "there are ${tokens.size} tokens, at most $textLength are allowed; truncate them"
        }
        require(tokens.all { it in 0 until vocabulary }) { "a token is not in 0 to ${vocabulary - 1}" }
        return tensor { index -> tokens.getOrElse(index) { padding } }
    }

    override fun unpack(data: ByteArray): List<Tensor> {
        val values = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).asLongBuffer()
        return (0 until data.size / inputBytes.toInt()).map { row -> tensor { values.get(row * length + it) } }
    }

    override fun zeros(): Tensor = prepare(LongArray(0))

    private fun tensor(token: (Int) -> Long): Tensor {
        val values = ByteBuffer.allocateDirect(inputBytes.toInt()).order(ByteOrder.LITTLE_ENDIAN)
        repeat(length) { values.putLong(token(it)) }
        values.rewind()
        return Tensor(ElementType.INT64, longArrayOf(1, length.toLong()), values)
    }
}

/** The form of the input of a model that takes tokens. */
internal fun tokenForm(task: Map<*, *>, model: Map<*, *>): TokenForm {
    val input = task.map("input")
    if (task.map("tokenizer").text("format") != "tokenizers_json" || input.text("dtype") != ElementType.INT64.id) {
        throw ManifestException("the manifest needs a tokenizer that this app does not know; update the app")
    }
    val text = integer(input, "length")
    val form = TokenForm(
        length = integer(model.map("input"), "length", 1..text).toInt(),
        textLength = text.toInt(),
        padding = integer(input, "padding", 0..Json.MAX_INTEGER),
        vocabulary = integer(input, "vocabulary", 1..Json.MAX_INTEGER),
    )
    if (form.padding >= form.vocabulary) throw lacks("padding")
    return form
}

private fun integer(json: Map<*, *>, key: String, range: LongRange = 1..MAX_LENGTH): Long =
    Json.integer(json[key])?.takeIf { it in range } ?: throw lacks(key)

package modelfactory

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

/** A text is not the strict JSON that [Json.parse] reads. */
class JsonException(message: String) : Exception(message)

/**
 * A small JSON parser (RFC 8259) that is stricter than `org.json`: two readers must never see different values in one
 * file. It refuses repeated keys, deep nesting, too many values, integers that a double cannot represent, numbers that
 * are not finite, bytes that are not UTF-8, and halves of surrogate pairs.
 *
 * A value is a `Map<String, Any?>`, a `List<Any?>`, a `String`, a `Long`, a `Double`, a `Boolean` or null.
 */
object Json {
    /** The deepest nesting of objects and arrays. A manifest needs fewer than ten levels. */
    const val MAX_DEPTH = 16

    /** The most values in one text; a value takes many times its bytes in memory. */
    const val MAX_VALUES = 200_000

    /** The largest integer that a double represents exactly with all below it: 2^53 - 1. */
    const val MAX_INTEGER = (1L shl 53) - 1

    /**
     * The value of a JSON text in UTF-8.
     *
     * @param maxValues the most values that it may have.
     * @param maxDepth the deepest nesting that it may have.
     * @throws JsonException a rule is broken.
     */
    fun parse(data: ByteArray, maxValues: Int = MAX_VALUES, maxDepth: Int = MAX_DEPTH): Any? {
        val text = try {
            Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString()
        } catch (error: CharacterCodingException) {
            throw JsonException("it is not UTF-8")
        }
        return Parser(text, maxValues, maxDepth).document()
    }

    /** The JSON text of a value of the types above, or of an `Int`, in one line. */
    fun write(value: Any?): String = StringBuilder().also { append(it, value) }.toString()

    /** An integer of the JSON text: integral and in 0 to 2^53 - 1, written with a fraction or exponent or not. */
    fun integer(value: Any?): Long? = when (value) {
        is Long -> value.takeIf { it in 0..MAX_INTEGER }
        is Double -> value.takeIf { it >= 0 && it <= MAX_INTEGER.toDouble() && it % 1.0 == 0.0 }?.toLong()
        else -> null
    }

    private fun append(out: StringBuilder, value: Any?) {
        when (value) {
            is Map<*, *> -> {
                out.append('{')
                value.entries.forEachIndexed { index, (key, item) ->
                    if (index > 0) out.append(',')
                    quote(out, key as String)
                    append(out.append(':'), item)
                }
                out.append('}')
            }
            is List<*> -> {
                out.append('[')
                value.forEachIndexed { index, item -> append(if (index > 0) out.append(',') else out, item) }
                out.append(']')
            }
            is String -> quote(out, value)
            else -> out.append(value)
        }
    }

    private fun quote(out: StringBuilder, text: String) {
        out.append('"')
        for (c in text) {
            when {
                c == '"' || c == '\\' -> out.append('\\').append(c)
                c < ' ' -> out.append("\\u").append(c.code.toString(16).padStart(4, '0'))
                else -> out.append(c)
            }
        }
        out.append('"')
    }
}

private class Parser(private val text: String, private val maxValues: Int, private val maxDepth: Int) {
    private var at = 0
    private var values = 0

    fun document(): Any? {
        val value = value(1)
        skipSpace()
        if (at < text.length) fail("something follows the value")
        return value
    }

    private fun value(depth: Int): Any? {
        skipSpace()
        if (++values > maxValues) fail("more than $maxValues values")
        return when (peek()) {
            '{' -> container(depth) { members(depth) }
            '[' -> container(depth) { items(depth) }
            '"' -> string()
            't' -> literal("true", true)
            'f' -> literal("false", false)
            'n' -> literal("null", null)
            else -> number()
        }
    }

    private inline fun <T> container(depth: Int, read: () -> T): T {
        if (depth > maxDepth) fail("nested deeper than $maxDepth levels")
        at++
        skipSpace()
        return read()
    }

    private fun members(depth: Int): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        if (taken('}')) return found
        do {
            skipSpace()
            if (peek() != '"') fail("a key is expected")
            val key = string()
            if (key in found) fail("a key is repeated")
            skipSpace()
            expect(':')
            found[key] = value(depth + 1)
            skipSpace()
        } while (taken(','))
        expect('}')
        return found
    }

    private fun items(depth: Int): List<Any?> {
        val found = ArrayList<Any?>()
        if (taken(']')) return found
        do {
            found.add(value(depth + 1))
            skipSpace()
        } while (taken(','))
        expect(']')
        return found
    }

    private fun string(): String {
        val found = StringBuilder()
        at++
        while (true) {
            val c = peek()
            at++
            when {
                c == '"' -> break
                c == '\\' -> found.append(escaped())
                c < ' ' -> fail("a control character in a string")
                else -> found.append(c)
            }
        }
        if (hasHalfPair(found)) fail("half of a surrogate pair")
        return found.toString()
    }

    private fun escaped(): Char {
        val c = peek()
        at++
        val index = ESCAPES.indexOf(c)
        if (index >= 0) return ESCAPED[index]
        if (c != 'u' || at + 4 > text.length) fail("an unknown escape")
        var code = 0
        repeat(4) {
            val digit = HEX.indexOf(text[at++], ignoreCase = true)
            if (digit < 0) fail("an unknown escape")
            code = code * 16 + digit
        }
        return code.toChar()
    }

    /** A number; with neither fraction nor exponent a `Long`. */
    private fun number(): Number {
        val start = at
        taken('-')
        if (!taken('0')) digits()
        val whole = at
        if (taken('.')) digits()
        if (taken('e') || taken('E')) {
            if (!taken('+')) taken('-')
            digits()
        }
        val literal = text.substring(start, at)
        return if (whole == at) integer(literal) else finite(literal)
    }

    private fun integer(literal: String): Long {
        val value = if (literal.length <= LONGEST_INTEGER) literal.toLong() else Long.MAX_VALUE
        if (value > Json.MAX_INTEGER || value < -Json.MAX_INTEGER) fail("an integer is too large")
        return value
    }

    private fun finite(literal: String): Double {
        val value = if (literal.length <= LONGEST_NUMBER) literal.toDouble() else Double.NaN
        if (value.isNaN() || value.isInfinite()) fail("${literal.take(40)} is not a finite number")
        return value
    }

    private fun digits() {
        val start = at
        while (at < text.length && text[at] in '0'..'9') at++
        if (at == start) fail("a value is expected")
    }

    private fun <T> literal(word: String, value: T): T {
        if (!text.startsWith(word, at)) fail("a value is expected")
        at += word.length
        return value
    }

    private fun skipSpace() {
        while (at < text.length && text[at] in SPACE) at++
    }

    private fun peek(): Char = if (at < text.length) text[at] else fail("it ends too early")

    private fun taken(wanted: Char): Boolean {
        if (at >= text.length || text[at] != wanted) return false
        at++
        return true
    }

    private fun expect(wanted: Char) {
        if (!taken(wanted)) fail("'$wanted' is expected")
    }

    private fun fail(reason: String): Nothing = throw JsonException("$reason, at character $at")

    private companion object {
        const val SPACE = " \t\n\r"
        const val ESCAPES = "\"\\/bfnrt"
        const val ESCAPED = "\"\\/\b\u000c\n\r\t"
        const val HEX = "0123456789abcdef"

        /** The characters of -9007199254740991. */
        const val LONGEST_INTEGER = 17

        /** The most characters of another number, as in the other clients: parsers slow down on longer ones. */
        const val LONGEST_NUMBER = 400

        fun hasHalfPair(text: CharSequence): Boolean {
            var index = 0
            while (index < text.length) {
                val c = text[index++]
                if (!c.isSurrogate()) continue
                if (c.isLowSurrogate() || index == text.length || !text[index++].isLowSurrogate()) return true
            }
            return false
        }
    }
}

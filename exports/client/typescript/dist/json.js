/**
 * Reads JSON that others wrote, by the rules that hold for every file of a family and of the store: no repeated keys,
 * limited nesting, values and integers, finite numbers, valid Unicode. `JSON.parse` silently drops repeated keys.
 *
 * Objects have no prototype, so that a key such as `constructor` is present only if the file has it.
 */
export const MAX_DEPTH = 16;
const MAX_VALUES = 200_000;
/** No sound file has a longer number, which would only cost time. */
const MAX_NUMBER = 400;
/** The digits of the largest exact integer, and its sign. */
const MAX_INTEGER_CHARACTERS = 17;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const SPACE = /[ \t\n\r]*/y;
const ESCAPES = {
    '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t",
};
/** A rule for JSON is broken. */
export class JsonError extends Error {
}
/**
 * The value of strict JSON.
 *
 * @param data the contents of the file, UTF-8; the caller limits its size
 * @param name its name in messages
 * @param values the most values that it may have
 * @param depth the deepest nesting that it may have
 * @throws JsonError a rule is broken
 */
export function parseJson(data, name, values = MAX_VALUES, depth = MAX_DEPTH) {
    try {
        return new Parser(decoded(data), values, depth).parse();
    }
    catch (error) {
        throw new JsonError(`${name} is not usable JSON (${error.message})`);
    }
}
export function isObject(value) {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}
/** The value of a key that the object itself has; undefined for any other value or key. */
export function member(value, key) {
    return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}
function decoded(data) {
    try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    }
    catch {
        throw new JsonError("it is not UTF-8");
    }
}
class Parser {
    #text;
    #at = 0;
    #left;
    #depth;
    constructor(text, values, depth) {
        this.#text = text;
        this.#left = values;
        this.#depth = depth;
    }
    parse() {
        const value = this.#value(0);
        this.#skip();
        if (this.#at < this.#text.length)
            throw new JsonError("something follows its end");
        return value;
    }
    #value(depth) {
        if (this.#left-- <= 0)
            throw new JsonError("too many values");
        this.#skip();
        switch (this.#text[this.#at]) {
            case "{": return this.#object(depth + 1);
            case "[": return this.#array(depth + 1);
            case '"': return this.#string();
            case "t": return this.#word("true", true);
            case "f": return this.#word("false", false);
            case "n": return this.#word("null", null);
            default: return this.#number();
        }
    }
    #object(depth) {
        this.#enter(depth);
        const found = Object.create(null);
        if (this.#taken("}"))
            return found;
        do {
            this.#skip();
            if (this.#text[this.#at] !== '"')
                throw new JsonError("a key is not a string");
            const key = this.#string();
            if (Object.hasOwn(found, key))
                throw new JsonError("a key is repeated");
            if (!this.#taken(":"))
                throw new JsonError("a colon is missing");
            found[key] = this.#value(depth);
        } while (this.#taken(","));
        if (!this.#taken("}"))
            throw new JsonError("an object does not end");
        return found;
    }
    #array(depth) {
        this.#enter(depth);
        const found = [];
        if (this.#taken("]"))
            return found;
        do
            found.push(this.#value(depth));
        while (this.#taken(","));
        if (!this.#taken("]"))
            throw new JsonError("a list does not end");
        return found;
    }
    #enter(depth) {
        if (depth > this.#depth)
            throw new JsonError(`nested deeper than ${this.#depth} levels`);
        this.#at += 1;
    }
    #string() {
        const parts = [];
        this.#at += 1;
        for (;;) {
            parts.push(this.#match(PLAIN) ?? "");
            const next = this.#text[this.#at++];
            if (next === '"')
                break;
            if (next !== "\\")
                throw new JsonError("a string does not end");
            parts.push(this.#escape());
        }
        const text = parts.join("");
        if (!isWellFormed(text))
            throw new JsonError("half of a surrogate pair");
        return text;
    }
    #escape() {
        const kind = this.#text[this.#at++] ?? "";
        if (kind !== "u") {
            const found = Object.hasOwn(ESCAPES, kind) ? ESCAPES[kind] : undefined;
            if (found === undefined)
                throw new JsonError("an unknown escape");
            return found;
        }
        const digits = this.#text.slice(this.#at, this.#at + 4);
        if (!/^[0-9a-fA-F]{4}$/.test(digits))
            throw new JsonError("an unknown escape");
        this.#at += 4;
        return String.fromCharCode(Number.parseInt(digits, 16));
    }
    #number() {
        NUMBER.lastIndex = this.#at;
        const found = NUMBER.exec(this.#text);
        if (!found || found[0].length > MAX_NUMBER)
            throw new JsonError("a value is not JSON");
        const text = found[0];
        this.#at += text.length;
        const value = Number(text);
        const whole = found[1] === undefined && found[2] === undefined;
        if (whole && (text.length > MAX_INTEGER_CHARACTERS || !Number.isSafeInteger(value))) {
            throw new JsonError("an integer is too large");
        }
        if (!Number.isFinite(value))
            throw new JsonError("a number is not finite");
        return value;
    }
    #word(word, value) {
        if (!this.#text.startsWith(word, this.#at))
            throw new JsonError("a value is not JSON");
        this.#at += word.length;
        return value;
    }
    #taken(character) {
        this.#skip();
        if (this.#text[this.#at] !== character)
            return false;
        this.#at += 1;
        return true;
    }
    #skip() {
        this.#match(SPACE);
    }
    /** What a sticky pattern matches here; the position moves behind it. */
    #match(pattern) {
        pattern.lastIndex = this.#at;
        const found = pattern.exec(this.#text)?.[0];
        this.#at += found?.length ?? 0;
        return found;
    }
}
function isWellFormed(text) {
    return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

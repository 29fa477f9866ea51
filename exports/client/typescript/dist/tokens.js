/** How the tokens of a text become the input of a model. The app has the tokenizer; its file is one of the family. */
import { count, isString, ManifestError, needed } from "./fields.js";
import { member } from "./json.js";
/** The most tokens of an input: half a megabyte. */
const MAX_LENGTH = 1 << 16;
const BYTES = 8;
/** The input of a model that takes tokens. */
export class TokenForm {
    /** The number of tokens that the model takes: the first of those of a text. */
    length;
    /** The number of tokens to which the app's tokenizer truncates a text, and up to which it is padded. */
    textLength;
    /** The token that fills a text up. */
    padding;
    /** The number of tokens; all are below it. */
    vocabulary;
    /**
     * @param task the manifest's `task`
     * @param model the manifest's description of the model
     * @throws ManifestError something is missing, or another tokenizer is needed than this client knows
     */
    constructor(task, model) {
        const [input, tokenizer] = [member(task, "input"), member(task, "tokenizer")];
        if (needed(tokenizer, "format", isString) !== "tokenizers_json" || needed(input, "dtype", isString) !== "int64") {
            throw new Error("the manifest needs a tokenizer that this client does not know; update the app");
        }
        this.length = count(member(model, "input"), "length");
        this.textLength = count(input, "length");
        this.padding = count(input, "padding");
        this.vocabulary = count(input, "vocabulary");
        const fits = this.length > 0 && this.length <= this.textLength && this.textLength <= MAX_LENGTH;
        if (!fits || this.padding >= this.vocabulary)
            throw new ManifestError("input of tokens");
    }
    /** The size of one input in bytes. */
    get inputBytes() {
        return this.length * BYTES;
    }
    /** Whether an entry of the samples has inputs of this form. */
    takes(entry) {
        return member(entry, "length") === this.length && member(entry, "dtype") === "int64";
    }
    /**
     * The input for the tokens of a text, which the app's tokenizer returned.
     *
     * @throws Error there are more tokens than `textLength`, or some that the model does not know
     */
    prepare(tokens) {
        const given = Array.from(tokens);
        if (given.length > this.textLength) {
            throw new Error(`there are ${given.length} tokens, at most ${this.textLength} are allowed; truncate them`);
        }
        if (!given.every((token) => Number.isInteger(token) && token >= 0 && token < this.vocabulary)) {
            throw new Error(`a token is not an integer in 0 to ${this.vocabulary - 1}`);
        }
        const padded = Array.from({ length: this.length }, (_, index) => BigInt(given[index] ?? this.padding));
        return this.#tensor(BigInt64Array.from(padded));
    }
    /** `count` inputs from raw little-endian values. */
    unpack(data, count) {
        const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
        return Array.from({ length: count }, (_, index) => {
            const start = index * this.length;
            const token = (_item, k) => view.getBigInt64((start + k) * BYTES, true);
            return this.#tensor(BigInt64Array.from({ length: this.length }, token));
        });
    }
    /** An input of padding alone. */
    zeros() {
        return this.prepare([]);
    }
    #tensor(data) {
        return { type: "int64", data, dims: [1, this.length] };
    }
}

/**
 * What the outputs of a model mean: a class, any number of labels, or values in the unit of the data. The docstring of
 * `decoding.py` has the definition, and `vectors/decoding.json` of the clients has examples.
 */
import { isString, ManifestError, needed, some } from "./fields.js";
import { member } from "./json.js";
/** The largest power of ten that numbers hold exactly. */
const MAX_DECIMALS = 22;
const ONE = 1_000_000;
/** How an answer follows from the outputs. */
export class Decoding {
    kind;
    #thresholds = [];
    #offsets = [];
    #scales = [];
    #decimals = [];
    /**
     * @param task the manifest's `task`
     * @throws Error something is missing, or there are outputs that this client does not know
     */
    constructor(task) {
        if ((member(task, "outputs") ?? null) === null) {
            this.kind = "classes";
            return;
        }
        const outputs = some(task, "outputs");
        const [shape, decoding] = [needed(outputs[0], "shape", Array.isArray), member(outputs[0], "decoding")];
        const kind = needed(decoding, "kind", isString);
        if (outputs.length !== 1 || shape.length !== 1 || (kind !== "labels" && kind !== "values")) {
            throw new Error("the manifest has outputs that this client does not know; update the app");
        }
        const list = (key, least, most) => integers(decoding, key, shape[0], least, most);
        this.kind = kind;
        if (kind === "labels") {
            this.#thresholds = list("thresholds_ppm", 1, ONE - 1);
        }
        else {
            this.#offsets = list("offset", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
            this.#scales = list("scale", 1, Number.MAX_SAFE_INTEGER);
            this.#decimals = list("decimals", -MAX_DECIMALS, MAX_DECIMALS);
        }
    }
    /** Throws if there is not one name per output. */
    check(names) {
        const stated = this.#thresholds.length + this.#scales.length;
        if (this.kind !== "classes" && stated !== names.length)
            throw new ManifestError(`labels for ${stated} outputs`);
    }
    /**
     * The answer that the outputs for one input stand for.
     *
     * @throws Error there is not one finite output per name
     */
    answer(outputs, names) {
        if (outputs.length !== names.length || !outputs.every(Number.isFinite)) {
            throw new Error(`the model does not return a finite number for each of the ${names.length} labels`);
        }
        const numbers = Array.from(outputs);
        if (this.kind === "classes") {
            const best = numbers.indexOf(Math.max(...numbers));
            return { labels: names.slice(best, best + 1), probabilities: softmax(numbers), values: [] };
        }
        if (this.kind === "labels") {
            const probabilities = numbers.map((number) => 1 / (1 + Math.exp(-number)));
            const applies = (_, index) => probabilities[index] >= this.#thresholds[index] / ONE;
            return { labels: names.filter(applies), probabilities, values: [] };
        }
        const values = numbers.map((number, index) => {
            const sum = this.#offsets[index] + this.#scales[index] * number;
            return shifted(sum, this.#decimals[index]);
        });
        return { labels: [], probabilities: [], values };
    }
}
function integers(decoding, key, size, least, most) {
    const found = member(decoding, key);
    const fits = (item) => typeof item === "number" && Number.isSafeInteger(item) && item >= least && item <= most;
    if (!Array.isArray(found) || found.length !== size || !found.every(fits))
        throw new ManifestError(`outputs: ${key}`);
    return found;
}
function softmax(numbers) {
    const largest = Math.max(...numbers);
    const powers = numbers.map((number) => Math.exp(number - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
}
/** `number / 10 ** decimals`, with a power that is exact: read as a decimal, because `**` may be off by a bit. */
function shifted(number, decimals) {
    const power = Number(`1e${Math.abs(decimals)}`);
    return decimals >= 0 ? number / power : number * power;
}

/**
 * What the outputs of a model mean: a class, any number of labels, or values in the unit of the data. The docstring of
 * `decoding.py` has the definition, and `vectors/decoding.json` of the clients has examples.
 */
/** What a model says about an input. */
export interface Answer {
    /** The names that apply: of classes one, of labels any number, of values none. */
    readonly labels: readonly string[];
    /** The probability of each name, in their order; empty for values. */
    readonly probabilities: readonly number[];
    /** The value of each name, in the unit of the data; empty for classes and labels. */
    readonly values: readonly number[];
}
/** How an answer follows from the outputs. */
export declare class Decoding {
    #private;
    readonly kind: "classes" | "labels" | "values";
    /**
     * @param task the manifest's `task`
     * @throws Error something is missing, or there are outputs that this client does not know
     */
    constructor(task: unknown);
    /** Throws if there is not one name per output. */
    check(names: readonly string[]): void;
    /**
     * The answer that the outputs for one input stand for.
     *
     * @throws Error there is not one finite output per name
     */
    answer(outputs: Float32Array, names: readonly string[]): Answer;
}

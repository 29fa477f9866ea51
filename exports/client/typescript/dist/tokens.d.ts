/** How the tokens of a text become the input of a model. The app has the tokenizer; its file is one of the family. */
import type { Tensor } from "./engine.ts";
/** The input of a model that takes tokens. */
export declare class TokenForm {
    #private;
    /** The number of tokens that the model takes: the first of those of a text. */
    readonly length: number;
    /** The number of tokens to which the app's tokenizer truncates a text, and up to which it is padded. */
    readonly textLength: number;
    /** The token that fills a text up. */
    readonly padding: number;
    /** The number of tokens; all are below it. */
    readonly vocabulary: number;
    /**
     * @param task the manifest's `task`
     * @param model the manifest's description of the model
     * @throws ManifestError something is missing, or another tokenizer is needed than this client knows
     */
    constructor(task: unknown, model: unknown);
    /** The size of one input in bytes. */
    get inputBytes(): number;
    /** Whether an entry of the samples has inputs of this form. */
    takes(entry: unknown): boolean;
    /**
     * The input for the tokens of a text, which the app's tokenizer returned.
     *
     * @throws Error there are more tokens than `textLength`, or some that the model does not know
     */
    prepare(tokens: ArrayLike<number>): Tensor;
    /** `count` inputs from raw little-endian values. */
    unpack(data: Uint8Array, count: number): Tensor[];
    /** An input of padding alone. */
    zeros(): Tensor;
}

/** How an image becomes the input of a model, as a manifest states it. */
import type { Tensor } from "./engine.ts";
import { type Colour, type Image } from "./preprocess.ts";
/** The input of a model, and what makes it from pixels. */
export declare class InputForm {
    #private;
    /** How an image becomes the base size: `resize`, `crop` or `letterbox`. */
    readonly fitting: string;
    /** What `letterbox` does not cover. */
    readonly colour: Colour;
    readonly baseHeight: number;
    readonly baseWidth: number;
    /** The channels of the model's input: 3 for RGB, 1 for gray. */
    readonly channels: number;
    /** The height of the model's input. */
    readonly height: number;
    readonly width: number;
    /** The normalisation per channel in parts per million; null if the model takes pixels. */
    readonly normalise: {
        readonly mean: readonly number[];
        readonly std: readonly number[];
    } | null;
    /**
     * @param task the manifest's `task`
     * @param model the manifest's description of the model
     * @throws ManifestError something is missing, or another preprocessing is needed than this client has
     */
    constructor(task: unknown, model: unknown);
    get dtype(): "uint8" | "float32";
    /** The size of one input in bytes. */
    get inputBytes(): number;
    /** Whether an entry of the samples has inputs of this form. */
    takes(entry: unknown): boolean;
    /** The input for an image of any size. */
    prepare(image: Image): Tensor;
    /** `count` inputs from raw little-endian values. */
    unpack(data: Uint8Array, count: number): Tensor[];
    /** An input of zeros. */
    zeros(): Tensor;
}

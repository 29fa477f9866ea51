/**
 * What a launch needs of a manifest for one model: files, samples, how its input is made, and what its outputs mean.
 * Every value is checked here, before anything is downloaded or removed for it.
 */
import { Decoding } from "./decoding.ts";
import { InputForm } from "./inputs.ts";
import { TokenForm } from "./tokens.ts";
/** A file of the release. */
export interface NeededFile {
    readonly name: string;
    readonly size: number;
    readonly sha256: string;
    /** The size of its blocks; 0 if the manifest states none. */
    readonly blockBytes: number;
    readonly blocks: readonly string[];
}
/** What a proof runs: `images` are PNG files to be preprocessed, `tensors` one file with `count` inputs. */
export interface Samples {
    readonly kind: "images" | "tensors";
    readonly inputs: readonly NeededFile[];
    readonly count: number;
    readonly expected: NeededFile;
}
/** All that a model needs. */
export interface Plan {
    readonly model: string;
    /** The engine opens the first. */
    readonly files: readonly NeededFile[];
    /** Null if they are in `labelsFile`. */
    readonly labels: readonly string[] | null;
    readonly labelsFile: NeededFile | null;
    /** Null if the model takes images. */
    readonly tokenizer: NeededFile | null;
    /** Null if the family has none. */
    readonly samples: Samples | null;
    readonly form: InputForm | TokenForm;
    readonly decoding: Decoding;
}
/** The plan for a model that the resolver chose. Throws if something is missing or a file name is not allowed. */
export declare function planModel(manifest: unknown, name: string): Plan;
/** The files to be stored, each once, with or without the samples. */
export declare function filesOf(plan: Plan, withSamples: boolean): NeededFile[];
/** The names of the classes, in the order of the logits. */
export declare function labelNames(value: unknown): readonly string[];
/** Name, digest and size of every file that a manifest names in a form that is understood. */
export declare function filesNamed(value: unknown): {
    name: string;
    sha256: string;
    size: number;
}[];

/**
 * What an app does at launch: get the manifest, choose a model, download it, check it, prove it, run it.
 *
 * The README of the clients defines the workflow, step by step. It keeps running what ran before if anything new fails:
 * the manifest, the download, the store or the proof.
 */
import type { Answer, Decoding } from "./decoding.ts";
import { type Progress } from "./download.ts";
import type { Engine, Session } from "./engine.ts";
import type { InputForm } from "./inputs.ts";
import { type Json } from "./json.ts";
import type { Image } from "./preprocess.ts";
import { type DeviceFacts, type Resolution } from "./records.ts";
import { type Source } from "./source.ts";
import { type Slot, type Store } from "./store.ts";
import { TokenForm } from "./tokens.ts";
/** The launch cannot go on: the manifest is missing or not usable, or no model runs. */
export declare class LaunchError extends Error {
}
/** Something that happened; the codes are a part of the contract, the texts are for people. */
export interface LaunchEvent {
    readonly code: string;
    readonly text: string;
}
/** What a model takes: an image of any size, or the tokens of a text, which the app's tokenizer returned. */
export type Given = Image | ArrayLike<number>;
/** A model that is ready. */
export interface Running {
    readonly session: Session;
    /** The names of the classes, labels or values, in the order of the outputs. */
    readonly labels: readonly string[];
    /** How pixels or tokens become its input. */
    readonly form: InputForm | TokenForm;
    /** What its outputs mean. */
    readonly decoding: Decoding;
    /** The file of the tokenizer, for the app's own tokenizer (`tokenizer.json`); null if the model takes images. */
    readonly tokenizer: Uint8Array | null;
    readonly computeUnit: string;
    /** Whether it passed the proof in this launch, or in an earlier one. */
    readonly proof: "passed" | "remembered";
    /** What the model says, in the words and units of the data. */
    answer(given: Given): Promise<Answer>;
    /** The outputs as the model returns them. */
    logits(given: Given): Promise<Float32Array>;
}
/** How a launch ended. */
export interface Launched {
    readonly resolution: Resolution;
    /** The model; null if the action is `cloud` or `off`. */
    readonly running: Running | null;
    /** The active slot. */
    readonly slot: Slot | null;
    /** The release of the manifest in use, and the manifest. */
    readonly release: number;
    readonly manifest: Json;
    readonly events: readonly LaunchEvent[];
    /** The bytes of all files that came from the source, used or not. */
    readonly downloadedBytes: number;
    /** How many seconds each step took. */
    readonly seconds: Readonly<Record<string, number>>;
}
export interface LaunchOptions {
    /** A parsed policy; by default the last usable one. */
    readonly policy?: unknown;
    /** Seconds since 1970; by default the clock. */
    readonly now?: number;
    /** The longest wait, in seconds, for an answer or a further byte. */
    readonly timeout?: number;
    /** Is called while files arrive. */
    readonly progress?: Progress;
}
/**
 * Launches the model of this device.
 *
 * @param source the URL of the folder of the manifest, or another `Source`
 * @param store the app's store, which belongs to one family
 * @param engine the inference engine
 * @param facts the facts about the device; `browserFacts` and `nodeFacts` gather them
 * @throws LaunchError no manifest is usable, no model runs, or another launch does not end
 */
export declare function launch(source: string | Source, store: Store, engine: Engine, facts: DeviceFacts, options?: LaunchOptions): Promise<Launched>;

/** The interface to an inference engine. */
/** An input with a batch of one. */
export interface Tensor {
    readonly type: "uint8" | "float32" | "int64";
    readonly data: Uint8Array | Float32Array | BigInt64Array;
    readonly dims: readonly number[];
}
/** A file of a model, which was checked. */
export interface ModelFile {
    /** Its name in the manifest; an ONNX graph finds the others by their names relative to its folder. */
    readonly name: string;
    readonly data: Uint8Array;
}
/** A loaded model. */
export interface Session {
    /**
     * The outputs of one input, one per label.
     *
     * @throws EngineRefusedError the engine reports an error
     * @throws EngineCrashedError the engine cannot be used any more
     * @throws OutOfMemoryError there is too little memory
     */
    run(input: Tensor): Promise<Float32Array>;
    /** Frees the memory of the model. */
    release(): Promise<void>;
}
/** An inference engine. Whatever `load` does to the app, the launch has recorded durably that it was called. */
export interface Engine {
    /** Its name in manifests. */
    readonly name: string;
    /** Its version, dotted numbers. */
    readonly version: string;
    /** Loads a model; the first file is opened. Throws as `Session.run`. */
    load(files: readonly ModelFile[], computeUnit: string): Promise<Session>;
}
/** The engine reports an error, or has no such compute unit. */
export declare class EngineRefusedError extends Error {
}
/** The engine has died, or has been left in a state in which it cannot be used. */
export declare class EngineCrashedError extends Error {
}
/** There is too little memory. */
export declare class OutOfMemoryError extends Error {
}

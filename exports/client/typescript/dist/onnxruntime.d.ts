/** ONNX Runtime behind the interface: Web, Node or React Native, which share an API. */
import { type Engine, type ModelFile, type Session } from "./engine.ts";
/** What is used of the module `onnxruntime-web`, `onnxruntime-node` or `onnxruntime-react-native`. */
export interface OrtModule {
    readonly env: {
        readonly versions?: {
            readonly common?: string;
            readonly web?: string;
            readonly node?: string;
        };
    };
    readonly InferenceSession: {
        create(model: Uint8Array, options: object): Promise<OrtSession>;
    };
    readonly Tensor: new (type: "uint8" | "float32" | "int64", data: never, dims: readonly number[]) => object;
}
interface OrtSession {
    readonly inputNames: readonly string[];
    readonly outputNames: readonly string[];
    run(feeds: Record<string, object>): Promise<Record<string, {
        readonly data: unknown;
    }>>;
    release?(): Promise<void>;
}
export declare class OnnxRuntimeEngine implements Engine {
    #private;
    readonly name = "onnxruntime";
    readonly version: string;
    /**
     * @param ort the imported module, with `env.wasm` set as the app needs it
     * @param version the version of the library, where the module does not state it
     */
    constructor(ort: OrtModule, version?: string);
    load(files: readonly ModelFile[], computeUnit: string): Promise<Session>;
}
export {};

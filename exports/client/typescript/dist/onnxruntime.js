/** ONNX Runtime behind the interface: Web, Node or React Native, which share an API. */
import { EngineCrashedError, EngineRefusedError, OutOfMemoryError, } from "./engine.js";
/** Compute units by name, as execution providers of ONNX Runtime. */
const PROVIDERS = {
    cpu: "cpu", wasm: "wasm", webgpu: "webgpu", webnn: "webnn", coreml: "coreml", nnapi: "nnapi", xnnpack: "xnnpack",
};
const NO_MEMORY = /bad_alloc|out of memory|failed to allocate|cannot enlarge memory|Array buffer allocation failed/i;
const CRASHED = /Aborted\(|unreachable|memory access out of bounds|table index is out of bounds/;
export class OnnxRuntimeEngine {
    name = "onnxruntime";
    version;
    #ort;
    /**
     * @param ort the imported module, with `env.wasm` set as the app needs it
     * @param version the version of the library, where the module does not state it
     */
    constructor(ort, version) {
        const { web, node, common } = ort.env.versions ?? {};
        this.#ort = ort;
        this.version = version ?? web ?? node ?? common ?? "";
    }
    async load(files, computeUnit) {
        const provider = Object.hasOwn(PROVIDERS, computeUnit) ? PROVIDERS[computeUnit] : undefined;
        const [graph, ...others] = files;
        if (provider === undefined || !graph) {
            throw new EngineRefusedError(`ONNX Runtime has no compute unit ${computeUnit}`);
        }
        const folder = graph.name.slice(0, graph.name.lastIndexOf("/") + 1);
        const externalData = others.map((file) => ({
            path: file.name.startsWith(folder) ? file.name.slice(folder.length) : file.name, data: file.data,
        }));
        const options = { executionProviders: [provider], ...(externalData.length > 0 ? { externalData } : {}) };
        const session = await guarded(() => this.#ort.InferenceSession.create(graph.data, options));
        return new OnnxRuntimeSession(this.#ort, session);
    }
}
class OnnxRuntimeSession {
    #ort;
    #session;
    constructor(ort, session) {
        this.#ort = ort;
        this.#session = session;
    }
    async run(input) {
        const [name, output] = [this.#session.inputNames[0] ?? "", this.#session.outputNames[0] ?? ""];
        return guarded(async () => {
            const feed = new this.#ort.Tensor(input.type, input.data, input.dims);
            const found = (await this.#session.run({ [name]: feed }))[output]?.data;
            if (!(found instanceof Float32Array))
                throw new EngineRefusedError("the model does not return float32 numbers");
            return found;
        });
    }
    async release() {
        await this.#session.release?.();
    }
}
/** Turns what ONNX Runtime throws, which has no types of its own, into the errors of the interface. */
async function guarded(work) {
    try {
        return await work();
    }
    catch (error) {
        if (error instanceof EngineRefusedError)
            throw error;
        const text = String(error).slice(0, 200);
        if (NO_MEMORY.test(text))
            throw new OutOfMemoryError(text);
        if (CRASHED.test(text))
            throw new EngineCrashedError(text);
        throw new EngineRefusedError(text);
    }
}

/** Choose, download, check, prove and run the model of a family that fits this device. */
export { alphaToRgb, grayToRgb, yuvToRgb } from "./colour.js";
export { Downloader, DownloadError } from "./download.js";
export { EngineCrashedError, EngineRefusedError, OutOfMemoryError, } from "./engine.js";
export { orientation, upright } from "./exif.js";
export { browserFacts, browserFeatures } from "./facts.js";
export { IndexedDbStore } from "./indexeddb.js";
export { InputForm } from "./inputs.js";
export { JsonError, parseJson } from "./json.js";
export { launch, LaunchError, } from "./launch.js";
export { OnnxRuntimeEngine } from "./onnxruntime.js";
export { decodePng, PngError } from "./png.js";
export { crop, fit, letterbox, modelInput, resize } from "./preprocess.js";
export { measureProbe, PROBE_ID } from "./probe.js";
export { resolve, UnusableManifestError, UnusablePolicyError } from "./resolver.js";
export { HttpSource, SourceError } from "./source.js";
export { decodeState } from "./state.js";
export { MemoryStore, StoreError } from "./store.js";

/** Choose, download, check, prove and run the model of a family that fits this device. */

export { alphaToRgb, grayToRgb, luma, yuvToRgb, type AlphaOrder, type YuvLayout, type YuvRange } from "./colour.ts";
export { Decoding, type Answer } from "./decoding.ts";
export { Downloader, DownloadError, type Progress } from "./download.ts";
export {
  EngineCrashedError, EngineRefusedError, OutOfMemoryError, type Engine, type ModelFile, type Session, type Tensor,
} from "./engine.ts";
export { orientation, upright } from "./exif.ts";
export { browserFacts, browserFeatures } from "./facts.ts";
export { IndexedDbStore } from "./indexeddb.ts";
export { InputForm } from "./inputs.ts";
export { JsonError, parseJson, type Json, type JsonObject } from "./json.ts";
export {
  launch, LaunchError, type Launched, type LaunchEvent, type Given, type LaunchOptions, type Running,
} from "./launch.ts";
export { OnnxRuntimeEngine, type OrtModule } from "./onnxruntime.ts";
export { decodePng, PngError } from "./png.ts";
export { crop, fit, letterbox, modelInput, resize, type Colour, type Image } from "./preprocess.ts";
export { measureProbe, PROBE_ID } from "./probe.ts";
export type {
  BlacklistEntry, ClientState, DeviceFacts, Probe, ProofRecord, ProofResult, Reason, Resolution,
} from "./records.ts";
export { resolve, UnusableManifestError, UnusablePolicyError } from "./resolver.ts";
export { HttpSource, SourceError, type Body, type Source } from "./source.ts";
export { decodeState, type State } from "./state.ts";
export { MemoryStore, StoreError, type Slot, type Store } from "./store.ts";
export { TokenForm } from "./tokens.ts";

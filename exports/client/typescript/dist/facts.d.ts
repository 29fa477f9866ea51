/** Gathers what a browser tells about its device. What it does not tell is absent. */
import type { Engine } from "./engine.ts";
import type { DeviceFacts } from "./records.ts";
/**
 * The facts of this browser.
 *
 * Browsers round: `deviceMemory` is a power of two with a top of 8 or 32 GiB that depends on the version, and Firefox
 * and Safari do not have it, so a tier for the web should rest on features and the probe. `available_memory_bytes` is
 * not told. `free_disk_bytes` is the quota of this origin. Chromium alone tells the version of the system and, on
 * Android, the model of the device.
 *
 * @param engine the engine of the page
 * @param given facts that replace those found here; null makes one unknown
 */
export declare function browserFacts(engine: Engine, given?: DeviceFacts): Promise<DeviceFacts>;
/** Tokens of what this browser can do: `wasm_simd`, `wasm_threads`, `webgpu`, `shader_f16`. */
export declare function browserFeatures(): Promise<string[]>;

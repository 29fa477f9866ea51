/** Gathers what a browser tells about its device. What it does not tell is absent. */

import type { Engine } from "./engine.ts";
import { measureProbe } from "./probe.ts";
import type { DeviceFacts } from "./records.ts";

const GIB = 2 ** 30;
/** `(v128.const; drop)`: only an engine with SIMD accepts it. */
const SIMD_MODULE = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 23, 1, 21, 0, 253, 12,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 26, 11,
);

interface Hints {
  readonly model?: string;
  readonly platformVersion?: string;
}

/** User-Agent Client Hints, which Chromium alone has. */
interface UserAgentData {
  getHighEntropyValues(names: readonly string[]): Promise<Hints>;
}

interface BrowserNavigator {
  readonly deviceMemory?: number;
  readonly hardwareConcurrency?: number;
  readonly storage?: StorageManager;
  readonly userAgentData?: UserAgentData;
  readonly gpu?: { requestAdapter(): Promise<{ readonly features: ReadonlySet<string> } | null> };
}

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
export async function browserFacts(engine: Engine, given: DeviceFacts = {}): Promise<DeviceFacts> {
  const about = globalThis.navigator as BrowserNavigator;
  const [features, hints] = [await browserFeatures(), await hintsOf(about.userAgentData)];
  return {
    platform: "web",
    ram_bytes: about.deviceMemory ? about.deviceMemory * GIB : null,
    cores: about.hardwareConcurrency ?? null,
    os_version: hints.platformVersion || null,
    device_model: hints.model || null,
    features,
    probe: measureProbe(),
    free_disk_bytes: await freeQuota(about.storage),
    engine: engine.name,
    engine_version: engine.version,
    compute_units: ["wasm"],
    ...given,
  };
}

/** Tokens of what this browser can do: `wasm_simd`, `wasm_threads`, `webgpu`, `shader_f16`. */
export async function browserFeatures(): Promise<string[]> {
  const found: string[] = [];
  if (globalThis.WebAssembly?.validate(SIMD_MODULE)) found.push("wasm_simd");
  if (globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer !== "undefined") found.push("wasm_threads");
  const adapter = await (globalThis.navigator as BrowserNavigator).gpu?.requestAdapter().catch(() => null);
  if (adapter) found.push("webgpu");
  if (adapter?.features.has("shader-f16")) found.push("shader_f16");
  return found;
}

async function hintsOf(data: UserAgentData | undefined): Promise<Hints> {
  return (await data?.getHighEntropyValues(["model", "platformVersion"]).catch(() => undefined)) ?? {};
}

async function freeQuota(storage: StorageManager | undefined): Promise<number | null> {
  const { quota, usage } = (await storage?.estimate().catch(() => undefined)) ?? {};
  return quota === undefined ? null : Math.max(0, Math.floor(quota - (usage ?? 0)));
}

/** What the resolver takes and returns. Facts and state are JSON objects; their keys are those of the contract. */

import { isObject, member } from "./json.ts";
import { integer, text, texts } from "./values.ts";

/** A device's score in a small benchmark, which a selector names by its `id`. */
export interface Probe {
  readonly id: string;
  readonly score: number;
}

/**
 * Facts that an app can observe; what is absent or null is not reported. A value that cannot be true, such as a
 * negative size or an empty name, counts as not reported.
 */
export interface DeviceFacts {
  /** The platform of the app's build: `web`, `android`, `ios`, `linux`, ...; "" matches only `any`. */
  readonly platform?: string | null;
  /** The total RAM in bytes that the system reports. */
  readonly ram_bytes?: number | null;
  /** The number of processor cores. */
  readonly cores?: number | null;
  /** Dotted numbers; on Android the API level. */
  readonly os_version?: string | null;
  /** The maker of the system on a chip; compared without the case of A to Z. */
  readonly soc_maker?: string | null;
  readonly soc_model?: string | null;
  /** The maker of the device; compared without the case of A to Z. */
  readonly device_maker?: string | null;
  /** Its model; on Apple's devices the machine id. */
  readonly device_model?: string | null;
  /** Tokens of what the device can do: `webgpu`, `wasm_threads`, ... */
  readonly features?: readonly string[] | null;
  readonly probe?: Probe | null;
  /** The free space for models in bytes. Not checked if unknown. */
  readonly free_disk_bytes?: number | null;
  /** The memory that the app may allocate now, in bytes. Not checked if unknown. */
  readonly available_memory_bytes?: number | null;
  /** The inference engine in the app and its version. Not checked if unknown. */
  readonly engine?: string | null;
  readonly engine_version?: string | null;
  /** What the engine can run on, in order of preference; `["cpu"]` if absent. */
  readonly compute_units?: readonly string[] | null;
}

/** Facts with every value that cannot be true left out. */
export interface PlausibleFacts {
  readonly platform: string;
  readonly ramBytes: number | undefined;
  readonly cores: number | undefined;
  readonly osVersion: string | undefined;
  readonly socMaker: string | undefined;
  readonly socModel: string | undefined;
  readonly deviceMaker: string | undefined;
  readonly deviceModel: string | undefined;
  readonly features: readonly string[] | undefined;
  readonly probe: Probe | undefined;
  readonly freeDiskBytes: number | undefined;
  readonly availableMemoryBytes: number | undefined;
  readonly engine: string | undefined;
  readonly engineVersion: string | undefined;
  readonly computeUnits: readonly string[];
}

export type ProofResult = "started" | "passed" | "wrong" | "crashed" | "out_of_memory" | "refused";
const RESULTS: readonly string[] = ["started", "passed", "wrong", "crashed", "out_of_memory", "refused"];

/** What a proof is valid for; after an update of the engine or the system a model is proven again. */
export interface ProofKey {
  /** The digests of the model's files, in the order of the manifest. */
  readonly files: readonly string[];
  readonly compute_unit: string;
  readonly engine: string | null;
  readonly engine_version: string | null;
  readonly os_version: string | null;
}

/** How the proof of a model ended; `starts` is how often it was started. */
export interface ProofRecord extends ProofKey {
  readonly result: ProofResult;
  readonly starts: number;
}

/** A file that must not be used: until the second `until` since 1970, or for ever if that is absent. */
export interface BlacklistEntry {
  readonly sha256: string;
  readonly until?: number | null;
}

/** What the resolver reads of the client's own record. */
export interface ClientState {
  /** The digests of complete, verified files. */
  readonly installed?: readonly string[];
  readonly blacklist?: readonly BlacklistEntry[];
  /** Of several proofs with the same key the last counts. */
  readonly proofs?: readonly ProofRecord[];
}

/** Why a candidate was passed over or, with the codes `chosen` and `floor`, selected. */
export interface Reason {
  readonly tier: string;
  /** "" if the whole tier was passed over. */
  readonly model: string;
  /** A part of the contract: see the README of the clients. */
  readonly code: string;
  /** One line for people. */
  readonly text: string;
}

/** The result of `resolve`. */
export interface Resolution {
  readonly action: "model" | "cloud" | "off" | "none";
  readonly tier: string;
  /** The rank within the platform; 0 is the floor. */
  readonly rank: number;
  readonly model: string | null;
  readonly compute_unit: string | null;
  /** Whether all files of the model are on the device. */
  readonly installed: boolean;
  /** Whether the model has passed its proof on the compute unit with this engine and system. */
  readonly proven: boolean;
  /** One for every candidate that was considered, in order; the last is for the result. */
  readonly reasons: readonly Reason[];
}

export function plausible(facts: unknown): PlausibleFacts {
  const get = (key: string): unknown => member(facts, key);
  const probe = { id: text(member(get("probe"), "id")), score: integer(member(get("probe"), "score"), 1) };
  const units = texts(get("compute_units"));
  return {
    platform: text(get("platform")) ?? "",
    ramBytes: integer(get("ram_bytes"), 1),
    cores: integer(get("cores"), 1),
    osVersion: text(get("os_version")),
    socMaker: text(get("soc_maker")),
    socModel: text(get("soc_model")),
    deviceMaker: text(get("device_maker")),
    deviceModel: text(get("device_model")),
    features: texts(get("features")),
    probe: probe.id !== undefined && probe.score !== undefined ? { id: probe.id, score: probe.score } : undefined,
    freeDiskBytes: integer(get("free_disk_bytes")),
    availableMemoryBytes: integer(get("available_memory_bytes")),
    engine: text(get("engine")),
    engineVersion: text(get("engine_version")),
    computeUnits: units !== undefined && units.length > 0 ? units : ["cpu"],
  };
}

/** The digests of installed files in a state of any form. */
export function installedFiles(state: unknown): ReadonlySet<string> {
  return new Set(entries(state, "installed").filter((item) => typeof item === "string"));
}

/** The entries of the blacklist in a state of any form; those that are not understood are left out. */
export function blacklistEntries(state: unknown): BlacklistEntry[] {
  return entries(state, "blacklist").flatMap((entry) => {
    const [sha256, until] = [member(entry, "sha256"), member(entry, "until") ?? null];
    if (typeof sha256 !== "string" || (until !== null && integer(until) === undefined)) return [];
    return [until === null ? { sha256 } : { sha256, until: until as number }];
  });
}

/** The proofs in a state of any form; those that are not understood are left out. */
export function proofRecords(state: unknown): ProofRecord[] {
  return entries(state, "proofs").flatMap((entry) => {
    const name = (key: string): string | null => {
      const found = member(entry, key);
      return typeof found === "string" ? found : null;
    };
    const files = texts(member(entry, "files"));
    const [unit, result, starts] = [name("compute_unit"), name("result"), integer(member(entry, "starts"))];
    if (files === undefined || unit === null || result === null || starts === undefined) return [];
    if (!RESULTS.includes(result)) return [];
    return [
      {
        files,
        compute_unit: unit,
        engine: name("engine"),
        engine_version: name("engine_version"),
        os_version: name("os_version"),
        result: result as ProofResult,
        starts,
      },
    ];
  });
}

export function sameKey(one: ProofKey, other: ProofKey): boolean {
  return (
    one.compute_unit === other.compute_unit && one.engine === other.engine &&
    one.engine_version === other.engine_version && one.os_version === other.os_version &&
    one.files.length === other.files.length && one.files.every((digest, index) => digest === other.files[index])
  );
}

function entries(state: unknown, key: string): unknown[] {
  const found = isObject(state) ? member(state, key) : undefined;
  return Array.isArray(found) ? found : [];
}

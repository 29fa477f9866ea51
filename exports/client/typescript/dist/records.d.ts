/** What the resolver takes and returns. Facts and state are JSON objects; their keys are those of the contract. */
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
export declare function plausible(facts: unknown): PlausibleFacts;
/** The digests of installed files in a state of any form. */
export declare function installedFiles(state: unknown): ReadonlySet<string>;
/** The entries of the blacklist in a state of any form; those that are not understood are left out. */
export declare function blacklistEntries(state: unknown): BlacklistEntry[];
/** The proofs in a state of any form; those that are not understood are left out. */
export declare function proofRecords(state: unknown): ProofRecord[];
export declare function sameKey(one: ProofKey, other: ProofKey): boolean;

/** What a client remembers between launches: the record of the state, which the README of the clients defines. */
import { type Json } from "./json.ts";
import { type BlacklistEntry, type ProofKey, type ProofRecord, type ProofResult } from "./records.ts";
import type { Slot } from "./store.ts";
/** A policy of 256 KiB takes a third more, on lines of its own; 64 proofs and two slots take a fortieth of it. */
export declare const MAX_STATE_BYTES: number;
export interface State {
    readonly slot: Slot | null;
    /** The release in the slot; 0 if there is none. */
    readonly release: number;
    readonly installed: readonly string[];
    readonly blacklist: readonly BlacklistEntry[];
    readonly proofs: readonly ProofRecord[];
    /** The last usable policy. */
    readonly policy: Json;
}
export declare const EMPTY_STATE: State;
/** The state in its file, without entries that are not understood. Throws if it is damaged or of another version. */
export declare function decodeState(data: Uint8Array): State;
export declare function encodeState(state: State): Uint8Array;
/** How often a proof was started without an end. */
export declare function startsOf(state: State, key: ProofKey): number;
/** The state with this result in place of an earlier one. */
export declare function withProof(state: State, key: ProofKey, result: ProofResult, starts: number): State;

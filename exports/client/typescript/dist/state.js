/** What a client remembers between launches: the record of the state, which the README of the clients defines. */
import { isObject, member, MAX_DEPTH, parseJson } from "./json.js";
import { blacklistEntries, installedFiles, proofRecords, sameKey, } from "./records.js";
import { integer } from "./values.js";
const STATE_VERSION = 1;
/** A policy of 256 KiB takes a third more, on lines of its own; 64 proofs and two slots take a fortieth of it. */
export const MAX_STATE_BYTES = 1 << 20;
/** Proofs that are remembered: a dozen models on a few compute units, before and after an update. */
const MAX_PROOFS = 64;
export const EMPTY_STATE = {
    slot: null, release: 0, installed: [], blacklist: [], proofs: [], policy: null,
};
/** The state in its file, without entries that are not understood. Throws if it is damaged or of another version. */
export function decodeState(data) {
    // It holds a policy, which may be nested as deep as any file.
    const value = parseJson(data, "state.json", undefined, MAX_DEPTH + 1);
    if (!isObject(value) || data.length > MAX_STATE_BYTES || member(value, "state_version") !== STATE_VERSION) {
        throw new Error(`state.json is not of version ${STATE_VERSION}`);
    }
    const slot = member(value, "slot");
    return {
        slot: slot === "a" || slot === "b" ? slot : null,
        release: integer(member(value, "release")) ?? 0,
        installed: [...installedFiles(value)],
        blacklist: blacklistEntries(value),
        proofs: proofRecords(value),
        policy: member(value, "policy") ?? null,
    };
}
export function encodeState(state) {
    const value = { state_version: STATE_VERSION, ...state, installed: [...new Set(state.installed)].sort() };
    return new TextEncoder().encode(JSON.stringify(value, null, 1));
}
/** How often a proof was started without an end. */
export function startsOf(state, key) {
    const found = state.proofs.filter((proof) => sameKey(proof, key)).at(-1);
    return found?.result === "started" ? found.starts : 0;
}
/** The state with this result in place of an earlier one. */
export function withProof(state, key, result, starts) {
    const others = state.proofs.filter((proof) => !sameKey(proof, key));
    return { ...state, proofs: [...others, { ...key, result, starts }].slice(-MAX_PROOFS) };
}

/** What the resolver takes and returns. Facts and state are JSON objects; their keys are those of the contract. */
import { isObject, member } from "./json.js";
import { integer, text, texts } from "./values.js";
const RESULTS = ["started", "passed", "wrong", "crashed", "out_of_memory", "refused"];
export function plausible(facts) {
    const get = (key) => member(facts, key);
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
export function installedFiles(state) {
    return new Set(entries(state, "installed").filter((item) => typeof item === "string"));
}
/** The entries of the blacklist in a state of any form; those that are not understood are left out. */
export function blacklistEntries(state) {
    return entries(state, "blacklist").flatMap((entry) => {
        const [sha256, until] = [member(entry, "sha256"), member(entry, "until") ?? null];
        if (typeof sha256 !== "string" || (until !== null && integer(until) === undefined))
            return [];
        return [until === null ? { sha256 } : { sha256, until: until }];
    });
}
/** The proofs in a state of any form; those that are not understood are left out. */
export function proofRecords(state) {
    return entries(state, "proofs").flatMap((entry) => {
        const name = (key) => {
            const found = member(entry, key);
            return typeof found === "string" ? found : null;
        };
        const files = texts(member(entry, "files"));
        const [unit, result, starts] = [name("compute_unit"), name("result"), integer(member(entry, "starts"))];
        if (files === undefined || unit === null || result === null || starts === undefined)
            return [];
        if (!RESULTS.includes(result))
            return [];
        return [
            {
                files,
                compute_unit: unit,
                engine: name("engine"),
                engine_version: name("engine_version"),
                os_version: name("os_version"),
                result: result,
                starts,
            },
        ];
    });
}
export function sameKey(one, other) {
    return (one.compute_unit === other.compute_unit && one.engine === other.engine &&
        one.engine_version === other.engine_version && one.os_version === other.os_version &&
        one.files.length === other.files.length && one.files.every((digest, index) => digest === other.files[index]));
}
function entries(state, key) {
    const found = isObject(state) ? member(state, key) : undefined;
    return Array.isArray(found) ? found : [];
}

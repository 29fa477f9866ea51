/**
 * Selects the model for a device: one pure function, without I/O, clock or randomness.
 *
 * Tiers, models and selectors that it does not understand are passed over, so an old app gets a lower tier, never a
 * heavier one: only a manifest without a usable floor throws. The README of the clients states the rules.
 */
import { isObject, member } from "./json.js";
import { blacklistEntries, installedFiles, plausible, proofRecords, sameKey, } from "./records.js";
import { isOn, plainSelector, selectorFault, SHOWN } from "./selectors.js";
import { compareVersions, integer, isVersion } from "./values.js";
const SUPPORTED_MAJOR = "1";
/**
 * The critical features of version 1: an app that does not support one must not use the manifest, so remove those that
 * yours does not. `image_form`: the models take gray images, or images that are not square. `labels_file`: the names of
 * the classes are in the file `task.labels_file`. `outputs`: the models return something other than one logit per class,
 * which `task.outputs` states. `pixel_input`: the models take pixels. `token_input`: they take the tokens of a text.
 */
const SUPPORTED_CRITICAL = ["image_form", "labels_file", "outputs", "pixel_input", "token_input"];
/** The start of a proof that counts as a crash if it never came back: the first may have been ended by a person. */
const MAX_STARTS = 2;
/** This resolver cannot use the manifest; an app should keep the last good one. */
export class UnusableManifestError extends Error {
}
/** This resolver cannot use the policy; an app should keep the last good one. */
export class UnusablePolicyError extends Error {
}
/**
 * The best model for a device: tiers by descending rank, models in the order of the list, then the floor.
 *
 * A model is passed over if the policy revokes one of its files, the state blacklists one, its engine range does not
 * include the app's engine, what is to be stored plus 10 % exceeds the free space, its peak memory exceeds what is
 * available, or its proof failed on every compute unit. Among the models of a tier, one that is installed comes before
 * others. The floor ignores space and memory, because some model must run.
 *
 * @param manifest the parsed `manifest.json`, from `parseJson`
 * @param policy a parsed policy, which can only revoke files; null without one
 * @param facts the facts about the device
 * @param state what the client knows of this device
 * @param now seconds since 1970
 * @throws UnusableManifestError another major version, an unknown critical feature, or no usable floor
 * @throws UnusablePolicyError another major version, an unknown critical feature, or no policy
 */
export function resolve(manifest, policy, facts, state, now) {
    const { tiers, models, floors } = usable(manifest);
    return new Resolver(models, floors, revokedFiles(policy), plausible(facts), state, now).resolve(tiers);
}
/** The digests that a policy revokes; none without a policy. Throws `UnusablePolicyError`. */
export function revokedFiles(policy) {
    if (policy === null || policy === undefined)
        return new Set();
    const version = member(policy, "policy_version");
    if (typeof version !== "string")
        throw new UnusablePolicyError("this is not a policy: it has no policy_version");
    if (version.split(".")[0] !== SUPPORTED_MAJOR) {
        throw new UnusablePolicyError(`the policy version "${version.slice(0, SHOWN)}" is not ${SUPPORTED_MAJOR}.x`);
    }
    const fault = criticalFault(policy, "policy", []);
    if (fault)
        throw new UnusablePolicyError(fault);
    const listed = member(policy, "revoked");
    const entries = listed === undefined ? [] : listed;
    if (!Array.isArray(entries) || !entries.every((entry) => typeof member(entry, "sha256") === "string")) {
        throw new UnusablePolicyError("the policy's list of revoked files is unreadable");
    }
    return new Set(entries.map((entry) => member(entry, "sha256")));
}
function usable(manifest) {
    const version = member(manifest, "manifest_version");
    if (typeof version !== "string") {
        throw new UnusableManifestError("this is not a manifest: it has no manifest_version");
    }
    if (version.split(".")[0] !== SUPPORTED_MAJOR) {
        throw new UnusableManifestError(`the manifest version "${version.slice(0, SHOWN)}" is not ${SUPPORTED_MAJOR}.x; update the app`);
    }
    const fault = criticalFault(manifest, "manifest", SUPPORTED_CRITICAL);
    if (fault)
        throw new UnusableManifestError(fault);
    const [tiers, models, floors] = ["tiers", "models", "floors"].map((key) => member(manifest, key));
    if (!Array.isArray(tiers) || !isObject(models)) {
        throw new UnusableManifestError("this is not a manifest: it has no tiers or no models");
    }
    return { tiers, models, floors: Array.isArray(floors) ? floors : [] };
}
/** Why the list of critical features cannot be met; "" if it can. */
function criticalFault(file, name, supported) {
    const critical = member(file, "critical");
    if (critical === undefined)
        return "";
    if (!Array.isArray(critical))
        return `the ${name}'s list of critical features is unreadable; update the app`;
    const unknown = critical.filter((feature) => !supported.includes(feature));
    if (unknown.length === 0)
        return "";
    const names = unknown.map((feature) => (typeof feature === "string" ? feature : `(${typeof feature})`));
    return `the ${name} needs the unknown features ${names.join(", ").slice(0, SHOWN)}; update the app`;
}
function asTier(value) {
    const [id, platform, rank] = [member(value, "id"), member(value, "platform"), integer(member(value, "rank"))];
    const [match, models] = [member(value, "match"), member(value, "models")];
    if (typeof id !== "string" || typeof platform !== "string" || rank === undefined)
        return undefined;
    return Array.isArray(match) && Array.isArray(models) ? { id, platform, rank, match, models } : undefined;
}
/** Undefined if the form is not that of version 1. */
function asModel(value) {
    const [files, engine, needs] = ["files", "engine", "needs"].map((key) => member(value, key));
    if (!Array.isArray(files) || files.length === 0)
        return undefined;
    const digests = files.map((file) => member(file, "sha256")).filter((digest) => typeof digest === "string");
    const sizes = files.map((file) => integer(member(file, "bytes"))).filter((size) => size !== undefined);
    const [name, min, maxTested] = ["name", "min", "max_tested"].map((key) => member(engine, key));
    const diskBytes = integer(member(needs, "disk_bytes"));
    const memoryBytes = integer(member(needs, "peak_memory_bytes"));
    if (digests.length < files.length || sizes.length < files.length || typeof name !== "string")
        return undefined;
    if (!isVersion(min) || !isVersion(maxTested))
        return undefined;
    if (diskBytes === undefined || memoryBytes === undefined)
        return undefined;
    const forwardOk = member(engine, "forward_ok") === true;
    return { files: digests, sizes, engine: name, min, maxTested, forwardOk, diskBytes, memoryBytes };
}
/** One call of `resolve`. Methods stand in the order in which they are called. */
class Resolver {
    #models;
    #floors;
    #revoked;
    #facts;
    #installed;
    #blacklist;
    #proofs;
    #reasons = [];
    constructor(models, floors, revoked, facts, state, now) {
        this.#models = models;
        this.#floors = floors;
        this.#revoked = revoked;
        this.#facts = facts;
        this.#installed = installedFiles(state);
        const stopped = blacklistEntries(state).filter((entry) => now < (entry.until ?? Infinity));
        this.#blacklist = new Set(stopped.map((entry) => entry.sha256));
        this.#proofs = proofRecords(state);
    }
    resolve(values) {
        const tiers = values.flatMap((value) => {
            const tier = asTier(value);
            if (tier)
                return [tier];
            const id = member(value, "id");
            this.#note(typeof id === "string" ? id : "", "tier_unknown", "its form is unknown to this app");
            return [];
        });
        const floor = tiers.find((tier) => tier.rank === 0);
        if (!floor)
            throw new UnusableManifestError("this is not a manifest: it has no floor (a tier of rank 0)");
        // At the same rank, a tier for the device's platform comes before one for any platform.
        const ranked = tiers
            .filter((tier) => tier.rank > 0)
            .sort((a, b) => b.rank - a.rank || Number(a.platform === "any") - Number(b.platform === "any"));
        for (const tier of ranked) {
            const met = this.#met(tier);
            const found = met === undefined ? undefined : this.#best(tier.id, tier.models, this.#facts);
            if (found)
                return this.#chosen(tier, found, "chosen", `rank ${tier.rank}: ${met ?? ""}`);
        }
        return this.#platformFloor(floor) ?? this.#floor(floor);
    }
    #note(tier, code, text, model = "") {
        this.#reasons.push({ tier, model, code, text });
    }
    /** What the device meets, for people; undefined, with the reason noted, if it does not get the tier. */
    #met(tier) {
        if (tier.platform !== "any" && !isOn(this.#facts, tier.platform)) {
            const device = this.#facts.platform || "of an unknown platform";
            this.#note(tier.id, "platform", `it is for ${tier.platform}, the device is ${device}`);
            return undefined;
        }
        let first;
        for (const selector of tier.match) {
            const fault = selectorFault(selector, this.#facts);
            if (!fault)
                return `the device meets ${plainSelector(selector)}`;
            first ??= fault;
        }
        first ??= { code: "selector_unmet", text: "it has no selector" };
        this.#note(tier.id, first.code, first.text);
        return undefined;
    }
    /** The first floor for the device's platform whose form is understood; undefined if there is none. */
    #platformFloor(floor) {
        for (const entry of this.#floors) {
            if (!isOn(this.#facts, member(entry, "platform")))
                continue;
            const [action, models] = [member(entry, "action"), member(entry, "models")];
            if (action === "cloud" || action === "off") {
                this.#note(floor.id, "floor", `the floor of ${this.#facts.platform} is ${action}`);
                return this.#withoutModel(floor, action);
            }
            if (action === "model" && Array.isArray(models))
                return this.#floor({ ...floor, models });
        }
        return undefined;
    }
    #floor(floor) {
        const unlimited = { ...this.#facts, freeDiskBytes: undefined, availableMemoryBytes: undefined };
        const found = this.#best(floor.id, floor.models, unlimited);
        if (!found) {
            this.#note(floor.id, "nothing_runs", "no model runs in this app on this device");
            return this.#withoutModel(floor, "none");
        }
        const tight = this.#needsFault(found.model, this.#facts);
        const note = tight ? `, although ${tight.text}` : "";
        return this.#chosen(floor, found, "floor", `the floor is for every device that gets no tier above it${note}`);
    }
    #withoutModel(floor, action) {
        return {
            action, tier: floor.id, rank: 0, model: null, compute_unit: null, installed: false, proven: false,
            reasons: this.#reasons,
        };
    }
    #chosen(tier, found, code, text) {
        this.#note(tier.id, code, text, found.name);
        return {
            action: "model", tier: tier.id, rank: tier.rank, model: found.name, compute_unit: found.unit,
            installed: found.installed, proven: found.proven, reasons: this.#reasons,
        };
    }
    /** The first model without a fault that is installed, else the first without a fault. */
    #best(tier, names, facts) {
        const able = [];
        for (const name of names) {
            const found = this.#candidate(name, facts);
            if ("code" in found) {
                this.#note(tier, found.code, found.text, typeof name === "string" ? name : "");
                continue;
            }
            if (found.installed) {
                const text = `${found.name} of the same tier is installed already`;
                for (const other of able)
                    this.#note(tier, "installed_preferred", text, other.name);
                return found;
            }
            able.push(found);
        }
        return able[0];
    }
    #candidate(name, facts) {
        const value = typeof name === "string" ? (member(this.#models, name) ?? null) : null;
        if (typeof name !== "string" || value === null) {
            return { code: "model_missing", text: "the manifest does not describe it" };
        }
        const model = asModel(value);
        if (!model)
            return { code: "model_unknown", text: "its form is unknown to this app" };
        const fault = this.#stopped(model) ?? this.#engineFault(model) ?? this.#needsFault(model, facts);
        if (fault)
            return fault;
        for (const unit of facts.computeUnits) {
            const proof = this.#proof(model, unit);
            if (proof && failed(proof))
                continue;
            const installed = model.files.every((digest) => this.#installed.has(digest));
            return { name, model, unit, installed, proven: proof?.result === "passed" };
        }
        return { code: "proof_failed", text: `it failed on this device on ${facts.computeUnits.join(", ")}` };
    }
    #stopped(model) {
        if (model.files.some((digest) => this.#revoked.has(digest))) {
            return { code: "revoked", text: "the policy revokes it" };
        }
        if (model.files.some((digest) => this.#blacklist.has(digest))) {
            return { code: "blacklisted", text: "the app has blacklisted it on this device" };
        }
        return undefined;
    }
    #engineFault(model) {
        const { engine, engineVersion } = this.#facts;
        if (engine !== undefined && engine !== model.engine) {
            return { code: "engine_other", text: `it is for the engine ${model.engine}, the app has ${engine}` };
        }
        if (engineVersion === undefined)
            return undefined;
        const shown = engineVersion.slice(0, SHOWN);
        if (compareVersions(engineVersion, model.min) < 0) {
            return { code: "engine_too_old", text: `it needs ${model.engine} ${model.min}, the app has ${shown}` };
        }
        if (compareVersions(engineVersion, model.maxTested) > 0 && !model.forwardOk) {
            const text = `it was tested up to ${model.engine} ${model.maxTested}, the app has ${shown}`;
            return { code: "engine_too_new", text };
        }
        return undefined;
    }
    #needsFault(model, facts) {
        const { freeDiskBytes: free, availableMemoryBytes: available } = facts;
        let disk = BigInt(model.diskBytes);
        model.files.forEach((digest, index) => {
            if (this.#installed.has(digest))
                disk -= BigInt(model.sizes[index] ?? 0);
        });
        // 10 % to spare, in integers, which numbers of JavaScript would not hold: file systems take more than the bytes of
        // a file, and a full disk breaks other things.
        if (free !== undefined && disk > 0n && disk * 11n > BigInt(free) * 10n) {
            return { code: "disk", text: `it needs ${disk} bytes of disk and 10 % to spare, ${free} are free` };
        }
        if (available !== undefined && model.memoryBytes > available) {
            return { code: "memory", text: `it needs ${model.memoryBytes} bytes of memory, ${available} are available` };
        }
        return undefined;
    }
    /** The last proof of the model on a compute unit with this engine and this system. */
    #proof(model, unit) {
        const key = {
            files: model.files, compute_unit: unit, engine: this.#facts.engine ?? null,
            engine_version: this.#facts.engineVersion ?? null, os_version: this.#facts.osVersion ?? null,
        };
        let found;
        for (const proof of this.#proofs)
            if (sameKey(proof, key))
                found = proof;
        return found;
    }
}
/** Whether the compute unit must not be tried again. */
function failed(proof) {
    return proof.result !== "passed" && (proof.result !== "started" || proof.starts >= MAX_STARTS);
}

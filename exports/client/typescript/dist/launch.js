/**
 * What an app does at launch: get the manifest, choose a model, download it, check it, prove it, run it.
 *
 * The README of the clients defines the workflow, step by step. It keeps running what ran before if anything new fails:
 * the manifest, the download, the store or the proof.
 */
import { Downloader, DownloadError } from "./download.js";
import { member, parseJson } from "./json.js";
import { filesOf, labelNames, planModel } from "./plan.js";
import { attempt, readCases } from "./prove.js";
import { plausible } from "./records.js";
import { fetchManifest, modelFiles, parseRelease, sameBytes } from "./release.js";
import { resolve, revokedFiles, UnusablePolicyError } from "./resolver.js";
import { Slots } from "./slots.js";
import { HttpSource, SourceError } from "./source.js";
import { startsOf, withProof } from "./state.js";
import { StoreError } from "./store.js";
import { TokenForm } from "./tokens.js";
/** How long a launch waits for another one, at least, in seconds. */
const LOCK_SECONDS = 60;
/** Seconds without an answer or a further byte: mobile networks pause for several when a phone changes cells. */
const DEFAULT_TIMEOUT = 20;
/** Tries that a launch has beyond one per model and compute unit: a refused manifest, no network, a full disk. */
const FALLBACKS = 4;
/** The launch cannot go on: the manifest is missing or not usable, or no model runs. */
export class LaunchError extends Error {
}
/**
 * Launches the model of this device.
 *
 * @param source the URL of the folder of the manifest, or another `Source`
 * @param store the app's store, which belongs to one family
 * @param engine the inference engine
 * @param facts the facts about the device; `browserFacts` and `nodeFacts` gather them
 * @throws LaunchError no manifest is usable, no model runs, or another launch does not end
 */
export async function launch(source, store, engine, facts, options = {}) {
    const timeout = options.timeout ?? DEFAULT_TIMEOUT;
    const from = typeof source === "string" ? new HttpSource(source, timeout) : source;
    try {
        return await store.lock(Math.max(LOCK_SECONDS, timeout), async () => {
            const work = new Work(await Slots.open(store), from, engine, facts, options, timeout);
            return work.run(options.policy ?? null);
        });
    }
    catch (error) {
        if (error instanceof StoreError)
            throw new LaunchError(error.message);
        throw error;
    }
}
/** One launch. Methods stand in the order in which they are called. */
class Work {
    #slots;
    #source;
    #engine;
    #facts;
    #timeout;
    #now;
    #progress;
    #events = [];
    #seconds = {};
    /** Models that could not be completed although they seemed complete, as the digests of their files. */
    #avoided = new Set();
    /** The last good release; null if the store has none. */
    #good = null;
    /** Whether nothing may be downloaded, because nobody answers. */
    #offline = false;
    /** Whether only models count whose files are complete in the store. */
    #completeOnly = false;
    #downloadedBytes = 0;
    constructor(slots, source, engine, facts, options, timeout) {
        this.#slots = slots;
        this.#source = source;
        this.#engine = engine;
        this.#facts = facts;
        this.#timeout = timeout;
        this.#now = options.now ?? Math.floor(Date.now() / 1000);
        this.#progress = options.progress ?? (() => undefined);
    }
    async run(policy) {
        if (this.#slots.fault)
            this.#tell("state_lost", this.#slots.fault);
        this.#remember(policy);
        let release = await this.#timed("manifest", () => this.#firstRelease());
        for (let left = this.#tries(release); left > 0; left -= 1) {
            const resolution = await this.#timed("resolve", async () => this.#resolve(release));
            if (resolution.action === "none") {
                release = this.#fallBack("nothing_runs", resolution.reasons.at(-1)?.text ?? "", release);
            }
            else if (resolution.model === null) {
                await this.#save();
                return this.#launched(resolution, null, release);
            }
            else {
                const tried = await this.#use(resolution, resolution.model, release);
                if ("running" in tried)
                    return this.#launched(resolution, tried.running, release);
                release = tried.release;
            }
        }
        throw new LaunchError(`no model runs: ${this.#events.at(-1)?.text ?? ""}`);
    }
    #tell(code, text) {
        this.#events.push({ code, text });
    }
    async #timed(step, work) {
        const start = performance.now();
        try {
            return await work();
        }
        finally {
            this.#seconds[step] = (this.#seconds[step] ?? 0) + (performance.now() - start) / 1000;
        }
    }
    /** Keeps a policy that is usable; the remembered one counts in place of any other. */
    #remember(policy) {
        let usable = null;
        for (const found of [this.#slots.state.policy, policy]) {
            try {
                revokedFiles(found);
                usable = found ?? usable;
            }
            catch (error) {
                if (!(error instanceof UnusablePolicyError))
                    throw error;
                this.#tell("policy_refused", error.message);
            }
        }
        this.#slots.state = { ...this.#slots.state, policy: usable };
    }
    /** The release that the source has, or else the last good one. */
    async #firstRelease() {
        this.#good = await this.#slots.lastGood();
        const known = this.#slots.state.release;
        let found;
        try {
            // With a model in the store nobody needs to wait.
            const attempts = this.#good ? 1 : this.#source.attempts;
            found = parseRelease(await fetchManifest(this.#source, attempts, this.#timeout));
        }
        catch (error) {
            const answered = !(error instanceof SourceError) || error.answered;
            this.#offline = this.#completeOnly = !answered;
            return this.#fallBack(answered ? "manifest_refused" : "offline", error.message, null);
        }
        if (this.#good && found.family !== this.#good.family) {
            const text = `the manifest is of the family ${found.family}, the store of ${this.#good.family}`;
            return this.#fallBack("manifest_refused", text, null);
        }
        if (found.number < known) {
            const text = `the manifest is of release ${found.number}, release ${known} was installed`;
            return this.#fallBack("older_release", text, null);
        }
        return found;
    }
    /** The last good release in place of `release`, which is of no use. Throws `LaunchError` if it is the same. */
    #fallBack(code, text, release) {
        if (!this.#good || (release && sameBytes(release.data, this.#good.data))) {
            const last = this.#events.at(-1)?.text;
            throw new LaunchError([...new Set([text, ...(last === undefined ? [] : [last])])].join("; "));
        }
        this.#tell(code, text);
        return this.#good;
    }
    /** How often a model may be tried: each on each compute unit, in each release. */
    #tries(release) {
        const models = modelFiles(release).size + (this.#good ? modelFiles(this.#good).size : 0);
        return models * plausible(this.#facts).computeUnits.length + FALLBACKS;
    }
    /** Asks the resolver, without the models that cannot be completed now. */
    #resolve(release) {
        const { state } = this.#slots;
        const models = Object.create(null);
        Object.assign(models, member(release.manifest, "models"));
        for (const [name, digests] of modelFiles(release)) {
            const incomplete = this.#completeOnly && !digests.every((digest) => state.installed.includes(digest));
            if (incomplete || this.#avoided.has(digests.join()))
                delete models[name];
        }
        const manifest = { ...release.manifest, models };
        const found = resolve(manifest, state.policy, this.#facts, state, this.#now);
        if (found.action !== "none" || !this.#completeOnly)
            return found;
        // A model that ran before, in little memory, is better than none.
        const facts = { ...this.#facts, free_disk_bytes: null, available_memory_bytes: null };
        return resolve(manifest, state.policy, facts, state, this.#now);
    }
    /** Completes, proves and runs the model, or says with which release to go on. */
    async #use(resolution, model, release) {
        let plan;
        try {
            plan = planModel(release.manifest, model);
        }
        catch (error) {
            return { release: this.#fallBack("manifest_refused", error.message, release) };
        }
        try {
            const target = await this.#slots.target(release, plan);
            const samples = target !== this.#slots.active || !resolution.proven;
            await this.#timed("files", () => this.#provide(plan, target, samples));
            const running = await this.#prove(resolution, plan, target);
            if (!running)
                return { release };
            await this.#commit(target, release);
            return { running };
        }
        catch (error) {
            const text = error.message;
            if (error instanceof DownloadError)
                return { release: this.#giveUp("download_failed", text, plan, release) };
            if (error instanceof StoreError)
                return { release: this.#giveUp("quota", text, plan, release) };
            if (error instanceof LaunchError)
                throw error;
            // Labels or samples that have the digests of the manifest and do not fit to it.
            return { release: this.#fallBack("manifest_refused", text, release) };
        }
    }
    /** Makes sure that the target has every file that is needed, whole. */
    async #provide(plan, target, samples) {
        const source = this.#offline ? null : this.#source;
        const loader = new Downloader(this.#slots.store, target, source, this.#timeout, (code, text) => this.#tell(code, text), this.#progress);
        const files = filesOf(plan, samples);
        for (const file of files) {
            try {
                await loader.provide(file, await this.#slots.elsewhere(target, file));
            }
            catch (error) {
                if (error instanceof DownloadError)
                    this.#slots.forget(file);
                throw error;
            }
            finally {
                this.#downloadedBytes += loader.downloadedBytes;
                loader.downloadedBytes = 0;
            }
        }
        await this.#slots.complete(target, files);
    }
    /** From now on only complete models count, first those of the last good release. */
    #giveUp(code, text, plan, release) {
        this.#tell(code, text);
        if (this.#completeOnly || !this.#good)
            this.#avoided.add(plan.files.map((file) => file.sha256).join());
        this.#completeOnly = true;
        return this.#good ?? release;
    }
    async #content(slot, file) {
        return this.#slots.store.read(slot, file.name);
    }
    async #labels(plan, target) {
        if (!plan.labelsFile)
            return plan.labels ?? [];
        return labelNames(parseJson(await this.#content(target, plan.labelsFile), "the file of labels"));
    }
    /** Loads the model, and runs the samples unless it passed before; null if it fails. */
    async #prove(resolution, plan, target) {
        const { proven } = resolution;
        const [facts, labels] = [plausible(this.#facts), await this.#labels(plan, target)];
        plan.decoding.check(labels);
        const computeUnit = resolution.compute_unit ?? "cpu";
        const key = {
            files: plan.files.map((file) => file.sha256), compute_unit: computeUnit, engine: facts.engine ?? null,
            engine_version: facts.engineVersion ?? null, os_version: facts.osVersion ?? null,
        };
        const starts = startsOf(this.#slots.state, key) + 1;
        let cases = [];
        if (!proven) {
            cases = await readCases(plan, (file) => this.#content(target, file), labels.length);
            await this.#record(key, "started", starts); // durable: whatever the engine does now is known to the next launch
        }
        const { result, session, fault } = await this.#timed("prove", async () => {
            const files = await Promise.all(plan.files.map(async (file) => ({ name: file.name, data: await this.#content(target, file) })));
            return attempt(this.#engine, files, computeUnit, cases, labels.length);
        });
        if (!session) {
            await this.#record(key, result, starts);
            this.#tell("proof_failed", `${plan.model} on ${computeUnit}: ${fault}`);
            return null;
        }
        if (!proven)
            this.#slots.state = withProof(this.#slots.state, key, result, starts);
        const { form, decoding } = plan;
        const tokenizer = plan.tokenizer ? await this.#content(target, plan.tokenizer) : null;
        const logits = async (given) => session.run(prepared(form, given));
        const answer = async (given) => decoding.answer(await logits(given), labels);
        const proof = proven ? "remembered" : "passed";
        return { session, labels, form, decoding, tokenizer, computeUnit, proof, answer, logits };
    }
    async #record(key, result, starts) {
        this.#slots.state = withProof(this.#slots.state, key, result, starts);
        await this.#slots.save();
    }
    async #commit(target, release) {
        if (target !== this.#slots.active) {
            await this.#slots.switchTo(target, release);
            this.#tell("switched", `slot ${target} with release ${release.number} is active`);
        }
        await this.#save();
    }
    /** Stores the record; if that fails, the model still runs, and the next launch does the work again. */
    async #save() {
        try {
            await this.#slots.save();
        }
        catch (error) {
            if (!(error instanceof StoreError))
                throw error;
            this.#tell("quota", error.message);
        }
    }
    #launched(resolution, running, release) {
        return {
            resolution, running, slot: this.#slots.active, release: release.number, manifest: release.manifest,
            events: this.#events, downloadedBytes: this.#downloadedBytes, seconds: this.#seconds,
        };
    }
}
/** The input for what the app gives. */
function prepared(form, given) {
    if (form instanceof TokenForm) {
        if ("width" in given)
            throw new Error("the model takes the tokens of a text, not an image");
        return form.prepare(given);
    }
    if (!("width" in given))
        throw new Error("the model takes an image: { width, height, data }");
    return form.prepare(given);
}

/**
 * What an app does at launch: get the manifest, choose a model, download it, check it, prove it, run it.
 *
 * The README of the clients defines the workflow, step by step. It keeps running what ran before if anything new fails:
 * the manifest, the download, the store or the proof.
 */

import type { Answer, Decoding } from "./decoding.ts";
import { Downloader, DownloadError, type Progress } from "./download.ts";
import type { Engine, Session, Tensor } from "./engine.ts";
import type { InputForm } from "./inputs.ts";
import { member, parseJson, type Json } from "./json.ts";
import { filesOf, labelNames, planModel, type NeededFile, type Plan } from "./plan.ts";
import type { Image } from "./preprocess.ts";
import { attempt, readCases, type Case } from "./prove.ts";
import { plausible, type DeviceFacts, type ProofKey, type ProofResult, type Resolution } from "./records.ts";
import { fetchManifest, modelFiles, parseRelease, sameBytes, type Release } from "./release.ts";
import { resolve, revokedFiles, UnusablePolicyError } from "./resolver.ts";
import { Slots } from "./slots.ts";
import { HttpSource, SourceError, type Source } from "./source.ts";
import { startsOf, withProof } from "./state.ts";
import { StoreError, type Slot, type Store } from "./store.ts";
import { TokenForm } from "./tokens.ts";

/** How long a launch waits for another one, at least, in seconds. */
const LOCK_SECONDS = 60;
/** Seconds without an answer or a further byte: mobile networks pause for several when a phone changes cells. */
const DEFAULT_TIMEOUT = 20;
/** Tries that a launch has beyond one per model and compute unit: a refused manifest, no network, a full disk. */
const FALLBACKS = 4;

/** The launch cannot go on: the manifest is missing or not usable, or no model runs. */
export class LaunchError extends Error {}

/** Something that happened; the codes are a part of the contract, the texts are for people. */
export interface LaunchEvent {
  readonly code: string;
  readonly text: string;
}

/** What a model takes: an image of any size, or the tokens of a text, which the app's tokenizer returned. */
export type Given = Image | ArrayLike<number>;

/** A model that is ready. */
export interface Running {
  readonly session: Session;
  /** The names of the classes, labels or values, in the order of the outputs. */
  readonly labels: readonly string[];
  /** How pixels or tokens become its input. */
  readonly form: InputForm | TokenForm;
  /** What its outputs mean. */
  readonly decoding: Decoding;
  /** The file of the tokenizer, for the app's own tokenizer (`tokenizer.json`); null if the model takes images. */
  readonly tokenizer: Uint8Array | null;
  readonly computeUnit: string;
  /** Whether it passed the proof in this launch, or in an earlier one. */
  readonly proof: "passed" | "remembered";
  /** What the model says, in the words and units of the data. */
  answer(given: Given): Promise<Answer>;
  /** The outputs as the model returns them. */
  logits(given: Given): Promise<Float32Array>;
}

/** How a launch ended. */
export interface Launched {
  readonly resolution: Resolution;
  /** The model; null if the action is `cloud` or `off`. */
  readonly running: Running | null;
  /** The active slot. */
  readonly slot: Slot | null;
  /** The release of the manifest in use, and the manifest. */
  readonly release: number;
  readonly manifest: Json;
  readonly events: readonly LaunchEvent[];
  /** The bytes of all files that came from the source, used or not. */
  readonly downloadedBytes: number;
  /** How many seconds each step took. */
  readonly seconds: Readonly<Record<string, number>>;
}

export interface LaunchOptions {
  /** A parsed policy; by default the last usable one. */
  readonly policy?: unknown;
  /** Seconds since 1970; by default the clock. */
  readonly now?: number;
  /** The longest wait, in seconds, for an answer or a further byte. */
  readonly timeout?: number;
  /** Is called while files arrive. */
  readonly progress?: Progress;
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
export async function launch(
  source: string | Source, store: Store, engine: Engine, facts: DeviceFacts, options: LaunchOptions = {},
): Promise<Launched> {
  const timeout = options.timeout ?? DEFAULT_TIMEOUT;
  const from = typeof source === "string" ? new HttpSource(source, timeout) : source;
  try {
    return await store.lock(Math.max(LOCK_SECONDS, timeout), async () => {
      const work = new Work(await Slots.open(store), from, engine, facts, options, timeout);
      return work.run(options.policy ?? null);
    });
  } catch (error) {
    if (error instanceof StoreError) throw new LaunchError(error.message);
    throw error;
  }
}

/** The outcome of one try: the model, or the release to go on with. */
type Tried = { readonly running: Running } | { readonly release: Release };

/** One launch. Methods stand in the order in which they are called. */
class Work {
  readonly #slots: Slots;
  readonly #source: Source;
  readonly #engine: Engine;
  readonly #facts: DeviceFacts;
  readonly #timeout: number;
  readonly #now: number;
  readonly #progress: Progress;
  readonly #events: LaunchEvent[] = [];
  readonly #seconds: Record<string, number> = {};
  /** Models that could not be completed although they seemed complete, as the digests of their files. */
  readonly #avoided = new Set<string>();
  /** The last good release; null if the store has none. */
  #good: Release | null = null;
  /** Whether nothing may be downloaded, because nobody answers. */
  #offline = false;
  /** Whether only models count whose files are complete in the store. */
  #completeOnly = false;
  #downloadedBytes = 0;

  constructor(
    slots: Slots, source: Source, engine: Engine, facts: DeviceFacts, options: LaunchOptions, timeout: number,
  ) {
    this.#slots = slots;
    this.#source = source;
    this.#engine = engine;
    this.#facts = facts;
    this.#timeout = timeout;
    this.#now = options.now ?? Math.floor(Date.now() / 1000);
    this.#progress = options.progress ?? (() => undefined);
  }

  async run(policy: unknown): Promise<Launched> {
    if (this.#slots.fault) this.#tell("state_lost", this.#slots.fault);
    this.#remember(policy);
    let release = await this.#timed("manifest", () => this.#firstRelease());
    for (let left = this.#tries(release); left > 0; left -= 1) {
      const resolution = await this.#timed("resolve", async () => this.#resolve(release));
      if (resolution.action === "none") {
        release = this.#fallBack("nothing_runs", resolution.reasons.at(-1)?.text ?? "", release);
      } else if (resolution.model === null) {
        await this.#save();
        return this.#launched(resolution, null, release);
      } else {
        const tried = await this.#use(resolution, resolution.model, release);
        if ("running" in tried) return this.#launched(resolution, tried.running, release);
        release = tried.release;
      }
    }
    throw new LaunchError(`no model runs: ${this.#events.at(-1)?.text ?? ""}`);
  }

  #tell(code: string, text: string): void {
    this.#events.push({ code, text });
  }

  async #timed<T>(step: string, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.#seconds[step] = (this.#seconds[step] ?? 0) + (performance.now() - start) / 1000;
    }
  }

  /** Keeps a policy that is usable; the remembered one counts in place of any other. */
  #remember(policy: unknown): void {
    let usable: Json = null;
    for (const found of [this.#slots.state.policy, policy as Json]) {
      try {
        revokedFiles(found);
        usable = found ?? usable;
      } catch (error) {
        if (!(error instanceof UnusablePolicyError)) throw error;
        this.#tell("policy_refused", error.message);
      }
    }
    this.#slots.state = { ...this.#slots.state, policy: usable };
  }

  /** The release that the source has, or else the last good one. */
  async #firstRelease(): Promise<Release> {
    this.#good = await this.#slots.lastGood();
    const known = this.#slots.state.release;
    let found: Release;
    try {
      // With a model in the store nobody needs to wait.
      const attempts = this.#good ? 1 : this.#source.attempts;
      found = parseRelease(await fetchManifest(this.#source, attempts, this.#timeout));
    } catch (error) {
      const answered = !(error instanceof SourceError) || error.answered;
      this.#offline = this.#completeOnly = !answered;
      return this.#fallBack(answered ? "manifest_refused" : "offline", (error as Error).message, null);
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
  #fallBack(code: string, text: string, release: Release | null): Release {
    if (!this.#good || (release && sameBytes(release.data, this.#good.data))) {
      const last = this.#events.at(-1)?.text;
      throw new LaunchError([...new Set([text, ...(last === undefined ? [] : [last])])].join("; "));
    }
    this.#tell(code, text);
    return this.#good;
  }

  /** How often a model may be tried: each on each compute unit, in each release. */
  #tries(release: Release): number {
    const models = modelFiles(release).size + (this.#good ? modelFiles(this.#good).size : 0);
    return models * plausible(this.#facts).computeUnits.length + FALLBACKS;
  }

  /** Asks the resolver, without the models that cannot be completed now. */
  #resolve(release: Release): Resolution {
    const { state } = this.#slots;
    const models = Object.create(null) as Record<string, Json>;
    Object.assign(models, member(release.manifest, "models"));
    for (const [name, digests] of modelFiles(release)) {
      const incomplete = this.#completeOnly && !digests.every((digest) => state.installed.includes(digest));
      if (incomplete || this.#avoided.has(digests.join())) delete models[name];
    }
    const manifest = { ...release.manifest, models };
    const found = resolve(manifest, state.policy, this.#facts, state, this.#now);
    if (found.action !== "none" || !this.#completeOnly) return found;
    // A model that ran before, in little memory, is better than none.
    const facts = { ...this.#facts, free_disk_bytes: null, available_memory_bytes: null };
    return resolve(manifest, state.policy, facts, state, this.#now);
  }

  /** Completes, proves and runs the model, or says with which release to go on. */
  async #use(resolution: Resolution, model: string, release: Release): Promise<Tried> {
    let plan: Plan;
    try {
      plan = planModel(release.manifest, model);
    } catch (error) {
      return { release: this.#fallBack("manifest_refused", (error as Error).message, release) };
    }
    try {
      const target = await this.#slots.target(release, plan);
      const samples = target !== this.#slots.active || !resolution.proven;
      await this.#timed("files", () => this.#provide(plan, target, samples));
      const running = await this.#prove(resolution, plan, target);
      if (!running) return { release };
      await this.#commit(target, release);
      return { running };
    } catch (error) {
      const text = (error as Error).message;
      if (error instanceof DownloadError) return { release: this.#giveUp("download_failed", text, plan, release) };
      if (error instanceof StoreError) return { release: this.#giveUp("quota", text, plan, release) };
      if (error instanceof LaunchError) throw error;
      // Labels or samples that have the digests of the manifest and do not fit to it.
      return { release: this.#fallBack("manifest_refused", text, release) };
    }
  }

  /** Makes sure that the target has every file that is needed, whole. */
  async #provide(plan: Plan, target: Slot, samples: boolean): Promise<void> {
    const source = this.#offline ? null : this.#source;
    const loader = new Downloader(
      this.#slots.store, target, source, this.#timeout, (code, text) => this.#tell(code, text), this.#progress,
    );
    const files = filesOf(plan, samples);
    for (const file of files) {
      try {
        await loader.provide(file, await this.#slots.elsewhere(target, file));
      } catch (error) {
        if (error instanceof DownloadError) this.#slots.forget(file);
        throw error;
      } finally {
        this.#downloadedBytes += loader.downloadedBytes;
        loader.downloadedBytes = 0;
      }
    }
    await this.#slots.complete(target, files);
  }

  /** From now on only complete models count, first those of the last good release. */
  #giveUp(code: string, text: string, plan: Plan, release: Release): Release {
    this.#tell(code, text);
    if (this.#completeOnly || !this.#good) this.#avoided.add(plan.files.map((file) => file.sha256).join());
    this.#completeOnly = true;
    return this.#good ?? release;
  }

  async #content(slot: Slot, file: NeededFile): Promise<Uint8Array> {
    return this.#slots.store.read(slot, file.name);
  }

  async #labels(plan: Plan, target: Slot): Promise<readonly string[]> {
    if (!plan.labelsFile) return plan.labels ?? [];
    return labelNames(parseJson(await this.#content(target, plan.labelsFile), "the file of labels"));
  }

  /** Loads the model, and runs the samples unless it passed before; null if it fails. */
  async #prove(resolution: Resolution, plan: Plan, target: Slot): Promise<Running | null> {
    const { proven } = resolution;
    const [facts, labels] = [plausible(this.#facts), await this.#labels(plan, target)];
    plan.decoding.check(labels);
    const computeUnit = resolution.compute_unit ?? "cpu";
    const key: ProofKey = {
      files: plan.files.map((file) => file.sha256), compute_unit: computeUnit, engine: facts.engine ?? null,
      engine_version: facts.engineVersion ?? null, os_version: facts.osVersion ?? null,
    };
    const starts = startsOf(this.#slots.state, key) + 1;
    let cases: readonly Case[] = [];
    if (!proven) {
      cases = await readCases(plan, (file) => this.#content(target, file), labels.length);
      await this.#record(key, "started", starts); // durable: whatever the engine does now is known to the next launch
    }
    const { result, session, fault } = await this.#timed("prove", async () => {
      const files = await Promise.all(
        plan.files.map(async (file) => ({ name: file.name, data: await this.#content(target, file) })),
      );
      return attempt(this.#engine, files, computeUnit, cases, labels.length);
    });
    if (!session) {
      await this.#record(key, result, starts);
      this.#tell("proof_failed", `${plan.model} on ${computeUnit}: ${fault}`);
      return null;
    }
    if (!proven) this.#slots.state = withProof(this.#slots.state, key, result, starts);
    const { form, decoding } = plan;
    const tokenizer = plan.tokenizer ? await this.#content(target, plan.tokenizer) : null;
    const logits = async (given: Given): Promise<Float32Array> => session.run(prepared(form, given));
    const answer = async (given: Given): Promise<Answer> => decoding.answer(await logits(given), labels);
    const proof = proven ? "remembered" : "passed";
    return { session, labels, form, decoding, tokenizer, computeUnit, proof, answer, logits };
  }

  async #record(key: ProofKey, result: ProofResult, starts: number): Promise<void> {
    this.#slots.state = withProof(this.#slots.state, key, result, starts);
    await this.#slots.save();
  }

  async #commit(target: Slot, release: Release): Promise<void> {
    if (target !== this.#slots.active) {
      await this.#slots.switchTo(target, release);
      this.#tell("switched", `slot ${target} with release ${release.number} is active`);
    }
    await this.#save();
  }

  /** Stores the record; if that fails, the model still runs, and the next launch does the work again. */
  async #save(): Promise<void> {
    try {
      await this.#slots.save();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#tell("quota", error.message);
    }
  }

  #launched(resolution: Resolution, running: Running | null, release: Release): Launched {
    return {
      resolution, running, slot: this.#slots.active, release: release.number, manifest: release.manifest,
      events: this.#events, downloadedBytes: this.#downloadedBytes, seconds: this.#seconds,
    };
  }
}

/** The input for what the app gives. */
function prepared(form: InputForm | TokenForm, given: Given): Tensor {
  if (form instanceof TokenForm) {
    if ("width" in given) throw new Error("the model takes the tokens of a text, not an image");
    return form.prepare(given);
  }
  if (!("width" in given)) throw new Error("the model takes an image: { width, height, data }");
  return form.prepare(given);
}

// The page: gathers facts, launches the model of this device, and classifies what a person draws or drops.

import { browserFacts, IndexedDbStore, launch, OnnxRuntimeEngine, PROBE_ID, resize, resolve } from "./client/index.js";
import { Drawing } from "./drawing.mjs";
import { addPlatforms, describeFacts, factsOfTier, fillFields, makeFields, readFields } from "./device.mjs";
import * as ort from "./ort/ort.wasm.min.mjs";
import { onPictures, readPicture, showImage } from "./picture.mjs";
import {
  byId, bytes, element, percent, seconds, showClasses, showList, showReasons, showTerms, showValues,
} from "./view.mjs";

/** The longest wait for the policy; the launch then follows the last one. */
const POLICY_MILLISECONDS = 10_000;
/** More threads than this make networks of a few megabytes slower. */
const MAX_THREADS = 4;
const FAMILY = new URL("family", location.href).href;
const PRETENDED = "What this page pretends to be. Reload it to return to this browser's own device.";
const WORDS = { manifest: "manifest", resolve: "choice", files: "files", prove: "load and proof" };

const NOT_OFFLINE = " This browser does not let it work offline here.";

/** What the tests and the benchmark read. */
const measured = (window.measured = { ready: null, firstInference: null, launched: null, error: null });
const policy = document.querySelector('meta[name="policy"]') ? fetchPolicy() : Promise.resolve(null);
let running = null;
let manifest = null;
let pretendedFacts = null;

function startEngine() {
  const threads = self.crossOriginIsolated ? Math.min(MAX_THREADS, navigator.hardwareConcurrency ?? 1) : 1;
  const at = (name) => new URL(`ort/${name}`, location.href).href;
  Object.assign(ort.env.wasm, {
    numThreads: threads,
    wasmPaths: { mjs: at("ort-wasm-simd-threaded.mjs"), wasm: at("ort-wasm-simd-threaded.wasm") },
  });
  return { engine: new OnnxRuntimeEngine(ort), threads };
}

async function fetchPolicy() {
  const signal = AbortSignal.timeout(POLICY_MILLISECONDS);
  let text;
  try {
    text = await (await fetch("policy.json", { cache: "no-store", signal })).text();
  } catch {
    return null; // offline, or no answer: the launch remembers the last one
  }
  try {
    return JSON.parse(text);
  } catch {
    return text; // the launch refuses it, and says so
  }
}

async function start(given = {}, storeName = location.pathname, begun = performance.now()) {
  byId("problem").hidden = true;
  byId("retry").onclick = () => start(given, storeName);
  byId("clear").onclick = async () => {
    await new IndexedDbStore(storeName).clear().catch(() => undefined);
    await start(given, storeName);
  };
  say("Asking this browser about the device …");
  let waiting;
  try {
    const { engine, threads } = startEngine();
    const facts = await browserFacts(engine, given);
    if (given === pretendedFacts) byId("whose").textContent = PRETENDED;
    showTerms(byId("facts"), describeFacts(facts, given === pretendedFacts));
    say("Choosing a model …");
    waiting = setTimeout(() => say("Another tab is launching; this one waits for it …"), 1500);
    const found = await launch(FAMILY, new IndexedDbStore(storeName), engine, facts, {
      policy: await policy,
      progress: (name, done, total) => {
        clearTimeout(waiting);
        showProgress(name, done, total);
      },
    });
    clearTimeout(waiting);
    await ready(found, threads, begun);
  } catch (error) {
    clearTimeout(waiting);
    fail(error);
  }
}

function showProgress(name, done, total) {
  const bar = byId("progress");
  bar.hidden = false;
  bar.value = done / total;
  say(`Downloading ${name}: ${bytes(done)} of ${bytes(total)}`);
}

async function ready(found, threads, begun) {
  await running?.session.release().catch(() => undefined);
  running = found.running;
  manifest = found.manifest;
  measured.ready = performance.now() / 1000;
  byId("progress").hidden = true;
  showFamily(found);
  showReasons(byId("why"), found.resolution.reasons);
  byId("decision").textContent = found.resolution.reasons.at(-1)?.text ?? "";
  const steps = Object.entries(found.seconds);
  showList(byId("steps"), steps.map(([step, time]) => `${WORDS[step] ?? step}: ${seconds(time)}`));
  showList(byId("events"), found.events.map((event) => `${event.text} (${event.code})`));
  if (!running) {
    const where = found.resolution.action === "cloud" ? "a server answers for this device" : "this device goes without";
    say(`No model runs here: ${where}.`, true);
    byId("answer").textContent = "There is no model on this device.";
    showTerms(byId("result"), []);
  } else {
    // The first inference is part of what a person waits for.
    const start = performance.now();
    await running.session.run(running.form.zeros());
    measured.firstInference = performance.now() / 1000;
    showModel(found, threads, performance.now() - start);
    const { tier, model } = found.resolution;
    say(`Ready after ${seconds(measured.firstInference - begun / 1000)}: tier ${tier}, model ${model}.`, true);
    byId("answer").textContent = "Draw something, or choose a picture.";
    await showSamples();
  }
  measured.launched = { ...summary(found), threads };
}

function showFamily(found) {
  const { family_id: name, task, models, tiers } = found.manifest;
  document.title = `${name}: which model does this device get?`;
  const counts = `${Object.keys(models).length} models for ${tiers.length} tiers`;
  byId("family").textContent = `Family ${name}, release ${found.release}: ${counts}.`;
  const labels = running?.labels ?? task.labels;
  addPlatforms(found.manifest.tiers.map((tier) => tier.platform));
  byId("draw-part").hidden = !labels.every((label) => /^[0-9]$/.test(label));
  const preset = byId("preset");
  preset.replaceChildren(element("option", "Nothing reported", { value: "" }), ...tiers
    .filter((tier) => tier.rank > 0)
    .map((tier) => element("option", `${tier.platform}: ${tier.id}`, { value: tier.id })));
}

function showModel(found, threads, milliseconds) {
  const { resolution, slot } = found;
  const { files, precision, quality } = found.manifest.models[resolution.model];
  const size = bytes(files.reduce((sum, file) => sum + file.bytes, 0));
  const time = seconds(milliseconds / 1000);
  showTerms(byId("result"), [
    ["Tier", `${resolution.tier}, rank ${resolution.rank}`],
    ["Model", `${resolution.model}, ${precision ?? "fp32"}, ${size}`],
    [quality.metric === "top1_accuracy" ? "Accuracy" : quality.metric, `${percent(quality.value_ppm / 1e6)} on ${quality.images} test images (${quality.basis})`],
    ["Runs on", `${running.computeUnit}, ${threads} thread${threads === 1 ? "" : "s"}, one picture in ${time}`],
    ["Proof", running.proof === "passed" ? "passed now, on this device" : "passed earlier, on this device"],
    ["Downloaded", found.downloadedBytes > 0 ? bytes(found.downloadedBytes) : "nothing; it was stored already"],
    ["Stored in", `slot ${slot}`],
  ]);
}

async function showSamples() {
  const { samples } = manifest;
  const images = samples && (samples.kind ?? "images") === "images" ? samples.inputs : [];
  byId("samples").hidden = images.length === 0;
  byId("sample-list").replaceChildren(
    ...images.map((file, index) => {
      const button = element("button", "", { type: "button", "aria-label": `Sample ${index + 1}` });
      button.append(element("img", "", { src: `family/${file.name}`, alt: "", loading: "lazy" }));
      button.onclick = async () => {
        const answer = await fetch(`family/${file.name}`).catch(() => null);
        if (answer?.ok) await takePicture(await answer.blob());
        else byId("answer").textContent = "This sample is not stored; it needs the network.";
      };
      return button;
    }),
  );
}

/** What a person can do to see the model work. */
function prompt({ tokenizer }) {
  return tokenizer ? "The model takes texts, which this page cannot give it." : "Draw something, or choose a picture.";
}

async function classify(image) {
  if (!running || !image || running.tokenizer) {
    showList(byId("classes"), []);
    byId("seen").hidden = true;
    if (running) byId("answer").textContent = prompt(running);
    return;
  }
  try {
    const start = performance.now();
    const { labels, probabilities, values } = await running.answer(image);
    const time = seconds((performance.now() - start) / 1000);
    if (values.length > 0) {
      byId("answer").textContent = `${running.labels[0]}: ${number(values[0])}, in ${time}`;
      showValues(byId("classes"), running.labels, values.map(number));
    } else {
      const named = labels.map((name) => `${name} (${percent(probabilities[running.labels.indexOf(name)])})`);
      byId("answer").textContent = `${named.join(", ") || "No label applies"}, in ${time}`;
      showClasses(byId("classes"), running.labels, probabilities);
    }
    const { baseHeight, baseWidth, height, width } = running.form;
    showImage(byId("seen-canvas"), resize(resize(image, baseHeight, baseWidth, true), height, width));
    byId("seen").hidden = false;
  } catch (error) {
    byId("answer").textContent = `The model failed: ${error.message}`;
  }
}

/** A number with as many digits as people read. */
function number(value) {
  return String(Number(value.toPrecision(5)));
}

async function takePicture(blob) {
  try {
    await classify(await readPicture(blob));
  } catch (error) {
    byId("answer").textContent = error.message;
  }
}

async function pretend(event) {
  event.preventDefault();
  pretendedFacts = readFields(PROBE_ID);
  byId("run-pretended").disabled = true;
  if (!manifest) {
    byId("pretended").textContent = "The manifest is not there yet.";
    return;
  }
  const found = resolve(manifest, await usablePolicy(), pretendedFacts, {}, Math.floor(Date.now() / 1000));
  const without = { cloud: "a server answers", off: "it goes without", none: "no model runs" };
  const model = found.model ? `model ${found.model}` : without[found.action];
  byId("pretended").textContent = `Tier ${found.tier}, rank ${found.rank}: ${model}.`;
  byId("run-pretended").disabled = found.model === null;
  showReasons(byId("pretended-why"), found.reasons);
}

/** The policy that a launch would follow; null without one, or if the launch would refuse it. */
async function usablePolicy() {
  const given = await policy;
  try {
    resolve(manifest, given, {}, {}, 0);
    return given;
  } catch {
    return null;
  }
}

function say(text, isReady = false) {
  const place = byId("status");
  if (place.textContent !== text) place.textContent = text;
  place.classList.toggle("ready", isReady);
}

/** Says what went wrong, and what a person can do. */
function fail(error) {
  measured.error = String(error?.message ?? error);
  byId("progress").hidden = true;
  byId("problem").hidden = false;
  byId("problem-text").textContent = `${measured.error}. Check the connection and the free space, then try again.`;
  say("The launch did not succeed.");
}

function summary(found) {
  const { resolution } = found;
  return {
    tier: resolution.tier, model: resolution.model, slot: found.slot, release: found.release,
    downloaded: found.downloadedBytes, proof: found.running?.proof ?? null,
    events: found.events.map((event) => event.code), unit: found.running?.computeUnit ?? null,
    seconds: found.seconds,
  };
}

makeFields(byId("fields"));
fillFields({ platform: "web" });
byId("preset").onchange = () => {
  const tier = manifest?.tiers.find((found) => found.id === byId("preset").value);
  fillFields(tier ? factsOfTier(tier) : { platform: "web" });
};
byId("pretend").addEventListener("submit", (event) => void pretend(event));
byId("run-pretended").onclick = () => start(pretendedFacts, `${location.pathname}#pretended`);
const drawing = new Drawing(byId("canvas"), (image) => void classify(image));
byId("wipe").onclick = () => drawing.clear();
onPictures(byId("file"), byId("drop"), (blob) => void takePicture(blob));
if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("sw.js", { type: "classic" }).then(
    () => byId("footer").append(" After the first visit this page works offline."),
    () => byId("footer").append(NOT_OFFLINE),
  );
} else {
  byId("footer").append(NOT_OFFLINE); // for example over http from another machine
}
void start({}, location.pathname, 0);

// The page that measures: asks for work, runs files in ONNX Runtime Web, brings the times. See page_desk.py.
// Nothing but the engine runs while it is timed: the screen and the server are turned to between visits.

import * as ort from "./engine/ort.wasm.min.mjs";

const RETRY_MS = 1500;
const ALIVE_MS = 10_000;
const IDLE_MS = 1000; // without work: between rounds it is less
const PAUSE_MS = 100; // of a sustained run: how often it looks whether it is seen
const RUNS_AFTER_LOADING = 3; // the first ones of a session allocate memory
const OUTPUT_NUMBERS = 16;

const STATES = {
  ready: ["Waiting", "The command is at work. Keep this page open and in front: it goes on here by itself."],
  loading: ["Loading", "Keep this page open and in front, and leave the device alone."],
  measuring: ["Measuring", "Keep this page open and in front, and leave the device alone."],
  hidden: ["Paused", "This page is hidden. Bring it to the front: only what is seen is measured."],
  lost: ["Connection lost", "The command does not answer. Trying again; where it has ended, run it again and open the address that it prints."],
  over: ["Done", ""],
  refused: ["Not measured", ""],
  failed: ["Failed", ""],
};

const element = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Refused extends Error {}

let page = null; // the name that the server gave to this page
let timerUs = 5;
let hiddenTimes = 0; // how often the page was hidden so far

// --- the screen ---

function show(state, text) {
  const [title, usual] = STATES[state];
  element("state").textContent = title;
  element("text").textContent = text ?? usual;
  if (state === "over" || state === "refused" || state === "failed") element("bar").hidden = true;
}

function showProgress({ share, detail, left_s: left } = {}) {
  if (share === undefined) return;
  element("bar").hidden = false;
  element("share").value = share;
  element("detail").textContent = `${Math.floor(100 * share)} %${detail ? `, ${detail}` : ""}`;
  element("left").textContent = left == null ? "" : `about ${duration(left)} left`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function showFact(name, value) {
  const known = element(`fact-${name}`);
  if (known) {
    known.textContent = value;
    return;
  }
  const term = document.createElement("dt");
  term.textContent = name;
  const text = document.createElement("dd");
  text.id = `fact-${name}`;
  text.textContent = value;
  element("facts").append(term, text);
  element("about").hidden = false;
}

// --- the server ---

// Asks until there is an answer. Throws Refused where this page is not wanted.
async function ask(question, content, unreachable = () => show("lost")) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(question, { method: "POST", body: JSON.stringify(content), cache: "no-store" });
    } catch {
      unreachable();
      await sleep(RETRY_MS);
      continue;
    }
    const said = await answer.json().catch(() => ({ message: `The server answered ${answer.status}.` }));
    if (!answer.ok) throw new Refused(said.message);
    showProgress(said.progress);
    return said;
  }
}

async function bytesOf(path) {
  for (;;) {
    try {
      const answer = await fetch(path, { cache: "force-cache" });
      if (answer.ok) return await answer.arrayBuffer();
      throw new Refused((await answer.json()).message);
    } catch (error) {
      if (error instanceof Refused) throw error;
      show("lost");
      await sleep(RETRY_MS);
    }
  }
}

// --- the machine ---

// The values of a clock are multiples of its step, so the smallest difference is one step, or the time of a call.
function timerStepUs() {
  let smallest = Infinity;
  const end = performance.now() + 50;
  for (let last = performance.now(), now = last; now < end || smallest === Infinity; ) {
    now = performance.now();
    if (now > last) smallest = Math.min(smallest, now - last);
    last = now;
  }
  return rounded(smallest * 1e3);
}

async function machineFacts() {
  const agent = navigator.userAgentData;
  const more = agent ? await agent.getHighEntropyValues(["architecture", "bitness", "model"]).catch(() => ({})) : {};
  return {
    user_agent: navigator.userAgent.slice(0, 400),
    brands: (agent?.brands ?? []).map(({ brand, version }) => ({ brand, version })),
    system: agent?.platform ?? "",
    model: more.model ?? "",
    architecture: more.architecture ?? "",
    bitness: more.bitness ?? "",
    cores: navigator.hardwareConcurrency ?? null,
    memory_gib: navigator.deviceMemory ?? null,
    engine_version: ort.env.versions.web ?? ort.env.versions.common,
    isolated: globalThis.crossOriginIsolated === true,
    timer_us: timerUs,
  };
}

async function keepAwake() {
  try {
    await navigator.wakeLock.request("screen");
    showFact("Screen", "kept on");
  } catch {
    showFact("Screen", "cannot be kept on from here: set it to stay on, and connect the charger");
  }
}

async function seen() {
  while (document.hidden) {
    show("hidden");
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

// Gives the browser a turn, so that events arrive and the screen is painted; quicker than a timer.
function breathe() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

// Does `work` again until the page was seen all the time.
async function whileSeen(work) {
  for (;;) {
    await seen();
    const before = hiddenTimes;
    const found = await work();
    await breathe();
    if (hiddenTimes === before && !document.hidden) return found;
  }
}

// --- the engine ---

const kept = new Map(); // sessions by file
const inputs = new Map(); // tensors by number
let keptBytes = 0;
let keptLimit = Infinity;

async function input({ number, shape }) {
  if (!inputs.has(number)) {
    inputs.set(number, new ort.Tensor("float32", new Float32Array(await bytesOf(`input/${number}`)), shape));
  }
  return inputs.get(number);
}

async function create(bytes) {
  const options = { executionProviders: ["wasm"], executionMode: "sequential", logSeverityLevel: 4 };
  try {
    return await ort.InferenceSession.create(new Uint8Array(bytes), options);
  } catch (error) {
    if (kept.size === 0) throw error;
    keptLimit = keptBytes / 2; // the memory may be full
    await releaseAll();
    return ort.InferenceSession.create(new Uint8Array(bytes), options);
  }
}

async function releaseAll() {
  for (const { session } of kept.values()) await session.release();
  kept.clear();
  keptBytes = 0;
}

async function ready(session, tensor) {
  const entry = { session, feeds: { [session.inputNames[0]]: tensor } };
  for (let run = 0; run < RUNS_AFTER_LOADING; run++) await session.run(entry.feeds);
  return entry;
}

// Keeps a session where there is room. Those that are kept stay: files come in random order, so what a file would
// push out is as likely to come next.
async function keepOrRelease(file, entry, bytes) {
  if (kept.has(file)) return;
  if (keptBytes + bytes > keptLimit) {
    await entry.session.release();
    return;
  }
  kept.set(file, entry);
  keptBytes += bytes;
}

// Calls `use` with a loaded file; loading it is not in what `use` times.
async function withFile(job, file, use) {
  if (kept.has(file)) return use(kept.get(file));
  const bytes = await bytesOf(`model/${file}`);
  const entry = await ready(await create(bytes), await input(job.inputs[file]));
  const found = await use(entry);
  await keepOrRelease(file, entry, bytes.byteLength);
  return found;
}

// Microseconds of a run, as the mean of `count` in a row.
async function meanUs({ session, feeds }, count) {
  const start = performance.now();
  for (let run = 0; run < count; run++) await session.run(feeds);
  return ((performance.now() - start) * 1e3) / count;
}

// How many runs in a row last long enough for the timer, and the time of one. Serves as warm-up.
async function batchOf(entry, steps) {
  const least = steps * timerUs;
  let count = 1;
  let us = await meanUs(entry, count);
  while (count * us < least) {
    count = Math.min(8 * count, Math.ceil((1.25 * least) / Math.max(us, 1e-3)));
    us = await meanUs(entry, count);
  }
  return { count, us };
}

async function visitTimes(job, entry) {
  const { count, us } = await batchOf(entry, job.timer_steps);
  const [fewest, most] = job.repeats;
  const repeats = Math.min(Math.max(Math.floor(job.visit_us / (count * us)), fewest), most);
  const times = [];
  while (times.length < repeats) times.push(await meanUs(entry, count));
  return times.map(positive);
}

async function sustainedTimes(job, entry) {
  const { count } = await batchOf(entry, job.timer_steps);
  const times = [];
  const end = performance.now() + 1e3 * job.seconds;
  const before = hiddenTimes;
  for (let pause = performance.now(); performance.now() < end && hiddenTimes === before; ) {
    times.push(await meanUs(entry, count));
    if (performance.now() - pause > PAUSE_MS) {
      await breathe();
      pause = performance.now();
    }
  }
  return times.map(positive);
}

async function loadTimes(job, file) {
  const bytes = await bytesOf(`model/${file}`);
  const tensor = await input(job.inputs[file]);
  const times = [];
  for (let load = 0; load < job.loads; load++) {
    const start = performance.now();
    const session = await create(bytes);
    times.push((performance.now() - start) * 1e3);
    if (load + 1 < job.loads) {
      await session.release();
      continue;
    }
    const entry = await ready(session, tensor);
    const output = (await session.run(entry.feeds))[session.outputNames[0]];
    const first = Array.from(output.data.slice(0, OUTPUT_NUMBERS), (x) => (Number.isFinite(x) ? x : null));
    await keepOrRelease(file, entry, bytes.byteLength);
    return { times_us: times.map(positive), output: first };
  }
}

const rounded = (us) => Number(us.toFixed(3));
const positive = (us) => Math.max(rounded(us), 0.001);

// --- the work ---

const WORK = {
  load: (job, file) => loadTimes(job, file),
  visit: async (job, file) => ({ times_us: await withFile(job, file, (entry) => visitTimes(job, entry)) }),
  sustain: async (job, file) => ({ times_us: await withFile(job, file, (entry) => sustainedTimes(job, entry)) }),
};

async function doJob(job) {
  ort.env.wasm.numThreads = job.threads;
  keptLimit = Math.min(keptLimit, job.kept_bytes);
  showFact("Threads", String(job.threads));
  const state = job.kind === "load" ? "loading" : "measuring";
  show(state);
  let results = [];
  let brought = performance.now();
  for (const [place, file] of job.files.entries()) {
    try {
      results.push({ file, ...(await whileSeen(() => WORK[job.kind](job, file))) });
    } catch (error) {
      if (error instanceof Refused) throw error;
      await ask("failed", { page, job: job.job, file, message: String(error?.message ?? error).slice(0, 1000) });
      return;
    }
    if (performance.now() - brought < job.bring_ms && place + 1 < job.files.length) continue;
    const { go_on: goOn } = await ask("results", { page, job: job.job, results });
    show(state);
    await breathe();
    if (!goOn) return;
    results = [];
    brought = performance.now();
  }
}

async function workOn() {
  for (;;) {
    const idle = setTimeout(() => show("ready"), IDLE_MS);
    const job = await ask("work", { page });
    clearTimeout(idle);
    if (job.kind === "over") {
      show("over", `${job.text} This page can be closed.`);
      return;
    }
    if (job.kind === "wait") show("ready");
    else await doJob(job);
  }
}

function sayAlive() {
  const told = fetch("alive", { method: "POST", body: JSON.stringify({ page, hidden: document.hidden }) });
  told.catch(() => {}); // the next question notices it
}

async function main() {
  if (document.hidden) await seen();
  timerUs = timerStepUs();
  ort.env.wasm.wasmPaths = {
    mjs: new URL("engine/ort-wasm-simd-threaded.mjs", import.meta.url).href,
    wasm: new URL("engine/ort-wasm-simd-threaded.wasm", import.meta.url).href,
  };
  const facts = await machineFacts();
  showFact("Engine", `ONNX Runtime Web ${facts.engine_version}, WebAssembly`);
  showFact("Timer", `steps of ${facts.timer_us} µs${facts.isolated ? "" : "; threads are not available here"}`);
  const welcome = await ask("hello", facts);
  page = welcome.page;
  showFact("Measured", welcome.machine);
  show("ready");
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hiddenTimes++;
    else keepAwake();
    sayAlive();
  });
  addEventListener("pagehide", () => navigator.sendBeacon("bye", JSON.stringify({ page })));
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  keepAwake();
  const beat = setInterval(sayAlive, ALIVE_MS);
  try {
    await workOn();
  } finally {
    clearInterval(beat);
  }
}

main().catch((error) => (error instanceof Refused ? show("refused", error.message) : show("failed", String(error))));

// The page that measures: it asks for jobs, runs files in ONNX Runtime Web and reports the times. See page_coordinator.py.
// Nothing but the engine runs while it is timed: the screen and the server are served between visits.

import * as ort from "./engine/ort.wasm.min.mjs";

const RETRY_MS = 1500; // pause before another attempt to reach the server: short for a person, not a load for a phone
const HEARTBEAT_MS = 10_000; // the coordinator waits 60 s for one: a few may be lost
const IDLE_MS = 1000; // after so long without a job the page shows that it waits: between rounds it is less
const YIELD_MS = 100; // how often a sustained run yields, to notice whether the page is hidden: 1 % of its time or less
const RUNS_AFTER_LOADING = 3; // the first runs of a session allocate memory
const TIMER_SAMPLE_MS = 50; // how long to watch the timer for its step, at least until it has changed once
const FIRST_TIMER_US = 5; // step of Chromium's timer in an isolated page, until it is measured
const BATCH_GROWTH = 8; // most that a batch grows at once, as one short run says little about the next ones
const BATCH_MARGIN = 1.25; // a batch aims so much above the least duration, so that noise rarely requires another one
const SHORTEST_US = 0.001; // times are positive and have three decimals
const MESSAGE_CHARACTERS = 1000; // the server accepts no longer message
const USER_AGENT_CHARACTERS = 400; // likewise

const STATES = {
  ready: ["Waiting", "The command is working. Keep this page open and in front: it continues here by itself."],
  loading: ["Loading", "Keep this page open and in front, and leave the device alone."],
  measuring: ["Measuring", "Keep this page open and in front, and leave the device alone."],
  hidden: ["Paused", "This page is hidden. Bring it to the front: a hidden page measures nothing."],
  lost: ["Connection lost", "The command does not answer. Trying again; if it has ended, run it again and open the address that it prints."],
  finished: ["Done", ""],
  refused: ["Not measured", ""],
  failed: ["Failed", ""],
};

const element = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class PageRefused extends Error {}

let page = null; // the name that the server gave to this page
let timerUs = FIRST_TIMER_US;
let hiddenTimes = 0; // how often the page has been hidden

// --- the screen ---

function show(state, text) {
  const [title, usual] = STATES[state];
  element("state").textContent = title;
  element("text").textContent = text ?? usual;
  if (state === "finished" || state === "refused" || state === "failed") element("bar").hidden = true;
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

// Sends a request until there is an answer. Throws PageRefused if the coordinator refuses this page.
async function post(request, content, unreachable = () => show("lost")) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(request, { method: "POST", body: JSON.stringify(content), cache: "no-store" });
    } catch {
      unreachable();
      await sleep(RETRY_MS);
      continue;
    }
    const reply = await answer.json().catch(() => ({ message: `The server answered with status ${answer.status}.` }));
    if (!answer.ok) throw new PageRefused(reply.message);
    showProgress(reply.progress);
    return reply;
  }
}

async function fetchBytes(path) {
  for (;;) {
    try {
      const answer = await fetch(path, { cache: "force-cache" });
      if (answer.ok) return await answer.arrayBuffer();
      throw new PageRefused((await answer.json()).message);
    } catch (error) {
      if (error instanceof PageRefused) throw error;
      show("lost");
      await sleep(RETRY_MS);
    }
  }
}

// --- the machine ---

// Values of the timer are multiples of its step, so the smallest difference is one step, or the time of a call.
function timerStepUs() {
  let smallest = Infinity;
  const end = performance.now() + TIMER_SAMPLE_MS;
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
    user_agent: navigator.userAgent.slice(0, USER_AGENT_CHARACTERS),
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
    showFact("Screen", "cannot be kept on from here; set it to stay on, and connect the charger");
  }
}

async function untilVisible() {
  while (document.hidden) {
    show("hidden");
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

// Yields to the browser, so that events arrive and the screen is painted; faster than a timer.
function yieldToBrowser() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

// The result of `work`, which is repeated until the page was visible all the time.
async function whileVisible(work) {
  for (;;) {
    await untilVisible();
    const before = hiddenTimes;
    const found = await work();
    await yieldToBrowser();
    if (hiddenTimes === before && !document.hidden) return found;
  }
}

// --- the engine ---

const kept = new Map(); // sessions by file
const inputs = new Map(); // tensors by index
let opened = null; // the number of the files that these belong to
let keptBytes = 0;
let keptLimit = Infinity;

async function input({ number, shape }) {
  if (!inputs.has(number)) {
    const bytes = await fetchBytes(`input/${opened}/${number}`);
    inputs.set(number, new ort.Tensor("float32", new Float32Array(bytes), shape));
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

// Forgets the files of another measurement, whose indices mean other files.
async function useFiles(number) {
  if (opened === number) return;
  await releaseAll();
  inputs.clear();
  opened = number;
}

async function ready(session, tensor) {
  const entry = { session, feeds: { [session.inputNames[0]]: tensor } };
  for (let run = 0; run < RUNS_AFTER_LOADING; run++) await session.run(entry.feeds);
  return entry;
}

// Keeps a session if there is room. Sessions that are kept already stay: files come in random order, so the one that
// would be evicted is as likely to come next.
async function keepOrRelease(file, entry, bytes) {
  if (kept.has(file)) return;
  if (keptBytes + bytes > keptLimit) {
    await entry.session.release();
    return;
  }
  kept.set(file, entry);
  keptBytes += bytes;
}

// Calls `use` with a loaded file; the time of loading is not part of what `use` measures.
async function withFile(job, file, use) {
  if (kept.has(file)) return use(kept.get(file));
  const bytes = await fetchBytes(`model/${opened}/${file}`);
  const entry = await ready(await create(bytes), await input(job.inputs[file]));
  const found = await use(entry);
  await keepOrRelease(file, entry, bytes.byteLength);
  return found;
}

// Microseconds of a run, as the mean of `count` runs in a row.
async function meanUs({ session, feeds }, count) {
  const start = performance.now();
  for (let run = 0; run < count; run++) await session.run(feeds);
  return ((performance.now() - start) * 1e3) / count;
}

// How many runs in a row last long enough for the timer, and the time of one. They also warm up the session.
async function batchOf(entry, steps) {
  const least = steps * timerUs;
  let count = 1;
  let us = await meanUs(entry, count);
  while (count * us < least) {
    count = Math.min(BATCH_GROWTH * count, Math.ceil((BATCH_MARGIN * least) / Math.max(us, SHORTEST_US)));
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
    if (performance.now() - pause > YIELD_MS) {
      await yieldToBrowser();
      pause = performance.now();
    }
  }
  return times.map(positive);
}

async function loadTimes(job, file) {
  const bytes = await fetchBytes(`model/${opened}/${file}`);
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
    const first = Array.from(output.data.slice(0, job.output_numbers), (x) => (Number.isFinite(x) ? x : null));
    await keepOrRelease(file, entry, bytes.byteLength);
    return { times_us: times.map(positive), output: first };
  }
}

const rounded = (us) => Number(us.toFixed(3));
const positive = (us) => Math.max(rounded(us), SHORTEST_US);

// --- the work ---

const WORK = {
  load: (job, file) => loadTimes(job, file),
  visit: async (job, file) => ({ times_us: await withFile(job, file, (entry) => visitTimes(job, entry)) }),
  sustain: async (job, file) => ({ times_us: await withFile(job, file, (entry) => sustainedTimes(job, entry)) }),
};

async function runJob(job) {
  await useFiles(job.opened);
  ort.env.wasm.numThreads = job.threads;
  keptLimit = Math.min(keptLimit, job.kept_bytes);
  showFact("Threads", String(job.threads));
  const state = job.kind === "load" ? "loading" : "measuring";
  show(state);
  let results = [];
  let reported = performance.now();
  for (const [place, file] of job.files.entries()) {
    try {
      results.push({ file, ...(await whileVisible(() => WORK[job.kind](job, file))) });
    } catch (error) {
      if (error instanceof PageRefused) throw error;
      const message = String(error?.message ?? error).slice(0, MESSAGE_CHARACTERS);
      await post("report_failure", { page, job: job.job, file, message });
      return;
    }
    if (performance.now() - reported < job.report_ms && place + 1 < job.files.length) continue;
    const { continue: continues } = await post("add_results", { page, job: job.job, results });
    show(state);
    await yieldToBrowser();
    if (!continues) return;
    results = [];
    reported = performance.now();
  }
}

async function workLoop() {
  for (;;) {
    const idle = setTimeout(() => show("ready"), IDLE_MS);
    const job = await post("next_job", { page });
    clearTimeout(idle);
    if (job.kind === "finished") {
      show("finished", `${job.text} This page can be closed.`);
      return;
    }
    if (job.kind === "wait") show("ready");
    else await runJob(job);
  }
}

function sendHeartbeat() {
  const sent = fetch("heartbeat", { method: "POST", body: JSON.stringify({ page, hidden: document.hidden }) });
  sent.catch(() => {}); // the next request notices a lost connection
}

async function main() {
  if (document.hidden) await untilVisible();
  timerUs = timerStepUs();
  ort.env.wasm.wasmPaths = {
    mjs: new URL("engine/ort-wasm-simd-threaded.mjs", import.meta.url).href,
    wasm: new URL("engine/ort-wasm-simd-threaded.wasm", import.meta.url).href,
  };
  const facts = await machineFacts();
  showFact("Engine", `ONNX Runtime Web ${facts.engine_version}, WebAssembly`);
  showFact("Timer", `steps of ${facts.timer_us} µs${facts.isolated ? "" : "; threads are not available here"}`);
  const registered = await post("register_page", facts);
  page = registered.page;
  showFact("Measured", registered.machine);
  show("ready");
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hiddenTimes++;
    else keepAwake();
    sendHeartbeat();
  });
  addEventListener("pagehide", () => navigator.sendBeacon("unregister_page", JSON.stringify({ page })));
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  keepAwake();
  const heartbeat = setInterval(sendHeartbeat, HEARTBEAT_MS);
  try {
    await workLoop();
  } finally {
    clearInterval(heartbeat);
  }
}

main().catch((error) => (error instanceof PageRefused ? show("refused", error.message) : show("failed", String(error))));

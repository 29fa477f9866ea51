#!/usr/bin/env node
/** The command line for Node, which the README of the clients defines: a launch, and what the model says. */
var __rewriteRelativeImportExtension = (this && this.__rewriteRelativeImportExtension) || function (path, preserveJsx) {
    if (typeof path === "string" && /^\.\.?\//.test(path)) {
        return path.replace(/\.(tsx)$|((?:\.d)?)((?:\.[^./]+?)?)\.([cm]?)ts$/i, function (m, tsx, d, ext, cm) {
            return tsx ? preserveJsx ? ".jsx" : ".js" : d && (!ext || !cm) ? m : (d + ext + "." + cm.toLowerCase() + "js");
        });
    }
    return path;
};
import * as fs from "node:fs/promises";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { isObject, parseJson } from "./json.js";
import { launch } from "./launch.js";
import { FolderSource, FolderStore, nodeFacts } from "./node.js";
import { OnnxRuntimeEngine } from "./onnxruntime.js";
import { decodePng } from "./png.js";
const OPTIONS = {
    store: { type: "string" }, url: { type: "string" }, image: { type: "string" }, tokens: { type: "string" },
    facts: { type: "string" }, policy: { type: "string" }, now: { type: "string" }, timeout: { type: "string" }, help: { type: "boolean" },
};
const USAGE = "usage: launch --store DIR --url URL [--image PNG | --tokens IDS] [--facts FILE] [--policy FILE] [--now N] " +
    "[--timeout SECONDS]";
async function main() {
    const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
    const { store, url } = values;
    if (values.help)
        return line(USAGE);
    if (positionals.join() !== "launch" || store === undefined || url === undefined) {
        throw new Error(USAGE);
    }
    const engine = await onnxRuntime();
    const facts = await nodeFacts(store, engine, values.facts === undefined ? {} : await factsIn(values.facts));
    const given = await givenIn(values);
    const timeout = values.timeout === undefined ? {} : { timeout: positive(values.timeout) };
    const found = await launch(sourceOf(url), new FolderStore(store), engine, facts, {
        ...timeout, policy: values.policy === undefined ? null : await json(values.policy),
        ...(values.now === undefined ? {} : { now: positive(values.now) }),
    });
    const logits = given && found.running ? await found.running.logits(given) : null;
    for (const reason of found.resolution.reasons) {
        line(`${[reason.tier, reason.model].filter(Boolean).join(" ")}: ${reason.code}: ${reason.text}`);
    }
    for (const event of found.events)
        line(`${event.code}: ${event.text}`);
    process.stdout.write(`${JSON.stringify(summary(found, logits))}\n`);
}
/** The image or the tokens of the command line; null if there are none. */
async function givenIn(values) {
    if (values.image !== undefined && values.tokens !== undefined)
        throw new Error("give one of --image and --tokens");
    if (values.image !== undefined)
        return decodePng(await fs.readFile(values.image));
    if (values.tokens === undefined)
        return null;
    return values.tokens.split(",").filter((token) => token.trim() !== "").map(Number);
}
function sourceOf(url) {
    if (!url.includes("://"))
        return new FolderSource(url);
    if (/^https?:/.test(url))
        return url;
    throw new Error(`${url} cannot be read; give an address that starts with http:// or https://, or a folder`);
}
function summary(found, logits) {
    const { resolution, running } = found;
    const answer = logits && running ? running.decoding.answer(logits, running.labels) : null;
    return {
        action: resolution.action, tier: resolution.tier, rank: resolution.rank, model: resolution.model,
        compute_unit: running?.computeUnit ?? null, slot: found.slot, release: found.release,
        label: answer && running?.decoding.kind === "classes" ? answer.labels[0] : null,
        answer: answer && {
            labels: answer.labels, probabilities_nano: answer.probabilities.map((p) => Math.round(p * 1e9)),
            values: answer.values,
        },
        logits_micro: logits ? Array.from(logits, (logit) => Math.round(logit * 1e6)) : null,
        reasons: resolution.reasons.map((reason) => [reason.tier, reason.model, reason.code]),
        downloaded_bytes: found.downloadedBytes, proof: running?.proof ?? null,
        events: found.events.map((event) => event.code), seconds: found.seconds,
    };
}
/** ONNX Runtime Web from the folder that MODEL_FACTORY_ONNXRUNTIME_WEB names, else an installed module. */
async function onnxRuntime() {
    const folder = process.env["MODEL_FACTORY_ONNXRUNTIME_WEB"];
    const installed = ["onnxruntime-node", "onnxruntime-web"];
    const names = folder ? [pathToFileURL(path.join(folder, "ort.node.min.mjs")).href] : installed;
    for (const name of names) {
        const found = (await import(__rewriteRelativeImportExtension(name)).catch(() => null));
        if (found) {
            const ort = found.InferenceSession ? found : found.default;
            const wasm = ort.env.wasm;
            if (wasm)
                wasm.numThreads = 1; // a proof of a few samples is not worth starting workers for
            return new OnnxRuntimeEngine(ort);
        }
    }
    throw new Error("ONNX Runtime is not installed; run: npm install onnxruntime-node");
}
async function factsIn(file) {
    const value = await json(file);
    if (!isObject(value))
        throw new Error(`${file} is not a JSON object of facts`);
    return value;
}
async function json(file) {
    return parseJson(await fs.readFile(file), file);
}
function positive(text) {
    const value = Number(text);
    if (!Number.isFinite(value) || value <= 0)
        throw new Error(`${text} is not a positive number`);
    return value;
}
/** One line without control codes or marks that change the direction of text. */
function line(text) {
    process.stdout.write(`${printable(text)}\n`);
}
function printable(text) {
    const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
    return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escaped);
}
main().catch((error) => {
    process.stderr.write(`launch: ${printable(error instanceof Error ? error.message : String(error))}\n`);
    process.exitCode = 1;
});

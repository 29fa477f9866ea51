// Resolves one case per line of standard input: {"manifest": ...} sets the manifest, any other line is {policy, facts,
// state, now} and gives one line of output in the form of `expect` in vectors/resolver.json; a line that is not strict
// JSON gives the error "json". With `--time N` a case gives {"nanoseconds": [...]} instead: the times of N calls.
import { createInterface } from "node:readline";

import {
  parseJson, resolve, UnusableManifestError, UnusablePolicyError,
} from "../../../../exports/client/typescript/dist/index.js";

const rounds = process.argv[2] === "--time" ? Number(process.argv[3]) : 0;
let manifest = null;
const answers = [];
for await (const line of createInterface({ input: process.stdin })) {
  const value = read(line);
  if (value !== null && "manifest" in value) manifest = value.manifest;
  else answers.push(JSON.stringify(value === null ? { error: "json" } : rounds > 0 ? times(value) : answer(value)));
  if (answers.length >= 1000) process.stdout.write(`${answers.splice(0).join("\n")}\n`);
}
if (answers.length > 0) process.stdout.write(`${answers.join("\n")}\n`);

function read(line) {
  try {
    const value = parseJson(new TextEncoder().encode(line), "a line", 1_000_000);
    return typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function times({ policy, facts, state, now }) {
  const nanoseconds = Array.from({ length: rounds }, () => {
    const start = process.hrtime.bigint();
    resolve(manifest, policy, facts, state, now);
    return Number(process.hrtime.bigint() - start);
  });
  return { nanoseconds };
}

function answer({ policy, facts, state, now }) {
  try {
    const { reasons, ...found } = resolve(manifest, policy, facts, state, now);
    return { ...found, reasons: reasons.map((reason) => [reason.tier, reason.model, reason.code]) };
  } catch (error) {
    if (error instanceof UnusableManifestError) return { error: "manifest" };
    if (error instanceof UnusablePolicyError) return { error: "policy" };
    throw error;
  }
}

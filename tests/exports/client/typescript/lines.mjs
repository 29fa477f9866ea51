// Resolves the devices on standard input with the client in TypeScript: a line with "manifest" sets the manifest, every
// other line is a device, for which one line is printed.
import { createInterface } from "node:readline";

import { parseJson, resolve, UnusableManifestError, UnusablePolicyError } from "../../../../exports/client/typescript/dist/index.js";

let manifest = null;
const answers = [];
for await (const line of createInterface({ input: process.stdin })) {
  const value = parseJson(new TextEncoder().encode(line), "a line", 1_000_000);
  if ("manifest" in value) manifest = value.manifest;
  else answers.push(JSON.stringify(answer(value)));
  if (answers.length >= 1000) process.stdout.write(`${answers.splice(0).join("\n")}\n`);
}
if (answers.length > 0) process.stdout.write(`${answers.join("\n")}\n`);

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

/** Answers one case of `vectors/decoding.json` per line of standard input with its result. */

import * as readline from "node:readline";

import { Decoding, TokenForm } from "../../../../exports/client/typescript/dist/index.js";

for await (const line of readline.createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  let result = null;
  try {
    result = given.op === "decode" ? decoded(given) : input(given);
  } catch {
    // The client refuses it.
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function decoded({ task, labels, outputs }) {
  const decoding = new Decoding(task);
  decoding.check(labels);
  const { probabilities, values, ...answer } = decoding.answer(Float32Array.from(outputs), labels);
  return { ...answer, probabilities_nano: probabilities.map((p) => Math.round(p * 1e9)), values };
}

function input({ task, model, tokens }) {
  return Array.from(new TokenForm(task, model).prepare(tokens).data, Number);
}

/**
 * Answers one case of `vectors/preprocess.json` per line of standard input with its result. With `--time N` it answers
 * each case with the nanoseconds of N runs instead; the case then states the length of its data, `bytes`.
 */

import { createInterface } from "node:readline";
import * as client from "../../../../exports/client/typescript/dist/index.js";

const runs = process.argv[2] === "--time" ? Number(process.argv[3]) : 0;

function answer(given, data) {
  if (given.op === "orientation") return client.orientation(data);
  const [height, width] = given.size;
  if (given.op === "gray") return client.grayToRgb(data, height, width);
  if (given.op === "alpha") return client.alphaToRgb(data, height, width, given.order, given.background);
  if (given.op === "yuv") return client.yuvToRgb(data, height, width, given.layout, given.levels);
  const image = { height, width, data };
  if (given.op === "upright") return client.upright(image, given.orientation);
  if (given.op === "prepare") return prepared(given, image);
  if (given.op === "luma") return client.luma(image);
  if (given.op === "resize") return client.resize(image, ...given.to, given.antialias);
  return given.op === "crop" ? client.crop(image, ...given.to) : client.letterbox(image, ...given.to, given.colour);
}

function prepared({ preprocessing, model }, image) {
  const [height, width] = model;
  const form = new client.InputForm({ preprocessing }, { input: { height, width } });
  const { data } = form.prepare(image);
  return { height, width, data: form.channels === 1 ? client.grayToRgb(data, height, width).data : data };
}

function attempt(given, data) {
  try {
    return answer(given, data);
  } catch {
    return null;
  }
}

function result(found) {
  if (found === null || typeof found === "number") return found;
  return { size: [found.height, found.width], data: Buffer.from(found.data).toString("hex") };
}

function times(given) {
  const data = Uint8Array.from({ length: given.bytes }, (_, index) => 7 * index + Math.floor(index / 251));
  return Array.from({ length: runs }, () => {
    const start = process.hrtime.bigint();
    answer(given, data);
    return Number(process.hrtime.bigint() - start);
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  const made = runs ? times(given) : result(attempt(given, new Uint8Array(Buffer.from(given.data, "hex"))));
  process.stdout.write(`${JSON.stringify(made)}\n`);
}

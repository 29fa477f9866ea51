/** The proof that a model computes on this device what it computed where it was made. */

import {
  EngineCrashedError, EngineRefusedError, OutOfMemoryError, type Engine, type ModelFile, type Session, type Tensor,
} from "./engine.ts";
import { count } from "./fields.ts";
import { member, parseJson } from "./json.ts";
import type { NeededFile, Plan } from "./plan.ts";
import { decodePng } from "./png.ts";
import type { ProofResult } from "./records.ts";
import { TokenForm } from "./tokens.ts";

/** Values in a file of expected outputs: 8 samples of 50 models for 10,000 classes are 4 million. */
const MAX_EXPECTED_VALUES = 5_000_000;
/** What rounding has taken from the expected outputs. */
const HALF_A_MILLIONTH = 5e-7;

/** An input, and what the model must return; without `logits`, anything finite. */
export interface Case {
  readonly input: Tensor;
  readonly logits: readonly number[] | null;
  /** How much each logit may differ. */
  readonly tolerance: number;
}

export interface Attempt {
  readonly result: ProofResult;
  /** Null unless it passed. */
  readonly session: Session | null;
  /** What is wrong, for people. */
  readonly fault: string;
}

/** Loads a model and runs the cases, none for a model that passed before; what the engine throws becomes a result. */
export async function attempt(
  engine: Engine, files: readonly ModelFile[], computeUnit: string, cases: readonly Case[], classes: number,
): Promise<Attempt> {
  let session: Session | null = null;
  try {
    session = await engine.load(files, computeUnit);
    for (const each of cases) {
      const fault = faultOf(await session.run(each.input), each, classes);
      if (!fault) continue;
      await session.release();
      return { result: "wrong", session: null, fault };
    }
    return { result: "passed", session, fault: "" };
  } catch (error) {
    await session?.release().catch(() => undefined);
    const fault = (error as Error).message;
    if (error instanceof EngineRefusedError) return { result: "refused", session: null, fault };
    if (error instanceof EngineCrashedError) return { result: "crashed", session: null, fault };
    if (error instanceof OutOfMemoryError || error instanceof globalThis.RangeError) {
      return { result: "out_of_memory", session: null, fault: `there is too little memory (${fault})` };
    }
    throw error;
  }
}

/** The cases of a proof, from samples whose digests were checked. Throws if they do not fit to the manifest. */
export async function readCases(
  plan: Plan, read: (file: NeededFile) => Promise<Uint8Array>, classes: number,
): Promise<Case[]> {
  const { samples, form, model } = plan;
  if (!samples) return [{ input: form.zeros(), logits: null, tolerance: 0 }];
  const expected = parseJson(await read(samples.expected), "the file of expected outputs", MAX_EXPECTED_VALUES);
  const rows = member(member(expected, model), "logits_micro");
  const tolerance = count(member(expected, model), "tolerance_micro") / 1e6;
  if (!Array.isArray(rows) || rows.length !== samples.count || !rows.every((row) => isRow(row, classes))) {
    throw new Error(`the expected outputs do not fit to the samples of ${model}; download the family again`);
  }
  const inputs = await inputsOf(plan, read);
  return inputs.map((input, index) => ({
    input, logits: (rows[index] as number[]).map((value) => value / 1e6), tolerance,
  }));
}

async function inputsOf({ samples, form }: Plan, read: (file: NeededFile) => Promise<Uint8Array>): Promise<Tensor[]> {
  const [first] = samples?.inputs ?? [];
  if (!samples || !first) return [];
  if (samples.kind === "tensors") return form.unpack(await read(first), samples.count);
  const found: Tensor[] = [];
  if (form instanceof TokenForm) return found; // `planModel` takes no images for it
  for (const file of samples.inputs) found.push(form.prepare(await decodePng(await read(file))));
  return found;
}

function isRow(row: unknown, classes: number): boolean {
  return Array.isArray(row) && row.length === classes && row.every((value) => Number.isSafeInteger(value));
}

/** What is wrong with the outputs; "" if nothing is. */
function faultOf(logits: Float32Array, expected: Case, classes: number): string {
  if (logits.length !== classes || !logits.every(Number.isFinite)) {
    return `the model does not return a finite logit for each of the ${classes} labels`;
  }
  if (!expected.logits) return "";
  const differences = expected.logits.map((value, index) => Math.abs(value - (logits[index] as number)));
  const worst = Math.max(...differences);
  if (worst <= expected.tolerance + HALF_A_MILLIONTH) return "";
  return `a logit differs by ${worst} from that of the manifest, at most ${expected.tolerance} is allowed`;
}

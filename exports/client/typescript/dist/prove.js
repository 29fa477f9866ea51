/** The proof that a model computes on this device what it computed where it was made. */
import { EngineCrashedError, EngineRefusedError, OutOfMemoryError, } from "./engine.js";
import { count } from "./fields.js";
import { member, parseJson } from "./json.js";
import { decodePng } from "./png.js";
import { TokenForm } from "./tokens.js";
/** Values in a file of expected outputs: 8 samples of 50 models for 10,000 classes are 4 million. */
const MAX_EXPECTED_VALUES = 5_000_000;
/** What rounding has taken from the expected outputs. */
const HALF_A_MILLIONTH = 5e-7;
/** Loads a model and runs the cases, none for a model that passed before; what the engine throws becomes a result. */
export async function attempt(engine, files, computeUnit, cases, classes) {
    let session = null;
    try {
        session = await engine.load(files, computeUnit);
        for (const each of cases) {
            const fault = faultOf(await session.run(each.input), each, classes);
            if (!fault)
                continue;
            await session.release();
            return { result: "wrong", session: null, fault };
        }
        return { result: "passed", session, fault: "" };
    }
    catch (error) {
        await session?.release().catch(() => undefined);
        const fault = error.message;
        if (error instanceof EngineRefusedError)
            return { result: "refused", session: null, fault };
        if (error instanceof EngineCrashedError)
            return { result: "crashed", session: null, fault };
        if (error instanceof OutOfMemoryError || error instanceof globalThis.RangeError) {
            return { result: "out_of_memory", session: null, fault: `there is too little memory (${fault})` };
        }
        throw error;
    }
}
/** The cases of a proof, from samples whose digests were checked. Throws if they do not fit to the manifest. */
export async function readCases(plan, read, classes) {
    const { samples, form, model } = plan;
    if (!samples)
        return [{ input: form.zeros(), logits: null, tolerance: 0 }];
    const expected = parseJson(await read(samples.expected), "the file of expected outputs", MAX_EXPECTED_VALUES);
    const rows = member(member(expected, model), "logits_micro");
    const tolerance = count(member(expected, model), "tolerance_micro") / 1e6;
    if (!Array.isArray(rows) || rows.length !== samples.count || !rows.every((row) => isRow(row, classes))) {
        throw new Error(`the expected outputs do not fit to the samples of ${model}; download the family again`);
    }
    const inputs = await inputsOf(plan, read);
    return inputs.map((input, index) => ({
        input, logits: rows[index].map((value) => value / 1e6), tolerance,
    }));
}
async function inputsOf({ samples, form }, read) {
    const [first] = samples?.inputs ?? [];
    if (!samples || !first)
        return [];
    if (samples.kind === "tensors")
        return form.unpack(await read(first), samples.count);
    const found = [];
    if (form instanceof TokenForm)
        return found; // `planModel` takes no images for it
    for (const file of samples.inputs)
        found.push(form.prepare(await decodePng(await read(file))));
    return found;
}
function isRow(row, classes) {
    return Array.isArray(row) && row.length === classes && row.every((value) => Number.isSafeInteger(value));
}
/** What is wrong with the outputs; "" if nothing is. */
function faultOf(logits, expected, classes) {
    if (logits.length !== classes || !logits.every(Number.isFinite)) {
        return `the model does not return a finite logit for each of the ${classes} labels`;
    }
    if (!expected.logits)
        return "";
    const differences = expected.logits.map((value, index) => Math.abs(value - logits[index]));
    const worst = Math.max(...differences);
    if (worst <= expected.tolerance + HALF_A_MILLIONTH)
        return "";
    return `a logit differs by ${worst} from that of the manifest, at most ${expected.tolerance} is allowed`;
}

/**
 * What a launch needs of a manifest for one model: files, samples, how its input is made, and what its outputs mean.
 * Every value is checked here, before anything is downloaded or removed for it.
 */
import { Decoding } from "./decoding.js";
import { count, isString, ManifestError, needed, some } from "./fields.js";
import { InputForm } from "./inputs.js";
import { isObject, member } from "./json.js";
import { FILE_NAME, MANIFEST, MAX_NAME, PART } from "./store.js";
import { TokenForm } from "./tokens.js";
import { integer } from "./values.js";
/** No ONNX file is larger: protobuf allows 2 GiB. */
const MAX_MODEL_BYTES = 2 ** 31;
/** The largest file of labels, samples or a tokenizer: expected outputs of 50 models for 10,000 classes have 36 MB. */
const MAX_OTHER_BYTES = 2 ** 26;
/** Samples that a proof may run: a launch waits for it. */
const MAX_SAMPLES = 64;
/** Blocks of a file: more would not fit into a manifest. */
const MAX_BLOCKS = 1 << 12;
const SHA256 = /^[0-9a-f]{64}$/;
/** The plan for a model that the resolver chose. Throws if something is missing or a file name is not allowed. */
export function planModel(manifest, name) {
    const [model, task] = [member(member(manifest, "models"), name), member(manifest, "task")];
    const tokenizer = member(task, "tokenizer") ?? null;
    const form = tokenizer === null ? new InputForm(task, model) : new TokenForm(task, model);
    const listed = member(task, "labels_file");
    const plan = {
        model: name,
        files: some(model, "files").map((file) => asFile(file, MAX_MODEL_BYTES)),
        labels: listed === undefined || listed === null ? labelNames(member(task, "labels")) : null,
        labelsFile: listed === undefined || listed === null ? null : asFile(listed, MAX_OTHER_BYTES),
        tokenizer: tokenizer === null ? null : asFile(member(tokenizer, "file"), MAX_OTHER_BYTES),
        samples: asSamples(member(manifest, "samples"), form),
        form,
        decoding: new Decoding(task),
    };
    const files = allFiles(plan);
    const contents = new Set(files.map((file) => `${file.name} ${file.sha256} ${file.size}`));
    if (new Set(files.map((file) => file.name)).size < contents.size) {
        throw new Error("the manifest gives two files the same name; download the family again");
    }
    return plan;
}
/** The files to be stored, each once, with or without the samples. */
export function filesOf(plan, withSamples) {
    const files = allFiles(withSamples ? plan : { ...plan, samples: null });
    return [...new Map(files.map((file) => [file.name, file])).values()];
}
/** The names of the classes, in the order of the logits. */
export function labelNames(value) {
    if (!Array.isArray(value) || value.length === 0 || !value.every(isString)) {
        throw new Error("the labels are not a list of names; download the family again");
    }
    return value;
}
/** Name, digest and size of every file that a manifest names in a form that is understood. */
export function filesNamed(value) {
    if (isObject(value)) {
        const [name, sha256, size] = [member(value, "name"), member(value, "sha256"), integer(member(value, "bytes"))];
        if (isString(name) && isString(sha256) && size !== undefined) {
            return FILE_NAME.test(name) ? [{ name, sha256, size }] : [];
        }
    }
    const values = Array.isArray(value) ? value : isObject(value) ? Object.values(value) : [];
    return values.flatMap(filesNamed);
}
function allFiles(plan) {
    const others = [plan.labelsFile, plan.tokenizer].filter((file) => file !== null);
    return [...plan.files, ...others, ...(plan.samples ? [...plan.samples.inputs, plan.samples.expected] : [])];
}
function asSamples(value, form) {
    if (value === undefined || value === null)
        return null;
    const kind = member(value, "kind") ?? "images";
    if ((kind !== "images" || form instanceof TokenForm) && kind !== "tensors") {
        throw new Error("the manifest has samples of a kind that this client does not know; update the app");
    }
    const listed = some(value, "inputs");
    const entries = kind === "tensors" ? listed.filter((entry) => form.takes(entry)).slice(0, 1) : listed;
    const inputs = entries.map((entry) => asFile(entry, MAX_OTHER_BYTES));
    const found = kind === "tensors" ? count(entries[0], "count") : inputs.length;
    const fits = kind === "images" || inputs[0]?.size === found * form.inputBytes;
    if (found < 1 || found > MAX_SAMPLES || !fits)
        throw new ManifestError("samples.inputs");
    return { kind, inputs, count: found, expected: asFile(member(value, "expected"), MAX_OTHER_BYTES) };
}
function asFile(value, limit) {
    const [name, sha256] = [needed(value, "name", isString), needed(value, "sha256", isString)];
    const size = count(value, "bytes");
    if (!FILE_NAME.test(name) || name.length > MAX_NAME || name === MANIFEST || name.endsWith(PART)) {
        throw new Error(`the file name "${name.slice(0, 80)}" is not allowed: it could lead out of the family`);
    }
    if (size < 1 || size > limit || !SHA256.test(sha256))
        throw new ManifestError(`size or digest of ${name}`);
    return { name, size, sha256, ...blocksOf(member(value, "blocks"), size) };
}
/** Size and digests of the blocks; none if they do not fit to the file, which works without them. */
function blocksOf(value, size) {
    const [block, digests] = [integer(member(value, "bytes"), 1), member(value, "sha256")];
    const usable = block !== undefined && Array.isArray(digests) && digests.length === Math.ceil(size / block) &&
        digests.length <= MAX_BLOCKS && digests.every((digest) => isString(digest) && SHA256.test(digest));
    return usable ? { blockBytes: block, blocks: digests } : { blockBytes: 0, blocks: [] };
}

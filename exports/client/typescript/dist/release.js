/** A release: its manifest, byte by byte as it came, and how it is fetched. */
import { pause } from "./download.js";
import { isString, needed, count } from "./fields.js";
import { isObject, member, parseJson } from "./json.js";
import { resolve } from "./resolver.js";
import { SourceError } from "./source.js";
export const MAX_MANIFEST_BYTES = 1 << 18;
/** The release in a `manifest.json`. Throws if it is damaged, of another major version, or needs an unknown feature. */
export function parseRelease(data) {
    const manifest = parseJson(data, "manifest.json");
    resolve(manifest, null, {}, {}, 0); // refuses what it cannot use
    const number = count(manifest, "release");
    if (number < 1 || !isObject(manifest))
        throw new Error("the manifest has no usable release; download it again");
    return { data, manifest, number, family: needed(manifest, "family_id", isString) };
}
/** The digests of the files of each model that is understood. */
export function modelFiles(release) {
    const models = member(release.manifest, "models");
    const found = new Map();
    for (const [name, model] of Object.entries(isObject(models) ? models : {})) {
        const files = member(model, "files");
        if (Array.isArray(files) && files.every(isObject)) {
            const digests = files.map((file) => member(file, "sha256"));
            if (digests.every(isString))
                found.set(name, digests);
        }
    }
    return found;
}
/** The content of `manifest.json`. Throws `SourceError` if there is no answer, or no such file. */
export async function fetchManifest(source, attempts, timeout) {
    for (let number = 1;; number += 1) {
        try {
            return await source.manifest(MAX_MANIFEST_BYTES);
        }
        catch (error) {
            if (!(error instanceof SourceError) || error.final || number >= attempts)
                throw error;
            await pause(number, timeout);
        }
    }
}
export function sameBytes(one, other) {
    return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

/** A release: its manifest, byte by byte as it came, and how it is fetched. */
import { type JsonObject } from "./json.ts";
import { type Source } from "./source.ts";
export declare const MAX_MANIFEST_BYTES: number;
/** A manifest that the resolver can use. */
export interface Release {
    /** The file, byte by byte. */
    readonly data: Uint8Array;
    readonly manifest: JsonObject;
    readonly number: number;
    readonly family: string;
}
/** The release in a `manifest.json`. Throws if it is damaged, of another major version, or needs an unknown feature. */
export declare function parseRelease(data: Uint8Array): Release;
/** The digests of the files of each model that is understood. */
export declare function modelFiles(release: Release): Map<string, readonly string[]>;
/** The content of `manifest.json`. Throws `SourceError` if there is no answer, or no such file. */
export declare function fetchManifest(source: Source, attempts: number, timeout: number): Promise<Uint8Array>;
export declare function sameBytes(one: Uint8Array, other: Uint8Array): boolean;

/**
 * Reads JSON that others wrote, by the rules that hold for every file of a family and of the store: no repeated keys,
 * limited nesting, values and integers, finite numbers, valid Unicode. `JSON.parse` silently drops repeated keys.
 *
 * Objects have no prototype, so that a key such as `constructor` is present only if the file has it.
 */
export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
    readonly [key: string]: Json;
}
export declare const MAX_DEPTH = 16;
/** A rule for JSON is broken. */
export declare class JsonError extends Error {
}
/**
 * The value of strict JSON.
 *
 * @param data the contents of the file, UTF-8; the caller limits its size
 * @param name its name in messages
 * @param values the most values that it may have
 * @param depth the deepest nesting that it may have
 * @throws JsonError a rule is broken
 */
export declare function parseJson(data: Uint8Array, name: string, values?: number, depth?: number): Json;
export declare function isObject(value: unknown): value is JsonObject;
/** The value of a key that the object itself has; undefined for any other value or key. */
export declare function member(value: unknown, key: string): Json | undefined;

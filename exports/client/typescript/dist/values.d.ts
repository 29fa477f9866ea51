/** How values of a foreign JSON are judged, which all clients do alike: numbers, versions, names, case. */
/** The integer in `least` to 2^53-1 that `value` is; undefined if it is none. */
export declare function integer(value: unknown, least?: number): number | undefined;
/** A string with at least one character; undefined for anything else. */
export declare function text(value: unknown): string | undefined;
/** The strings of a list; undefined if it is no list, or one of its items is no string or empty. */
export declare function texts(value: unknown): readonly string[] | undefined;
/** Whether `value` is a version in a manifest, dotted numbers: `14`, `1.17.0`. */
export declare function isVersion(value: unknown): value is string;
/** `value` with A to Z in lower case. Other letters stay: languages disagree on what becomes of them. */
export declare function lower(value: string): string;
/**
 * Compares the leading numbers of two versions: `1.20.0+cpu` is 1 and 20, and 14 equals 14.0.
 *
 * Numbers are compared as digits, so they may have thousands of them.
 *
 * @returns below, above or equal to 0, as `Array.prototype.sort` takes it
 */
export declare function compareVersions(one: string, other: string): number;

/** Reads fields of a manifest, which is foreign: every value is checked before it is used. */
/** The manifest lacks something, or has something else in its place. */
export declare class ManifestError extends Error {
    constructor(field: string);
}
/** The value of a field of the right kind. */
export declare function needed<T>(value: unknown, key: string, is: (found: unknown) => found is T): T;
export declare function isString(value: unknown): value is string;
/** A non-negative integer. */
export declare function count(value: unknown, key: string): number;
/** A list with at least one item. */
export declare function some(value: unknown, key: string): readonly unknown[];
/** A size in pixels. */
export declare function sizeIn(value: unknown, key: string): number;

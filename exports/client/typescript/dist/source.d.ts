/**
 * Where a family comes from. A server may be hostile or broken: every wait is limited, and what it sends is only ever
 * compared with what the manifest states.
 */
/** The file, or the part of it, could not be had. */
export declare class SourceError extends Error {
    /** Whether anybody answered. */
    readonly answered: boolean;
    /** Whether another attempt is useless. */
    readonly final: boolean;
    constructor(message: string, { answered, final }?: {
        answered?: boolean | undefined;
        final?: boolean | undefined;
    });
}
/** The server does not give the range that was asked for; the file must be read from its first byte. */
export declare class RangeError extends SourceError {
}
/** What a source sends. */
export interface Body {
    /** The offset in the file of the first byte that is sent. */
    readonly start: number;
    /** The bytes, possibly more or fewer than asked for. Throws `SourceError` if they stop coming. */
    readonly pieces: AsyncIterable<Uint8Array>;
}
/** Reads the files of a family by their names in the manifest. */
export interface Source {
    /** How often it is worth asking for a file. */
    readonly attempts: number;
    /** The content of `manifest.json`, at most `limit` bytes. Throws `SourceError`. */
    manifest(limit: number): Promise<Uint8Array>;
    /**
     * The bytes `first` to `last` (inclusive; default the end) of a file of `size` bytes. The body may start at 0 instead
     * of `first`. Throws `SourceError`.
     */
    open(name: string, size: number, first?: number, last?: number): Promise<Body>;
}
/** A folder that an HTTP server serves. */
export declare class HttpSource implements Source {
    #private;
    readonly attempts = 3;
    /**
     * @param url the folder with `manifest.json`, or that file
     * @param seconds the longest wait for an answer and for a further byte
     * @param fetcher the platform's `fetch` or one like it
     */
    constructor(url: string, seconds: number, fetcher?: typeof fetch);
    /** The whole answer must come within the timeout. */
    manifest(limit: number): Promise<Uint8Array>;
    open(name: string, size: number, first?: number, last?: number): Promise<Body>;
}
export declare function joined(parts: readonly Uint8Array[]): Uint8Array;

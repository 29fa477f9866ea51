/** Reads PNG files (ISO/IEC 15948): 8 bits, gray, RGB, either with alpha, or a palette; not interlaced. */
import type { Image } from "./preprocess.ts";
/** The file is of another kind or damaged. */
export declare class PngError extends Error {
}
/**
 * The RGB pixels of a PNG; transparency is ignored.
 *
 * Needs `DecompressionStream`, which browsers and Node 18 have.
 *
 * @throws PngError
 */
export declare function decodePng(data: Uint8Array): Promise<Image>;

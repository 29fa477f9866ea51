/**
 * From the pixel formats of cameras, files and screens to RGB, in integers, so that every port returns the same bytes;
 * the docstring of `colour.py` has the definition, and its bounds: all sums fit into 32 bits.
 */
import type { Colour, Image } from "./preprocess.ts";
export type AlphaOrder = "rgba" | "bgra";
export type YuvLayout = "nv12" | "nv21" | "i420";
export type YuvRange = "full" | "limited";
/** RGB of gray pixels of one byte. Throws `RangeError` if `data` has another length. */
export declare function grayToRgb(data: Uint8Array, height: number, width: number): Image;
/** The gray image of an RGB image: all three channels are its luma. Sums stay below 2^24. */
export declare function luma({ width, height, data }: Image): Image;
/**
 * RGB of pixels of four bytes with straight alpha, such as those of `ImageData`, over a background.
 *
 * @throws RangeError `data` has another length, or the background is not a colour
 */
export declare function alphaToRgb(data: Uint8Array | Uint8ClampedArray, height: number, width: number, order?: AlphaOrder, background?: Colour): Image;
/**
 * RGB of an image in YUV 4:2:0, BT.601.
 *
 * @param data the plane Y, then chroma, all without padding: pairs U, V (`nv12`) or V, U (`nv21`), or the plane U and
 *   the plane V (`i420`); a chroma plane has half the rows and columns, rounded up
 * @param levels `full` if Y, U and V are 0 to 255; `limited` if Y is 16 to 235, U and V are 16 to 240
 * @throws RangeError `data` has another length
 */
export declare function yuvToRgb(data: Uint8Array, height: number, width: number, layout: YuvLayout, levels: YuvRange): Image;

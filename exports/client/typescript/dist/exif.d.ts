/**
 * The orientation of a photo: how its file states it, and the pixels turned accordingly. The docstring of `exif.py` has
 * the rules. Browsers turn pixels themselves (`createImageBitmap`, `<img>`): a page must not do it again.
 */
import type { Image } from "./preprocess.ts";
/** The EXIF orientation, 1 to 8, that a JPEG, PNG or WebP file states; 1 if it states none that is valid. */
export declare function orientation(data: Uint8Array): number;
/**
 * The image as a person sees it, from the pixels as they are stored.
 *
 * @param orientation 1 as stored, 2 mirrored left to right, 3 turned by 180 degrees, 4 mirrored top to bottom,
 *   5 transposed, 6 to be turned clockwise by 90 degrees, 7 transposed along the other diagonal, 8 to be turned
 *   counterclockwise by 90 degrees
 * @throws RangeError there is no such orientation
 */
export declare function upright(image: Image, orientation: number): Image;

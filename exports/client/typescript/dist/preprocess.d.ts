/**
 * From the pixels of an image to the input of a model. `resize`, `crop` and `letterbox` are defined in integers, so
 * that every port returns the same bytes; the docstring of `preprocess.py` has the definition. `modelInput` is for
 * families whose models take floating-point numbers.
 */
/** An image: RGB, row by row, three bytes a pixel. */
export interface Image {
    readonly width: number;
    readonly height: number;
    readonly data: Uint8Array;
}
/** A colour: red, green and blue, 0 to 255. */
export type Colour = readonly [number, number, number];
/** Resizes an image, bilinear, as defined in integers; with `antialias` like Pillow within one level. */
export declare function resize(image: Image, height: number, width: number, antialias?: boolean): Image;
/** The centre of an image, as large as possible, resized with antialiasing. */
export declare function crop(image: Image, height: number, width: number): Image;
/** The whole image, resized with antialiasing, in the middle of a plain colour. */
export declare function letterbox(image: Image, height: number, width: number, colour: Colour): Image;
/** Resizes an image in floating-point numbers, bilinear with antialiasing, like Pillow: version 1 of preprocessing. */
export declare function fit(image: Image, height: number, width: number): Image;
/**
 * The input of a model that takes floating-point numbers, `(3, size, size)`: bilinear without antialiasing, divided by
 * 255, normalised.
 */
export declare function modelInput(image: Image, size: number, meanPpm: readonly number[], stdPpm: readonly number[]): Float32Array;

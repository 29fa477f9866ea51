/**
 * The orientation of a photo: how its file states it, and the pixels turned accordingly. The docstring of `exif.py` has
 * the rules. Browsers turn pixels themselves (`createImageBitmap`, `<img>`): a page must not do it again.
 */
const PREFIX = "Exif\0\0";
const PNG_SIGNATURE = "\x89PNG\r\n\x1a\n";
const ORIENTATION_TAG = 0x0112;
const SHORT = 3;
const ENTRY_BYTES = 12;
const NOTHING = new Uint8Array();
/** The EXIF orientation, 1 to 8, that a JPEG, PNG or WebP file states; 1 if it states none that is valid. */
export function orientation(data) {
    if (text(data, 0, 2) === "\xff\xd8")
        return ofTiff(tiffOfJpeg(data));
    if (text(data, 0, 8) === PNG_SIGNATURE)
        return ofTiff(tiffOfChunks(data, 8, true));
    if (text(data, 0, 4) !== "RIFF" || text(data, 8, 4) !== "WEBP")
        return 1;
    const tiff = tiffOfChunks(data, 12, false);
    return ofTiff(text(tiff, 0, 6) === PREFIX ? tiff.subarray(6) : tiff);
}
/**
 * The image as a person sees it, from the pixels as they are stored.
 *
 * @param orientation 1 as stored, 2 mirrored left to right, 3 turned by 180 degrees, 4 mirrored top to bottom,
 *   5 transposed, 6 to be turned clockwise by 90 degrees, 7 transposed along the other diagonal, 8 to be turned
 *   counterclockwise by 90 degrees
 * @throws RangeError there is no such orientation
 */
export function upright(image, orientation) {
    if (![1, 2, 3, 4, 5, 6, 7, 8].includes(orientation))
        throw new RangeError(`there is no orientation ${orientation}`);
    const turned = orientation >= 5;
    const [height, width] = turned ? [image.width, image.height] : [image.height, image.width];
    const [down, along] = [[3, 4, 7, 8].includes(orientation), [2, 3, 6, 7].includes(orientation)];
    const data = new Uint8Array(image.data.length);
    for (let y = 0, at = 0; y < height; y += 1) {
        const row = down ? height - 1 - y : y;
        for (let x = 0; x < width; x += 1) {
            const column = along ? width - 1 - x : x;
            let from = 3 * (turned ? column * image.width + row : row * image.width + column);
            for (let channel = 0; channel < 3; channel += 1)
                data[at++] = image.data[from++];
        }
    }
    return { width, height, data };
}
function text(data, at, size) {
    return String.fromCharCode(...data.subarray(at, at + size));
}
/** The TIFF structure in a JPEG; empty if there is none before the image data. */
function tiffOfJpeg(data) {
    for (let at = 2; at + 4 <= data.length && data[at] === 0xff;) {
        const marker = data[at + 1];
        if (marker === 0xff) {
            at += 1;
        }
        else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) { // markers without a length: TEM, RST
            at += 2;
        }
        else {
            const length = numberIn(data, at + 2, 2, false);
            if (marker === 0xd9 || marker === 0xda)
                break; // end, and start of the image data
            const body = data.subarray(at + 4, at + 2 + length);
            if (marker === 0xe1 && text(body, 0, 6) === PREFIX)
                return body.subarray(6);
            at += 2 + length;
        }
    }
    return NOTHING;
}
/** The TIFF structure in the chunks of a PNG (big-endian) or WebP (little-endian); empty if there is none. */
function tiffOfChunks(data, start, png) {
    for (let at = start; at + 8 <= data.length;) {
        const kind = text(data, png ? at + 4 : at, 4);
        const size = numberIn(data, png ? at : at + 4, 4, !png);
        if (kind === (png ? "eXIf" : "EXIF"))
            return data.subarray(at + 8, at + 8 + size);
        if (kind === "IEND")
            break;
        at += 8 + size + (png ? 4 : size % 2); // a checksum, or a byte that makes the length even
    }
    return NOTHING;
}
/** The orientation in the first directory of a TIFF structure; 1 if it has no valid one. */
function ofTiff(tiff) {
    const little = text(tiff, 0, 4) === "II*\0";
    if (!little && text(tiff, 0, 4) !== "MM\0*")
        return 1;
    const first = numberIn(tiff, 4, 4, little) + 2;
    const entries = Math.min(numberIn(tiff, first - 2, 2, little), Math.floor((tiff.length - first) / ENTRY_BYTES));
    for (let at = first; at < first + entries * ENTRY_BYTES; at += ENTRY_BYTES) {
        if (numberIn(tiff, at, 2, little) !== ORIENTATION_TAG)
            continue;
        const value = numberIn(tiff, at + 8, 2, little);
        const isShort = numberIn(tiff, at + 2, 2, little) === SHORT && numberIn(tiff, at + 4, 4, little) === 1;
        return isShort && value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}
/** An unsigned integer of `size` bytes; bytes beyond the end are zeros. */
function numberIn(data, at, size, little) {
    let value = 0;
    for (let k = 0; k < size; k += 1)
        value = value * 256 + (data[at + (little ? size - 1 - k : k)] ?? 0);
    return value;
}

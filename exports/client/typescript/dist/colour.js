/**
 * From the pixel formats of cameras, files and screens to RGB, in integers, so that every port returns the same bytes;
 * the docstring of `colour.py` has the definition, and its bounds: all sums fit into 32 bits.
 */
/** Black, and the factors of luma, V in red, U in green, V in green, and U in blue: BT.601 in units of 2^-16. */
const FACTORS = {
    full: [0, 65536, 91881, 22553, 46802, 116130],
    limited: [16, 76309, 104597, 25675, 53279, 132201],
};
/** RGB of gray pixels of one byte. Throws `RangeError` if `data` has another length. */
export function grayToRgb(data, height, width) {
    check(data, height, width, height * width);
    const made = new Uint8Array(3 * height * width);
    for (let pixel = 0, at = 0; pixel < data.length; pixel += 1) {
        const value = data[pixel];
        for (let channel = 0; channel < 3; channel += 1)
            made[at++] = value;
    }
    return { width, height, data: made };
}
/** The gray image of an RGB image: all three channels are its luma. Sums stay below 2^24. */
export function luma({ width, height, data }) {
    const made = new Uint8Array(data.length);
    for (let at = 0; at < data.length; at += 3) {
        const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
        made.fill((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16, at, at + 3);
    }
    return { width, height, data: made };
}
/**
 * RGB of pixels of four bytes with straight alpha, such as those of `ImageData`, over a background.
 *
 * @throws RangeError `data` has another length, or the background is not a colour
 */
export function alphaToRgb(data, height, width, order = "rgba", background = [255, 255, 255]) {
    check(data, height, width, 4 * height * width);
    if (background.some((value) => !(value >= 0 && value <= 255)))
        throw new RangeError("the background is not a colour");
    const made = new Uint8Array(3 * height * width);
    for (let pixel = 0; pixel < height * width; pixel += 1) {
        const alpha = data[4 * pixel + 3];
        for (let channel = 0; channel < 3; channel += 1) {
            const value = data[4 * pixel + (order === "rgba" ? channel : 2 - channel)];
            made[3 * pixel + channel] = (value * alpha + background[channel] * (255 - alpha) + 127) / 255;
        }
    }
    return { width, height, data: made };
}
/**
 * RGB of an image in YUV 4:2:0, BT.601.
 *
 * @param data the plane Y, then chroma, all without padding: pairs U, V (`nv12`) or V, U (`nv21`), or the plane U and
 *   the plane V (`i420`); a chroma plane has half the rows and columns, rounded up
 * @param levels `full` if Y, U and V are 0 to 255; `limited` if Y is 16 to 235, U and V are 16 to 240
 * @throws RangeError `data` has another length
 */
export function yuvToRgb(data, height, width, layout, levels) {
    const [rows, columns] = [(height + 1) >> 1, (width + 1) >> 1];
    check(data, height, width, height * width + 2 * rows * columns);
    const step = layout === "i420" ? 1 : 2;
    const u = height * width + (layout === "nv21" ? 1 : 0);
    const v = height * width + { nv12: 1, nv21: 0, i420: rows * columns }[layout];
    const [black, ofLuma, vRed, uGreen, vGreen, uBlue] = FACTORS[levels];
    const made = new Uint8ClampedArray(3 * height * width); // clamps to 0 to 255
    for (let y = 0, at = 0; y < height; y += 1) {
        for (let x = 0; x < width; x += 1, at += 3) {
            const chroma = ((y >> 1) * columns + (x >> 1)) * step;
            const luma = (data[y * width + x] - black) * ofLuma + 32768;
            const [blue, red] = [data[u + chroma] - 128, data[v + chroma] - 128];
            made[at] = (luma + vRed * red) >> 16;
            made[at + 1] = (luma - uGreen * blue - vGreen * red) >> 16;
            made[at + 2] = (luma + uBlue * blue) >> 16;
        }
    }
    return { width, height, data: new Uint8Array(made.buffer) };
}
function check(data, height, width, expected) {
    if (height >= 1 && width >= 1 && data.length === expected)
        return;
    throw new RangeError(`${height} x ${width} pixels need ${expected} bytes, not ${data.length}`);
}

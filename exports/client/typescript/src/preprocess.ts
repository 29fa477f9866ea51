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

/** The weights of one resized axis: for each new pixel, the first old one that contributes, and its weights. */
interface Weights {
  readonly firsts: Int32Array;
  readonly lengths: Int32Array;
  readonly values: Int32Array;
  readonly stride: number;
}

const CHANNELS = 3;
/** Definition, step 1: the weights of each new pixel sum to this. */
const ONE = 2 ** 15;

/** A colour: red, green and blue, 0 to 255. */
export type Colour = readonly [number, number, number];

/** Resizes an image, bilinear, as defined in integers; with `antialias` like Pillow within one level. */
export function resize(image: Image, height: number, width: number, antialias = false): Image {
  if (image.height === height && image.width === width) return { ...image, data: image.data.slice() };
  const columns = integerWeights(image.width, width, antialias);
  return resampled(image, integerWeights(image.height, height, antialias), columns, height, width);
}

/** The centre of an image, as large as possible, resized with antialiasing. */
export function crop(image: Image, height: number, width: number): Image {
  const [tall, wide] = sameProportions(image, height, width, true);
  const rows = integerWeights(image.height, tall, true, Math.floor((tall - height) / 2), height);
  const columns = integerWeights(image.width, wide, true, Math.floor((wide - width) / 2), width);
  return resampled(image, rows, columns, height, width);
}

/** The whole image, resized with antialiasing, in the middle of a plain colour. */
export function letterbox(image: Image, height: number, width: number, colour: Colour): Image {
  const inner = resize(image, ...sameProportions(image, height, width, false), true);
  const [top, left] = [(height - inner.height) >> 1, (width - inner.width) >> 1];
  const data = new Uint8Array(height * width * CHANNELS).map((_, index) => colour[index % CHANNELS] as number);
  const row = inner.width * CHANNELS;
  for (let y = 0; y < inner.height; y += 1) {
    data.set(inner.data.subarray(y * row, (y + 1) * row), ((top + y) * width + left) * CHANNELS);
  }
  return { width, height, data };
}

/** The height and width with the image's proportions that cover the given size or fit into it. */
function sameProportions(
  { height: h, width: w }: Image, height: number, width: number, covers: boolean,
): [number, number] {
  // For sides of at most 2^14 the products are below 2^30.
  if ((w * height >= width * h) === covers) return [height, Math.max(1, Math.floor((2 * w * height + h) / (2 * h)))];
  return [Math.max(1, Math.floor((2 * h * width + w) / (2 * w))), width];
}

function resampled(image: Image, rows: Weights, columns: Weights, height: number, width: number): Image {
  return { width, height, data: acrossRows(acrossColumns(image, columns, width), rows, height, width * CHANNELS) };
}

function acrossColumns(image: Image, weights: Weights, width: number): Int32Array {
  const { data } = image;
  const made = new Int32Array(image.height * width * CHANNELS);
  let at = 0;
  for (let y = 0; y < image.height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const start = (y * image.width + (weights.firsts[x] as number)) * CHANNELS;
      const [offset, length] = [x * weights.stride, weights.lengths[x] as number];
      for (let channel = 0; channel < CHANNELS; channel += 1) {
        let sum = 2 ** 7;
        for (let k = 0; k < length; k += 1) {
          sum += (weights.values[offset + k] as number) * (data[start + k * CHANNELS + channel] as number);
        }
        made[at++] = sum >> 8; // below 255 * 2^15 + 2^7, which 32 bits hold
      }
    }
  }
  return made;
}

function acrossRows(values: Int32Array, weights: Weights, height: number, row: number): Uint8Array {
  const made = new Uint8Array(height * row);
  for (let y = 0; y < height; y += 1) {
    const [first, offset, length] = [weights.firsts[y] as number, y * weights.stride, weights.lengths[y] as number];
    for (let x = 0; x < row; x += 1) {
      let sum = 2 ** 21;
      for (let k = 0; k < length; k += 1) {
        sum += (weights.values[offset + k] as number) * (values[(first + k) * row + x] as number);
      }
      made[y * row + x] = sum / 2 ** 22; // below 255 * 2^22 + 2^21, which 32 bits hold; the array rounds down
    }
  }
  return made;
}

/**
 * Definition, step 1, of which only the old pixels with a weight are kept, for `count` new pixels from `start` on.
 * Numbers stay below 2^53, which they hold exactly: `made` is at most 2^28, `old` at most 2^14.
 */
function integerWeights(old: number, made: number, antialias: boolean, start = 0, count = made): Weights {
  const reach = antialias ? Math.max(old, made) : made;
  const stride = Math.min(old, Math.ceil((2 * reach) / made) + 2);
  const firsts = new Int32Array(count);
  const lengths = new Int32Array(count);
  const values = new Int32Array(count * stride);
  for (let i = 0; i < count; i += 1) {
    const centre = (2 * (start + i) + 1) * old;
    const first = Math.max(0, Math.floor((centre - 2 * reach - made) / (2 * made)));
    const heights: number[] = [];
    for (let j = first; j < old && heights.length < stride; j += 1) {
      heights.push(Math.max(0, 2 * reach - Math.abs((2 * j + 1) * made - centre)));
    }
    const total = heights.reduce((sum, value) => sum + value, 0);
    const half = Math.floor(total / 2);
    let [sum, cut] = [0, 0];
    heights.forEach((value, k) => {
      sum += value;
      const next = Math.floor((sum * ONE + half) / total);
      values[i * stride + k] = next - cut;
      cut = next;
    });
    firsts[i] = first;
    lengths[i] = heights.length;
  }
  return { firsts, lengths, values, stride };
}

/** Resizes an image in floating-point numbers, bilinear with antialiasing, like Pillow: version 1 of preprocessing. */
export function fit(image: Image, height: number, width: number): Image {
  const [rows, columns] = [antialiased(image.height, height), antialiased(image.width, width)];
  const across = new Float64Array(image.height * width * CHANNELS);
  apply(columns, width, (x, from, weight) => {
    for (let y = 0; y < image.height; y += 1) {
      for (let c = 0; c < CHANNELS; c += 1) {
        const at = (y * width + x) * CHANNELS + c;
        across[at] = (across[at] as number) + weight * (image.data[(y * image.width + from) * CHANNELS + c] as number);
      }
    }
  });
  across.forEach((value, index) => { across[index] = rounded(value); });
  const made = new Float64Array(height * width * CHANNELS);
  apply(rows, height, (y, from, weight) => {
    for (let x = 0; x < width * CHANNELS; x += 1) {
      const at = y * width * CHANNELS + x;
      made[at] = (made[at] as number) + weight * (across[from * width * CHANNELS + x] as number);
    }
  });
  return { width, height, data: Uint8Array.from(made, rounded) };
}

/**
 * The input of a model that takes floating-point numbers, `(3, size, size)`: bilinear without antialiasing, divided by
 * 255, normalised.
 */
export function modelInput(
  image: Image, size: number, meanPpm: readonly number[], stdPpm: readonly number[],
): Float32Array {
  const [rows, columns] = [neighbours(image.height, size), neighbours(image.width, size)];
  const made = new Float32Array(CHANNELS * size * size);
  for (let c = 0; c < CHANNELS; c += 1) {
    const [mean, deviation] = [(meanPpm[c] as number) / 1e6, (stdPpm[c] as number) / 1e6];
    rows.forEach(([top, bottom, down], y) => {
      columns.forEach(([left, right, along], x) => {
        const at = (row: number, column: number): number =>
          image.data[(row * image.width + column) * CHANNELS + c] as number;
        const upper = (1 - along) * at(top, left) + along * at(top, right);
        const lower = (1 - along) * at(bottom, left) + along * at(bottom, right);
        made[(c * size + y) * size + x] = (((1 - down) * upper + down * lower) / 255 - mean) / deviation;
      });
    });
  }
  return made;
}

/** For each new pixel its two neighbours and the weight of the second; clamped at the borders. */
function neighbours(old: number, made: number): [number, number, number][] {
  return Array.from({ length: made }, (_, i) => {
    const centre = Math.min(Math.max(((i + 0.5) * old) / made - 0.5, 0), old - 1);
    const low = Math.floor(centre);
    return [low, Math.min(low + 1, old - 1), centre - low];
  });
}

/** The weights of a triangle filter as wide as the scale, normalised at the borders: `[first, weights]` a pixel. */
function antialiased(old: number, made: number): [number, number[]][] {
  const scale = Math.max(old / made, 1);
  return Array.from({ length: made }, (_, i) => {
    const centre = ((i + 0.5) * old) / made;
    const first = Math.max(0, Math.floor(centre - scale - 0.5));
    const weights: number[] = [];
    for (let j = first; j < Math.min(old, Math.ceil(centre + scale + 0.5)); j += 1) {
      weights.push(Math.max(0, 1 - Math.abs(j + 0.5 - centre) / scale));
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return [first, weights.map((weight) => weight / total)];
  });
}

function apply(
  weights: [number, number[]][], count: number, add: (made: number, from: number, weight: number) => void,
): void {
  for (let i = 0; i < count; i += 1) {
    const [first, values] = weights[i] as [number, number[]];
    values.forEach((weight, k) => { if (weight > 0) add(i, first + k, weight); });
  }
}

/** The nearest byte; of two as near, the even one, like NumPy. */
function rounded(value: number): number {
  const down = Math.floor(value);
  const up = value - down > 0.5 || (value - down === 0.5 && down % 2 === 1);
  return Math.min(255, Math.max(0, up ? down + 1 : down));
}

/** Reads PNG files (ISO/IEC 15948): 8 bits, gray, RGB, either with alpha, or a palette; not interlaced. */

import { joined } from "./source.ts";
import type { Image } from "./preprocess.ts";

/** 16 megapixels: a damaged header must not fill the memory. */
const MAX_PIXELS = 1 << 24;
const MAX_SIDE = 1 << 14;
/** Channels of the colour types. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const CRC = Int32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let k = 0; k < 8; k += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** The file is of another kind or damaged. */
export class PngError extends Error {}

/**
 * The RGB pixels of a PNG; transparency is ignored.
 *
 * Needs `DecompressionStream`, which browsers and Node 18 have.
 *
 * @throws PngError
 */
export async function decodePng(data: Uint8Array): Promise<Image> {
  if (!SIGNATURE.every((byte, index) => data[index] === byte)) throw new PngError("the image is not a PNG; convert it");
  const { header, palette, packed } = chunks(data);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colour, interlace] = [header[8], header[9] ?? 9, header[12]];
  const channels = CHANNELS[colour];
  if (depth !== 8 || channels === undefined || interlace !== 0) {
    throw new PngError("the PNG must have 8 bits a channel and not be interlaced; convert it");
  }
  if (width < 1 || height < 1 || width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    const limits = `at most ${MAX_PIXELS} in all and ${MAX_SIDE} a side`;
    throw new PngError(`the PNG has ${width} x ${height} pixels, expected ${limits}`);
  }
  const raw = await inflated(packed, height * (width * channels + 1));
  const pixels = unfiltered(raw, height, width * channels, channels);
  return { width, height, data: rgb(pixels, width * height, channels, colour === 3 ? palette : undefined) };
}

function chunks(data: Uint8Array): { header: Uint8Array; palette: Uint8Array; packed: Uint8Array } {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const packed: Uint8Array[] = [];
  let [header, palette] = [new Uint8Array(13), new Uint8Array()];
  for (let at = 8; at + 12 <= data.length; ) {
    const length = view.getUint32(at);
    const end = at + 8 + length;
    if (end + 4 > data.length || view.getInt32(end) !== crc32(data.subarray(at + 4, end))) {
      throw new PngError("the PNG is damaged: a checksum does not match");
    }
    const kind = String.fromCharCode(...data.subarray(at + 4, at + 8));
    const body = data.subarray(at + 8, at + 8 + length);
    if (kind === "IHDR" && length === 13) header = body.slice();
    else if (kind === "PLTE") palette = body.slice();
    else if (kind === "IDAT") packed.push(body);
    at += 12 + length;
  }
  return { header, palette, packed: joined(packed) };
}

function crc32(data: Uint8Array): number {
  let value = -1;
  for (const byte of data) value = (CRC[(value ^ byte) & 255] as number) ^ (value >>> 8);
  return ~value;
}

async function inflated(packed: Uint8Array, size: number): Promise<Uint8Array> {
  const reader = new Blob([packed as BlobPart]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const raw = new Uint8Array(size);
  let found = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (found + value.length > size) throw new PngError("too many pixels");
      raw.set(value, found);
      found += value.length;
    }
  } catch {
    reader.cancel().catch(() => undefined);
    throw new PngError("the PNG is damaged: its pixels cannot be unpacked");
  }
  if (found < size) throw new PngError("the PNG is damaged: pixels are missing");
  return raw;
}

/** Undoes the line filters: a line has `row` bytes, a pixel `step`. */
function unfiltered(raw: Uint8Array, height: number, row: number, step: number): Uint8Array {
  const lines = new Uint8Array(height * row);
  for (let y = 0; y < height; y += 1) {
    const kind = raw[y * (row + 1)] ?? 9;
    if (kind > 4) throw new PngError(`the PNG is damaged: line filter ${kind} does not exist`);
    for (let x = 0; x < row; x += 1) {
      const at = y * row + x;
      const left = x >= step ? (lines[at - step] as number) : 0;
      const up = y > 0 ? (lines[at - row] as number) : 0;
      const corner = x >= step && y > 0 ? (lines[at - row - step] as number) : 0;
      lines[at] = (raw[y * (row + 1) + 1 + x] as number) + predicted(kind, left, up, corner);
    }
  }
  return lines;
}

function predicted(kind: number, left: number, up: number, corner: number): number {
  if (kind < 4) return [0, left, up, (left + up) >> 1][kind] as number;
  const estimate = left + up - corner;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - up), Math.abs(estimate - corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

function rgb(pixels: Uint8Array, count: number, channels: number, palette: Uint8Array | undefined): Uint8Array {
  const made = new Uint8Array(3 * count);
  for (let i = 0; i < count; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      const own = pixels[i * channels + (channels > 2 ? c : 0)] as number;
      const value = palette ? palette[3 * own + c] : own;
      if (value === undefined) throw new PngError("the PNG is damaged: its palette lacks a colour");
      made[3 * i + c] = value;
    }
  }
  return made;
}

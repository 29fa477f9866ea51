/** Reads fields of a manifest, which is foreign: every value is checked before it is used. */

import { member } from "./json.ts";
import { integer } from "./values.ts";

/** The largest side of an input or a base image, in pixels. */
const MAX_SIDE = 4096;

/** The manifest lacks something, or has something else in its place. */
export class ManifestError extends Error {
  constructor(field: string) {
    super(`the manifest has no usable ${field}; download the family again`);
  }
}

/** The value of a field of the right kind. */
export function needed<T>(value: unknown, key: string, is: (found: unknown) => found is T): T {
  const found = member(value, key);
  if (!is(found)) throw new ManifestError(key);
  return found;
}

export function isString(value: unknown): value is string {
  return typeof value === "string";
}

/** A non-negative integer. */
export function count(value: unknown, key: string): number {
  const found = integer(member(value, key));
  if (found === undefined) throw new ManifestError(key);
  return found;
}

/** A list with at least one item. */
export function some(value: unknown, key: string): readonly unknown[] {
  const found = member(value, key);
  if (!Array.isArray(found) || found.length === 0) throw new ManifestError(`${key}.0`);
  return found;
}

/** A size in pixels. */
export function sizeIn(value: unknown, key: string): number {
  const found = count(value, key);
  if (found < 1 || found > MAX_SIDE) throw new Error(`${key} is ${found} pixels, expected 1 to ${MAX_SIDE}`);
  return found;
}

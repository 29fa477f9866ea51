/** How values of a foreign JSON are judged, which all clients do alike: numbers, versions, names, case. */

/** The most characters of a version in a manifest. */
const MAX_VERSION = 32;

/** The integer in `least` to 2^53-1 that `value` is; undefined if it is none. */
export function integer(value: unknown, least = 0): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least ? value : undefined;
}

/** A string with at least one character; undefined for anything else. */
export function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** The strings of a list; undefined if it is no list, or one of its items is no string or empty. */
export function texts(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) && value.every((item) => text(item) !== undefined) ? value : undefined;
}

/** Whether `value` is a version in a manifest, dotted numbers: `14`, `1.17.0`. */
export function isVersion(value: unknown): value is string {
  return typeof value === "string" && value.length <= MAX_VERSION && /^[0-9]+(\.[0-9]+)*$/.test(value);
}

/** `value` with A to Z in lower case. Other letters stay: languages disagree on what becomes of them. */
export function lower(value: string): string {
  return value.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/**
 * Compares the leading numbers of two versions: `1.20.0+cpu` is 1 and 20, and 14 equals 14.0.
 *
 * Numbers are compared as digits, so they may have thousands of them.
 *
 * @returns below, above or equal to 0, as `Array.prototype.sort` takes it
 */
export function compareVersions(one: string, other: string): number {
  const [mine, theirs] = [numbers(one), numbers(other)];
  for (let index = 0; index < Math.min(mine.length, theirs.length); index += 1) {
    const [a, b] = [mine[index] ?? "", theirs[index] ?? ""];
    if (a.length !== b.length) return a.length - b.length;
    if (a !== b) return a < b ? -1 : 1;
  }
  return mine.length - theirs.length;
}

/** The digits of the leading numbers without leading zeros, and without numbers of zero at the end. */
function numbers(version: string): string[] {
  const found: string[] = [];
  for (const part of version.split(".")) {
    const digits = /^[0-9]*/.exec(part)?.[0] ?? "";
    if (digits === "") break;
    found.push(digits.replace(/^0+/, ""));
    if (digits.length < part.length) break;
  }
  while (found.length > 0 && found[found.length - 1] === "") found.pop();
  return found;
}

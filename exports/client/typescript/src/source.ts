/**
 * Where a family comes from. A server may be hostile or broken: every wait is limited, and what it sends is only ever
 * compared with what the manifest states.
 */

/** Attempts for a file, and for a manifest that somebody waits for. */
const ATTEMPTS = 3;
/** Statuses below 500 that another attempt may not give: timeout, unusable range, too many requests. */
const RETRIED: readonly number[] = [408, 416, 429];
const MAX_REDIRECTS = 5;
const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
const CONTENT_RANGE = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16}|\*)$/;

/** The file, or the part of it, could not be had. */
export class SourceError extends Error {
  /** Whether anybody answered. */
  readonly answered: boolean;
  /** Whether another attempt is useless. */
  readonly final: boolean;

  constructor(message: string, { answered = true, final = false } = {}) {
    super(message);
    this.answered = answered;
    this.final = final;
  }
}

/** The server does not give the range that was asked for; the file must be read from its first byte. */
export class RangeError extends SourceError {}

/** What a source sends. */
export interface Body {
  /** The offset in the file of the first byte that is sent. */
  readonly start: number;
  /** The bytes, possibly more or fewer than asked for. Throws `SourceError` if they stop coming. */
  readonly pieces: AsyncIterable<Uint8Array>;
}

/** Reads the files of a family by their names in the manifest. */
export interface Source {
  /** How often it is worth asking for a file. */
  readonly attempts: number;
  /** The content of `manifest.json`, at most `limit` bytes. Throws `SourceError`. */
  manifest(limit: number): Promise<Uint8Array>;
  /**
   * The bytes `first` to `last` (inclusive; default the end) of a file of `size` bytes. The body may start at 0 instead
   * of `first`. Throws `SourceError`.
   */
  open(name: string, size: number, first?: number, last?: number): Promise<Body>;
}

/** A folder that an HTTP server serves. */
export class HttpSource implements Source {
  readonly attempts = ATTEMPTS;
  readonly #url: string;
  readonly #milliseconds: number;
  readonly #fetch: typeof fetch;

  /**
   * @param url the folder with `manifest.json`, or that file
   * @param seconds the longest wait for an answer and for a further byte
   * @param fetcher the platform's `fetch` or one like it
   */
  constructor(url: string, seconds: number, fetcher: typeof fetch = (...request) => fetch(...request)) {
    this.#url = url.replace(/\/+$/, "").replace(/\/manifest\.json$/, "");
    this.#milliseconds = 1000 * seconds;
    this.#fetch = fetcher;
  }

  /** The whole answer must come within the timeout. */
  async manifest(limit: number): Promise<Uint8Array> {
    const end = Date.now() + this.#milliseconds;
    const { response, pieces } = await this.#request("manifest.json", {});
    const parts: Uint8Array[] = [];
    let found = 0;
    for await (const piece of pieces) {
      parts.push(piece);
      found += piece.length;
      if (found > limit) throw new SourceError(`manifest.json is larger than ${limit} bytes`, { final: true });
      if (Date.now() > end) throw new SourceError("manifest.json did not come in time", { answered: false });
    }
    const length = promised(response);
    if (length !== undefined && length !== found) {
      throw new SourceError(`manifest.json has ${found} bytes, the server promised ${length}`);
    }
    return joined(parts);
  }

  async open(name: string, size: number, first = 0, last?: number): Promise<Body> {
    const whole = first === 0 && last === undefined;
    const range = { Range: `bytes=${first}-${last ?? ""}` };
    const { response, pieces, stop } = await this.#request(name, whole ? {} : range);
    const end = last === undefined ? size : last + 1;
    const start = response.status === 200 ? 0 : first;
    const fault = answerFault(response, name, start, response.status === 200 ? size : end, size);
    if (fault) {
      stop();
      throw fault;
    }
    return { start, pieces };
  }

  async #request(
    name: string, headers: Record<string, string>,
  ): Promise<{ response: Response; pieces: AsyncIterable<Uint8Array>; stop: () => void }> {
    const control = new AbortController();
    const wait = new Wait(this.#milliseconds, () => control.abort());
    const address = `${this.#url}/${name.split("/").map(encodeURIComponent).join("/")}`;
    let response: Response;
    try {
      const asked = { "Accept-Encoding": "identity", ...headers }; // browsers leave the first out
      response = await this.#follow(address, { headers: asked, signal: control.signal, cache: "no-store" });
    } catch (error) {
      if (error instanceof SourceError) throw error;
      throw new SourceError(`no answer for ${name}: ${reason(error)}`, { answered: false });
    } finally {
      wait.end();
    }
    const stop = (): void => control.abort();
    const fault = statusFault(response, name, "Range" in headers) ?? downgrade(address, response.url);
    if (fault) {
      stop();
      throw fault;
    }
    return { response, pieces: received(response, wait), stop };
  }

  /** Browsers and React Native do not show redirects and follow them by themselves, 20 at most in browsers. */
  async #follow(address: string, init: RequestInit): Promise<Response> {
    let place = address;
    for (let left = MAX_REDIRECTS; left >= 0; left -= 1) {
      const response = await this.#fetch(place, { ...init, redirect: "manual" });
      if (response.type === "opaqueredirect") return this.#fetch(place, init);
      const next = REDIRECTS.includes(response.status) ? response.headers.get("Location") : null;
      if (next === null) return response;
      response.body?.cancel().catch(() => undefined);
      place = new URL(next, place).href;
      const fault = downgrade(address, place);
      if (fault) throw fault;
    }
    throw new SourceError(`the server redirects more than ${MAX_REDIRECTS} times for ${address}`, { final: true });
  }
}

/** What an error of `fetch` says; in Node only its cause names what happened. What `stop` ends is not read on. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "AbortError") return "timed out";
  return error.cause instanceof Error && error.cause.message !== "" ? error.cause.message : error.message;
}

function downgrade(address: string, place: string): SourceError | undefined {
  if (!/^https:/i.test(address) || !/^http:/i.test(place)) return undefined;
  return new SourceError(`the server leads from ${address} to an unprotected connection`, { final: true });
}

function statusFault(response: Response, name: string, ranged: boolean): SourceError | undefined {
  const { status } = response;
  if (status === 416) return new RangeError(`the server answers with the status 416 for ${name}`);
  if (status !== 200 && !(ranged && status === 206)) {
    const final = status < 500 && !RETRIED.includes(status);
    return new SourceError(`the server answers with the status ${status} for ${name}`, { final });
  }
  if (ranged && packed(response)) return new SourceError(`the server packed ${name}, although a range was asked for`);
  return undefined;
}

function answerFault(
  response: Response, name: string, start: number, end: number, size: number,
): SourceError | undefined {
  if (response.status === 206) {
    const found = CONTENT_RANGE.exec(response.headers.get("Content-Range") ?? "");
    const total = found?.[3] === "*" || found?.[3] === String(size);
    if (!found || Number(found[1]) !== start || Number(found[2]) !== end - 1 || !total) {
      return new RangeError(`the server answers with another range of ${name}`);
    }
  }
  const length = promised(response);
  if (length !== undefined && length !== end - start) {
    return new SourceError(`the server promises ${length} bytes of ${name}, expected ${end - start}`);
  }
  return undefined;
}

/** What `Content-Length` says; undefined if nothing, or if the platform unpacks the body, so that it does not count. */
function promised(response: Response): number | undefined {
  const text = response.headers.get("Content-Length") ?? "";
  return !packed(response) && /^[0-9]{1,16}$/.test(text) ? Number(text) : undefined;
}

function packed(response: Response): boolean {
  return (response.headers.get("Content-Encoding") ?? "identity").toLowerCase() !== "identity";
}

async function* received(response: Response, wait: Wait): AsyncGenerator<Uint8Array> {
  if (!response.body) {
    wait.begin();
    try {
      yield new Uint8Array(await response.arrayBuffer()); // React Native has no streams
    } catch (error) {
      throw new SourceError(`the server stopped sending: ${reason(error)}`, { answered: false });
    } finally {
      wait.end();
    }
    return;
  }
  const reader = response.body.getReader();
  try {
    for (;;) {
      wait.begin();
      const { done, value } = await reader.read();
      wait.end();
      if (done) return;
      yield value;
    }
  } catch (error) {
    throw new SourceError(`the server stopped sending: ${reason(error)}`, { answered: false });
  } finally {
    wait.end();
    reader.cancel().catch(() => undefined); // also if the caller has read enough
  }
}

/** Calls `late` unless it is ended in time. */
class Wait {
  readonly #milliseconds: number;
  readonly #late: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(milliseconds: number, late: () => void) {
    this.#milliseconds = milliseconds;
    this.#late = late;
    this.begin();
  }

  begin(): void {
    this.end();
    this.#timer = setTimeout(this.#late, this.#milliseconds);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const data = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  return data;
}

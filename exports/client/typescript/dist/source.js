/**
 * Where a family comes from. A server may be hostile or broken: every wait is limited, and what it sends is only ever
 * compared with what the manifest states.
 */
/** Attempts for a file, and for a manifest that somebody waits for. */
const ATTEMPTS = 3;
/** Statuses below 500 that another attempt may not give: timeout, unusable range, too many requests. */
const RETRIED = [408, 416, 429];
const MAX_REDIRECTS = 5;
const REDIRECTS = [301, 302, 303, 307, 308];
const CONTENT_RANGE = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16}|\*)$/;
/** The file, or the part of it, could not be had. */
export class SourceError extends Error {
    /** Whether anybody answered. */
    answered;
    /** Whether another attempt is useless. */
    final;
    constructor(message, { answered = true, final = false } = {}) {
        super(message);
        this.answered = answered;
        this.final = final;
    }
}
/** The server does not give the range that was asked for; the file must be read from its first byte. */
export class RangeError extends SourceError {
}
/** A folder that an HTTP server serves. */
export class HttpSource {
    attempts = ATTEMPTS;
    #url;
    #milliseconds;
    #fetch;
    /**
     * @param url the folder with `manifest.json`, or that file
     * @param seconds the longest wait for an answer and for a further byte
     * @param fetcher the platform's `fetch` or one like it
     */
    constructor(url, seconds, fetcher = (...request) => fetch(...request)) {
        this.#url = url.replace(/\/+$/, "").replace(/\/manifest\.json$/, "");
        this.#milliseconds = 1000 * seconds;
        this.#fetch = fetcher;
    }
    /** The whole answer must come within the timeout. */
    async manifest(limit) {
        const end = Date.now() + this.#milliseconds;
        const { response, pieces } = await this.#request("manifest.json", {});
        const parts = [];
        let found = 0;
        for await (const piece of pieces) {
            parts.push(piece);
            found += piece.length;
            if (found > limit)
                throw new SourceError(`manifest.json is larger than ${limit} bytes`, { final: true });
            if (Date.now() > end)
                throw new SourceError("manifest.json did not come in time", { answered: false });
        }
        const length = promised(response);
        if (length !== undefined && length !== found) {
            throw new SourceError(`manifest.json has ${found} bytes, the server promised ${length}`);
        }
        return joined(parts);
    }
    async open(name, size, first = 0, last) {
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
    async #request(name, headers) {
        const control = new AbortController();
        const wait = new Wait(this.#milliseconds, () => control.abort());
        const address = `${this.#url}/${name.split("/").map(encodeURIComponent).join("/")}`;
        let response;
        try {
            const asked = { "Accept-Encoding": "identity", ...headers }; // browsers leave the first out
            response = await this.#follow(address, { headers: asked, signal: control.signal, cache: "no-store" });
        }
        catch (error) {
            if (error instanceof SourceError)
                throw error;
            throw new SourceError(`no answer for ${name}: ${reason(error)}`, { answered: false });
        }
        finally {
            wait.end();
        }
        const stop = () => control.abort();
        const fault = statusFault(response, name, "Range" in headers) ?? downgrade(address, response.url);
        if (fault) {
            stop();
            throw fault;
        }
        return { response, pieces: received(response, wait), stop };
    }
    /** Browsers and React Native do not show redirects and follow them by themselves, 20 at most in browsers. */
    async #follow(address, init) {
        let place = address;
        for (let left = MAX_REDIRECTS; left >= 0; left -= 1) {
            const response = await this.#fetch(place, { ...init, redirect: "manual" });
            if (response.type === "opaqueredirect")
                return this.#fetch(place, init);
            const next = REDIRECTS.includes(response.status) ? response.headers.get("Location") : null;
            if (next === null)
                return response;
            response.body?.cancel().catch(() => undefined);
            place = new URL(next, place).href;
            const fault = downgrade(address, place);
            if (fault)
                throw fault;
        }
        throw new SourceError(`the server redirects more than ${MAX_REDIRECTS} times for ${address}`, { final: true });
    }
}
/** What an error of `fetch` says; in Node only its cause names what happened. What `stop` ends is not read on. */
function reason(error) {
    if (!(error instanceof Error))
        return String(error);
    if (error.name === "AbortError")
        return "timed out";
    return error.cause instanceof Error && error.cause.message !== "" ? error.cause.message : error.message;
}
function downgrade(address, place) {
    if (!/^https:/i.test(address) || !/^http:/i.test(place))
        return undefined;
    return new SourceError(`the server leads from ${address} to an unprotected connection`, { final: true });
}
function statusFault(response, name, ranged) {
    const { status } = response;
    if (status === 416)
        return new RangeError(`the server answers with the status 416 for ${name}`);
    if (status !== 200 && !(ranged && status === 206)) {
        const final = status < 500 && !RETRIED.includes(status);
        return new SourceError(`the server answers with the status ${status} for ${name}`, { final });
    }
    if (ranged && packed(response))
        return new SourceError(`the server packed ${name}, although a range was asked for`);
    return undefined;
}
function answerFault(response, name, start, end, size) {
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
function promised(response) {
    const text = response.headers.get("Content-Length") ?? "";
    return !packed(response) && /^[0-9]{1,16}$/.test(text) ? Number(text) : undefined;
}
function packed(response) {
    return (response.headers.get("Content-Encoding") ?? "identity").toLowerCase() !== "identity";
}
async function* received(response, wait) {
    if (!response.body) {
        wait.begin();
        try {
            yield new Uint8Array(await response.arrayBuffer()); // React Native has no streams
        }
        catch (error) {
            throw new SourceError(`the server stopped sending: ${reason(error)}`, { answered: false });
        }
        finally {
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
            if (done)
                return;
            yield value;
        }
    }
    catch (error) {
        throw new SourceError(`the server stopped sending: ${reason(error)}`, { answered: false });
    }
    finally {
        wait.end();
        reader.cancel().catch(() => undefined); // also if the caller has read enough
    }
}
/** Calls `late` unless it is ended in time. */
class Wait {
    #milliseconds;
    #late;
    #timer;
    constructor(milliseconds, late) {
        this.#milliseconds = milliseconds;
        this.#late = late;
        this.begin();
    }
    begin() {
        this.end();
        this.#timer = setTimeout(this.#late, this.#milliseconds);
    }
    end() {
        clearTimeout(this.#timer);
    }
}
export function joined(parts) {
    const data = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
        data.set(part, at);
        at += part.length;
    }
    return data;
}

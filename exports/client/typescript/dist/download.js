/** Brings the files of a release into a slot: from the other slot, from what is there of them, or from the source. */
import { sha256 } from "./sha256.js";
import { joined, RangeError, SourceError } from "./source.js";
import { PART } from "./store.js";
/** Before the second attempt; twice as long before the third. */
const FIRST_PAUSE_SECONDS = 0.5;
/** What is received is stored in pieces of this size: what was stored is not downloaded again. */
const STORED_BYTES = 1 << 18;
/** A file could not be had, or not complete. */
export class DownloadError extends Error {
}
/** Waits before an attempt, after `number` that failed. */
export async function pause(number, timeout) {
    if (number === 0)
        return;
    const seconds = Math.min(FIRST_PAUSE_SECONDS * 2 ** (number - 1), timeout / 4);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}
/** Fills one slot. */
export class Downloader {
    #store;
    #slot;
    #source;
    #timeout;
    #tell;
    #progress;
    /** The bytes of all bodies so far, used or not. */
    downloadedBytes = 0;
    /** @param source where missing files come from; null if nothing may be downloaded */
    constructor(store, slot, source, timeout, tell, progress = () => undefined) {
        this.#store = store;
        this.#slot = slot;
        this.#source = source;
        this.#timeout = timeout;
        this.#tell = tell;
        this.#progress = progress;
    }
    /**
     * Makes sure that the slot holds a file with the right size and digest.
     *
     * @param elsewhere where the store may have the same file
     * @throws DownloadError it could not be had
     * @throws StoreError the store cannot be written
     */
    async provide(file, elsewhere) {
        if (await this.#intact(this.#slot, file.name, file))
            return;
        for (const [slot, name] of elsewhere) {
            if (!(await this.#intact(slot, name, file)))
                continue;
            await this.#setAside(file);
            await this.#store.write(this.#slot, file.name + PART, 0, await this.#store.read(slot, name), true);
            await this.#store.rename(this.#slot, file.name + PART, file.name);
            return;
        }
        await this.#setAside(file);
        await this.#attempts(file);
    }
    async #intact(slot, name, file) {
        return (await this.#store.size(slot, name)) === file.size && (await this.#digest(slot, name)) === file.sha256;
    }
    /** What is stored under the name is damaged: it becomes the start of a download. */
    async #setAside(file) {
        const found = await this.#store.size(this.#slot, file.name);
        if (found === null)
            return;
        this.#tell("damaged", `${file.name} is damaged: its size or its SHA-256 is not that of the manifest`);
        if (found <= file.size)
            await this.#store.rename(this.#slot, file.name, file.name + PART);
        else
            await this.#store.remove(this.#slot, file.name);
    }
    async #attempts(file) {
        const source = this.#source;
        if (!source)
            throw new DownloadError(`${file.name} is missing or damaged, and nothing can be downloaded now`);
        let fault = "";
        for (let number = 0; number < source.attempts; number += 1) {
            await pause(number, this.#timeout);
            try {
                return await this.#attempt(file, source);
            }
            catch (error) {
                if (!(error instanceof SourceError))
                    throw error;
                fault = error.message;
                if (error.final)
                    break;
            }
        }
        throw new DownloadError(fault);
    }
    async #attempt(file, source) {
        const part = file.name + PART;
        let have = (await this.#store.size(this.#slot, part)) ?? 0;
        if (have > file.size) {
            await this.#store.remove(this.#slot, part);
            have = 0;
        }
        try {
            if (have < file.size)
                await this.#continue(file, source, have);
            if ((await this.#digest(this.#slot, part)) !== file.sha256)
                await this.#repair(file, source);
        }
        catch (error) {
            // The next attempt asks for the whole file.
            if (error instanceof RangeError)
                await this.#store.remove(this.#slot, part);
            throw error;
        }
        await this.#store.rename(this.#slot, part, file.name);
    }
    async #continue(file, source, have) {
        const body = await source.open(file.name, file.size, have);
        if (have > 0 && body.start === have) {
            this.#tell("resumed", `${file.name} is continued at ${have} of ${file.size} bytes`);
        }
        await this.#receive(file, body, file.size, true);
    }
    /** Fetches the blocks again that differ, in as few ranges as possible. */
    async #repair(file, source) {
        const part = file.name + PART;
        for (const [first, end] of await this.#damagedRanges(file)) {
            const body = await source.open(file.name, file.size, first, end - 1);
            if (body.start !== first)
                throw new RangeError(`the server does not give ranges of ${file.name}`);
            await this.#receive(file, body, end, false);
        }
        if ((await this.#digest(this.#slot, part)) !== file.sha256) {
            await this.#store.remove(this.#slot, part);
            throw new SourceError(`${file.name} arrives damaged: its SHA-256 is not that of the manifest`);
        }
        this.#tell("repaired", `${file.name} was damaged and is whole again`);
    }
    /** The first byte and the end of each run of blocks whose digests differ; none without blocks. */
    async #damagedRanges(file) {
        const found = [];
        for (const [index, expected] of file.blocks.entries()) {
            const first = index * file.blockBytes;
            const end = Math.min(first + file.blockBytes, file.size);
            if ((await this.#digest(this.#slot, file.name + PART, first, end)) === expected)
                continue;
            const last = found.at(-1);
            if (last && last[1] === first)
                last[1] = end;
            else
                found.push([first, end]);
        }
        return found;
    }
    /** Stores a body that must end before the byte `end`. What arrived stays if it stops early. */
    async #receive(file, body, end, cut) {
        const expected = end - body.start;
        let [found, pending, at] = [0, [], body.start];
        const flush = async () => {
            const data = joined(pending);
            pending = [];
            if (data.length === 0)
                return;
            await this.#store.write(this.#slot, file.name + PART, at, data, cut);
            at += data.length;
            this.#progress(file.name, at, file.size);
        };
        try {
            for await (const piece of body.pieces) {
                found += piece.length;
                this.downloadedBytes += piece.length;
                if (found > expected)
                    throw new RangeError(`the server sends more than ${expected} bytes of ${file.name}`);
                pending.push(piece);
                if (body.start + found - at >= STORED_BYTES)
                    await flush();
            }
        }
        finally {
            await flush();
        }
        if (found < expected) {
            throw new SourceError(`the server stopped after ${found} of ${expected} bytes of ${file.name}`);
        }
    }
    async #digest(slot, name, first = 0, end) {
        return sha256(await this.#store.read(slot, name, first, end));
    }
}

/**
 * Where an app keeps its models: a state and two slots, each a manifest and the files of one model. A slot with a
 * manifest is complete: it is written last and removed first.
 */
export const SLOTS = ["a", "b"];
export const MANIFEST = "manifest.json";
export const PART = ".part";
/** A path below a slot: no `..`, not absolute, no hidden files. */
export const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*(\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$/;
export const MAX_NAME = 255;
/** The store cannot be written: the disk is full, a quota is used up, or permissions are missing. */
export class StoreError extends Error {
}
/** A store in memory: for tests, and where a platform keeps nothing. */
export class MemoryStore {
    #files = new Map();
    #state = null;
    /** Ends when all that hold or await the lock have ended. */
    #last = Promise.resolve();
    async lock(seconds, work) {
        const before = this.#last;
        const mine = Promise.race([before, refusal(seconds)]).then(work);
        this.#last = Promise.allSettled([before, mine]);
        return mine;
    }
    async readState() {
        return this.#state;
    }
    async writeState(data) {
        this.#state = data.slice();
    }
    async size(slot, name) {
        return this.#files.get(`${slot}/${name}`)?.length ?? null;
    }
    async read(slot, name, first = 0, end) {
        return (this.#files.get(`${slot}/${name}`) ?? new Uint8Array()).slice(first, end);
    }
    async write(slot, name, offset, data, cut) {
        const old = this.#files.get(`${slot}/${name}`) ?? new Uint8Array();
        const made = new Uint8Array(cut ? offset + data.length : Math.max(old.length, offset + data.length));
        made.set(old.subarray(0, made.length));
        made.set(data, offset);
        this.#files.set(`${slot}/${name}`, made);
    }
    async rename(slot, name, target) {
        this.#files.set(`${slot}/${target}`, this.#files.get(`${slot}/${name}`) ?? new Uint8Array());
        this.#files.delete(`${slot}/${name}`);
    }
    async remove(slot, name) {
        this.#files.delete(`${slot}/${name}`);
    }
    async names(slot) {
        return [...this.#files.keys()].filter((key) => key.startsWith(`${slot}/`)).map((key) => key.slice(2)).sort();
    }
}
function refusal(seconds) {
    return new Promise((_, reject) => {
        const text = `another launch has held the store for ${seconds} s`;
        const timer = setTimeout(() => reject(new StoreError(text)), 1000 * seconds);
        timer.unref?.();
    });
}

/** The store of a browser: IndexedDB, which keeps files in blocks, so that a download continues after a reload. */
import { StoreError } from "./store.js";
/** Small enough that little is written again when a download continues, large enough for few records. */
const BLOCK_BYTES = 1 << 18;
/**
 * A store in an IndexedDB database. Ask the browser to keep it (`navigator.storage.persist()`): otherwise it may remove
 * the database when space runs low, which only costs another download.
 */
export class IndexedDbStore {
    #name;
    #database = null;
    /** @param name the name of the database: one for each family */
    constructor(name) {
        this.#name = `model-factory/${name}`;
    }
    /** One tab at a time, by Web Locks. Where they are missing (React Native), the app must launch once at a time. */
    async lock(seconds, work) {
        const locks = globalThis.navigator?.locks;
        if (!locks)
            return work();
        let begun = false;
        const held = async () => {
            begun = true;
            return work();
        };
        try {
            return await locks.request(this.#name, { signal: AbortSignal.timeout(1000 * seconds) }, held);
        }
        catch (error) {
            if (begun)
                throw error;
            throw new StoreError(`another tab has held the store for ${seconds} s`);
        }
    }
    async readState() {
        const found = await this.#run("readonly", (files) => asPromise(files.get("state")));
        return found ?? null;
    }
    async writeState(data) {
        await this.#run("readwrite", (files) => asPromise(files.put(data, "state")), "strict");
    }
    async size(slot, name) {
        return this.#run("readonly", async (files) => (await entry(files, slot, name))?.size ?? null);
    }
    async read(slot, name, first = 0, end) {
        return this.#run("readonly", async (files, blocks) => {
            const found = await entry(files, slot, name);
            const last = Math.min(end ?? Infinity, found?.size ?? 0);
            const data = new Uint8Array(Math.max(0, last - first));
            if (!found || data.length === 0)
                return data;
            const numbers = range(Math.floor(first / BLOCK_BYTES), Math.ceil(last / BLOCK_BYTES));
            const parts = await Promise.all(numbers.map((number) => asPromise(blocks.get([found.id, number]))));
            parts.forEach((part, index) => {
                const start = (numbers[index] ?? 0) * BLOCK_BYTES;
                const from = Math.max(first, start);
                data.set((part ?? new Uint8Array()).subarray(from - start, last - start), from - first);
            });
            return data;
        });
    }
    async write(slot, name, offset, data, cut) {
        await this.#run("readwrite", async (files, blocks) => {
            const old = await entry(files, slot, name);
            const id = old?.id ?? (((await asPromise(files.get("next"))) ?? 0) + 1);
            if (!old)
                files.put(id, "next");
            const end = offset + data.length;
            const numbers = range(Math.floor(offset / BLOCK_BYTES), Math.ceil(end / BLOCK_BYTES));
            const edges = new Set([numbers[0], numbers[numbers.length - 1]]);
            for (const number of numbers) {
                const start = number * BLOCK_BYTES;
                const kept = edges.has(number) ? await asPromise(blocks.get([id, number])) : undefined;
                const length = Math.min(BLOCK_BYTES, Math.max(end - start, cut ? 0 : (kept?.length ?? 0)));
                const block = new Uint8Array(length);
                block.set((kept ?? new Uint8Array()).subarray(0, length));
                const from = start - offset;
                block.set(data.subarray(Math.max(0, from), from + BLOCK_BYTES), Math.max(0, -from));
                blocks.put(block, [id, number]);
            }
            files.put({ id, size: cut ? end : Math.max(end, old?.size ?? 0) }, [slot, name]);
        });
    }
    async rename(slot, name, target) {
        await this.#run("readwrite", async (files, blocks) => {
            const [found, replaced] = [await entry(files, slot, name), await entry(files, slot, target)];
            if (replaced)
                blocks.delete(blocksOf(replaced));
            files.put(found, [slot, target]);
            files.delete([slot, name]);
        });
    }
    async remove(slot, name) {
        await this.#run("readwrite", async (files, blocks) => {
            const found = await entry(files, slot, name);
            if (found)
                blocks.delete(blocksOf(found));
            files.delete([slot, name]);
        });
    }
    async names(slot) {
        const keys = await this.#run("readonly", (files) => asPromise(files.getAllKeys()));
        const pairs = keys.filter((key) => Array.isArray(key));
        return pairs.filter(([found]) => found === slot).map(([, name]) => name).sort();
    }
    /** Removes everything. Other stores of the same name must be closed. */
    async clear() {
        await this.#run("readwrite", async (files, blocks) => {
            files.clear();
            blocks.clear();
        });
    }
    /** The database, which is opened again after it was closed or could not be opened. */
    async #opened() {
        const forget = () => {
            this.#database = null;
        };
        try {
            const database = await (this.#database ??= open(this.#name));
            database.onclose = forget;
            database.onversionchange = () => {
                database.close(); // otherwise the app could not delete it
                forget();
            };
            return database;
        }
        catch (error) {
            forget();
            throw error;
        }
    }
    /** Runs `work` in one transaction, and waits until it is durable. */
    async #run(mode, work, durability = "relaxed") {
        try {
            const database = await this.#opened();
            const transaction = database.transaction(["files", "blocks"], mode, { durability });
            const done = new Promise((resolve, reject) => {
                transaction.oncomplete = () => resolve();
                transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
            });
            done.catch(() => undefined); // it is awaited below, unless `work` fails first
            const result = await work(transaction.objectStore("files"), transaction.objectStore("blocks"));
            await done;
            return result;
        }
        catch (error) {
            throw new StoreError(`the store cannot be used: ${String(error)}`);
        }
    }
}
function open(name) {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
        request.result.createObjectStore("files");
        request.result.createObjectStore("blocks");
    };
    return asPromise(request);
}
async function entry(files, slot, name) {
    return asPromise(files.get([slot, name]));
}
function blocksOf(found) {
    return IDBKeyRange.bound([found.id, 0], [found.id, Infinity]);
}
function range(start, end) {
    return Array.from({ length: Math.max(0, end - start) }, (_, index) => start + index);
}
function asPromise(request) {
    return new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error ?? new Error("the request failed"));
    });
}

/** The store of a browser: IndexedDB, which keeps files in blocks, so that a download continues after a reload. */

import { StoreError, type Slot, type Store } from "./store.ts";

/** Small enough that little is written again when a download continues, large enough for few records. */
const BLOCK_BYTES = 1 << 18;

interface Entry {
  /** The key of the blocks, which a renaming does not change. */
  readonly id: number;
  readonly size: number;
}

/**
 * A store in an IndexedDB database. Ask the browser to keep it (`navigator.storage.persist()`): otherwise it may remove
 * the database when space runs low, which only costs another download.
 */
export class IndexedDbStore implements Store {
  readonly #name: string;
  #database: Promise<IDBDatabase> | null = null;

  /** @param name the name of the database: one for each family */
  constructor(name: string) {
    this.#name = `model-factory/${name}`;
  }

  /** One tab at a time, by Web Locks. Where they are missing (React Native), the app must launch once at a time. */
  async lock<T>(seconds: number, work: () => Promise<T>): Promise<T> {
    const locks = (globalThis.navigator as { locks?: LockManager } | undefined)?.locks;
    if (!locks) return work();
    let begun = false;
    const held = async (): Promise<T> => {
      begun = true;
      return work();
    };
    try {
      return await locks.request(this.#name, { signal: AbortSignal.timeout(1000 * seconds) }, held);
    } catch (error) {
      if (begun) throw error;
      throw new StoreError(`another tab has held the store for ${seconds} s`);
    }
  }

  async readState(): Promise<Uint8Array | null> {
    const found = await this.#run("readonly", (files) => asPromise<Uint8Array | undefined>(files.get("state")));
    return found ?? null;
  }

  async writeState(data: Uint8Array): Promise<void> {
    await this.#run("readwrite", (files) => asPromise(files.put(data, "state")), "strict");
  }

  async size(slot: Slot, name: string): Promise<number | null> {
    return this.#run("readonly", async (files) => (await entry(files, slot, name))?.size ?? null);
  }

  async read(slot: Slot, name: string, first = 0, end?: number): Promise<Uint8Array> {
    return this.#run("readonly", async (files, blocks) => {
      const found = await entry(files, slot, name);
      const last = Math.min(end ?? Infinity, found?.size ?? 0);
      const data = new Uint8Array(Math.max(0, last - first));
      if (!found || data.length === 0) return data;
      const numbers = range(Math.floor(first / BLOCK_BYTES), Math.ceil(last / BLOCK_BYTES));
      const parts = await Promise.all(
        numbers.map((number) => asPromise<Uint8Array | undefined>(blocks.get([found.id, number]))),
      );
      parts.forEach((part, index) => {
        const start = (numbers[index] ?? 0) * BLOCK_BYTES;
        const from = Math.max(first, start);
        data.set((part ?? new Uint8Array()).subarray(from - start, last - start), from - first);
      });
      return data;
    });
  }

  async write(slot: Slot, name: string, offset: number, data: Uint8Array, cut: boolean): Promise<void> {
    await this.#run("readwrite", async (files, blocks) => {
      const old = await entry(files, slot, name);
      const id = old?.id ?? (((await asPromise<number | undefined>(files.get("next"))) ?? 0) + 1);
      if (!old) files.put(id, "next");
      const end = offset + data.length;
      const numbers = range(Math.floor(offset / BLOCK_BYTES), Math.ceil(end / BLOCK_BYTES));
      const edges = new Set([numbers[0], numbers[numbers.length - 1]]);
      for (const number of numbers) {
        const start = number * BLOCK_BYTES;
        const kept = edges.has(number) ? await asPromise<Uint8Array | undefined>(blocks.get([id, number])) : undefined;
        const length = Math.min(BLOCK_BYTES, Math.max(end - start, cut ? 0 : (kept?.length ?? 0)));
        const block = new Uint8Array(length);
        block.set((kept ?? new Uint8Array()).subarray(0, length));
        const from = start - offset;
        block.set(data.subarray(Math.max(0, from), from + BLOCK_BYTES), Math.max(0, -from));
        blocks.put(block, [id, number]);
      }
      files.put({ id, size: cut ? end : Math.max(end, old?.size ?? 0) } satisfies Entry, [slot, name]);
    });
  }

  async rename(slot: Slot, name: string, target: string): Promise<void> {
    await this.#run("readwrite", async (files, blocks) => {
      const [found, replaced] = [await entry(files, slot, name), await entry(files, slot, target)];
      if (replaced) blocks.delete(blocksOf(replaced));
      files.put(found, [slot, target]);
      files.delete([slot, name]);
    });
  }

  async remove(slot: Slot, name: string): Promise<void> {
    await this.#run("readwrite", async (files, blocks) => {
      const found = await entry(files, slot, name);
      if (found) blocks.delete(blocksOf(found));
      files.delete([slot, name]);
    });
  }

  async names(slot: Slot): Promise<string[]> {
    const keys = await this.#run("readonly", (files) => asPromise<IDBValidKey[]>(files.getAllKeys()));
    const pairs = keys.filter((key): key is [Slot, string] => Array.isArray(key));
    return pairs.filter(([found]) => found === slot).map(([, name]) => name).sort();
  }

  /** Removes everything. Other stores of the same name must be closed. */
  async clear(): Promise<void> {
    await this.#run("readwrite", async (files, blocks) => {
      files.clear();
      blocks.clear();
    });
  }

  /** The database, which is opened again after it was closed or could not be opened. */
  async #opened(): Promise<IDBDatabase> {
    const forget = (): void => {
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
    } catch (error) {
      forget();
      throw error;
    }
  }

  /** Runs `work` in one transaction, and waits until it is durable. */
  async #run<T>(
    mode: IDBTransactionMode, work: (files: IDBObjectStore, blocks: IDBObjectStore) => Promise<T>,
    durability: IDBTransactionDurability = "relaxed",
  ): Promise<T> {
    try {
      const database = await this.#opened();
      const transaction = database.transaction(["files", "blocks"], mode, { durability });
      const done = new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
      });
      done.catch(() => undefined); // it is awaited below, unless `work` fails first
      const result = await work(transaction.objectStore("files"), transaction.objectStore("blocks"));
      await done;
      return result;
    } catch (error) {
      throw new StoreError(`the store cannot be used: ${String(error)}`);
    }
  }
}

function open(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("files");
    request.result.createObjectStore("blocks");
  };
  return asPromise(request);
}

async function entry(files: IDBObjectStore, slot: Slot, name: string): Promise<Entry | undefined> {
  return asPromise<Entry | undefined>(files.get([slot, name]));
}

function blocksOf(found: Entry): IDBKeyRange {
  return IDBKeyRange.bound([found.id, 0], [found.id, Infinity]);
}

function range(start: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - start) }, (_, index) => start + index);
}

function asPromise<T>(request: IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => reject(request.error ?? new Error("the request failed"));
  });
}

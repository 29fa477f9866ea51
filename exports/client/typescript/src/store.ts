/**
 * Where an app keeps its models: a state and two slots, each a manifest and the files of one model. A slot with a
 * manifest is complete: it is written last and removed first.
 */

export type Slot = "a" | "b";
export const SLOTS: readonly Slot[] = ["a", "b"];
export const MANIFEST = "manifest.json";
export const PART = ".part";
/** A path below a slot: no `..`, not absolute, no hidden files. */
export const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*(\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$/;
export const MAX_NAME = 255;

/** The store cannot be written: the disk is full, a quota is used up, or permissions are missing. */
export class StoreError extends Error {}

/**
 * What a launch needs of a store. Names of files are those of the manifest, which the caller has checked. Methods that
 * write throw `StoreError` if they cannot.
 */
export interface Store {
  /** Runs `work` as the only writer. Throws `StoreError` if another one holds the store for longer than `seconds`. */
  lock<T>(seconds: number, work: () => Promise<T>): Promise<T>;
  /** The content of the state; null if there is none. */
  readState(): Promise<Uint8Array | null>;
  /** Replaces the state durably: it is the old or the new one whatever happens. */
  writeState(data: Uint8Array): Promise<void>;
  /** The size of a file in bytes; null if it is not there. */
  size(slot: Slot, name: string): Promise<number | null>;
  /** The bytes from `first` to before `end`, or fewer if the file is shorter. */
  read(slot: Slot, name: string, first?: number, end?: number): Promise<Uint8Array>;
  /** Writes at `offset`, which is at most the size; with `cut`, what was behind it goes. */
  write(slot: Slot, name: string, offset: number, data: Uint8Array, cut: boolean): Promise<void>;
  /** Renames a file after its content is durable. */
  rename(slot: Slot, name: string, target: string): Promise<void>;
  /** Removes a file if it is there. */
  remove(slot: Slot, name: string): Promise<void>;
  /** The names of the files in a slot, sorted. */
  names(slot: Slot): Promise<string[]>;
}

/** A store in memory: for tests, and where a platform keeps nothing. */
export class MemoryStore implements Store {
  readonly #files = new Map<string, Uint8Array>();
  #state: Uint8Array | null = null;
  /** Ends when all that hold or await the lock have ended. */
  #last: Promise<unknown> = Promise.resolve();

  async lock<T>(seconds: number, work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const mine = Promise.race([before, refusal(seconds)]).then(work);
    this.#last = Promise.allSettled([before, mine]);
    return mine;
  }

  async readState(): Promise<Uint8Array | null> {
    return this.#state;
  }

  async writeState(data: Uint8Array): Promise<void> {
    this.#state = data.slice();
  }

  async size(slot: Slot, name: string): Promise<number | null> {
    return this.#files.get(`${slot}/${name}`)?.length ?? null;
  }

  async read(slot: Slot, name: string, first = 0, end?: number): Promise<Uint8Array> {
    return (this.#files.get(`${slot}/${name}`) ?? new Uint8Array()).slice(first, end);
  }

  async write(slot: Slot, name: string, offset: number, data: Uint8Array, cut: boolean): Promise<void> {
    const old = this.#files.get(`${slot}/${name}`) ?? new Uint8Array();
    const made = new Uint8Array(cut ? offset + data.length : Math.max(old.length, offset + data.length));
    made.set(old.subarray(0, made.length));
    made.set(data, offset);
    this.#files.set(`${slot}/${name}`, made);
  }

  async rename(slot: Slot, name: string, target: string): Promise<void> {
    this.#files.set(`${slot}/${target}`, this.#files.get(`${slot}/${name}`) ?? new Uint8Array());
    this.#files.delete(`${slot}/${name}`);
  }

  async remove(slot: Slot, name: string): Promise<void> {
    this.#files.delete(`${slot}/${name}`);
  }

  async names(slot: Slot): Promise<string[]> {
    return [...this.#files.keys()].filter((key) => key.startsWith(`${slot}/`)).map((key) => key.slice(2)).sort();
  }
}

function refusal(seconds: number): Promise<never> {
  return new Promise((_, reject) => {
    const text = `another launch has held the store for ${seconds} s`;
    const timer = setTimeout(() => reject(new StoreError(text)), 1000 * seconds);
    (timer as { unref?: () => void }).unref?.();
  });
}

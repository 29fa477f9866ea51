/**
 * Where an app keeps its models: a state and two slots, each a manifest and the files of one model. A slot with a
 * manifest is complete: it is written last and removed first.
 */
export type Slot = "a" | "b";
export declare const SLOTS: readonly Slot[];
export declare const MANIFEST = "manifest.json";
export declare const PART = ".part";
/** A path below a slot: no `..`, not absolute, no hidden files. */
export declare const FILE_NAME: RegExp;
export declare const MAX_NAME = 255;
/** The store cannot be written: the disk is full, a quota is used up, or permissions are missing. */
export declare class StoreError extends Error {
}
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
export declare class MemoryStore implements Store {
    #private;
    lock<T>(seconds: number, work: () => Promise<T>): Promise<T>;
    readState(): Promise<Uint8Array | null>;
    writeState(data: Uint8Array): Promise<void>;
    size(slot: Slot, name: string): Promise<number | null>;
    read(slot: Slot, name: string, first?: number, end?: number): Promise<Uint8Array>;
    write(slot: Slot, name: string, offset: number, data: Uint8Array, cut: boolean): Promise<void>;
    rename(slot: Slot, name: string, target: string): Promise<void>;
    remove(slot: Slot, name: string): Promise<void>;
    names(slot: Slot): Promise<string[]>;
}

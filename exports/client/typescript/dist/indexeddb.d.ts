/** The store of a browser: IndexedDB, which keeps files in blocks, so that a download continues after a reload. */
import { type Slot, type Store } from "./store.ts";
/**
 * A store in an IndexedDB database. Ask the browser to keep it (`navigator.storage.persist()`): otherwise it may remove
 * the database when space runs low, which only costs another download.
 */
export declare class IndexedDbStore implements Store {
    #private;
    /** @param name the name of the database: one for each family */
    constructor(name: string);
    /** One tab at a time, by Web Locks. Where they are missing (React Native), the app must launch once at a time. */
    lock<T>(seconds: number, work: () => Promise<T>): Promise<T>;
    readState(): Promise<Uint8Array | null>;
    writeState(data: Uint8Array): Promise<void>;
    size(slot: Slot, name: string): Promise<number | null>;
    read(slot: Slot, name: string, first?: number, end?: number): Promise<Uint8Array>;
    write(slot: Slot, name: string, offset: number, data: Uint8Array, cut: boolean): Promise<void>;
    rename(slot: Slot, name: string, target: string): Promise<void>;
    remove(slot: Slot, name: string): Promise<void>;
    names(slot: Slot): Promise<string[]>;
    /** Removes everything. Other stores of the same name must be closed. */
    clear(): Promise<void>;
}

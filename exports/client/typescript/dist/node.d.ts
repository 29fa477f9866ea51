/** What an app on Node needs besides: a store in a folder, a family in a folder, and the facts of the machine. */
import type { Engine } from "./engine.ts";
import type { DeviceFacts } from "./records.ts";
import { type Body, type Source } from "./source.ts";
import { type Slot, type Store } from "./store.ts";
/** A store in a folder, which is made if it does not exist. Links that lead out of it are not followed. */
export declare class FolderStore implements Store {
    #private;
    constructor(folder: string);
    /**
     * The lock is a file with the id of the process that holds it, which is touched while it is held. That of a process
     * that has ended is removed.
     */
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
/** A family in a folder of this machine: regular files inside it only. */
export declare class FolderSource implements Source {
    #private;
    readonly attempts = 1;
    /** @param folder the folder with `manifest.json`, or that file */
    constructor(folder: string);
    manifest(limit: number): Promise<Uint8Array>;
    open(name: string, size: number, first?: number, last?: number): Promise<Body>;
}
/**
 * The facts of this machine.
 *
 * @param folder the folder of the store; free disk space is that of its file system
 * @param engine the engine of the app
 * @param given facts that replace those found here; null makes one unknown
 */
export declare function nodeFacts(folder: string, engine: Engine, given?: DeviceFacts): Promise<DeviceFacts>;

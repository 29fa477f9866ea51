/** Brings the files of a release into a slot: from the other slot, from what is there of them, or from the source. */
import type { NeededFile } from "./plan.ts";
import { type Source } from "./source.ts";
import { type Slot, type Store } from "./store.ts";
/** Takes the code of an event and a text for people. */
export type Tell = (code: string, text: string) => void;
/** Takes the bytes that are there of a file, and its size: for a progress bar. */
export type Progress = (file: string, done: number, total: number) => void;
/** A file could not be had, or not complete. */
export declare class DownloadError extends Error {
}
/** Waits before an attempt, after `number` that failed. */
export declare function pause(number: number, timeout: number): Promise<void>;
/** Fills one slot. */
export declare class Downloader {
    #private;
    /** The bytes of all bodies so far, used or not. */
    downloadedBytes: number;
    /** @param source where missing files come from; null if nothing may be downloaded */
    constructor(store: Store, slot: Slot, source: Source | null, timeout: number, tell: Tell, progress?: Progress);
    /**
     * Makes sure that the slot holds a file with the right size and digest.
     *
     * @param elsewhere where the store may have the same file
     * @throws DownloadError it could not be had
     * @throws StoreError the store cannot be written
     */
    provide(file: NeededFile, elsewhere: readonly [Slot, string][]): Promise<void>;
}

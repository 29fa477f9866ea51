/** The two slots of a store and the record of the client: what is there, what may go, and what is remembered. */
import { type NeededFile, type Plan } from "./plan.ts";
import { type Release } from "./release.ts";
import { type State } from "./state.ts";
import { type Slot, type Store } from "./store.ts";
/** The store during one launch, which has locked it. */
export declare class Slots {
    #private;
    readonly store: Store;
    /** The record, with the changes of this launch. */
    state: State;
    /** Why the stored record was not used; "" if it was, or if there was none. */
    readonly fault: string;
    private constructor();
    /**
     * The slots and the record of a store. If the record is damaged, or its slot has no readable manifest, the slot with
     * the highest release is active.
     */
    static open(store: Store): Promise<Slots>;
    get active(): Slot | null;
    /** The release that ran last. */
    lastGood(): Promise<Release | null>;
    /** The slot in which the files of a model belong; the spare one is made ready for them. */
    target(release: Release, plan: Plan): Promise<Slot>;
    /** Where the store may have a file of the same content outside the target. */
    elsewhere(target: Slot, file: NeededFile): Promise<[Slot, string][]>;
    /** Remembers that these files of the target were verified. */
    complete(target: Slot, files: readonly NeededFile[]): Promise<void>;
    /** This file is not complete. */
    forget(file: NeededFile): void;
    /** Makes the target the active slot; the only commit of a launch. */
    switchTo(target: Slot, release: Release): Promise<void>;
    /** Stores the record, if it has changed. */
    save(): Promise<void>;
}

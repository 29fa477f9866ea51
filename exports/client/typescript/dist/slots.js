/** The two slots of a store and the record of the client: what is there, what may go, and what is remembered. */
import { filesNamed, filesOf } from "./plan.js";
import { MAX_MANIFEST_BYTES, parseRelease, sameBytes } from "./release.js";
import { decodeState, EMPTY_STATE, encodeState } from "./state.js";
import { MANIFEST, PART, SLOTS } from "./store.js";
/** The store during one launch, which has locked it. */
export class Slots {
    store;
    /** The record, with the changes of this launch. */
    state;
    #saved;
    /** Why the stored record was not used; "" if it was, or if there was none. */
    fault;
    constructor(store, saved, fault) {
        this.store = store;
        this.state = saved ?? EMPTY_STATE;
        this.#saved = saved;
        this.fault = fault;
    }
    /**
     * The slots and the record of a store. If the record is damaged, or its slot has no readable manifest, the slot with
     * the highest release is active.
     */
    static async open(store) {
        let [saved, fault] = [null, ""];
        const data = await store.readState();
        try {
            saved = data ? decodeState(data) : null;
        }
        catch (error) {
            fault = error.message;
        }
        const slots = new Slots(store, saved, fault);
        if (!(await slots.lastGood()))
            await slots.#findActive();
        return slots;
    }
    get active() {
        return this.state.slot;
    }
    /** The release that ran last. */
    async lastGood() {
        return this.active ? this.#release(this.active) : null;
    }
    /** The slot in which the files of a model belong; the spare one is made ready for them. */
    async target(release, plan) {
        const [active, good] = [this.active, await this.lastGood()];
        if (active && good && sameBytes(good.data, release.data) && (await this.#holdsAll(active, plan)))
            return active;
        const spare = active === "a" ? "b" : "a";
        const keep = new Set(filesOf(plan, true).flatMap((file) => [file.name, file.name + PART]));
        await this.store.remove(spare, MANIFEST);
        for (const name of await this.store.names(spare))
            if (!keep.has(name))
                await this.store.remove(spare, name);
        return spare;
    }
    /** Where the store may have a file of the same content outside the target. */
    async elsewhere(target, file) {
        const other = otherSlot(target);
        const named = filesNamed((await this.#release(other))?.manifest).filter((found) => found.sha256 === file.sha256);
        return [...new Set([file.name, ...named.map((found) => found.name)])].map((name) => [other, name]);
    }
    /** Remembers that these files of the target were verified. */
    async complete(target, files) {
        const present = new Set([
            ...(await this.#present(otherSlot(target))),
            ...(target === this.active ? await this.#present(target) : []),
        ]);
        const known = this.state.installed.filter((digest) => present.has(digest));
        this.state = { ...this.state, installed: [...new Set([...known, ...files.map((file) => file.sha256)])].sort() };
    }
    /** This file is not complete. */
    forget(file) {
        this.state = { ...this.state, installed: this.state.installed.filter((digest) => digest !== file.sha256) };
    }
    /** Makes the target the active slot; the only commit of a launch. */
    async switchTo(target, release) {
        await this.store.write(target, MANIFEST + PART, 0, release.data, true);
        await this.store.rename(target, MANIFEST + PART, MANIFEST);
        this.state = { ...this.state, slot: target, release: release.number };
        await this.save();
    }
    /** Stores the record, if it has changed. */
    async save() {
        const data = encodeState(this.state);
        if (this.#saved && sameBytes(encodeState(this.#saved), data))
            return;
        await this.store.writeState(data);
        this.#saved = this.state;
    }
    /** The release in a slot; null if its manifest is missing or damaged. */
    async #release(slot) {
        const size = await this.store.size(slot, MANIFEST);
        if (size === null || size > MAX_MANIFEST_BYTES)
            return null;
        try {
            return parseRelease(await this.store.read(slot, MANIFEST));
        }
        catch {
            return null;
        }
    }
    async #holdsAll(slot, plan) {
        for (const { name } of plan.files) {
            const found = [await this.store.size(slot, name), await this.store.size(slot, name + PART)];
            if (found.every((size) => size === null))
                return false;
        }
        return true;
    }
    async #findActive() {
        let best = null;
        const present = new Set();
        for (const slot of SLOTS) {
            const release = await this.#release(slot);
            if (release && (!best || release.number > best.number))
                best = { number: release.number, slot };
            for (const digest of await this.#present(slot))
                present.add(digest);
        }
        const { release, installed } = this.state;
        this.state = {
            ...this.state,
            slot: best?.slot ?? null,
            release: Math.max(best?.number ?? 0, release),
            installed: installed.length > 0 ? installed : [...present].sort(),
        };
    }
    /** The digests of the files that the manifest of a slot names and that are there with the right size. */
    async #present(slot) {
        const found = [];
        for (const { name, sha256, size } of filesNamed((await this.#release(slot))?.manifest)) {
            if ((await this.store.size(slot, name)) === size)
                found.push(sha256);
        }
        return found;
    }
}
function otherSlot(slot) {
    return slot === "a" ? "b" : "a";
}

/** What an app on Node needs besides: a store in a folder, a family in a folder, and the facts of the machine. */

import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import * as os from "node:os";
import * as path from "node:path";

import type { Engine } from "./engine.ts";
import type { DeviceFacts } from "./records.ts";
import { SourceError, type Body, type Source } from "./source.ts";
import { FILE_NAME, StoreError, type Slot, type Store } from "./store.ts";

/** How often a launch that waits for another one looks again: too short for a person to notice. */
const LOCK_POLL_MILLISECONDS = 50;
/** How often the lock is touched. */
const TOUCH_MILLISECONDS = 10_000;
/** The process of an older lock has ended, although another one may have its id now: no inference takes longer. */
const ABANDONED_MILLISECONDS = 300_000;
/** The locks that this process holds or waits for: one launch of a process asks for the file at a time. */
const locks = new Set<string>();
const CHUNK = 1 << 18;

/** A store in a folder, which is made if it does not exist. Links that lead out of it are not followed. */
export class FolderStore implements Store {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The lock is a file with the id of the process that holds it, which is touched while it is held. That of a process
   * that has ended is removed.
   */
  async lock<T>(seconds: number, work: () => Promise<T>): Promise<T> {
    const file = path.resolve(this.#folder, "lock.node");
    const end = Date.now() + 1000 * seconds;
    const pause = async (): Promise<void> => {
      if (Date.now() > end) throw new StoreError(`another launch has held ${this.#folder} for ${seconds} s`);
      await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MILLISECONDS));
    };
    await writing(() => fs.mkdir(this.#folder, { recursive: true }));
    while (locks.has(file)) await pause();
    locks.add(file);
    try {
      while (!(await taken(file))) await pause();
      return await touched(file, work);
    } finally {
      locks.delete(file);
    }
  }

  async readState(): Promise<Uint8Array | null> {
    return fs.readFile(path.join(this.#folder, "state.json")).catch(() => null);
  }

  async writeState(data: Uint8Array): Promise<void> {
    const file = path.join(this.#folder, "state.json");
    await writing(async () => {
      await fs.mkdir(this.#folder, { recursive: true });
      const stream = await fs.open(`${file}.new`, "w");
      try {
        await stream.writeFile(data);
        await stream.sync();
      } finally {
        await stream.close();
      }
      await fs.rename(`${file}.new`, file);
    });
    await syncFolder(this.#folder);
  }

  async size(slot: Slot, name: string): Promise<number | null> {
    const found = await fs.lstat(this.#path(slot, name)).catch(() => null);
    return found?.isFile() ? found.size : null;
  }

  async read(slot: Slot, name: string, first = 0, end?: number): Promise<Uint8Array> {
    const found = await readPart(this.#path(slot, name), first, end).catch(() => null);
    return found ?? new Uint8Array();
  }

  async write(slot: Slot, name: string, offset: number, data: Uint8Array, cut: boolean): Promise<void> {
    const file = this.#path(slot, name);
    await writing(async () => {
      await fs.mkdir(path.dirname(file), { recursive: true });
      const stream = await fs.open(file, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW);
      try {
        if (cut) await stream.truncate(offset);
        for (let at = 0; at < data.length; ) {
          at += (await stream.write(data, at, data.length - at, offset + at)).bytesWritten;
        }
      } finally {
        await stream.close();
      }
    });
  }

  async rename(slot: Slot, name: string, target: string): Promise<void> {
    await writing(async () => {
      const stream = await fs.open(this.#path(slot, name), "r+");
      try {
        await stream.sync();
      } finally {
        await stream.close();
      }
      await fs.rename(this.#path(slot, name), this.#path(slot, target));
    });
    await syncFolder(path.dirname(this.#path(slot, target)));
  }

  async remove(slot: Slot, name: string): Promise<void> {
    await writing(() => fs.rm(this.#path(slot, name), { force: true, recursive: true }));
  }

  async names(slot: Slot): Promise<string[]> {
    const folder = path.join(this.#folder, "slots", slot);
    const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    const files = entries.filter((entry) => !entry.isDirectory());
    return files
      .map((entry) => path.join(entry.parentPath ?? (entry as { path?: string }).path ?? folder, entry.name))
      .map((file) => path.relative(folder, file))
      .map((name) => name.replaceAll(path.sep, "/"))
      .filter((name) => FILE_NAME.test(name))
      .sort();
  }

  #path(slot: Slot, name: string): string {
    if (!FILE_NAME.test(name)) throw new StoreError(`the file name "${name.slice(0, 80)}" is not allowed`);
    return path.join(this.#folder, "slots", slot, ...name.split("/"));
  }
}

/** A family in a folder of this machine: regular files inside it only. */
export class FolderSource implements Source {
  readonly attempts = 1;
  readonly #folder: string;

  /** @param folder the folder with `manifest.json`, or that file */
  constructor(folder: string) {
    this.#folder = folder.replace(/[/\\]manifest\.json$/, "");
  }

  async manifest(limit: number): Promise<Uint8Array> {
    const file = path.join(this.#folder, "manifest.json");
    const found = await this.#size(file, "manifest.json", false);
    if (found > limit) throw new SourceError(`manifest.json is larger than ${limit} bytes`, { final: true });
    return readPart(file, 0, found);
  }

  async open(name: string, size: number, first = 0, last?: number): Promise<Body> {
    const file = path.join(this.#folder, ...name.split("/"));
    const found = await this.#size(file, name, true);
    if (found !== size) {
      throw new SourceError(`${name} has ${found} bytes in ${this.#folder}, expected ${size}`, { final: true });
    }
    return { start: first, pieces: pieces(file, first, last === undefined ? size : last + 1) };
  }

  /** The size of a regular file inside the folder. */
  async #size(file: string, name: string, answered: boolean): Promise<number> {
    try {
      const [folder, real] = [await fs.realpath(this.#folder), await fs.realpath(file)];
      if (!real.startsWith(folder + path.sep)) throw new Error(`it leads out of ${this.#folder}`);
      const found = await fs.stat(real);
      if (!found.isFile()) throw new Error("it is not a regular file");
      return found.size;
    } catch (error) {
      throw new SourceError(`${name} cannot be read: ${(error as Error).message}`, { answered, final: true });
    }
  }
}

async function* pieces(file: string, first: number, end: number): AsyncGenerator<Uint8Array> {
  for (let at = first; at < end; at += CHUNK) yield readPart(file, at, Math.min(end, at + CHUNK));
}

async function readPart(file: string, first: number, end?: number): Promise<Uint8Array> {
  const stream = await fs.open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { size } = await stream.stat();
    const data = new Uint8Array(Math.max(0, Math.min(end ?? size, size) - first));
    for (let at = 0; at < data.length; ) {
      const { bytesRead } = await stream.read(data, at, data.length - at, first + at);
      if (bytesRead === 0) return data.subarray(0, at);
      at += bytesRead;
    }
    return data;
  } finally {
    await stream.close();
  }
}

/** Does the work of which the lock is held, and releases it. */
async function touched<T>(file: string, work: () => Promise<T>): Promise<T> {
  const touch = (): void => void fs.utimes(file, new Date(), new Date()).catch(() => undefined);
  const timer = setInterval(touch, TOUCH_MILLISECONDS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await fs.rm(file, { force: true });
  }
}

async function taken(file: string): Promise<boolean> {
  try {
    await fs.writeFile(file, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw new StoreError(`the store cannot be written: ${String(error)}`);
    }
    if (await isAbandoned(file)) await removeAbandoned(file);
    return false;
  }
}

/** Whether the process that made a lock has ended. */
async function isAbandoned(file: string): Promise<boolean> {
  const found = await fs.stat(file).catch(() => null);
  if (!found) return false;
  if (Date.now() - found.mtimeMs > ABANDONED_MILLISECONDS) return true;
  const holder = Number(await fs.readFile(file, "utf8").catch(() => "")) || 0;
  // In a container, ids are the same after every start; this process does not hold the lock that it asks for.
  return holder === process.pid || (holder > 0 && !isAlive(holder));
}

/** Removes an abandoned lock. A second lock makes sure that no other process removes one that was taken since. */
async function removeAbandoned(file: string): Promise<void> {
  const guard = `${file}.guard`;
  try {
    await fs.writeFile(guard, "", { flag: "wx" });
  } catch {
    const found = await fs.stat(guard).catch(() => null);
    if (found && Date.now() - found.mtimeMs > TOUCH_MILLISECONDS) await fs.rm(guard, { force: true });
    return;
  }
  if (await isAbandoned(file)) await fs.rm(file, { force: true });
  await fs.rm(guard, { force: true });
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function writing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new StoreError(`the store cannot be written: ${(error as Error).message}`);
  }
}

/** Makes a renaming durable, where the system lets folders be opened. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const stream = await fs.open(folder, "r");
  try {
    await stream.sync();
  } finally {
    await stream.close();
  }
}

/**
 * The facts of this machine.
 *
 * @param folder the folder of the store; free disk space is that of its file system
 * @param engine the engine of the app
 * @param given facts that replace those found here; null makes one unknown
 */
export async function nodeFacts(folder: string, engine: Engine, given: DeviceFacts = {}): Promise<DeviceFacts> {
  await writing(() => fs.mkdir(folder, { recursive: true }));
  const disk = await fs.statfs(folder);
  return {
    platform: os.platform(),
    ram_bytes: os.totalmem(),
    available_memory_bytes: os.freemem(),
    cores: os.availableParallelism(),
    os_version: /^[0-9]+(\.[0-9]+)*/.exec(os.release())?.[0] ?? null,
    free_disk_bytes: disk.bavail * disk.bsize,
    engine: engine.name,
    engine_version: engine.version,
    ...given,
  };
}

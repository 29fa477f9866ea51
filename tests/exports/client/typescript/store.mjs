// What any store does, step by step: for comparing the stores with each other.

/** @returns what the store answered; it is empty before and afterwards. */
export async function exercise(store) {
  const found = [];
  const pattern = (size, first) => Uint8Array.from({ length: size }, (_, index) => (first + index) % 251);
  const note = (name, value) => found.push([name, value instanceof Uint8Array ? [value.length, sum(value)] : value]);

  note("no state", await store.readState());
  await store.writeState(pattern(10, 1));
  await store.writeState(pattern(9, 2));
  note("the last state", await store.readState());

  note("no size", await store.size("a", "d/x.part"));
  note("nothing to read", await store.read("a", "d/x.part"));
  await store.write("a", "d/x.part", 0, pattern(600_000, 0), true);
  await store.write("a", "d/x.part", 600_000, pattern(50_000, 7), true);
  note("size", await store.size("a", "d/x.part"));
  note("all", await store.read("a", "d/x.part"));
  note("across blocks", await store.read("a", "d/x.part", 262_140, 524_300));
  note("past the end", await store.read("a", "d/x.part", 649_990, 700_000));
  await store.write("a", "d/x.part", 262_100, pattern(100, 3), false);
  note("changed inside", await store.read("a", "d/x.part", 262_000, 262_300));
  note("the same size", await store.size("a", "d/x.part"));
  await store.write("a", "d/x.part", 1000, pattern(5, 9), true);
  note("cut", await store.read("a", "d/x.part"));
  await store.write("a", "d/x.part", 1005, pattern(300_000, 5), true);
  note("continued", await store.read("a", "d/x.part"));

  await store.write("a", "y", 0, pattern(300_000, 4), true);
  await store.rename("a", "d/x.part", "y");
  note("names", await store.names("a"));
  note("the other one is gone", await store.read("a", "y"));
  note("another slot", await store.size("b", "y"));
  await store.write("b", "y", 0, pattern(3, 1), true);
  await store.remove("a", "y");
  await store.remove("a", "y");
  note("removed", [await store.size("a", "y"), await store.size("b", "y")]);
  await store.remove("b", "y");

  note("locks", await locks(store));
  return found;
}

/** Two that want the lock at once get it one after the other; one that does not want to wait is refused. */
async function locks(store) {
  const events = [];
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const work = (name) => async () => {
    events.push(`${name} begins`);
    await pause(300);
    events.push(`${name} ends`);
  };
  const first = store.lock(10, work("first"));
  await pause(50);
  const hasty = store.lock(0.05, work("hasty")).catch((error) => events.push(error.constructor.name));
  await Promise.all([first, hasty, store.lock(10, work("second"))]);
  return events;
}

function sum(data) {
  return data.reduce((total, byte, index) => (total * 31 + byte + index) % 1_000_003, 0);
}

/** A tiny benchmark whose score a selector may ask for (`probe_min`), because browsers tell little of their device. */

import type { Probe } from "./records.ts";

/** The id names the program below: with another program it must change. */
export const PROBE_ID = "js_mac_1";
/** The values of each factor: they stay in the first cache of any processor. */
const SIZE = 48;
/** Enough for an engine to compile the loop with all optimisations. */
const WARM_UP = 20;
const ROUNDS = 15;
/** A clock that is coarse against attacks has steps of up to 1 ms: a round must take longer. */
const ROUND_MILLISECONDS = 2;

/** Multiplies matrices of float32 in plain JavaScript for some 50 ms. The score is in millions of MACs a second. */
export function measureProbe(): Probe {
  const matrix = (value: number): Float32Array => new Float32Array(SIZE * SIZE).fill(value);
  const [a, b, c] = [matrix(0.5), matrix(0.25), matrix(0)];
  for (let i = 0; i < WARM_UP; i += 1) multiply(a, b, c);
  const rates = Array.from({ length: ROUNDS }, () => {
    const start = performance.now();
    let [count, spent] = [0, 0];
    while (spent < ROUND_MILLISECONDS) {
      multiply(a, b, c);
      count += 1;
      spent = performance.now() - start;
    }
    return (count * SIZE ** 3) / (1000 * spent);
  });
  const median = rates.sort((x, y) => x - y)[(ROUNDS - 1) / 2] ?? 1;
  return { id: PROBE_ID, score: Math.max(1, Math.round(median)) };
}

function multiply(a: Float32Array, b: Float32Array, c: Float32Array): void {
  for (let i = 0; i < SIZE; i += 1) {
    for (let j = 0; j < SIZE; j += 1) {
      let sum = 0;
      for (let k = 0; k < SIZE; k += 1) sum += (a[i * SIZE + k] as number) * (b[k * SIZE + j] as number);
      c[i * SIZE + j] = sum;
    }
  }
}

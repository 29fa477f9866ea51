/** A tiny benchmark whose score a selector may ask for (`probe_min`), because browsers tell little of their device. */
/** The id names the program below: with another program it must change. */
export const PROBE_ID = "js_mac_1";
/** The values of each factor: they stay in the first cache of any processor. */
const SIZE = 48;
/** Enough for an engine to compile the loop with all optimisations. */
const WARM_UP = 20;
const ROUNDS = 8;
/** Long against one multiplication, so that a round ends soon after its time is over. */
const ROUND_MILLISECONDS = 2;
/**
 * Multiplies matrices of float32 in plain JavaScript for some 20 ms. The score, in millions of MACs a second, is that
 * of the best round, the one that other programs disturbed least.
 */
export function measureProbe() {
    const matrix = (value) => new Float32Array(SIZE * SIZE).fill(value);
    const [a, b, c] = [matrix(0.5), matrix(0.25), matrix(0)];
    for (let i = 0; i < WARM_UP; i += 1)
        multiply(a, b, c);
    let best = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
        const start = nextTick();
        let [count, spent] = [0, 0];
        while (spent < ROUND_MILLISECONDS) {
            multiply(a, b, c);
            count += 1;
            spent = performance.now() - start;
        }
        best = Math.max(best, (count * SIZE ** 3) / (1000 * spent));
    }
    return { id: PROBE_ID, score: Math.max(1, Math.round(best)) };
}
/** The time at the beginning of a step of the clock, which has steps of up to 1 ms in some browsers. */
function nextTick() {
    const before = performance.now();
    let now = before;
    while (now === before)
        now = performance.now();
    return now;
}
function multiply(a, b, c) {
    for (let i = 0; i < SIZE; i += 1) {
        for (let j = 0; j < SIZE; j += 1) {
            let sum = 0;
            for (let k = 0; k < SIZE; k += 1)
                sum += a[i * SIZE + k] * b[k * SIZE + j];
            c[i * SIZE + j] = sum;
        }
    }
}

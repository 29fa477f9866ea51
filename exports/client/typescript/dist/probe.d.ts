/** A tiny benchmark whose score a selector may ask for (`probe_min`), because browsers tell little of their device. */
import type { Probe } from "./records.ts";
/** The id names the program below: with another program it must change. */
export declare const PROBE_ID = "js_mac_1";
/**
 * Multiplies matrices of float32 in plain JavaScript for some 20 ms. The score, in millions of MACs a second, is that
 * of the best round, the one that other programs disturbed least.
 */
export declare function measureProbe(): Probe;

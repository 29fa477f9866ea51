/**
 * Whether a device meets a selector of a tier.
 *
 * Every key has one of three values: it holds, it does not hold, or it is unknown because the device does not report
 * the fact. A selector with anything that this client does not understand does not match, so an old app gets a lower
 * tier, never a heavier one.
 */
import { type JsonObject } from "./json.ts";
import type { PlausibleFacts } from "./records.ts";
/** The most characters of the manifest that a message quotes. */
export declare const SHOWN = 40;
/** A reason code and its text for people. */
export interface Fault {
    readonly code: string;
    readonly text: string;
}
/** Why a device does not meet a selector; undefined if it does. An empty selector is met by all. */
export declare function selectorFault(selector: unknown, facts: PlausibleFacts): Fault | undefined;
/** What a selector that is understood asks for, for people. */
export declare function plainSelector(selector: JsonObject): string;
/** Whether the device is known to be of this platform. */
export declare function isOn(facts: PlausibleFacts, platform: unknown): boolean;
/** The RAM that the system reports, rounded up to the next class in MiB; the last class if it is above. */
export declare function ramClassMib(ramBytes: number): number;

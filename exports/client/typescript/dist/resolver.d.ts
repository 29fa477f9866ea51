/**
 * Selects the model for a device: one pure function, without I/O, clock or randomness.
 *
 * Tiers, models and selectors that it does not understand are passed over, so an old app gets a lower tier, never a
 * heavier one: only a manifest without a usable floor throws. The README of the clients states the rules.
 */
import { type ClientState, type DeviceFacts, type Resolution } from "./records.ts";
/** This resolver cannot use the manifest; an app should keep the last good one. */
export declare class UnusableManifestError extends Error {
}
/** This resolver cannot use the policy; an app should keep the last good one. */
export declare class UnusablePolicyError extends Error {
}
/**
 * The best model for a device: tiers by descending rank, models in the order of the list, then the floor.
 *
 * A model is passed over if the policy revokes one of its files, the state blacklists one, its engine range does not
 * include the app's engine, what is to be stored plus 10 % exceeds the free space, its peak memory exceeds what is
 * available, or its proof failed on every compute unit. Among the models of a tier, one that is installed comes before
 * others. The floor ignores space and memory, because some model must run.
 *
 * @param manifest the parsed `manifest.json`, from `parseJson`
 * @param policy a parsed policy, which can only revoke files; null without one
 * @param facts the facts about the device
 * @param state what the client knows of this device
 * @param now seconds since 1970
 * @throws UnusableManifestError another major version, an unknown critical feature, or no usable floor
 * @throws UnusablePolicyError another major version, an unknown critical feature, or no policy
 */
export declare function resolve(manifest: unknown, policy: unknown, facts: DeviceFacts, state: ClientState, now: number): Resolution;
/** The digests that a policy revokes; none without a policy. Throws `UnusablePolicyError`. */
export declare function revokedFiles(policy: unknown): ReadonlySet<string>;

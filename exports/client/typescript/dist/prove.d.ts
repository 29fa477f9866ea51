/** The proof that a model computes on this device what it computed where it was made. */
import { type Engine, type ModelFile, type Session, type Tensor } from "./engine.ts";
import type { NeededFile, Plan } from "./plan.ts";
import type { ProofResult } from "./records.ts";
/** An input, and what the model must return; without `logits`, anything finite. */
export interface Case {
    readonly input: Tensor;
    readonly logits: readonly number[] | null;
    /** How much each logit may differ. */
    readonly tolerance: number;
}
export interface Attempt {
    readonly result: ProofResult;
    /** Null unless it passed. */
    readonly session: Session | null;
    /** What is wrong, for people. */
    readonly fault: string;
}
/** Loads a model and runs the cases, none for a model that passed before; what the engine throws becomes a result. */
export declare function attempt(engine: Engine, files: readonly ModelFile[], computeUnit: string, cases: readonly Case[], classes: number): Promise<Attempt>;
/** The cases of a proof, from samples whose digests were checked. Throws if they do not fit to the manifest. */
export declare function readCases(plan: Plan, read: (file: NeededFile) => Promise<Uint8Array>, classes: number): Promise<Case[]>;

/** The interface to an inference engine. */
/** The engine reports an error, or has no such compute unit. */
export class EngineRefusedError extends Error {
}
/** The engine has died, or has been left in a state in which it cannot be used. */
export class EngineCrashedError extends Error {
}
/** There is too little memory. */
export class OutOfMemoryError extends Error {
}

/**
 * Ports for what a process can say about itself: memory and the lag of its event loop.
 *
 * The Node.js adapters are in `@holdfast/node/NodeProbes`, and fake ones in `@holdfast/testing/TestProbes`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/**
 * Bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Memory {
  /** Live objects and garbage on the JavaScript heap. */
  readonly heapUsed: number
  /** What the operating system has given to the whole process. */
  readonly rss: number
  /** What JavaScript objects hold outside of the heap, such as buffers. */
  readonly external: number
}

/**
 * How late the event loop ran what was due, since the reading before. Milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lag {
  readonly mean: number
  readonly p99: number
  readonly max: number
}

/**
 * Reads the memory of this process.
 *
 * @since 0.1.0
 * @category tags
 */
export class MemoryProbe extends Context.Tag("@holdfast/core/Probes/MemoryProbe")<MemoryProbe, {
  readonly read: Effect.Effect<Memory>
}>() {}

/**
 * Reads how late the event loop is.
 *
 * @since 0.1.0
 * @category tags
 */
export class LagProbe extends Context.Tag("@holdfast/core/Probes/LagProbe")<LagProbe, {
  /** Each reading starts a new interval. */
  readonly read: Effect.Effect<Lag>
}>() {}

/**
 * Ports for what a process can say about itself: memory and the lag of its event loop.
 *
 * The Node.js adapters are in `@holdfast/node/NodeProbes`. The layers here hold values that a test sets.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, Ref } from "effect"

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
 * @since 0.1.0
 * @category tags
 */
export class MemoryProbe extends Context.Tag("@holdfast/core/Probes/MemoryProbe")<MemoryProbe, {
  readonly read: Effect.Effect<Memory>
}>() {}

/**
 * @since 0.1.0
 * @category tags
 */
export class LagProbe extends Context.Tag("@holdfast/core/Probes/LagProbe")<LagProbe, {
  /** Each reading starts a new interval. */
  readonly read: Effect.Effect<Lag>
}>() {}

/**
 * Sets what the fake probes say.
 *
 * @since 0.1.0
 * @category tags
 */
export class TestProbes extends Context.Tag("@holdfast/core/Probes/TestProbes")<TestProbes, {
  readonly setMemory: (memory: Partial<Memory>) => Effect.Effect<void>
  readonly setLag: (lag: Partial<Lag>) => Effect.Effect<void>
}>() {}

/**
 * Fake probes: everything is 0 until `TestProbes` says otherwise.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerTest: Layer.Layer<MemoryProbe | LagProbe | TestProbes> = Layer.effectContext(
  Effect.gen(function*() {
    const memory = yield* Ref.make<Memory>({ heapUsed: 0, rss: 0, external: 0 })
    const lag = yield* Ref.make<Lag>({ mean: 0, p99: 0, max: 0 })
    return Context.empty().pipe(
      Context.add(MemoryProbe, { read: Ref.get(memory) }),
      Context.add(LagProbe, { read: Ref.get(lag) }),
      Context.add(TestProbes, {
        setMemory: (values) => Ref.update(memory, (before) => ({ ...before, ...values })),
        setLag: (values) => Ref.update(lag, (before) => ({ ...before, ...values }))
      })
    )
  })
)

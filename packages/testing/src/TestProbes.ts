/**
 * Fake probes of memory and of the lag of the event loop: they return what the test sets.
 *
 * @since 0.1.0
 */
import { LagProbe, MemoryProbe } from "@holdfast/core/Probes"
import type { Lag, Memory } from "@holdfast/core/Probes"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"

/**
 * Sets what the fake probes return.
 *
 * @since 0.1.0
 * @category tags
 */
export class TestProbes extends Context.Tag("@holdfast/testing/TestProbes")<TestProbes, {
  readonly setMemory: (memory: Partial<Memory>) => Effect.Effect<void>
  readonly setLag: (lag: Partial<Lag>) => Effect.Effect<void>
}>() {}

/**
 * Fake probes: every value is 0 until `TestProbes` sets it.
 *
 * @example
 * ```ts
 * import { Probes } from "@holdfast/core"
 * import * as TestProbes from "@holdfast/testing/TestProbes"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const test = Effect.gen(function*() {
 *   const memory = yield* Probes.MemoryProbe
 *   assert(Number.isFinite((yield* memory.read).rss))
 * })
 *
 * await Effect.runPromise(Effect.provide(test, TestProbes.layer))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<MemoryProbe | LagProbe | TestProbes> = Layer.effectContext(
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

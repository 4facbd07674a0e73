import { LagProbe, MemoryProbe } from "@holdfast/core/Probes"
import * as NodeProbes from "@holdfast/node/NodeProbes"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Effect, Layer } from "effect"

const pause = (millis: number) => Effect.promise(() => new Promise((resolve) => setTimeout(resolve, millis)))

const busy = (millis: number) =>
  Effect.sync(() => {
    const until = performance.now() + millis
    while (performance.now() < until) { /* busy */ }
  })

describe("NodeProbes", () => {
  it.scopedLive("reads the memory of the process", () =>
    Effect.gen(function*() {
      const probe = yield* MemoryProbe
      const before = yield* probe.read
      const buffer = Buffer.alloc(32 * 1024 * 1024, 1)
      const after = yield* probe.read
      assert.isAbove(before.heapUsed, 1024 * 1024)
      assert.isAbove(before.rss, before.heapUsed)
      assert.isAtLeast(after.external - before.external, buffer.length / 2)
    }).pipe(Effect.provide(NodeProbes.layer)))

  it.scopedLive("reads the lag of the event loop since the last reading", () =>
    Effect.gen(function*() {
      const probe = yield* LagProbe
      yield* pause(50)
      yield* busy(250)
      yield* pause(50)
      const lagging = yield* probe.read
      assert.isAbove(lagging.max, 150)
      assert.isAtLeast(lagging.max, lagging.p99)
      assert.isAtLeast(lagging.p99, lagging.mean)
      // Nothing was sampled since: the interval is a new one.
      assert.deepStrictEqual(yield* probe.read, { mean: 0, p99: 0, max: 0 })
    }).pipe(Effect.provide(NodeProbes.layer)))

  it.scoped("refuses a resolution that makes no sense", () =>
    Effect.gen(function*() {
      for (const resolution of [0, -5, Number.NaN, Number.POSITIVE_INFINITY, 0.4, "2 hours"] as const) {
        const error = yield* Effect.flip(Layer.build(NodeProbes.layerLag({ resolution })))
        assert.strictEqual(error.option, "NodeProbes.resolution")
      }
    }))
})

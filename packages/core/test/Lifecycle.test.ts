import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Deferred, Effect, Fiber, Layer, Stream } from "effect"

const reason: Lifecycle.ShutdownReason = { _tag: "Requested", by: "test" }

const observers = Layer.mergeAll(FiberRegistry.layer, Cleanup.layerMonitor)

const withLifecycle = (options: Lifecycle.Options = {}) =>
  Lifecycle.layer({ log: false, ...options }).pipe(Layer.provideMerge(observers))

describe("Lifecycle", () => {
  it.scoped("goes through the phases in order and reports", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const seen: Array<string> = []
      const subscribed = yield* Deferred.make<void>()
      for (const phase of ["releasing", "stopping-rest", "stopping-lifecycle", "draining"] as const) {
        yield* lifecycle.onPhase(phase, { label: phase }, Effect.sync(() => seen.push(phase)))
      }
      const phases = yield* Effect.fork(
        Stream.runCollect(Stream.tap(lifecycle.phases, () => Deferred.succeed(subscribed, undefined)))
      )
      yield* Deferred.await(subscribed)
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(seen, ["draining", "stopping-lifecycle", "stopping-rest", "releasing"])
      assert.deepStrictEqual(Array.from(yield* Fiber.join(phases)), [
        "accepting",
        "draining",
        "stopping-lifecycle",
        "stopping-rest",
        "releasing",
        "done"
      ])
      assert.strictEqual(report.verdict, "clean")
      assert.strictEqual(report.count("completed"), 4)
      assert.deepStrictEqual(ShutdownReport.fromJson(ShutdownReport.toJson(report)), report)
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("stops fibers by kind, and names the one that refuses", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const release = yield* Deferred.make<void>()
      yield* FiberRegistry.forkScoped(Effect.never, { name: "clock", kind: "ticker" })
      yield* FiberRegistry.forkScoped(Effect.never, { name: "good" })
      yield* FiberRegistry.forkScoped(Effect.uninterruptible(Deferred.await(release)), { name: "bad" }).pipe(
        FiberRegistry.withOwner("app")
      )
      yield* Effect.yieldNow()
      const report = yield* lifecycle.shutdown(reason)
      const named = (phase: string) =>
        report.phases.find((one) => one.phase === phase)!.items.map((item) => `${item.path} ${item.status}`)
      assert.deepStrictEqual(named("stopping-lifecycle"), ["clock completed"])
      assert.deepStrictEqual(named("stopping-rest"), ["good completed", "app/bad abandoned"])
      assert.deepStrictEqual(report.left.map((fiber) => fiber.owner), [["app", "bad"]])
      assert.strictEqual(report.verdict, "forced")
      yield* Deferred.succeed(release, undefined)
    }).pipe(Effect.provide(withLifecycle({ gracefulShutdownTimeout: "500 millis" }))))
})

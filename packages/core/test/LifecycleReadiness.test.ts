import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Duration, Effect, Fiber, Layer, TestClock } from "effect"

const signal: Lifecycle.ShutdownReason = { _tag: "Signal", signal: "SIGTERM" }

const layer = (options: Lifecycle.Options) =>
  Lifecycle.layer({ log: false, ...options }).pipe(
    Layer.provideMerge(Layer.mergeAll(FiberRegistry.layer, Cleanup.layerMonitor)),
    Layer.provideMerge(Cleanup.layerEffectClock)
  )

const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow(), { discard: true })

/** Whether work is admitted at this moment. */
const admits = (lifecycle: Lifecycle.Service) => Effect.isSuccess(lifecycle.admit("work", Effect.void))

const exception = new ShutdownReport.Item({
  kind: "exception",
  label: "uncaughtException",
  owner: [],
  status: "failed",
  elapsedMillis: 0,
  budgetMillis: 0,
  detail: "Error: out of nowhere"
})

describe("readinessDelay", () => {
  it.scoped("keeps admitting work while readiness is down, then drains with the whole time", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const shutdown = yield* Effect.fork(lifecycle.shutdown(signal))
      yield* settle
      assert.strictEqual(lifecycle.unsafePhase(), "unready")
      assert.isFalse(yield* lifecycle.isAccepting)
      assert.isTrue(yield* admits(lifecycle))

      yield* TestClock.adjust("2999 millis")
      assert.isTrue(yield* admits(lifecycle))
      // Work that is still there: draining goes on.
      const work = yield* Effect.fork(lifecycle.admit("order", Effect.sleep("500 millis")))
      yield* settle
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.strictEqual(lifecycle.unsafePhase(), "draining")
      assert.isFalse(yield* admits(lifecycle))

      yield* TestClock.adjust("499 millis")
      yield* Fiber.join(work)
      const report = yield* Fiber.join(shutdown)
      assert.strictEqual(report.verdict, "clean")
      // The delay is no part of the time.
      assert.isAtMost(report.elapsedMillis, 500)
      assert.strictEqual(report.phases[0].budgetMillis, 500)
    }).pipe(Effect.provide(layer({ readinessDelay: "3 seconds", gracefulShutdownTimeout: "1 second" }))))

  it.scoped("is ended by a hurry", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const shutdown = yield* Effect.fork(lifecycle.shutdown(signal))
      yield* settle
      assert.strictEqual(lifecycle.unsafePhase(), "unready")
      yield* lifecycle.hurry("200 millis")
      const report = yield* Fiber.join(shutdown)
      assert.isTrue(report.hurried)
      assert.strictEqual(report.verdict, "clean")
    }).pipe(Effect.provide(layer({ readinessDelay: "3 seconds" }))))

  it.scoped("is ended by an exception, which is in the report", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const shutdown = yield* Effect.fork(lifecycle.shutdown(signal))
      yield* settle
      lifecycle.unsafeRecord(exception)
      const report = yield* Fiber.join(shutdown)
      assert.strictEqual(report.verdict, "failed")
      assert.deepStrictEqual(report.items("failed"), [exception])
    }).pipe(Effect.provide(layer({ readinessDelay: "3 seconds" }))))

  it.scoped("is none after a crash", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const report = yield* lifecycle.shutdown({ _tag: "Crash", origin: "test", cause: "none" })
      assert.isTrue(report.finished)
    }).pipe(Effect.provide(layer({ readinessDelay: "3 seconds" }))))
})

describe("unsafeRecord", () => {
  for (const phase of ["draining", "stopping-sources", "stopping-workers", "releasing"] as const) {
    it.scoped(`adds to the phase in progress (${phase})`, () =>
      Effect.gen(function*() {
        const lifecycle = yield* Lifecycle.Lifecycle
        yield* lifecycle.onPhase(phase, { label: "throw" }, Effect.sync(() => lifecycle.unsafeRecord(exception)))
        const report = yield* lifecycle.shutdown(signal)
        assert.strictEqual(report.verdict, "failed")
        assert.deepStrictEqual(report.phases.filter(({ failed }) => failed > 0).map((one) => one.phase), [phase])
        assert.deepStrictEqual(report.items("failed"), [exception])
      }).pipe(Effect.provide(layer({}))))
  }

  it.scoped("adds to a report that is final", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const before = yield* lifecycle.shutdown(signal)
      assert.strictEqual(before.verdict, "clean")
      lifecycle.unsafeRecord(exception)
      const report = lifecycle.unsafeReport()!
      assert.strictEqual(report.verdict, "failed")
      assert.strictEqual(report.count("failed"), 1)
      assert.strictEqual(report.elapsedMillis, before.elapsedMillis)
      assert.deepStrictEqual(ShutdownReport.fromJson(ShutdownReport.toJson(report)), report)
    }).pipe(Effect.provide(layer({}))))
})

describe("a timeout without a limit", () => {
  it.scoped("waits for what is slow, and is in the report as JSON too", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      yield* lifecycle.onPhase("draining", { label: "slow" }, Effect.sleep("40 days"))
      const shutdown = yield* Effect.fork(lifecycle.shutdown(signal))
      yield* settle
      yield* TestClock.adjust("40 days")
      const report = yield* Fiber.join(shutdown)
      assert.strictEqual(report.verdict, "clean")
      assert.strictEqual(report.timeoutMillis, Number.POSITIVE_INFINITY)
      assert.deepStrictEqual(ShutdownReport.fromJson(ShutdownReport.toJson(report)), report)
      assert.include(ShutdownReport.render(report), "clean, 3456000.00 s of no limit")
    }).pipe(Effect.provide(layer({ gracefulShutdownTimeout: Duration.infinity }))))
})

import { assert, describe, it } from "@effect/vitest"
import * as Audit from "@holdfast/core/Audit"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import * as Supervision from "@holdfast/core/Supervision"
import { Cause, Duration, Effect, Exit, Layer, Scope } from "effect"

/** The option that an effect refuses, be it as a failure or as a defect. */
const refusedBy = (effect: Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.map(Effect.exit(Effect.scoped(effect)), (exit) => {
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    return error instanceof InvalidOption.InvalidOption ? error.option : undefined
  })

const supervisor = (options: Partial<Supervision.Options>) => Supervision.make({ name: "top", ...options })
const child = (shutdown: Supervision.Shutdown) => ({ name: "child", shutdown, start: Effect.never })

const refused: ReadonlyArray<readonly [option: string, Effect.Effect<unknown, unknown, Scope.Scope>]> = [
  ["Supervision.intensity", supervisor({ intensity: NaN })],
  ["Supervision.intensity", supervisor({ intensity: -1 })],
  ["Supervision.intensity", supervisor({ intensity: 1.5 })],
  ["Supervision.period", supervisor({ period: -5 })],
  ["Supervision.period", supervisor({ period: 0 })],
  ["Supervision.period", supervisor({ period: NaN })],
  ["Supervision.shutdown", supervisor({ children: [child(-1)] })],
  ["Supervision.shutdown", Effect.flatMap(supervisor({}), (top) => top.startChild(child(NaN)))],
  ["Cleanup.budget", Cleanup.addFinalizer({ label: "x", budget: NaN }, () => Effect.void)],
  ["Cleanup.budget", Cleanup.run({ label: "x", budget: -1 }, Effect.void)],
  [
    "Cleanup.budget",
    Cleanup.addFinalizer(
      { label: "x", fallbacks: [{ label: "y", budget: -1, run: () => Effect.void }] },
      () => Effect.void
    )
  ],
  ["Lifecycle.gracefulShutdownTimeout", Lifecycle.make({ gracefulShutdownTimeout: NaN })],
  ["Lifecycle.gracefulShutdownTimeout", Layer.build(Lifecycle.layer({ gracefulShutdownTimeout: -1 }))],
  ["Lifecycle.readinessDelay", Lifecycle.make({ readinessDelay: Duration.infinity })],
  ["Lifecycle.weights.draining", Lifecycle.make({ weights: { draining: NaN } })],
  ["Lifecycle.weights.releasing", Lifecycle.make({ weights: { releasing: -1 } })],
  ["Lifecycle.listed", Lifecycle.make({ listed: NaN })],
  [
    "Lifecycle.onPhase.budget",
    Effect.flatMap(Lifecycle.make(), (one) => one.onPhase("draining", { label: "x", budget: NaN }, Effect.void))
  ],
  ["FiberRegistry.endedCapacity", Effect.sync(() => FiberRegistry.unsafeMake({ endedCapacity: 0 }))],
  ["Audit.orphanAfter", Layer.build(Audit.layer({ orphanAfter: NaN }))],
  ["Audit.maxAge.session", Layer.build(Audit.layer({ maxAge: { session: -1 } }))],
  ["Audit.growth.factor", Layer.build(Audit.layer({ growth: { factor: NaN } }))],
  ["Audit.cleanUpBudget", Layer.build(Audit.layer({ cleanUpBudget: -1 }))]
]

describe("options that make no sense", () => {
  for (const [index, [option, effect]] of refused.entries()) {
    it.effect(`are refused by name: ${option} (${index})`, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* refusedBy(effect), option)
      }))
  }

  it.effect("acquire nothing whose release would be refused", () =>
    Effect.gen(function*() {
      let acquired = 0
      const resource = Cleanup.acquireRelease(
        Effect.sync(() => acquired++),
        { label: "x", budget: NaN },
        () => Effect.void
      )
      assert.strictEqual(yield* refusedBy(resource), "Cleanup.budget")
      assert.strictEqual(acquired, 0)
    }))
})

describe("an infinite time", () => {
  it.scoped("is no limit, and has a place in JSON", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make({ gracefulShutdownTimeout: Duration.infinity, log: false })
      let ran = false
      yield* lifecycle.onPhase(
        "draining",
        { label: "hook" },
        Effect.sync(() => {
          ran = true
        })
      )
      const report = yield* lifecycle.shutdown({ _tag: "Signal", signal: "SIGTERM" })
      assert.isTrue(ran)
      assert.strictEqual(report.verdict, "clean")
      assert.strictEqual(report.timeoutMillis, Number.POSITIVE_INFINITY)
      assert.deepStrictEqual(ShutdownReport.fromJson(ShutdownReport.toJson(report)), report)
      assert.include(ShutdownReport.render(report), "of no limit")
    }).pipe(Effect.provide(FiberRegistry.layer)))
})

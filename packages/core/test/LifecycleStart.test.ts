import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import type * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, Scope } from "effect"

const reason: ShutdownReport.ShutdownReason = { _tag: "Signal", signal: "SIGTERM" }

const observers = Layer.mergeAll(FiberRegistry.layer, Cleanup.layerMonitor, Logger.remove(Logger.defaultLogger))

/** Starts what never comes up, shuts it down, and lets go of what hangs. */
const shutDown = (app: (hang: Effect.Effect<void>, released: Array<string>) => Layer.Layer<never>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const lifecycle = yield* Lifecycle.make({ scope, log: false, gracefulShutdownTimeout: "400 millis" })
    const gate = yield* Deferred.make<void>()
    const hangs = yield* Deferred.make<void>()
    const released: Array<string> = []
    const hang = Effect.uninterruptible(Effect.zipRight(Deferred.succeed(hangs, undefined), Deferred.await(gate)))
    const scopes = yield* Scope.make()
    const start = lifecycle.build(Layer.build(app(hang, released)))
    const fiber = yield* FiberRegistry.forkIn(Effect.withSpan(start, "boot"), scopes, {
      name: "app",
      kind: "lifecycle"
    })
    yield* Deferred.await(hangs)
    const report = yield* lifecycle.shutdown(reason)
    const atTheEnd = released.slice()
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.await(fiber)
    yield* Scope.close(scopes, Exit.void)
    assert.deepStrictEqual(released, atTheEnd, "released again, or later")
    return { released: atTheEnd, report }
  }).pipe(Effect.provide(observers))

const holds = (name: string, released: Array<string>) =>
  Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sync(() => released.push(name))))

const shapes: Record<string, (hang: Effect.Effect<void>, released: Array<string>) => Layer.Layer<never>> = {
  provide: (hang, released) => Layer.effectDiscard(hang).pipe(Layer.provide(holds("first", released))),
  provideMerge: (hang, released) => Layer.effectDiscard(hang).pipe(Layer.provideMerge(holds("first", released))),
  mergeAll: (hang, released) => Layer.mergeAll(holds("first", released), Layer.effectDiscard(hang)),
  fresh: (hang, released) => Layer.effectDiscard(hang).pipe(Layer.provide(Layer.fresh(holds("first", released)))),
  "inside of a fresh one": (hang, released) =>
    Layer.fresh(Layer.effectDiscard(hang).pipe(Layer.provide(holds("first", released)))),
  "one layer that hangs after it has acquired": (hang, released) =>
    Layer.scopedDiscard(Effect.zipRight(Effect.addFinalizer(() => Effect.sync(() => released.push("first"))), hang)),
  "a scope inside": (hang, released) =>
    Layer.effectDiscard(
      Effect.scoped(Effect.zipRight(Effect.addFinalizer(() => Effect.sync(() => released.push("first"))), hang))
    )
}

describe("a start that hangs in what cannot be interrupted", () => {
  for (const [name, app] of Object.entries(shapes)) {
    it.effect(`releases what was built, once, and names what hangs: ${name}`, () =>
      Effect.gen(function*() {
        const { released, report } = yield* shutDown(app)
        assert.deepStrictEqual(released, ["first"])
        assert.strictEqual(report.verdict, "forced")
        const hung = report.items("abandoned").map(({ detail, kind, label }) => [kind, label, detail])
        assert.deepStrictEqual(hung, [["fiber", "app", "its start did not end, in boot"]])
      }))
  }

  it.effect("releases in the reverse order of what was built", () =>
    Effect.gen(function*() {
      const { released } = yield* shutDown((hang, released) =>
        Layer.effectDiscard(hang).pipe(
          Layer.provide(holds("third", released)),
          Layer.provide(Layer.suspend(() => holds("second", released))),
          Layer.provide(holds("first", released))
        )
      )
      assert.deepStrictEqual(released, ["third", "second", "first"])
    }))
})

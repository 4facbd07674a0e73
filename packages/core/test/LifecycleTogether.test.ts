// edge: the runtimes of several applications are the subject
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import type { ShutdownReport } from "@holdfast/core/ShutdownReport"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Deferred, Effect, Exit, Layer, ManagedRuntime } from "effect"

const pump = (name: string, heard: Array<string>) =>
  Layer.scopedDiscard(
    FiberRegistry.forkScoped(
      Effect.onInterrupt(Effect.never, () => Effect.sync(() => heard.push(`pump of ${name}`))),
      { name: "pump", kind: "service" }
    )
  )

const hook = (phase: Lifecycle.HookPhase, heard: Array<string>) =>
  Effect.flatMap(
    Lifecycle.Lifecycle,
    (lifecycle) => lifecycle.onPhase(phase, { label: phase }, Effect.sync(() => heard.push(phase)))
  )

/** An application with a hook in every phase, a fiber, and something to release. */
const hooked = (heard: Array<string>) =>
  Layer.mergeAll(
    Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sync(() => heard.push("released")))),
    Layer.scopedDiscard(
      Effect.forEach(["releasing", "stopping-workers", "stopping-sources", "draining"] as const, (phase) =>
        hook(phase, heard))
    )
  )

const shutdown = Effect.flatMap(
  Lifecycle.Lifecycle,
  (lifecycle) => lifecycle.shutdown({ _tag: "Requested", by: "test" })
)

const inOrder = ["draining", "stopping-sources", "stopping-workers", "releasing", "released"]

const options = { log: false, gracefulShutdownTimeout: "500 millis" } as const

describe("applications in one process", () => {
  const ways: ReadonlyArray<readonly [string, (app: Layer.Layer<never>) => Layer.Layer<Lifecycle.Lifecycle>]> = [
    ["built on Lifecycle.layer", (app) => Layer.provideMerge(app, Lifecycle.layer(options))],
    ["of Lifecycle.manage", (app) => Lifecycle.manage(app, options)]
  ]
  for (const [name, way] of ways) {
    it.live(`${name}: the shutdown of one leaves the fibers of the other, and is done with its own`, () =>
      Effect.gen(function*() {
        const heard: Array<string> = []
        const first = ManagedRuntime.make(way(pump("first", heard)))
        const second = ManagedRuntime.make(way(pump("second", heard)))
        yield* Effect.promise(() => first.runPromise(Effect.void))
        yield* Effect.promise(() => second.runPromise(Effect.void))

        const report: ShutdownReport = yield* Effect.promise(() => first.runPromise(shutdown))
        assert.deepStrictEqual(heard, ["pump of first"])
        assert.strictEqual(report.verdict, "clean")
        assert.deepStrictEqual(report.live, [])

        yield* Effect.promise(() => first.dispose())
        assert.deepStrictEqual(heard, ["pump of first"])
        yield* Effect.promise(() => second.dispose())
        assert.deepStrictEqual(heard, ["pump of first", "pump of second"])
      }))
  }

  it.live("a registry that is given is the one in use", () =>
    Effect.gen(function*() {
      const given = FiberRegistry.unsafeMake()
      const used = yield* FiberRegistry.FiberRegistry.pipe(
        Effect.provide(Lifecycle.layer(options)),
        Effect.provideService(FiberRegistry.FiberRegistry, given)
      )
      assert.strictEqual(used, given)
    }))
})

describe("Lifecycle.manage", () => {
  it.live("runs the phases when its runtime is disposed of", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const runtime = ManagedRuntime.make(Lifecycle.manage(hooked(heard), options))
      yield* Effect.promise(() => runtime.runPromise(Effect.void))
      yield* Effect.promise(() => runtime.dispose())
      assert.deepStrictEqual(heard, inOrder)
    }))

  it.live("runs them once when a shutdown came before", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const runtime = ManagedRuntime.make(Lifecycle.manage(hooked(heard), options))
      yield* Effect.promise(() => runtime.runPromise(shutdown))
      assert.deepStrictEqual(heard, inOrder)
      yield* Effect.promise(() => runtime.dispose())
      assert.deepStrictEqual(heard, inOrder)
    }))

  it.live("ends within its time when a finalizer of Effect's own hangs", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const hanging = Layer.scopedDiscard(Effect.addFinalizer(() => Deferred.await(gate)))
      const runtime = ManagedRuntime.make(Lifecycle.manage(Layer.provideMerge(hanging, hooked(heard)), options))
      yield* Effect.promise(() => runtime.runPromise(Effect.void))
      yield* Effect.promise(() => runtime.dispose())
      assert.deepStrictEqual(heard, inOrder)
      yield* Deferred.succeed(gate, undefined)
    }))

  it.live("releases what a failed start has built, and says why", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      let lifecycle: Lifecycle.Service | undefined
      const failing = Layer.effectDiscard(Effect.flatMap(Lifecycle.Lifecycle, (one) => {
        lifecycle = one
        return Effect.fail("no port")
      }))
      const runtime = ManagedRuntime.make(Lifecycle.manage(Layer.provideMerge(failing, hooked(heard)), options))
      const exit = yield* Effect.promise(() => runtime.runPromiseExit(Effect.void))
      assert.deepStrictEqual(exit, Exit.fail("no port"))
      yield* Effect.promise(() => runtime.dispose())
      assert.deepStrictEqual(heard, inOrder)
      assert.strictEqual(lifecycle!.unsafeReport()?.reason._tag, "StartFailed")
    }))
})

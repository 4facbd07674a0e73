import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import {
  Cause,
  Chunk,
  Deferred,
  Effect,
  ExecutionStrategy,
  Exit,
  Fiber,
  FiberId,
  Layer,
  Logger,
  Option,
  Scope,
  Stream,
  TestClock
} from "effect"

const quiet = Logger.replace(Logger.defaultLogger, Logger.none)
const fresh = Effect.provide(Layer.mergeAll(Cleanup.layerMonitor, FiberRegistry.layer, quiet))

const blockFor = (millis: number) => {
  const until = performance.now() + millis
  while (performance.now() < until) { /* the point */ }
}

const budget = 60

/** Lets everybody who is able to run do so. */
const settle = Effect.repeatN(Effect.yieldNow(), 50)

/** What a finalizer may do to those who wait for it. `outcome` is what must be reported of it. */
const hostile: ReadonlyArray<{
  readonly name: string
  readonly outcome: Cleanup.Outcome["_tag"]
  /** `gate` opens when the test is over, so that what refuses to stop ends then. */
  readonly make: (
    closer: () => Fiber.RuntimeFiber<unknown, unknown>,
    gate: Effect.Effect<void>
  ) => Effect.Effect<unknown, unknown>
}> = [
  { name: "never returns", outcome: "Abandoned", make: () => Effect.never },
  { name: "is uninterruptible", outcome: "Abandoned", make: (_, gate) => Effect.uninterruptible(gate) },
  {
    name: "ignores its interruption",
    outcome: "Abandoned",
    make: (_, gate) => Effect.onInterrupt(Effect.never, () => gate)
  },
  { name: "fails", outcome: "Failed", make: () => Effect.fail("no") },
  {
    name: "throws",
    outcome: "Failed",
    make: () => {
      throw new Error("thrown")
    }
  },
  { name: "dies", outcome: "Failed", make: () => Effect.die(new Error("dead")) },
  { name: "interrupts itself", outcome: "Failed", make: () => Effect.interrupt },
  {
    name: "is interrupted a second time while it runs",
    outcome: "Completed",
    make: (closer) =>
      Effect.zipRight(
        Effect.sync(() => {
          closer().unsafeInterruptAsFork(FiberId.none)
          closer().unsafeInterruptAsFork(FiberId.none)
        }),
        Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 10)))
      )
  },
  {
    name: "is interrupted a second time and never returns",
    outcome: "Abandoned",
    make: (closer) => Effect.zipRight(Effect.sync(() => closer().unsafeInterruptAsFork(FiberId.none)), Effect.never)
  },
  { name: "blocks synchronously a while", outcome: "Completed", make: () => Effect.sync(() => blockFor(20)) },
  {
    name: "blocks synchronously past its budget",
    outcome: "Completed",
    make: () => Effect.sync(() => blockFor(budget + 20))
  },
  {
    name: "sleeps on a clock that stands still",
    outcome: "Abandoned",
    make: () => Effect.sleep("1 millis")
  }
]

const positions: Record<string, (bad: string, good: string) => ReadonlyArray<string>> = {
  only: (bad) => [bad],
  first: (bad, good) => [bad, good, good],
  middle: (bad, good) => [good, bad, good],
  last: (bad, good) => [good, good, bad]
}

const scopes: Record<
  string,
  (add: (index: number) => Effect.Effect<void, never, Scope.Scope>, total: number) => Effect.Effect<
    void,
    never,
    Scope.Scope
  >
> = {
  sequential: (add, total) =>
    Effect.forEach(Array.from({ length: total }, (_, index) => index), add, { discard: true }),
  parallel: (add, total) =>
    Effect.flatMap(
      Effect.scope,
      (outer) =>
        Effect.flatMap(Scope.fork(outer, ExecutionStrategy.parallel), (scope) =>
          Scope.extend(
            Effect.forEach(Array.from({ length: total }, (_, index) => index), add, { discard: true }),
            scope
          ))
    ),
  "two at a time": (add, total) =>
    Effect.flatMap(
      Effect.scope,
      (outer) =>
        Effect.flatMap(Scope.fork(outer, ExecutionStrategy.parallelN(2)), (scope) =>
          Scope.extend(
            Effect.forEach(Array.from({ length: total }, (_, index) => index), add, { discard: true }),
            scope
          ))
    ),
  nested: (add, total) =>
    Effect.flatMap(Effect.scope, (outer) =>
      Effect.reduce(
        Array.from({ length: total }, (_, index) => index),
        outer as Scope.Scope,
        (scope, index) =>
          Effect.tap(Scope.fork(scope, ExecutionStrategy.sequential), (inner) => Scope.extend(add(index), inner))
      ))
}

describe("Cleanup", () => {
  describe("a hostile finalizer holds nobody up beyond its budget", () => {
    for (const [shape, build] of Object.entries(scopes)) {
      for (const [position, order] of Object.entries(positions)) {
        for (const villain of hostile) {
          it.effect(`${shape}, ${position}: ${villain.name}`, () =>
            Effect.gen(function*() {
              const monitor = yield* Cleanup.CleanupMonitor
              const kinds = order("bad", "good")
              const ran: Array<number> = []
              const started: Array<number> = []
              const gate = yield* Deferred.make<void>()
              const ready = yield* Deferred.make<void>()
              let closer!: Fiber.RuntimeFiber<unknown, unknown>
              const add = (index: number) =>
                Cleanup.addFinalizer(
                  { label: `${kinds[index]} ${index}`, budget: kinds[index] === "bad" ? budget : 5000 },
                  () => {
                    started.push(index)
                    return kinds[index] === "bad"
                      ? villain.make(() => closer, Deferred.await(gate))
                      : Effect.sync(() => ran.push(index))
                  }
                )
              // The scope closes because its owner is interrupted, as at shutdown.
              closer = yield* build(add, kinds.length).pipe(
                Effect.zipRight(Deferred.succeed(ready, undefined)),
                Effect.zipRight(Effect.never),
                FiberRegistry.withOwner("app"),
                Effect.scoped,
                Effect.forkDaemon
              )
              yield* Deferred.await(ready)
              const since = performance.now()
              const exit = yield* Fiber.interrupt(closer)
              const elapsed = performance.now() - since
              assert.isTrue(Exit.isInterrupted(exit))
              assert.deepStrictEqual(started.toSorted(), kinds.map((_, index) => index))
              assert.deepStrictEqual(
                ran.toSorted(),
                kinds.flatMap((kind, index) => kind === "good" ? [index] : [])
              )
              const outcomes = yield* monitor.recent
              assert.strictEqual(outcomes.length, kinds.length)
              const bad = outcomes.find((one) => one.label.startsWith("bad"))!
              assert.strictEqual(bad._tag, villain.outcome)
              assert.deepStrictEqual(bad.owner, ["app"])
              // The budget, what blocked the thread, and a slow machine.
              assert.isBelow(elapsed, budget + 100 + 2000)
              assert.strictEqual(yield* monitor.abandoned, villain.outcome === "Abandoned" ? 1 : 0)
              yield* Deferred.succeed(gate, undefined)
              while ((yield* monitor.live).length > 0) yield* Effect.yieldNow()
            }).pipe(fresh))
        }
      }
    }
  })

  it.effect("all of them in one scope take no longer than the sum of their budgets", () =>
    Effect.gen(function*() {
      const monitor = yield* Cleanup.CleanupMonitor
      const gate = yield* Deferred.make<void>()
      const closer = yield* Effect.withFiberRuntime<Fiber.RuntimeFiber<unknown, unknown>>((fiber) =>
        Effect.succeed(fiber as Fiber.RuntimeFiber<unknown, unknown>)
      )
      const scope = yield* Scope.make()
      const villains = hostile.filter((one) => !one.name.includes("second time"))
      yield* Effect.forEach(villains, (villain) =>
        Cleanup.addFinalizer({ label: villain.name, budget }, () =>
          villain.make(() => closer, Deferred.await(gate))))
        .pipe(Scope.extend(scope))
      const since = performance.now()
      yield* Scope.close(scope, Exit.void)
      assert.isBelow(performance.now() - since, villains.length * budget + 1500)
      assert.deepStrictEqual(
        (yield* monitor.recent).map((one) => [one.label, one._tag]),
        villains.map((one) => [one.name, one.outcome]).toReversed()
      )
      yield* Deferred.succeed(gate, undefined)
      yield* settle
    }).pipe(fresh))

  describe("a chain of fallbacks", () => {
    const never = () => Effect.never
    const fails = () => Effect.fail("no")
    const steps = { never, fails, works: () => Effect.void }
    const table: ReadonlyArray<
      [ReadonlyArray<keyof typeof steps>, Cleanup.Outcome["_tag"], ReadonlyArray<Cleanup.Attempt["result"]>]
    > = [
      [["works", "works"], "Completed", ["completed"]],
      [["fails", "works"], "FellBack", ["failed", "completed"]],
      [["never", "works"], "FellBack", ["abandoned", "completed"]],
      [["never", "fails", "works", "works"], "FellBack", ["abandoned", "failed", "completed"]],
      [["fails", "fails"], "Failed", ["failed", "failed"]],
      [["never", "fails"], "Abandoned", ["abandoned", "failed"]],
      [["fails", "never"], "Abandoned", ["failed", "abandoned"]]
    ]
    for (const [chain, outcome, results] of table) {
      it.effect(`${chain.join(", then ")}: ${outcome}`, () =>
        Effect.gen(function*() {
          const [first, ...fallbacks] = chain.map((kind, index) => ({
            label: `step ${index}`,
            budget: 50,
            run: steps[kind]
          }))
          const result = yield* Cleanup.run({ ...first!, fallbacks }, first!.run())
          assert.strictEqual(result._tag, outcome)
          assert.strictEqual(result.label, "step 0")
          assert.deepStrictEqual(result.attempts.map((one) => one.result), results)
          assert.strictEqual(result.budgetMillis, 50 * chain.length)
          if (result._tag === "FellBack") assert.strictEqual(result.via, `step ${results.length - 1}`)
          if (result._tag === "Failed") assert.include(Cause.pretty(result.cause), "no")
        }).pipe(fresh))
    }
    it.effect("hears of the exit that the scope closed with", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const heard: Array<Exit.Exit<unknown, unknown>> = []
        yield* Scope.extend(
          Cleanup.addFinalizer(
            {
              label: "first",
              fallbacks: [{ label: "second", run: (exit) => Effect.sync(() => heard.push(exit)) }]
            },
            (exit) => Effect.zipRight(Effect.sync(() => heard.push(exit)), Effect.fail("no"))
          ),
          scope
        )
        yield* Scope.close(scope, Exit.fail("why"))
        assert.deepStrictEqual(heard, [Exit.fail("why"), Exit.fail("why")])
      }).pipe(fresh))
  })

  describe("CleanupMonitor", () => {
    it.scoped("names, counts and publishes what overran", () =>
      Effect.gen(function*() {
        const monitor = yield* Cleanup.CleanupMonitor
        const seen = yield* Effect.forkScoped(Stream.runCollect(Stream.take(monitor.overruns, 2)))
        yield* settle
        yield* Effect.gen(function*() {
          yield* Cleanup.run({ label: "fine" }, Effect.void)
          yield* Cleanup.run({ label: "hangs", budget: "50 millis" }, Effect.never)
          yield* Cleanup.run({ label: "fails" }, Effect.fail("no"))
          yield* Cleanup.run({ label: "blocks", budget: "10 millis" }, Effect.sync(() => blockFor(30)))
        }).pipe(FiberRegistry.withOwner("db"), FiberRegistry.withOwner("app"))
        const [hangs, blocks] = Chunk.toReadonlyArray(yield* Fiber.join(seen))
        assert.deepInclude({ ...hangs }, { _tag: "Abandoned", label: "hangs", owner: ["app", "db"], budgetMillis: 50 })
        assert.isAtLeast(hangs!.elapsedMillis, 45)
        assert.deepInclude({ ...blocks }, { _tag: "Completed", label: "blocks" })
        assert.isAtLeast(blocks!.elapsedMillis, 30)
        assert.deepStrictEqual(yield* monitor.counts, {
          completed: 2,
          fellBack: 0,
          failed: 1,
          abandoned: 1,
          overran: 2
        })
        assert.deepStrictEqual((yield* monitor.recent).map((one) => one.label), ["fine", "hangs", "fails", "blocks"])
      }).pipe(fresh))

    it.effect("knows what was left behind, for as long as it lives; the census knows it, too", () =>
      Effect.gen(function*() {
        const monitor = yield* Cleanup.CleanupMonitor
        const { census } = yield* FiberRegistry.FiberRegistry
        const gate = yield* Deferred.make<void>()
        yield* Cleanup.run({ label: "flush", budget: 20 }, Effect.uninterruptible(Deferred.await(gate))).pipe(
          FiberRegistry.withOwner("app")
        )
        assert.deepStrictEqual((yield* monitor.live).map((one) => [one.owner, one.label]), [[["app"], "flush"]])
        yield* settle
        assert.deepStrictEqual((yield* census).map((one) => [one.owner, one.kind, one.status]), [
          [["app", "flush"], "cleanup", "stopping"]
        ])
        yield* Deferred.succeed(gate, undefined)
        yield* settle
        assert.deepStrictEqual(yield* monitor.live, [])
        assert.deepStrictEqual(yield* census, [])
        assert.strictEqual(yield* monitor.abandoned, 1)
      }).pipe(fresh))

    it.effect("holds the last 256 outcomes", () =>
      Effect.gen(function*() {
        const monitor = yield* Cleanup.CleanupMonitor
        yield* Effect.forEach(
          Array.from({ length: 300 }),
          (_, index) => Cleanup.run({ label: `${index}` }, Effect.void)
        )
        const labels = (yield* monitor.recent).map((one) => one.label)
        assert.strictEqual(labels.length, 256)
        assert.strictEqual(labels[0], "44")
      }).pipe(fresh))

    it.effect("what failed or was left is logged as an error, with owner and budget", () =>
      Effect.gen(function*() {
        const lines: Array<string> = []
        const logger = Logger.make(({ annotations, cause, logLevel, message }) => {
          lines.push(`${logLevel.label} ${String(message)} ${Array.from(annotations).join(" ")} ${Cause.pretty(cause)}`)
        })
        yield* Effect.zipRight(
          Cleanup.run({ label: "flush", budget: 20 }, Effect.never),
          Cleanup.run({ label: "close" }, Effect.die(new Error("boom")))
        ).pipe(FiberRegistry.withOwner("app"), Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
        assert.match(lines[0]!, /^ERROR Cleanup app\/flush was abandoned after \d+ ms of 20 ms/)
        assert.match(lines[1]!, /^ERROR Cleanup app\/close failed after .*boom/s)
        assert.strictEqual(lines.length, 2)
      }).pipe(fresh))

    it.effect("a logger that throws does not fail a cleanup", () =>
      Effect.gen(function*() {
        const logger = Logger.make(() => {
          throw new Error("no logger")
        })
        const outcome = yield* Cleanup.run({ label: "flush", budget: 20 }, Effect.never).pipe(
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
        assert.strictEqual(outcome._tag, "Abandoned")
      }).pipe(fresh))
  })

  describe("acquireRelease", () => {
    it.effect("releases within the budget, with options that depend on the resource", () =>
      Effect.gen(function*() {
        const monitor = yield* Cleanup.CleanupMonitor
        const released: Array<unknown> = []
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Cleanup.acquireRelease(
            Effect.succeed(7),
            (id) => ({ label: `connection ${id}`, budget: 20 }),
            (id, exit) => Effect.zipRight(Effect.sync(() => released.push(id, exit._tag)), Effect.never)
          )
        }))
        assert.deepStrictEqual(released, [7, "Success"])
        assert.deepStrictEqual((yield* monitor.recent).map((one) => [one.label, one._tag]), [
          ["connection 7", "Abandoned"]
        ])
      }).pipe(fresh))
    it.effect("nothing is released when the acquisition fails", () =>
      Effect.gen(function*() {
        const exit = yield* Cleanup.acquireRelease(Effect.fail("no"), { label: "x" }, () => Effect.void).pipe(
          Effect.scoped,
          Effect.exit
        )
        assert.deepStrictEqual(exit, Exit.fail("no"))
        assert.deepStrictEqual(yield* (yield* Cleanup.CleanupMonitor).recent, [])
      }).pipe(fresh))
  })

  describe("closeScope", () => {
    const strategies = {
      sequential: ExecutionStrategy.sequential,
      parallel: ExecutionStrategy.parallel,
      "two at a time": ExecutionStrategy.parallelN(2)
    }
    for (const [name, strategy] of Object.entries(strategies)) {
      it.effect(`${name}: plain finalizers that hang do not stop the others, within one budget`, () =>
        Effect.gen(function*() {
          const gate = yield* Deferred.make<void>()
          const scope = yield* Scope.make(strategy)
          const ran: Array<number> = []
          for (let index = 0; index < 6; index++) {
            yield* Scope.addFinalizer(
              scope,
              index % 2 === 0 ? Effect.sync(() => ran.push(index)) : Effect.uninterruptible(Deferred.await(gate))
            )
          }
          const since = performance.now()
          const outcome = yield* Cleanup.closeScope(scope, Exit.void, { label: "app", budget: "300 millis" })
          assert.isBelow(performance.now() - since, 300 + 2000)
          assert.strictEqual(outcome._tag, "Abandoned")
          assert.deepStrictEqual(ran.toSorted(), [0, 2, 4])
          assert.deepStrictEqual(
            outcome.attempts.map((one) => one.label).toSorted(),
            ["finalizer 2 of 6", "finalizer 4 of 6", "finalizer 6 of 6"]
          )
          yield* Deferred.succeed(gate, undefined)
          yield* settle
        }).pipe(fresh))
    }
    it.effect("a finalizer with a label is named by it, and a slow one may take three quarters", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.extend(Cleanup.addFinalizer({ label: "flush", budget: "1 hour" }, () => Effect.never), scope)
        yield* Scope.addFinalizer(scope, Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 150))))
        const outcome = yield* Cleanup.closeScope(scope, Exit.void, { label: "app", budget: "400 millis" })
        assert.deepStrictEqual(outcome.attempts.map((one) => [one.label, one.result]), [["flush", "abandoned"]])
        yield* settle
        assert.deepStrictEqual(yield* (yield* Cleanup.CleanupMonitor).live, [])
      }).pipe(fresh))
    it.effect("nested scopes: inner finalizers keep their budgets and all run", () =>
      Effect.gen(function*() {
        const ran: Array<string> = []
        const outer = yield* Scope.make()
        const add = (scope: Scope.Scope, label: string, effect: Effect.Effect<unknown>) =>
          Scope.extend(
            Cleanup.addFinalizer({ label, budget: 30 }, () =>
              Effect.zipRight(Effect.sync(() => ran.push(label)), effect)),
            scope
          )
        yield* add(outer, "o1", Effect.void)
        const inner = yield* Scope.fork(outer, ExecutionStrategy.sequential)
        yield* add(inner, "i1", Effect.void)
        yield* add(inner, "i2", Effect.never)
        yield* add(inner, "i3", Effect.never)
        yield* add(outer, "o2", Effect.never)
        const outcome = yield* Cleanup.closeScope(outer, Exit.void, { label: "app", budget: "2 seconds" })
        assert.deepStrictEqual(ran, ["o2", "i3", "i2", "i1", "o1"])
        assert.deepStrictEqual(
          outcome.attempts.map((one) => [one.label, one.result]),
          [["o2", "abandoned"], ["i3", "abandoned"], ["i2", "abandoned"]]
        )
        assert.strictEqual(yield* (yield* Cleanup.CleanupMonitor).abandoned, 3)
      }).pipe(fresh))
    it.effect("nested scopes: inner finalizers with budgets beyond the outer one share its time, and all run", () =>
      Effect.gen(function*() {
        const { live, recent } = yield* Cleanup.CleanupMonitor
        const ran: Array<string> = []
        const outer = yield* Scope.make()
        const add = (scope: Scope.Scope, label: string) =>
          Scope.extend(
            Cleanup.addFinalizer({ label, budget: "1 hour" }, () =>
              Effect.zipRight(Effect.sync(() => ran.push(label)), Effect.never)),
            scope
          )
        yield* add(outer, "o1")
        const inner = yield* Scope.fork(outer, ExecutionStrategy.sequential)
        yield* add(inner, "i1")
        yield* add(inner, "i2")
        const since = performance.now()
        const outcome = yield* Cleanup.closeScope(outer, Exit.void, { label: "app", budget: "500 millis" })
        assert.isBelow(performance.now() - since, 500 + 2000)
        assert.notStrictEqual(outcome._tag, "Failed")
        yield* settle
        assert.deepStrictEqual(ran, ["i2", "i1", "o1"])
        const names = (yield* recent).flatMap((one) => one._tag === "Abandoned" ? [one.label] : [])
        for (const label of ["i2", "i1", "o1"]) assert.include(names, label)
        assert.deepStrictEqual(yield* live, [])
      }).pipe(fresh))
    it.effect("a fallback has its turn within the budget of the scope", () =>
      Effect.gen(function*() {
        const ran: Array<string> = []
        const scope = yield* Scope.make()
        yield* Scope.addFinalizer(scope, Effect.sync(() => ran.push("first")))
        yield* Scope.extend(
          Cleanup.addFinalizer(
            { label: "flush", fallbacks: [{ label: "drop", run: () => Effect.sync(() => ran.push("drop")) }] },
            () => Effect.never
          ),
          scope
        )
        const since = performance.now()
        const outcome = yield* Cleanup.closeScope(scope, Exit.void, { label: "app", budget: "400 millis" })
        assert.isBelow(performance.now() - since, 400 + 2000)
        assert.strictEqual(outcome._tag, "Completed")
        assert.deepStrictEqual(ran, ["drop", "first"])
      }).pipe(fresh))
    it.effect("a failing finalizer is reported and does not stop the others", () =>
      Effect.gen(function*() {
        const ran: Array<number> = []
        const scope = yield* Scope.make()
        yield* Scope.addFinalizer(scope, Effect.sync(() => ran.push(1)))
        yield* Scope.addFinalizer(scope, Effect.die(new Error("boom")))
        yield* Scope.addFinalizer(scope, Effect.sync(() => ran.push(3)))
        const outcome = yield* Cleanup.closeScope(scope, Exit.void, { label: "app" })
        assert.deepStrictEqual(ran, [3, 1])
        assert.strictEqual(outcome._tag, "Failed")
        assert.include(Cause.pretty((outcome as { cause: Cause.Cause<unknown> }).cause), "boom")
      }).pipe(fresh))
    it.effect("ends the fibers of the scope, and closing twice is closing once", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const fiber = yield* FiberRegistry.forkIn(Effect.never, scope, { name: "reader" })
        assert.strictEqual((yield* Cleanup.closeScope(scope, Exit.void, { label: "app" }))._tag, "Completed")
        assert.isTrue(Option.isSome(yield* Fiber.poll(fiber)))
        assert.strictEqual((yield* Cleanup.closeScope(scope, Exit.void, { label: "app" }))._tag, "Completed")
      }).pipe(fresh))
    it.effect("survives interruption while it runs", () =>
      Effect.gen(function*() {
        const ran: Array<number> = []
        const scope = yield* Scope.make()
        const begun = yield* Deferred.make<void>()
        yield* Scope.addFinalizer(scope, Effect.sync(() => ran.push(1)))
        const gate = yield* Deferred.make<void>()
        yield* Scope.addFinalizer(scope, Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(gate)))
        const fiber = yield* Effect.fork(Cleanup.closeScope(scope, Exit.void, { label: "app", budget: 100 }))
        yield* Deferred.await(begun)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(ran, [1])
        // A plain finalizer that hangs does so for good, as it would have without a budget.
        const [left] = yield* (yield* Cleanup.CleanupMonitor).live
        assert.strictEqual(left!.label, "finalizer 2 of 2")
        yield* Deferred.succeed(gate, undefined)
        yield* settle
      }).pipe(fresh))
    it.effect("scoped: an effect with a scope that is closed under one budget", () =>
      Effect.gen(function*() {
        const result = yield* Cleanup.scoped({ label: "work", budget: 50 })(Effect.gen(function*() {
          yield* Cleanup.addFinalizer({ label: "flush", budget: 20 }, () => Effect.never)
          return 42
        }))
        assert.strictEqual(result, 42)
        const [inner] = yield* (yield* Cleanup.CleanupMonitor).recent
        assert.strictEqual(inner!._tag, "Abandoned")
      }).pipe(fresh))
  })

  describe("the clock of budgets", () => {
    it.effect("is the wall clock, also under TestClock", () =>
      Effect.gen(function*() {
        const outcome = yield* Cleanup.run({ label: "hangs", budget: 30 }, Effect.sleep("1 milli"))
        assert.strictEqual(outcome._tag, "Abandoned")
        assert.isAtLeast(outcome.elapsedMillis, 25)
      }).pipe(fresh))
    it.effect("can be Effect's own: then a test moves it", () =>
      Effect.gen(function*() {
        const fiber = yield* Effect.fork(Cleanup.run({ label: "hangs", budget: "1 hour" }, Effect.never))
        yield* TestClock.adjust("59 minutes")
        assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
        yield* TestClock.adjust("1 minute")
        const outcome = yield* Fiber.join(fiber)
        assert.deepInclude({ ...outcome }, { _tag: "Abandoned", elapsedMillis: 3_600_000 })
      }).pipe(Effect.provide(Cleanup.layerEffectClock), fresh))
    it.effect("a budget beyond what timers hold is not a budget of nothing", () =>
      Effect.gen(function*() {
        const outcome = yield* Cleanup.run({ label: "x", budget: "365 days" }, Effect.yieldNow())
        assert.strictEqual(outcome._tag, "Completed")
      }).pipe(fresh))
  })
})

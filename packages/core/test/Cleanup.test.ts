import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Deferred, Effect, ExecutionStrategy, Exit, Fiber, FiberId, Layer, Scope } from "effect"

const fresh = Effect.provide(Layer.mergeAll(Cleanup.layerMonitor, FiberRegistry.layer))

const blockFor = (millis: number) => {
  const until = Date.now() + millis
  while (Date.now() < until) { /* the point */ }
}

const budget = 60

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
              while ((yield* monitor.left).length > 0) yield* Effect.yieldNow()
            }).pipe(fresh))
        }
      }
    }
  })
})

import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Supervision from "@holdfast/core/Supervision"
import * as Explore from "@holdfast/testing/Explore"
import { Cause, Effect, Exit, Fiber, Layer, Logger, Scope, Stream } from "effect"
import { sized } from "../../../scripts/sized.js"

const seeds = sized(60, 2000, 20)

/** Everything that the program uses is made inside of it. */
const alone = <A, E>(program: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() =>
    Effect.provide(
      program,
      Layer.mergeAll(
        FiberRegistry.layer,
        Cleanup.layerMonitor,
        Logger.replace(Logger.defaultLogger, Logger.none)
      )
    )
  )

const explore = (name: string, program: Effect.Effect<unknown, unknown>) =>
  it.effect(name, () => Explore.check(alone(program), { seeds }), 60_000)

/** Counts what lives, and fails when a name lives twice. */
const roll = () => {
  const living = new Set<string>()
  let starts = 0
  return {
    living,
    starts: () => starts,
    alive: (name: string, life: Effect.Effect<unknown, unknown>) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          assert.isFalse(living.has(name), `${name} lives twice`)
          living.add(name)
          starts++
        }),
        () => life,
        () => Effect.sync(() => living.delete(name))
      )
  }
}

describe("under every interleaving", () => {
  explore(
    "FiberRegistry: what was forked is in the census until it ends, also when the fiber that forks it is interrupted",
    Effect.gen(function*() {
      const { census, counts, ended } = yield* FiberRegistry.FiberRegistry
      const scope = yield* Scope.make()
      const { alive, living } = roll()
      const parent = yield* Effect.fork(
        Effect.forEach(
          ["a", "b", "c", "d"],
          (name) => FiberRegistry.forkIn(alive(name, name === "c" ? Effect.yieldNow() : Effect.never), scope, { name })
        )
          .pipe(FiberRegistry.withOwner("parent"))
      )
      yield* Effect.yieldNow()
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(parent)
      const present = (yield* census).map((entry) => {
        assert.deepStrictEqual(entry.owner, ["parent", entry.name])
        return entry.name
      })
      for (const name of living) assert.include(present, name)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* census, [])
      assert.strictEqual((yield* counts).started, (yield* ended).length)
      assert.strictEqual(living.size, 0)
    })
  )

  explore(
    "FiberRegistry: a listener hears of every start before the end of it, and of nothing twice",
    Effect.scoped(Effect.gen(function*() {
      const { changes } = yield* FiberRegistry.FiberRegistry
      const heard: Array<string> = []
      const listener = yield* Effect.forkScoped(
        Stream.runForEach(
          changes,
          (change) => Effect.sync(() => heard.push(change._tag === "Started" ? `+${change.id}` : `-${change.ended.id}`))
        )
      )
      yield* Effect.sleep("1 millis")
      const all = yield* Effect.forEach(
        ["a", "b", "c"],
        (name) => FiberRegistry.forkScoped(Effect.yieldNow(), { name })
      )
      yield* Fiber.joinAll(all)
      yield* Effect.sleep("1 millis")
      yield* Fiber.interrupt(listener)
      for (const fiber of all) {
        const id = `#${fiber.id().id}`
        assert.deepStrictEqual(heard.filter((one) => one.slice(1) === id), [`+${id}`, `-${id}`])
      }
    }))
  )

  explore(
    "Cleanup: a finalizer that ends at the very end of its budget has one outcome, and one that fits it",
    Effect.gen(function*() {
      const { recent } = yield* Cleanup.CleanupMonitor
      let done = false
      const fiber = yield* Effect.fork(
        Cleanup.run({ label: "flush", budget: 10 }, Effect.zipRight(Effect.sleep(10), Effect.sync(() => done = true)))
      )
      yield* Effect.sleep(10)
      yield* Fiber.interrupt(fiber)
      yield* Effect.sleep(10)
      const outcomes = yield* recent
      assert.strictEqual(outcomes.length, 1)
      if (outcomes[0]!._tag === "Completed") assert.isTrue(done)
      assert.include(["Completed", "Abandoned"], outcomes[0]!._tag)
    })
  )

  explore(
    "Cleanup: all finalizers run, once, however often their fiber is interrupted",
    Effect.gen(function*() {
      const ran: Array<string> = []
      const add = (label: string, finalizer: Effect.Effect<unknown>) =>
        Cleanup.addFinalizer({ label, budget: 5 }, () => Effect.zipRight(Effect.sync(() => ran.push(label)), finalizer))
      const fiber = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
        yield* add("a", Effect.void)
        yield* add("b", Effect.never)
        yield* add("c", Effect.die("c"))
        yield* add("d", Effect.sleep(2))
      })))
      yield* Effect.sleep(1)
      yield* Effect.forEach([1, 2, 3], () => Fiber.interrupt(fiber), { concurrency: "unbounded" })
      assert.deepStrictEqual(ran, ["d", "c", "b", "a"])
    })
  )

  for (const strategy of ["one_for_one", "one_for_all", "rest_for_one"] as const) {
    explore(
      `Supervision, ${strategy}: children that crash and commands that race leave nothing, and nobody lives twice`,
      Effect.gen(function*() {
        const { census } = yield* FiberRegistry.FiberRegistry
        const { alive, living, starts } = roll()
        const child = (name: string, life: Effect.Effect<unknown, unknown>): Supervision.ChildSpec => ({
          name,
          start: alive(name, life)
        })
        yield* Effect.scoped(Effect.gen(function*() {
          const sup = yield* Supervision.make({
            name: "sup",
            strategy,
            intensity: 1000,
            children: [
              child("a", Effect.zipRight(Effect.sleep(3), Effect.die("a"))),
              child("b", Effect.never),
              child("c", Effect.zipRight(Effect.sleep(2), Effect.fail("c")))
            ]
          })
          yield* Effect.all([
            Effect.ignore(sup.startChild(child("d", Effect.zipRight(Effect.sleep(1), Effect.die("d"))))),
            Effect.ignore(Effect.zipRight(sup.stopChild("b"), sup.restartChild("b"))),
            Effect.ignore(Effect.zipRight(sup.stopChild("d"), sup.deleteChild("d"))),
            Effect.sleep(6)
          ], { concurrency: "unbounded" })
        }))
        assert.strictEqual(living.size, 0)
        assert.isAtLeast(starts(), 3)
        assert.deepStrictEqual(yield* census, [])
      })
    )
  }

  explore(
    "Supervision: whoever asks a supervisor that ends gets an answer",
    Effect.gen(function*() {
      const { alive, living } = roll()
      const scope = yield* Scope.make()
      const sup = yield* Scope.extend(
        Supervision.make({ name: "sup", intensity: 0, children: [{ name: "a", start: alive("a", Effect.sleep(1)) }] }),
        scope
      )
      const asked = yield* Effect.forEach(
        ["x", "y", "z"],
        (name) => Effect.fork(Effect.exit(sup.startChild({ name, start: alive(name, Effect.never) })))
      )
      yield* Effect.sleep(1)
      yield* Effect.forEach(
        [Effect.exit(sup.stopChild("a")), Effect.exit(sup.awaitEscalation), Scope.close(scope, Exit.void)],
        (effect) => effect,
        { concurrency: "unbounded" }
      )
      for (const exit of yield* Effect.forEach(asked, Fiber.join)) {
        if (Exit.isFailure(exit)) assert.include(Cause.pretty(exit.cause), "SupervisorStopped")
      }
      assert.strictEqual(living.size, 0)
    })
  )
})

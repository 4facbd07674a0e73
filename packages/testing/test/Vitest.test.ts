import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Explore from "@holdfast/testing/Explore"
import * as LeakCheck from "@holdfast/testing/LeakCheck"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Effect, Option, Ref, TestClock } from "effect"

describe("it", () => {
  it.leakFree("runs a scoped test under a test clock", () =>
    Effect.gen(function*() {
      const done = yield* Ref.make(false)
      yield* Effect.forkScoped(Effect.zipRight(Effect.sleep("1 hour"), Ref.set(done, true)))
      yield* TestClock.adjust("1 hour")
      assert.isTrue(yield* Ref.get(done))
    }))

  it.explore("tries an effect under many seeds", { seeds: 50 }, () =>
    Effect.gen(function*() {
      const n = yield* Ref.make(0)
      yield* Effect.all([Ref.update(n, (n) => n + 1), Ref.update(n, (n) => n + 1)], { concurrency: 2 })
      assert.strictEqual(yield* Ref.get(n), 2)
    }))

  it.leakFree.fails("fails a test that leaks", () => Effect.forkDaemon(Effect.never), { grace: "10 millis" })

  it.explore.fails("fails a program that some seed breaks", { seeds: 100 }, () =>
    Effect.gen(function*() {
      const n = yield* Ref.make(0)
      const add = Effect.flatMap(Ref.get(n), (before) => Ref.set(n, before + 1))
      yield* Effect.all([add, add], { concurrency: 2 })
      assert.strictEqual(yield* Ref.get(n), 2)
    }))

  it.effect("names the owner path of what was left", () =>
    Effect.gen(function*() {
      const leaky = Effect.gen(function*() {
        const outside = yield* Effect.scope
        yield* FiberRegistry.forkIn(Effect.never, outside, { name: "heartbeat" })
      }).pipe(FiberRegistry.withOwner("session-12"), FiberRegistry.withOwner("chat"))
      const leaked = yield* Effect.flip(LeakCheck.check(leaky, { name: "a player joins", grace: "50 millis" }))
      if (leaked._tag !== "Leaked") return yield* Effect.dieMessage("expected leaks")
      const [fiber] = leaked.leaks.filter(({ kind }) => kind === "fiber")
      assert.match(fiber!.what, /^chat\/session-12\/heartbeat \(#\d+\)$/)
      assert.match(Option.getOrElse(fiber!.place, () => ""), /Vitest\.test\.ts:\d+$/)
    }).pipe(Effect.scoped))

  it.effect("explores with one strategy alone", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const counter = yield* Ref.make(0)
        const add = Effect.flatMap(Ref.get(counter), (n) => Ref.set(counter, n + 1))
        yield* Effect.all([add, add], { concurrency: 2 })
        if ((yield* Ref.get(counter)) !== 2) return yield* Effect.fail("lost")
      })
      const strategyOf = (check: Effect.Effect<unknown, unknown>) =>
        Effect.map(Effect.flip(check), (error) => error instanceof Explore.BugFound ? error.run.strategy : error)
      const random = Explore.checkRandom(program, { seeds: 200, preemption: 0.5 })
      assert.strictEqual(yield* strategyOf(random), "random, preemption 0.5")
      assert.match(String(yield* strategyOf(Explore.checkPct(program, { seeds: 5_000, depth: 2 }))), /^pct, depth 2 /)
    }))
})

import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Clock, Deferred, Effect, Fiber, Option, Random, Ref } from "effect"
import { readFile } from "node:fs/promises"

const lostUpdate = Effect.gen(function*() {
  const counter = yield* Ref.make(0)
  const add = Effect.gen(function*() {
    const n = yield* Ref.get(counter)
    yield* Ref.set(counter, n + 1)
  })
  yield* Effect.all([add, add], { concurrency: 2 })
  if ((yield* Ref.get(counter)) !== 2) return yield* Effect.dieMessage("lost update")
})

describe("Explore", () => {
  it.effect("finds a lost update and replays it", () =>
    Effect.gen(function*() {
      const found = Option.getOrThrow(yield* Explore.find(lostUpdate, { seeds: 100 }))
      assert.isAtMost(found.tried, 50)
      assert.strictEqual(found.run.verdict, "failed")
      assert.include(found.message, "lost update")
      const first = yield* Explore.replay(lostUpdate, found.run.seed)
      for (let i = 0; i < 50; i++) {
        const again = yield* Explore.replay(lostUpdate, found.run.seed)
        assert.deepStrictEqual(again.events, first.events)
        assert.strictEqual(again.fingerprint, first.fingerprint)
      }
    }))

  it.effect("lets hours pass in no time", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const before = yield* Clock.currentTimeMillis
        yield* Effect.all([Effect.sleep("3 hours"), Effect.sleep("1 hour")], { concurrency: 2 })
        const raw = Date.now()
        yield* Random.next
        return [(yield* Clock.currentTimeMillis) - before, raw - before]
      })
      const run = yield* Explore.replay(program, 7)
      assert.strictEqual(run.verdict, "ok")
      const exit = Option.getOrThrow(run.exit)
      assert.deepStrictEqual(yield* exit, [10_800_000, 10_800_000])
    }))

  it.effect("reports a deadlock with the fibers", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const latch = yield* Deferred.make<void>()
        const fiber = yield* Effect.fork(Deferred.await(latch))
        yield* Fiber.join(fiber)
      })
      const found = Option.getOrThrow(yield* Explore.find(program))
      assert.strictEqual(found.run.verdict, "blocked")
    }))

  it.effect("reports a livelock", () =>
    Effect.gen(function*() {
      const found = Option.getOrThrow(yield* Explore.find(Effect.forever(Effect.void), { maxOperations: 5000 }))
      assert.strictEqual(found.run.verdict, "livelock")
      const forever = Effect.forever(Effect.sleep("1 second"))
      const byTime = Option.getOrThrow(yield* Explore.find(forever, { maxTime: "1 hour" }))
      assert.strictEqual(byTime.run.verdict, "livelock")
    }))

  it.effect("reports a leaked fiber", () =>
    Effect.gen(function*() {
      const found = Option.getOrThrow(yield* Explore.find(Effect.forkDaemon(Effect.never)))
      assert.strictEqual(found.run.verdict, "leaked")
    }))

  it.effect("takes fibers of the default runtime in, and says so", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const done = yield* Deferred.make<number>()
        // edge: a fiber that escapes is the subject
        Effect.runFork(Effect.zipRight(Effect.sleep("1 hour"), Deferred.succeed(done, Date.now())))
        return yield* Deferred.await(done)
      })
      const run = yield* Explore.replay(program, 3)
      assert.strictEqual(run.verdict, "ok")
      assert.strictEqual(run.millis, 3_600_000)
      assert.match(run.escapes[0]!, /default runtime at packages\/testing\/test\/Explore\.test\.ts:\d+/)
      const error = yield* Effect.flip(Explore.checkDeterminism(program))
      assert.include(error.message, "default runtime")
    }))

  it.effect("lets promises and JavaScript timers take part", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const start = Date.now()
        yield* Effect.promise(async () => {
          await new Promise((resolve) => setTimeout(resolve, 60_000))
          await Promise.resolve()
        })
        return Math.random() + Date.now() - start
      })
      const report = yield* Explore.checkDeterminism(program)
      assert.deepStrictEqual(report.escapes, [])
    }))

  it.effect("finds a program that keeps state between runs", () =>
    Effect.gen(function*() {
      let runs = 0
      const program = Effect.suspend(() => ++runs % 2 === 0 ? Effect.yieldNow() : Effect.void)
      const error = yield* Effect.flip(Explore.checkDeterminism(program, { seeds: 3 }))
      assert.strictEqual(error._tag, "NotDeterministic")
    }))

  it.effect("finds a program that waits for the world outside", () =>
    Effect.gen(function*() {
      const program = Effect.promise(() => readFile(new URL(import.meta.url)))
      const blocked = yield* Explore.replay(program, 1)
      assert.strictEqual(blocked.verdict, "blocked")
      const awaited = yield* Explore.replay(program, 1, { external: "await" })
      assert.strictEqual(awaited.verdict, "ok")
      assert.include(awaited.escapes[0]!, "from outside the simulation")
    }))

  it.effect("leaves the process as it was", () =>
    Effect.gen(function*() {
      const before = [Date, Date.now, Math.random, setTimeout, performance.now, process.hrtime.bigint]
      const roots = Array.from(yield* Fiber.roots).length
      yield* Explore.find(Effect.zipRight(Effect.forkDaemon(Effect.never), Effect.die("no")))
      yield* Explore.find(Effect.forever(Effect.yieldNow()), { maxOperations: 2_000 })
      assert.deepStrictEqual([Date, Date.now, Math.random, setTimeout, performance.now, process.hrtime.bigint], before)
      assert.strictEqual(Array.from(yield* Fiber.roots).length, roots)
    }))

  it.effect("explores a thousand seeds as a thousand interleavings", () =>
    Effect.gen(function*() {
      const step = Effect.repeatN(Effect.yieldNow(), 5)
      const report = yield* Explore.checkRandom(Effect.all([step, step, step], { concurrency: 3 }), { seeds: 1_000 })
      assert.isAbove(report.interleavings, 950)
    }))
})

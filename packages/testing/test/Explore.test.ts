import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Clock, Deferred, Effect, Fiber, Option, Random, Ref } from "effect"

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
})

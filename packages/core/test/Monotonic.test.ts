import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Monotonic from "@holdfast/core/Monotonic"
import { Clock, Effect, Fiber, Layer, Logger, Stream, TestClock } from "effect"

const fresh = Effect.provide(
  Layer.merge(FiberRegistry.layer, Logger.replace(Logger.defaultLogger, Logger.none))
)
const hour = 3_600_000

/** Sets the wall clock of the process for the time of the effect; each call sets it again. */
const withWallClock = <A, E, R>(use: (set: (offset: number) => void) => Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const real = Date.now
      let offset = 0
      Date.now = () => real() + offset
      return {
        set: (by: number) => {
          offset = by
        },
        restore: () => {
          Date.now = real
        }
      }
    }),
    ({ set }) => use(set),
    ({ restore }) => Effect.sync(restore)
  )

describe("Monotonic", () => {
  it.effect("is moved by a test, in milliseconds, whatever the wall clock says", () =>
    Effect.gen(function*() {
      const since = yield* Monotonic.now
      yield* TestClock.adjust("1500 millis")
      assert.closeTo((yield* Monotonic.now) - since, 1_500, 0.01)
      const clock = yield* Effect.clock
      assert.strictEqual(Monotonic.unsafeNow(clock), yield* Monotonic.now)
      const real = Clock.make()
      const before = Monotonic.unsafeNow(real)
      yield* withWallClock((set) => Effect.sync(() => set(-hour)))
      assert.isAtLeast(Monotonic.unsafeNow(real), before)
    }))

  for (const [which, offset] of [["back", -hour], ["forth", hour]] as const) {
    it.scoped(`ages of fibers do not move when the clock is set ${which} by an hour`, () =>
      withWallClock((set) =>
        Effect.gen(function*() {
          const registry = yield* FiberRegistry.FiberRegistry
          const crashes = yield* Effect.fork(Stream.runCollect(Stream.take(registry.crashes, 1)))
          const fiber = yield* FiberRegistry.forkScoped(
            Effect.zipRight(Effect.fork(Effect.never), Effect.never),
            { name: "old" }
          )
          const crashing = yield* FiberRegistry.forkScoped(
            Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 20), Effect.die("crash")),
            { name: "crashing" }
          )
          yield* Effect.yieldNow()
          yield* Effect.yieldNow()
          const before = new Map([...registry.unsafeCensus(), ...registry.unsafeUntracked()].map((entry) =>
            [entry.id, entry.ageMillis] as const
          ))
          assert.isAtLeast(before.size, 3)
          set(offset)
          const after = [...registry.unsafeCensus(), ...registry.unsafeUntracked()]
          for (const { ageMillis, id, name } of after) {
            assert.isAtLeast(ageMillis, before.get(id) ?? 0, name)
            assert.isBelow(ageMillis, 60_000, name)
          }
          yield* Fiber.await(crashing)
          const [crash] = yield* Fiber.join(crashes)
          assert.isAtLeast(crash.ageMillis, 0)
          assert.isBelow(crash.ageMillis, 60_000)
          yield* Fiber.interrupt(fiber)
          for (const { ageMillis, name } of registry.unsafeEnded()) {
            assert.isAtLeast(ageMillis, 0, name)
            assert.isBelow(ageMillis, 60_000, name)
          }
        })
      ).pipe(fresh))
  }
})

import { assert, describe, it } from "@effect/vitest"
import * as Lock from "@holdfast/core/Lock"
import * as Signal from "@holdfast/core/Signal"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Exit, Fiber, Option, Random, Stream, SubscriptionRef } from "effect"
import { sized } from "../../../scripts/sized.js"

const seeds = sized(1_000, 20_000, 200)
const timeout = sized(180_000, 7_200_000)

const ensure = (condition: boolean, message: string) => condition ? Effect.void : Effect.dieMessage(message)

/** Comes in the middle of what the others do. */
const soon = Effect.flatMap(
  Random.nextIntBetween(0, 12),
  (turns) => turns === 0 ? Effect.void : Effect.repeatN(Effect.yieldNow(), turns - 1)
)

describe("Signal", () => {
  it.effect("hears a wake that comes first, and one that comes at any moment of the registration", () =>
    Explore.check(
      Effect.gen(function*() {
        const signal = new Signal.Signal()
        let ready = false
        const waker = yield* Effect.fork(Effect.zipRight(
          soon,
          Effect.sync(() => {
            ready = true
            signal.wake()
          })
        ))
        yield* signal.wait(() => ready)
        yield* Fiber.join(waker)
        yield* ensure(signal.waiting === 0, "somebody is said to wait")
      }),
      { seeds }
    ), timeout)

  it.effect("loses no wake to a waiter that is interrupted, and tells of nobody who is gone", () =>
    Explore.check(
      Effect.gen(function*() {
        const signal = new Signal.Signal()
        const items: Array<number> = []
        const taken: Array<number> = []
        const take = Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(
            restore(signal.wait(() => items.length > 0)),
            function again(): Effect.Effect<void> {
              const item = items.shift()
              if (item === undefined) return Effect.flatMap(restore(signal.wait(() => items.length > 0)), again)
              taken.push(item)
              return Effect.void
            }
          )
        )
        const victims = yield* Effect.forEach([1, 2, 3], () => Effect.fork(take))
        const survivors = yield* Effect.forEach([1, 2, 3], () => Effect.fork(take))
        const waker = yield* Effect.fork(Effect.forEach([1, 2, 3, 4, 5, 6], (item) =>
          Effect.zipRight(
            soon,
            Effect.sync(() => {
              items.push(item)
              signal.wake()
            })
          ), { discard: true }))
        yield* soon
        yield* Fiber.interruptAll(victims)
        yield* Fiber.join(waker)
        yield* Effect.forEach(survivors, Fiber.join, { discard: true })
        yield* ensure(signal.waiting === 0, `${signal.waiting} entries are left`)
        yield* ensure(taken.length + items.length === 6, `${taken.length} taken and ${items.length} there, of 6`)
      }),
      { seeds }
    ), timeout)

  it.effect("forgets a waiter that is interrupted, whenever that happens", () =>
    Explore.check(
      Effect.gen(function*() {
        const signal = new Signal.Signal()
        const waiter = yield* Effect.fork(signal.wait(() => false))
        yield* soon
        yield* Fiber.interrupt(waiter)
        yield* ensure(signal.waiting === 0, "the entry of a dead fiber is left")
      }),
      { seeds }
    ), timeout)

  it.effect("keeps no crowd of entries when those who wait are interrupted again and again", () =>
    Effect.gen(function*() {
      const signal = new Signal.Signal()
      const live = yield* Effect.fork(signal.wait(() => false))
      for (let index = 0; index < 1000; index++) {
        const waiter = yield* Effect.fork(signal.wait(() => false))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(waiter)
      }
      assert.strictEqual(signal.waiting, 1)
      assert.isAtMost((Reflect.get(signal, "waiters") as ReadonlySet<unknown>).size, 8)
      yield* Fiber.interrupt(live)
    }))

  it.effect("wakes many, each only when its own condition holds, however many wakes there are", () =>
    Explore.check(
      Effect.gen(function*() {
        const signal = new Signal.Signal()
        let level = 0
        const early: Array<number> = []
        const fibers = yield* Effect.forEach([1, 2, 3, 4], (wanted) =>
          Effect.fork(Effect.map(
            signal.wait(() => level >= wanted),
            () => {
              if (level < wanted) early.push(wanted)
            }
          )))
        for (let next = 1; next <= 4; next++) {
          yield* soon
          level = next
          signal.wake()
          signal.wake()
        }
        yield* Effect.forEach(fibers, Fiber.join)
        yield* ensure(early.length === 0, `woken too early: ${early.join(", ")}`)
        yield* ensure(signal.waiting === 0, "somebody is said to wait")
      }),
      { seeds }
    ), timeout)

  it.effect("does not run a woken fiber inside of who wakes it", () =>
    Effect.gen(function*() {
      const signal = new Signal.Signal()
      const order: Array<string> = []
      let ready = false
      const fiber = yield* Effect.fork(Effect.map(signal.wait(() => ready), () => order.push("woken")))
      yield* Effect.yieldNow()
      assert.strictEqual(signal.waiting, 1)
      ready = true
      signal.wake()
      order.push("wake returned")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(order, ["wake returned", "woken"])
    }))
})

describe("Signal instead of a SubscriptionRef", () => {
  it.effect(
    "is needed: whoever is interrupted while it subscribes to one of effect locks out who sets it (daily)",
    () =>
      Effect.gen(function*() {
        const found = yield* Explore.find(
          Effect.gen(function*() {
            const ref = yield* SubscriptionRef.make(0)
            const followers = yield* Effect.replicateEffect(Effect.fork(Stream.runDrain(ref.changes)), 3)
            const setting = yield* Effect.fork(
              Effect.zipRight(soon, Effect.forEach([1, 2, 3, 4, 5], (value) => SubscriptionRef.set(ref, value)))
            )
            yield* soon
            yield* Fiber.interruptAll(followers)
            yield* Fiber.join(setting)
          }),
          { seeds: 2_000 }
        )
        assert.isTrue(
          Option.isSome(found),
          "effect has mended its semaphore: Lifecycle.phases can become a SubscriptionRef"
        )
      }),
    timeout
  )
})

describe("Lock", () => {
  it.effect("lets one in at a time, whoever is interrupted, and is free at the end", () =>
    Explore.check(
      Effect.gen(function*() {
        const lock = new Lock.Lock()
        let inside = 0
        let most = 0
        let runs = 0
        const body = Effect.acquireUseRelease(
          Effect.sync(() => {
            most = Math.max(most, ++inside)
          }),
          () => Effect.zipRight(soon, Effect.sync(() => runs++)),
          () => Effect.sync(() => inside--)
        )
        const victims = yield* Effect.forEach([1, 2, 3], () => Effect.fork(lock.withLock(body)))
        const survivors = yield* Effect.forEach([1, 2, 3], () => Effect.fork(lock.withLock(body)))
        yield* soon
        yield* Fiber.interruptAll(victims)
        yield* Effect.forEach(survivors, Fiber.join)
        yield* lock.withLock(Effect.void)
        yield* ensure(most === 1, `${most} at once`)
        yield* ensure(runs >= 3, "a survivor did not run")
        yield* ensure(!lock.isHeld && lock.waiting === 0, "the lock is not free")
      }),
      { seeds }
    ), timeout)

  it.effect("is needed: a semaphore of effect loses its permit so", () =>
    Effect.gen(function*() {
      const found = yield* Explore.find(
        Effect.gen(function*() {
          const semaphore = yield* Effect.makeSemaphore(1)
          const waiter = yield* Effect.fork(semaphore.withPermits(1)(Effect.void))
          yield* Fiber.interrupt(waiter)
          yield* semaphore.withPermits(1)(Effect.void)
        }),
        { seeds: 1_000 }
      )
      assert.isTrue(Option.isSome(found), "effect has mended its semaphore: Lock can become one")
    }), timeout)

  it.effect("is had in the order in which it was asked for, also after a failure and a defect", () =>
    Effect.gen(function*() {
      const lock = new Lock.Lock()
      const order: Array<number> = []
      const results = yield* Effect.forEach(
        [Effect.void, Effect.fail("no"), Effect.die("bug"), Effect.void],
        (end, i) =>
          Effect.exit(
            lock.withLock(Effect.zipRight(Effect.yieldNow(), Effect.zipRight(Effect.sync(() => order.push(i)), end)))
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(order, [0, 1, 2, 3])
      assert.deepStrictEqual(results, [Exit.void, Exit.fail("no"), Exit.die("bug"), Exit.void])
      assert.isFalse(lock.isHeld)
    }))
})

describe("once", () => {
  it.effect("computes once, and again only after an interruption, which nobody else sees", () =>
    Explore.check(
      Effect.gen(function*() {
        let finished = 0
        const get = Lock.once(Effect.zipRight(soon, Effect.sync(() => ++finished)))
        const first = yield* Effect.fork(get)
        const others = yield* Effect.forEach([1, 2], () => Effect.fork(get))
        yield* soon
        yield* Fiber.interrupt(first)
        for (const other of others) yield* ensure((yield* Fiber.join(other)) === finished, "another result")
        yield* ensure((yield* get) === finished && finished <= 2, `computed ${finished} times`)
      }),
      { seeds }
    ), timeout)

  it.effect("is needed: the cache of effect keeps the interruption of its first caller", () =>
    Effect.gen(function*() {
      const found = yield* Explore.find(
        Effect.gen(function*() {
          const get = yield* Effect.cached(Effect.as(Effect.yieldNow(), 1))
          const first = yield* Effect.fork(get)
          yield* Fiber.interrupt(first)
          yield* get
        }),
        { seeds: 1_000 }
      )
      assert.isTrue(Option.isSome(found), "effect has mended Effect.cached: Lock.once can become it")
    }), timeout)

  it.effect("keeps a failure", () =>
    Effect.gen(function*() {
      let runs = 0
      const get = Lock.once(Effect.suspend(() => Effect.fail(++runs)))
      assert.deepStrictEqual(yield* Effect.exit(get), Exit.fail(1))
      assert.deepStrictEqual(yield* Effect.exit(get), Exit.fail(1))
    }))
})

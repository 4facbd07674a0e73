import { assert, describe, it } from "@effect/vitest"
import { Inbox } from "@holdfast/core/Inbox"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Fiber, Option, Queue, Random } from "effect"
import { sized } from "../../../scripts/sized.js"

const seeds = sized(200, 20_000, 60)
const timeout = sized(180_000, 7_200_000)

const ensure = (condition: boolean, message: string) => condition ? Effect.void : Effect.dieMessage(message)

/** Comes in the middle of what the others do. */
const soon = Effect.flatMap(
  Random.nextIntBetween(0, 12),
  (turns) => turns === 0 ? Effect.void : Effect.repeatN(Effect.yieldNow(), turns - 1)
)

const range = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

describe("Inbox", () => {
  for (const max of [1, 3]) {
    it.effect(`loses nothing to a consumer that is interrupted, taking ${max} at a time`, () =>
      Explore.check(
        Effect.gen(function*() {
          const inbox = new Inbox<number>()
          const done: Array<number> = []
          const consume = inbox.each((items) =>
            Effect.zipRight(
              Effect.yieldNow(),
              Effect.sync(() => {
                done.push(...items)
              })
            ), max)
          const offering = yield* Effect.fork(
            Effect.forEach(range(6), (item) => Effect.zipRight(soon, inbox.offer(item)), { discard: true })
          )
          for (let life = 0; life < 3; life++) {
            const consumer = yield* Effect.fork(consume)
            yield* soon
            yield* Fiber.interrupt(consumer)
          }
          yield* Fiber.join(offering)
          done.push(...inbox.unsafeTake())
          yield* ensure(done.join() === range(6).join(), `of 1 to 6 there are ${done.join()}`)
        }),
        { seeds }
      ), timeout)
  }

  it.effect("lets offers wait for room, in their order; one that is interrupted adds nothing", () =>
    Explore.check(
      Effect.gen(function*() {
        const inbox = new Inbox<number>(2)
        let most = 0
        const taken: Array<number> = []
        const consumer = yield* Effect.fork(inbox.each(([item], restore) => {
          most = Math.max(most, inbox.size + 1)
          taken.push(item)
          return restore(soon)
        }))
        const offers = yield* Effect.forEach(range(6), (item) => Effect.fork(inbox.offer(item)))
        yield* soon
        yield* Fiber.interrupt(offers[2])
        yield* Effect.forEach([0, 1, 3, 4, 5], (index) => Fiber.join(offers[index]))
        yield* Effect.iterate(0, { while: () => inbox.size > 0, body: () => Effect.as(Effect.yieldNow(), 0) })
        yield* Fiber.interrupt(consumer)
        const others = taken.filter((item) => item !== 3).toSorted()
        yield* ensure(others.join() === "1,2,4,5,6" && taken.length <= 6, `taken are ${taken.join()}`)
        yield* ensure(most <= 2, `${most} at once`)
      }),
      { seeds }
    ), timeout)

  it.effect("does not interrupt the work but where that is restored", () =>
    Effect.gen(function*() {
      const ended: Array<string> = []
      for (const how of ["masked", "restored"]) {
        const inbox = new Inbox<string>()
        const consumer = yield* Effect.fork(inbox.each(([item], restore) => {
          const work = Effect.onExit(Effect.yieldNow().pipe(Effect.repeatN(5)), (exit) =>
            Effect.sync(() => {
              ended.push(`${item} ${exit._tag}`)
            }))
          return how === "masked" ? work : restore(work)
        }))
        yield* inbox.offer(how)
        yield* Effect.yieldNow()
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(consumer)
      }
      assert.deepStrictEqual(ended, ["masked Success", "restored Failure"])
    }))

  it("refuses what has no room", () => {
    const inbox = new Inbox<undefined>(1)
    assert.deepStrictEqual([inbox.unsafeOffer(undefined), inbox.unsafeOffer(undefined), inbox.size], [true, false, 1])
    assert.deepStrictEqual([inbox.unsafeTake(5), inbox.unsafeTake(), inbox.size], [[undefined], [], 0])
  })

  it.effect("is needed: a queue of effect loses an item so", () =>
    Effect.gen(function*() {
      const found = yield* Explore.find(
        Effect.gen(function*() {
          const queue = yield* Queue.unbounded<number>()
          let taken = 0
          const taker = yield* Effect.fork(
            Effect.uninterruptibleMask((restore) =>
              Effect.map(restore(Queue.take(queue)), () => {
                taken++
              })
            )
          )
          yield* Effect.fork(Queue.offer(queue, 1))
          yield* soon
          yield* Fiber.interrupt(taker)
          yield* Effect.repeatN(Effect.yieldNow(), 20)
          yield* ensure(taken + (yield* Queue.size(queue)) === 1, "the item is nowhere")
        }),
        { seeds: 1_000 }
      )
      assert.isTrue(Option.isSome(found), "effect has mended Queue.take: Inbox can become a queue")
    }), timeout)
})

import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Chunk, Effect, Exit, Fiber, Stream } from "effect"
import { sized } from "../../../scripts/sized.js"
import { Channel } from "../src/internal/channel.js"

const seeds = sized(300, 20_000, 100)

describe("a channel of the transport in memory", () => {
  it.effect(
    "gives all that was offered and then its end, whatever comes between a look and a wait",
    () =>
      Explore.check(
        Effect.gen(function*() {
          const channel = new Channel<number, string>(2)
          const all: Array<number> = []
          const taken = yield* Effect.fork(Effect.exit(Stream.runForEach(channel.stream, (n) =>
            Effect.sync(() => {
              all.push(n)
            }))))
          yield* Effect.forEach([1, 2, 3, 4, 5], channel.offer, { discard: true })
          yield* channel.done(Exit.fail("broken"))
          const exit = yield* Fiber.join(taken)
          if (all.join() !== "1,2,3,4,5") return yield* Effect.dieMessage(`taken was ${all.join()}`)
          if (!Exit.isFailure(exit)) return yield* Effect.dieMessage("the end was lost")
        }),
        { seeds }
      ),
    180_000
  )

  it.effect("frees a writer that waits for room when it ends", () =>
    Effect.gen(function*() {
      const channel = new Channel<number>(1)
      assert.isTrue(yield* channel.offer(1))
      const waiting = yield* Effect.fork(channel.offer(2))
      yield* channel.end
      assert.isFalse(yield* Fiber.join(waiting))
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* channel.clear), [1])
      assert.strictEqual((yield* Effect.flip(channel.take))._tag, "NoSuchElementException")
    }))
})

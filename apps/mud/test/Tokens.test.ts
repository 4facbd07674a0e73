import { KeyValueStore } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Option, Redacted, TestClock } from "effect"
import * as Tokens from "../src/Tokens.js"

const layer = Tokens.layer({ data: undefined, operatorToken: Redacted.make("a-long-enough-token") } as never).pipe(
  Layer.provide(KeyValueStore.layerMemory)
)

describe("the role of an operator", () => {
  it.effect("ends after its time, and joining again does not prolong it", () =>
    Effect.gen(function*() {
      const { issue, verify } = yield* Tokens.Tokens
      const claim = (token: string) => Effect.map(verify(token), Option.getOrThrow)
      const first = yield* issue({ player: "ada", admin: true })
      yield* TestClock.adjust(Duration.subtract(Tokens.operatorFor, "1 second"))
      const late = yield* claim(first)
      assert.isTrue(late.admin)
      // what somebody gets who comes back with the first
      const second = yield* issue(late)
      assert.strictEqual((yield* claim(second)).until, late.until)
      yield* TestClock.adjust("1 second")
      for (const token of [first, second]) {
        assert.deepStrictEqual(yield* claim(token), { player: "ada", admin: false }, "still the same player")
      }
      assert.isTrue((yield* claim(yield* issue({ player: "ada", admin: true }))).admin, "until asked for anew")
    }).pipe(Effect.provide(layer)))
})

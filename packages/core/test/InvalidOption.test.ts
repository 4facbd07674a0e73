import { assert, describe, it } from "@effect/vitest"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import { Duration, Effect, Exit } from "effect"

const refused = (run: () => unknown) => {
  try {
    run()
    return undefined
  } catch (error) {
    return error instanceof InvalidOption.InvalidOption ? error : undefined
  }
}

describe("InvalidOption", () => {
  it("refuses durations that Duration itself makes zero of", () => {
    const nonsense: ReadonlyArray<Duration.DurationInput> = [
      NaN,
      -1,
      -1n,
      "-5 seconds",
      [-1, 0],
      [NaN, 0],
      0,
      Duration.zero,
      "5 parsecs" as "5 seconds",
      Duration.infinity,
      Number.POSITIVE_INFINITY
    ]
    for (const given of nonsense) {
      assert.strictEqual(
        refused(() => InvalidOption.unsafeDuration("M.period", given))?.option,
        "M.period",
        String(given)
      )
    }
    assert.strictEqual(InvalidOption.unsafeDuration("M.period", "2 seconds"), 2000)
    assert.strictEqual(InvalidOption.unsafeDuration("M.period", [1, 500_000_000]), 1500)
    assert.strictEqual(InvalidOption.unsafeDuration("M.period", 3_000_000n), 3)
    assert.strictEqual(InvalidOption.unsafeDuration("M.period", 0, { zero: true }), 0)
    assert.strictEqual(InvalidOption.unsafeDuration("M.period", Duration.infinity, { infinite: true }), Infinity)
  })

  it("refuses numbers that count nothing", () => {
    for (const given of [NaN, -1, 0.5, Infinity, "3" as unknown as number]) {
      assert.isDefined(refused(() => InvalidOption.unsafeWhole("M.capacity", given)), String(given))
    }
    assert.isDefined(refused(() => InvalidOption.unsafeWhole("M.capacity", 0, { min: 1 })))
    assert.strictEqual(InvalidOption.unsafeWhole("M.capacity", Infinity, { infinite: true }), Infinity)
    assert.isDefined(refused(() => InvalidOption.unsafeNumber("M.weight", NaN)))
    assert.isDefined(refused(() => InvalidOption.unsafeNumber("M.share", 1.5, { max: 1 })))
    assert.strictEqual(InvalidOption.unsafeNumber("M.share", 0.5, { max: 1 }), 0.5)
  })

  it("says which option, what it was and what was expected", () => {
    assert.strictEqual(
      refused(() => InvalidOption.unsafeDuration("Supervision.period", -5))?.message,
      "Supervision.period is -5: expected a finite duration of more than zero, such as \"30 seconds\""
    )
  })

  it.effect("is a failure, where anything else that is thrown is a defect", () =>
    Effect.gen(function*() {
      const failed = yield* Effect.flip(InvalidOption.check(() => InvalidOption.unsafeWhole("M.capacity", NaN)))
      assert.strictEqual(failed._tag, "InvalidOption")
      assert.deepStrictEqual(
        yield* Effect.exit(InvalidOption.check(() => {
          throw "bug"
        })),
        Exit.die("bug")
      )
    }))
})

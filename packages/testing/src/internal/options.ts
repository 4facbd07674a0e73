/** Checks of options: each answers with the value, or says what was expected. */
import * as Core from "@holdfast/core/InvalidOption"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../InvalidOption.js"

const show = (value: unknown): string => typeof value === "string" ? JSON.stringify(value) : String(value)

const check = (
  option: string,
  value: number,
  isValid: (value: number) => boolean,
  expected: string,
  given: unknown = value
): Effect.Effect<number, InvalidOption> =>
  isValid(value) ? Effect.succeed(value) : new InvalidOption({ option, given: show(given), expected })

export const whole = (
  option: string,
  value: number,
  atLeast = Number.MIN_SAFE_INTEGER,
  given: unknown = value
): Effect.Effect<number, InvalidOption> =>
  check(
    option,
    value,
    (n) => Number.isSafeInteger(n) && n >= atLeast,
    atLeast === Number.MIN_SAFE_INTEGER ? "a whole number" : `a whole number of at least ${atLeast}`,
    given
  )

export const probability = (option: string, value: number): Effect.Effect<number, InvalidOption> =>
  check(option, value, (n) => n >= 0 && n <= 1, "a probability from 0 to 1")

/** Answers with milliseconds. */
export const finite = (option: string, value: Duration.DurationInput): Effect.Effect<number, InvalidOption> =>
  Core.check(() => Core.unsafeDuration(option, value, { zero: true }))

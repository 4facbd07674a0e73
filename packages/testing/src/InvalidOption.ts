/**
 * What an option of this package must be, when it is not.
 *
 * @since 0.1.0
 */
import { Data, Duration, Effect, Option } from "effect"

/**
 * An option, or a variable of the environment, has a value that makes no sense: a test that went on with it could not
 * fail, or not end.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Data.TaggedError("InvalidOption")<{
  /** `Explore.seeds`, `HOLDFAST_SEED` */
  readonly option: string
  readonly given: string
  readonly expected: string
}> {
  override get message() {
    return `${this.option} is ${this.given}: expected ${this.expected}`
  }
}

const show = (value: unknown): string => typeof value === "string" ? JSON.stringify(value) : String(value)

const check = (
  option: string,
  value: number,
  isValid: (value: number) => boolean,
  expected: string,
  given: unknown = value
): Effect.Effect<number, InvalidOption> =>
  isValid(value) ? Effect.succeed(value) : new InvalidOption({ option, given: show(given), expected })

/**
 * @since 0.1.0
 * @category checking
 */
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

/**
 * @since 0.1.0
 * @category checking
 */
export const probability = (option: string, value: number): Effect.Effect<number, InvalidOption> =>
  check(option, value, (n) => n >= 0 && n <= 1, "a probability from 0 to 1")

/**
 * Milliseconds.
 *
 * @since 0.1.0
 * @category checking
 */
export const finite = (option: string, value: Duration.DurationInput): Effect.Effect<number, InvalidOption> =>
  check(
    option,
    Option.match(Duration.decodeUnknown(value), { onNone: () => NaN, onSome: Duration.toMillis }),
    Number.isFinite,
    "a finite duration, such as \"30 seconds\"",
    value
  )

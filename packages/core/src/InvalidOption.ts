/**
 * What an option must be, when it is not: one error for the options of all modules, and the checks that give it.
 *
 * **Guarantees.** An option that makes no sense (`NaN`, a negative number or duration, a fraction where a count is meant) is
 * refused before anything has been started, with an error that names it. Constructors have `InvalidOption` in their error
 * channel. What is added to a scope or a phase and promises never to fail (a finalizer, a hook) dies with the same error
 * at the place where it is added.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * An option has a value that makes no sense.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Data.TaggedError("InvalidOption")<{
  /** `Supervision.intensity` */
  readonly option: string
  /** As text. */
  readonly given: string
  readonly expected: string
}> {
  override get message() {
    return `${this.option} is ${this.given}: expected ${this.expected}`
  }
}

const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  return Duration.isDuration(value) ? Duration.format(value) : String(value)
}

/**
 * The value, when `isValid` says so.
 *
 * @since 0.1.0
 * @category checks
 */
export const unsafeCheck = <A>(option: string, value: A, isValid: (value: A) => boolean, expected: string): A => {
  if (isValid(value)) return value
  throw new InvalidOption({ option, given: show(value), expected })
}

/**
 * A number, not `NaN`, within the bounds (both belong to it). `Infinity` is one.
 *
 * @since 0.1.0
 * @category checks
 */
export const unsafeNumber = (
  option: string,
  value: number,
  { max = Number.POSITIVE_INFINITY, min = 0 }: {
    readonly min?: number | undefined
    readonly max?: number | undefined
  } = {}
): number =>
  unsafeCheck(
    option,
    value,
    (n) => typeof n === "number" && n >= min && n <= max,
    max === Number.POSITIVE_INFINITY ? `a number of at least ${min}` : `a number from ${min} to ${max}`
  )

/**
 * A whole number of at least `min`; `Infinity` where a count may be without a limit.
 *
 * @since 0.1.0
 * @category checks
 */
export const unsafeWhole = (
  option: string,
  value: number,
  { infinite = false, min = 0 }: { readonly min?: number | undefined; readonly infinite?: boolean | undefined } = {}
): number =>
  unsafeCheck(
    option,
    value,
    (n) => (Number.isSafeInteger(n) && n >= min) || (infinite && n === Number.POSITIVE_INFINITY),
    `a whole number of at least ${min}${infinite ? ", or Infinity" : ""}`
  )

/** What `Duration` makes zero of in silence: `NaN` and what is negative. */
const millisOf = (value: unknown): number => {
  if (typeof value === "number") return value
  if (typeof value === "bigint") return Number(value) / 1_000_000
  if (typeof value === "string" && value.trim().startsWith("-")) return Number.NaN
  if (Array.isArray(value) && !value.every((part: unknown) => typeof part === "number" && part >= 0)) return Number.NaN
  const decoded = Duration.decodeUnknown(value)
  return decoded._tag === "None" ? Number.NaN : Duration.toMillis(decoded.value)
}

/**
 * A duration in milliseconds: more than zero unless `zero` allows it, finite unless `infinite` allows it not to be.
 *
 * @since 0.1.0
 * @category checks
 */
export const unsafeDuration = (
  option: string,
  value: Duration.DurationInput,
  { infinite = false, zero = false }: {
    readonly zero?: boolean | undefined
    readonly infinite?: boolean | undefined
  } = {}
): number => {
  const millis = millisOf(value)
  unsafeCheck(
    option,
    value,
    () => (zero ? millis >= 0 : millis > 0) && (infinite || millis < Number.POSITIVE_INFINITY),
    `a ${infinite ? "" : "finite "}duration of ${zero ? "zero or more" : "more than zero"}, such as "30 seconds"`
  )
  return millis
}

/**
 * Runs checks, with what they refuse as a failure. Anything else that is thrown stays a defect.
 *
 * @example
 * ```ts
 * import { InvalidOption } from "@holdfast/core"
 *
 * const checked = (options: { readonly capacity?: number }) =>
 *   InvalidOption.check(() => InvalidOption.unsafeWhole("Cache.capacity", options.capacity ?? 16, { min: 1 }))
 * ```
 *
 * @since 0.1.0
 * @category checks
 */
export const check = <A>(checks: () => A): Effect.Effect<A, InvalidOption> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(checks())
    } catch (error) {
      return error instanceof InvalidOption ? error : Effect.die(error)
    }
  })

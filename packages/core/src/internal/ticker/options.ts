/**
 * What the options of a ticker must be. Each check returns what is wrong, or nothing.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"

export interface Problem {
  readonly option: string
  readonly given: string
  readonly expected: string
}

export const show = (given: unknown): string => {
  try {
    return typeof given === "string"
      ? `"${given}"`
      : Duration.isDuration(given)
      ? Duration.format(given)
      : Predicate.hasProperty(given, "_tag")
      ? JSON.stringify(given)
      : String(given)
  } catch {
    return typeof given
  }
}

const problem = (option: string, given: unknown, expected: string): Problem => ({
  option,
  given: show(given),
  expected
})

/** Not a number, or less than nothing, when it is no duration at all: Effect takes -5 for 0 and NaN for itself. */
const millisOf = (input: unknown): number =>
  typeof input === "number"
    ? input
    : Option.match(Duration.decodeUnknown(input), { onNone: () => Number.NaN, onSome: Duration.toMillis })

const isWhole = (given: unknown, least: number, most: number): boolean =>
  Number.isSafeInteger(given) && (given as number) >= least && (given as number) <= most

/** The milliseconds of an interval, or what is wrong with it. */
export const interval = (given: unknown): number | Problem => {
  const millis = millisOf(given)
  return millis >= 1 && Number.isFinite(millis)
    ? millis
    : problem("interval", given, "a finite duration of at least 1 millisecond")
}

const name = (given: unknown): Problem | undefined =>
  typeof given === "string" && given.length > 0 ? undefined : problem("name", given, "a string that is not empty")

const overrun = (given: unknown): Problem | undefined =>
  Predicate.isTagged(given, "skip") || Predicate.isTagged(given, "coalesce") ||
    (Predicate.isTagged(given, "catchUp") && Predicate.hasProperty(given, "max") && isWhole(given.max, 1, 65_536))
    ? undefined
    : problem(
      "overrun",
      given,
      "{ _tag: \"skip\" }, { _tag: \"coalesce\" } or { _tag: \"catchUp\", max: 1 to 65536 }"
    )

const oneOf = (option: string, given: unknown, allowed: ReadonlyArray<unknown>): Problem | undefined =>
  allowed.includes(given) ? undefined : problem(option, given, allowed.map(show).join(" or "))

export const ticker = (given: {
  readonly name: unknown
  readonly overrun: unknown
  readonly paused: unknown
  readonly save: unknown
  readonly interval?: unknown
  readonly schedule?: unknown
}): Problem | undefined =>
  name(given.name) ??
    overrun(given.overrun) ??
    oneOf("paused", given.paused, [true, false]) ??
    oneOf("save", given.save, ["behind", "ahead"]) ??
    ((given.interval === undefined) === (given.schedule === undefined)
      ? {
        option: "interval",
        given: given.interval === undefined ? "missing" : "given beside a schedule",
        expected: "either an interval or a schedule"
      }
      : undefined)

export const handler = (given: {
  readonly name: unknown
  readonly every: unknown
  readonly offset: unknown
  readonly budget: unknown
  readonly overrun: unknown
}): Problem | undefined =>
  name(given.name) ??
    (isWhole(given.every, 1, Number.MAX_SAFE_INTEGER)
      ? undefined
      : problem("every", given.every, "a whole number of at least 1")) ??
    (isWhole(given.offset, 0, Number(given.every) - 1)
      ? undefined
      : problem("offset", given.offset, `a whole number from 0 to ${Number(given.every) - 1}`)) ??
    (given.budget === undefined || millisOf(given.budget) > 0
      ? undefined
      : problem("budget", given.budget, "a duration longer than 0")) ??
    overrun(given.overrun)

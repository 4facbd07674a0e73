/**
 * What the options of a ticker must be. Each check throws `InvalidOption`, with the ticker (and handler) that it is about.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { InvalidOption } from "../../InvalidOption.js"

const show = (given: unknown): string => {
  try {
    return typeof given === "string"
      ? JSON.stringify(given)
      : Duration.isDuration(given)
      ? Duration.format(given)
      : Predicate.hasProperty(given, "_tag")
      ? JSON.stringify(given)
      : String(given)
  } catch {
    return typeof given
  }
}

const check = (option: string, given: unknown, isValid: boolean, expected: string): void => {
  if (!isValid) throw new InvalidOption({ option, given: show(given), expected })
}

/** `NaN` for what is no duration at all, and less than nothing for less than nothing: Effect makes zero of both. */
const millisOf = (input: unknown): number =>
  typeof input === "number"
    ? input
    : typeof input === "string" && input.trim().startsWith("-")
    ? Number.NaN
    : Option.match(Duration.decodeUnknown(input), { onNone: () => Number.NaN, onSome: Duration.toMillis })

const isWhole = (given: unknown, least: number, most: number): boolean =>
  Number.isSafeInteger(given) && (given as number) >= least && (given as number) <= most

const isName = (given: unknown): boolean => typeof given === "string" && given.length > 0

const isOverrun = (given: unknown): boolean =>
  Predicate.isTagged(given, "skip") || Predicate.isTagged(given, "coalesce") ||
  (Predicate.isTagged(given, "catchUp") && Predicate.hasProperty(given, "max") && isWhole(given.max, 1, 65_536))

const overruns = "{ _tag: \"skip\" }, { _tag: \"coalesce\" } or { _tag: \"catchUp\", max: 1 to 65536 }"

/** Returns the milliseconds of an interval. */
export const unsafeInterval = (ticker: string, given: unknown): number => {
  const millis = millisOf(given)
  check(
    `Ticker(${ticker}).interval`,
    given,
    millis >= 1 && Number.isFinite(millis),
    "a finite duration of at least 1 millisecond"
  )
  return millis
}

export const unsafeReading = (ticker: string, given: unknown): void =>
  check(
    `Ticker(${ticker}).resumeFrom`,
    given,
    typeof given === "number" && !Number.isNaN(given),
    "a reading of Monotonic, in milliseconds"
  )

export const unsafeTicker = (given: {
  readonly name: unknown
  readonly overrun: unknown
  readonly paused: unknown
  readonly save: unknown
  readonly interval?: unknown
  readonly schedule?: unknown
}): void => {
  check("Ticker.name", given.name, isName(given.name), "a string that is not empty")
  const prefix = `Ticker(${String(given.name)})`
  check(`${prefix}.overrun`, given.overrun, isOverrun(given.overrun), overruns)
  check(`${prefix}.paused`, given.paused, typeof given.paused === "boolean", "true or false")
  check(`${prefix}.save`, given.save, given.save === "behind" || given.save === "ahead", "\"behind\" or \"ahead\"")
  const both = given.interval !== undefined && given.schedule !== undefined
  const neither = given.interval === undefined && given.schedule === undefined
  check(
    `${prefix}.interval`,
    both ? "given beside a schedule" : "missing",
    !both && !neither,
    "either an interval or a schedule"
  )
}

export const unsafeHandler = (ticker: string, given: {
  readonly name: unknown
  readonly every: unknown
  readonly offset: unknown
  readonly budget: unknown
  readonly overrun: unknown
}): void => {
  const { budget, every, name, offset, overrun } = given
  check(`Ticker(${ticker}).onTick.name`, name, isName(name), "a string that is not empty")
  const prefix = `Ticker(${ticker}).onTick(${String(name)})`
  check(`${prefix}.every`, every, isWhole(every, 1, Number.MAX_SAFE_INTEGER), "a whole number of at least 1")
  check(
    `${prefix}.offset`,
    offset,
    isWhole(offset, 0, Number(every) - 1),
    `a whole number from 0 to ${Number(every) - 1}`
  )
  check(`${prefix}.budget`, budget, budget === undefined || millisOf(budget) > 0, "a duration longer than 0")
  check(`${prefix}.overrun`, overrun, isOverrun(overrun), overruns)
}

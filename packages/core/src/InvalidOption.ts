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
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

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
  /** The variables that it was read from, when it came from a `Config`. */
  readonly variables?: ReadonlyArray<string> | undefined
}> {
  override get message() {
    const from = this.variables === undefined ? "" : ` (from ${this.variables.join(", ")})`
    return `${this.option}${from} is ${this.given}: expected ${this.expected}`
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

/** The variables that a `Config` asks for, those that are missing too. */
const variablesOf = (config: Config.Config<unknown>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.configProviderWith(({ flattened }) => {
    const asked = new Set<string>()
    const noting = ConfigProvider.fromFlat({
      ...flattened,
      load: (path, primitive, split) => {
        asked.add(path.join("."))
        return flattened.load(path, primitive, split)
      }
    })
    return Effect.map(Effect.ignore(noting.load(config)), () => [...asked])
  })

/** The part of wrapped options that `Module.one.of.them` speaks of, when it came from a `Config`. */
const partOf = (wrapped: unknown, [name, ...rest]: ReadonlyArray<string>): Config.Config<unknown> => {
  if (Config.isConfig(wrapped)) return wrapped
  if (wrapped === undefined) return Config.succeed(undefined)
  return name === undefined
    ? Config.unwrap<unknown>(wrapped as never)
    : partOf((wrapped as Record<string, unknown>)[name], rest)
}

/** `undefined` is an option that was left out, also where options are wrapped. */
const given = <A>(wrapped: A): A =>
  Config.isConfig(wrapped)
    ? wrapped
    : Object.fromEntries(
      Object.entries(wrapped as Record<string, unknown>)
        .filter(([, part]) => part !== undefined)
        .map(([name, part]) => [name, given(part)])
    ) as A

/**
 * The `layerConfig` of a module, from its `layer`: options whose parts are `Config`s, named as the application likes. A
 * value that cannot be read is a `ConfigError`, and one that makes no sense an `InvalidOption`; both tell the variable.
 *
 * @example
 * ```ts
 * import { InvalidOption } from "@holdfast/core"
 * import { Config, Context, Effect, Layer } from "effect"
 *
 * class Cache extends Context.Tag("example/Cache")<Cache, { readonly capacity: number }>() {}
 *
 * const layer = (options: { readonly capacity?: number | undefined }) =>
 *   Layer.effect(
 *     Cache,
 *     InvalidOption.check(() => ({
 *       capacity: InvalidOption.unsafeWhole("Cache.capacity", options.capacity ?? 16, { min: 1 })
 *     }))
 *   )
 *
 * const layerConfig = InvalidOption.fromConfig(layer)
 *
 * // With CACHE_CAPACITY=0: "Cache.capacity (from CACHE_CAPACITY) is 0: expected a whole number of at least 1".
 * const Cached = layerConfig({ capacity: Config.withDefault(Config.integer("CACHE_CAPACITY"), 16) })
 * await Effect.runPromise(Effect.provide(Cache, Cached))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const fromConfig =
  <Options, ROut, E, RIn>(layer: (options: Options) => Layer.Layer<ROut, E, RIn>) =>
  (wrapped: Config.Config.Wrap<Options>): Layer.Layer<ROut, E | InvalidOption | ConfigError.ConfigError, RIn> => {
    const parts = given(wrapped)
    const named = ({ expected, given, option }: InvalidOption) =>
      Effect.map(
        variablesOf(partOf(parts, option.split(".").slice(1))),
        (names) => new InvalidOption({ option, given, expected, variables: names.length === 0 ? undefined : names })
      )
    return Layer.unwrapEffect(Effect.map(Config.unwrap<Options>(parts), layer)).pipe(
      Layer.catchAllCause((cause): Layer.Layer<ROut, E | InvalidOption | ConfigError.ConfigError> => {
        const error = Option.getOrUndefined(Option.orElse(Cause.failureOption(cause), () => Cause.dieOption(cause)))
        return error instanceof InvalidOption
          ? Layer.unwrapEffect(Effect.map(named(error), (named) => Layer.fail(named)))
          : Layer.failCause(cause)
      })
    )
  }

/**
 * The tail of the log, for the console: a logger beside the others that keeps the last lines in memory.
 *
 * Provide it where the application's loggers are provided, below everything that logs. It keeps `capacity` lines, each with
 * at most 4000 characters, and drops the oldest; nothing is written anywhere.
 *
 * @example
 * ```ts
 * import { ConsoleLog } from "@holdfast/http"
 * import { Effect, Layer } from "effect"
 *
 * const app = Layer.effectDiscard(Effect.log("up"))
 * const main = app.pipe(Layer.provide(ConsoleLog.layer()))
 * console.log(Layer.isLayer(main))
 * ```
 *
 * @since 0.1.0
 */
import { check, fromConfig, type InvalidOption, unsafeWhole } from "@holdfast/core/InvalidOption"
import * as Cause from "effect/Cause"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as HashMap from "effect/HashMap"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { toJson } from "./internal/json.js"

/**
 * A line that was logged.
 *
 * @since 0.1.0
 * @category models
 */
export interface Line {
  /** Counts the lines of this process. */
  readonly number: number
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly level: string
  readonly fiber: string
  readonly message: string
  readonly cause: string | undefined
  readonly annotations: Readonly<Record<string, string>>
}

/**
 * The last lines of the log.
 *
 * @since 0.1.0
 * @category tags
 */
export class ConsoleLog extends Context.Tag("@holdfast/http/ConsoleLog")<ConsoleLog, {
  /** Oldest first. */
  readonly lines: Effect.Effect<ReadonlyArray<Line>>
  /** Lines since the start, by level. */
  readonly counts: Effect.Effect<Readonly<Record<string, number>>>
}>() {}

/**
 * How much of the log is kept.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Lines that are kept. Default 500. */
  readonly capacity?: number | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { capacity: 500 } as const

/**
 * The tail, and the logger that fills it, for everything that it is provided to.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<ConsoleLog, InvalidOption> =>
  Layer.unwrapEffect(
    Effect.map(
      check(() => unsafeWhole("ConsoleLog.capacity", options.capacity ?? defaults.capacity, { min: 1 })),
      (capacity) => {
        const lines: Array<Line> = []
        const counts: Record<string, number> = {}
        let number = 0
        const logger = Logger.make<unknown, void>(({ annotations, cause, date, fiberId, logLevel, message }) => {
          counts[logLevel.label] = (counts[logLevel.label] ?? 0) + 1
          lines.push({
            number: number++,
            at: date.getTime(),
            level: logLevel.label,
            fiber: FiberId.threadName(fiberId),
            message: (Array.isArray(message) ? message : [message]).map(shown).join(" ").slice(0, 4000),
            cause: Cause.isEmpty(cause) ? undefined : Cause.pretty(cause, { renderErrorCause: true }).slice(0, 4000),
            annotations: Object.fromEntries(
              Array.from(
                HashMap.toEntries(annotations).slice(0, 20),
                ([key, value]) => [key, shown(value).slice(0, 400)]
              )
            )
          })
          if (lines.length > capacity) lines.shift()
        })
        return Layer.merge(
          Layer.succeed(ConsoleLog, {
            lines: Effect.sync(() => lines.slice()),
            counts: Effect.sync(() => ({ ...counts }))
          }),
          Logger.add(logger)
        )
      }
    )
  )

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<ConsoleLog, InvalidOption | ConfigError.ConfigError> = fromConfig(layer)

/** A viewer reads the log, too: the operator's link is not for its eyes. */
const shown = (value: unknown): string =>
  (typeof value === "string" ? value : JSON.stringify(toJson(value)) ?? String(value))
    .replace(/([#?&]token=)[\w-]+/g, "$1…")

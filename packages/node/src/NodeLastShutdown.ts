/**
 * Remembers how a process ended, in one small file, for `LastShutdown` of the next one.
 *
 * While the process runs the file says so, and is touched every few seconds; its exit writes the shutdown report into it. A
 * process that finds the mark of a running one without a report knows that it was killed, or crashed, at about the
 * time of the last touch.
 *
 * - Two processes must not share the file: the second would take the first for dead.
 * - The file is readable for its owner alone.
 * - A file that cannot be written costs a warning at the start, and nothing else. One that cannot be read is none.
 *
 * @since 0.1.0
 */
import * as InvalidOption from "@holdfast/core/InvalidOption"
import { Lifecycle } from "@holdfast/core/Lifecycle"
import { ShutdownReport } from "@holdfast/core/ShutdownReport"
import { type Ending, LastShutdown } from "@holdfast/http/LastShutdown"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"

/**
 * The file of the report.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Where it is kept. The folder is made when it is not there. */
  readonly file: string
  /** How often the running process leaves a sign of life. Default 5 seconds. */
  readonly every?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { every: Duration.seconds(5) } as const

const day = 24 * 3_600_000

const Mark = Schema.Struct({
  pid: Schema.Number,
  startedAt: Schema.Number,
  lastSeenAt: Schema.Number,
  shutdownStarted: Schema.Boolean,
  exitCode: Schema.optional(Schema.Number),
  report: Schema.optional(ShutdownReport),
  /** When runs before it ended, of the last day. */
  ends: Schema.Array(Schema.Number)
})

type Mark = typeof Mark.Type

const encode = Schema.encodeSync(Schema.parseJson(Mark))
const decode = Schema.decodeUnknownOption(Schema.parseJson(Mark))

const read = (file: string): Option.Option<Mark> => {
  try {
    return decode(readFileSync(file, "utf8"))
  } catch {
    return Option.none()
  }
}

/** All of it or nothing: a process may be killed in the middle. For the owner alone, since a report names paths and failures. */
const write = (file: string, mark: Mark): void => {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(`${file}.new`, encode(mark), { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

const endingOf = ({ exitCode, lastSeenAt, pid, report, shutdownStarted, startedAt }: Mark): Ending =>
  report === undefined
    ? { _tag: "Unreported", pid, startedAt, lastSeenAt, shutdownStarted }
    : { _tag: "Reported", pid, startedAt, endedAt: report.startedAt + report.elapsedMillis, exitCode, report }

/**
 * Reads the report of the last shutdown, and keeps the one of this.
 *
 * @example
 * ```ts
 * import { NodeLastShutdown } from "@holdfast/node"
 * import { Layer } from "effect"
 *
 * const Last = NodeLastShutdown.layer({ file: "./data/last-shutdown.json" })
 * console.log(Layer.isLayer(Last))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<LastShutdown, InvalidOption.InvalidOption, Lifecycle> =>
  Layer.scoped(
    LastShutdown,
    Effect.gen(function*() {
      const every = yield* InvalidOption.check(() =>
        InvalidOption.unsafeDuration("NodeLastShutdown.every", options.every ?? defaults.every)
      )
      const lifecycle = yield* Lifecycle
      const { file } = options
      const startedAt = Date.now()
      const previous = Option.map(read(file), (mark) => ({ mark, ending: endingOf(mark) }))
      const ends = Option.match(previous, {
        onNone: () => [],
        onSome: ({ ending, mark }) => [
          ...mark.ends,
          ending._tag === "Reported" ? ending.endedAt : ending.lastSeenAt
        ]
      }).filter((at) => startedAt - at < day).slice(-1000)
      const touch = () => {
        const report = lifecycle.unsafeReport()
        write(file, {
          pid: process.pid,
          startedAt,
          lastSeenAt: Date.now(),
          shutdownStarted: report !== undefined,
          ends
        })
      }
      yield* Effect.catchAll(
        Effect.try(touch),
        (cause) => Effect.logWarning(`How this process ends will not be known: ${file} cannot be written`, cause)
      )
      // It touches also while the process shuts down; the exit, at which no effect can run any more, writes the report.
      const timer = setInterval(() => attempt(touch), every).unref()
      const onExit = (exitCode: number) => {
        clearInterval(timer)
        const report = lifecycle.unsafeReport()
        if (report !== undefined) {
          attempt(() =>
            write(file, {
              pid: process.pid,
              startedAt,
              lastSeenAt: Date.now(),
              shutdownStarted: true,
              exitCode,
              report,
              ends
            })
          )
        }
      }
      process.once("exit", onExit)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          clearInterval(timer)
          // Where no shutdown has begun, only the scope ends, and not the process.
          if (lifecycle.unsafeReport() === undefined) process.off("exit", onExit)
        })
      )
      return { previous: Option.map(previous, ({ ending }) => ending), endedToday: ends.length }
    })
  )

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<LastShutdown, InvalidOption.InvalidOption | ConfigError.ConfigError, Lifecycle> = InvalidOption
  .fromConfig(layer)

/** The disk may be full: that is told elsewhere. */
const attempt = (f: () => void): void => {
  try {
    f()
  } catch {
    return
  }
}

/**
 * The edge of a process: runs an application, which is a Layer or an Effect, and brings it down in order, whatever ends it.
 *
 * `SIGINT`, `SIGTERM`, `SIGHUP`, an uncaught exception, an unhandled rejection, a request from inside and the end of an
 * Effect all lead to the phases of `Lifecycle`, under one `gracefulShutdownTimeout`. The last line on stdout is a short
 * report that names what overran.
 *
 * | signal | effect |
 * | --- | --- |
 * | first | readiness goes down; the phases begin after `readinessDelay` |
 * | second | what is left must end within `hurryTimeout`; the report comes all the same |
 * | third | the process ends at once, with the report of what is known |
 * | `SIGUSR2` (`dumpSignal`) | prints the tree of fibers to stderr; nothing ends |
 *
 * The same signal twice within 100 ms counts once: a terminal and a package manager both pass on the same Ctrl-C.
 *
 * | exit code | meaning |
 * | --- | --- |
 * | 0 | everything ended in its time, also after a signal |
 * | 1 | it did not start, it crashed, a finalizer, hook or listener failed, or something was abandoned without a signal |
 * | 128 + signal | asked to end by a signal, and something had to be abandoned, or was cut off |
 * | 137 | SIGKILL had to be used: the main thread was blocked outside of JavaScript, or (before Node.js 22.15) a thread that never came back held the process |
 * | another | what the application has put into `process.exitCode`, in place of 0 and 1; or what the option `exitCode` says |
 *
 * Guarantees
 * - The process ends within `readinessDelay` and `gracefulShutdownTimeout` plus half a second of the first signal, on a
 *   machine that gives it the processor. A timer past all fibers sees to it, and for a busy loop the `Watchdog` thread does. A
 *   thread that is blocked in the operating system, which would hold `process.exit` for ever, is named and left.
 * - There is one last line, behind the listeners of the process's `exit`. One that throws keeps no other from running.
 * - An exception or rejection during the shutdown is an item of the report.
 * - stdout or stderr that nobody reads any more (`EPIPE`) ends nothing. A report that stdout does not take goes to stderr.
 * - It works as the first process of a container (PID 1): all ways out are `exit`, none relies on a signal's default.
 *
 * Limits
 * - One `runMain` in a process: a second one is refused with `MainAlreadyRunning`.
 * - Signals that come before `runMain` is called, while modules are loaded, have their default effect, unless the program
 *   begins with `EarlySignals`.
 * - After an uncaught exception the state of the program is unknown; the shutdown is the best that can be tried.
 * - The process ends by `process.exit`: what other code has only buffered is lost, except stdout, which gets 200 ms.
 * - A thread that Node.js does not know of (a native module's blocking read, a worker blocked outside of JavaScript) can still
 *   hold the exit.
 * - `SIGKILL`, an exhausted heap and code that calls `process.exit` itself end the process without any of this.
 *
 * @since 0.1.0
 */
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { constants } from "node:os"
import type { Settings } from "./internal/main/main.js"
import { Main } from "./internal/main/main.js"
import type * as Watchdog from "./Watchdog.js"

/**
 * How a process ends, for the option `exitCode`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ending {
  /** Absent when the process was cut off before the shutdown began. */
  readonly report: Lifecycle.ShutdownReport | undefined
  /** Why the start or the program failed, or the first exception or rejection that nobody caught. */
  readonly cause: Cause.Cause<unknown> | undefined
  /** The last signal. */
  readonly signal: NodeJS.Signals | undefined
  /** The exit code without the option. */
  readonly code: number
}

/**
 * Durations may be infinite, except `readinessDelay`: then there is no limit. What makes no sense is refused with
 * `InvalidOption`.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends Omit<Lifecycle.Options, "log"> {
  /** What is left of the time after a second signal. Default 1 second. */
  readonly hurryTimeout?: Duration.DurationInput | undefined
  /** The last line: for people, as JSON, or none. Default `"pretty"`. */
  readonly report?: "pretty" | "json" | "none" | undefined
  /** Options of the watchdog thread, or false to do without. Default: on, with its defaults. */
  readonly watchdog?: boolean | Omit<Watchdog.Options, "name"> | undefined
  /** The text on stderr for a start or a program that failed. Default: the messages of the errors, defects with stacks. */
  readonly renderFailure?: ((cause: Cause.Cause<unknown>) => string) | undefined
  /**
   * Chooses the exit code, from 0 to 255; `undefined` leaves it as it is. Not asked when the watchdog ends the process.
   *
   * For systemd, `RestartPreventExitStatus=78` together with a code of 78 for a bad configuration ends the restarts.
   */
  readonly exitCode?: ((ending: Ending) => number | undefined) | undefined
  /** The signals that end the application. Default `SIGINT`, `SIGTERM` and `SIGHUP`. */
  readonly signals?: ReadonlyArray<NodeJS.Signals> | undefined
  /** The signal that prints the tree of fibers, or false for none. Default `SIGUSR2`, which is also nodemon's for a restart. */
  readonly dumpSignal?: NodeJS.Signals | false | undefined
  /**
   * Keeps Effect's default logger on a terminal, where the pretty one takes its place otherwise, as `NodeRuntime.runMain` has
   * it. For an application that replaces the default logger by itself. Default false.
   */
  readonly disablePrettyLogger?: boolean | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  hurryTimeout: Duration.seconds(1),
  report: "pretty",
  watchdog: true,
  signals: ["SIGINT", "SIGTERM", "SIGHUP"],
  dumpSignal: "SIGUSR2",
  disablePrettyLogger: false
} as const satisfies Options

/**
 * `runMain` was called a second time in one process. Signals, the exit and its code belong to one application; more
 * layers can be merged into it, and a second application beside it is a `ManagedRuntime`.
 *
 * @since 0.1.0
 * @category errors
 */
export class MainAlreadyRunning extends Data.TaggedError("MainAlreadyRunning")<{
  /** The application that was refused. */
  readonly name: string
  /** The one that runs. */
  readonly running: string
}> {
  override get message(): string {
    return `runMain of "${this.name}" was refused: "${this.running}" already runs in this process. ` +
      "Merge the layers of both, or run this one by a ManagedRuntime"
  }
}

/**
 * Runs an application until it is told to end, or until its Effect has ended; then ends the process.
 *
 * A Layer is built and kept until something ends it. An Effect is run with a `Scope` and the `Lifecycle`; when it succeeds, the
 * shutdown begins, and the exit code is 0; when it fails, 1.
 *
 * Throws `MainAlreadyRunning` the second time, and `InvalidOption` for what is not an application or an option that makes no
 * sense.
 *
 * @example
 * ```ts no-run
 * import { NodeMain } from "@holdfast/node"
 * import { Effect, Layer } from "effect"
 *
 * const app = Layer.scopedDiscard(Effect.log("up"))
 * NodeMain.runMain(app, { name: "hello", gracefulShutdownTimeout: "5 seconds" })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const runMain = <A, E>(
  app: Layer.Layer<A, E, Lifecycle.Lifecycle> | Effect.Effect<A, E, Lifecycle.Lifecycle | Scope.Scope>,
  options: Options = {}
): void => {
  InvalidOption.unsafeCheck(
    "NodeMain.runMain's application",
    app,
    (app) => Layer.isLayer(app) || Effect.isEffect(app),
    "a Layer or an Effect that needs nothing but Lifecycle and Scope"
  )
  const settings = settingsOf(options)
  const running = globalThis as { [runningKey]?: string }
  if (running[runningKey] !== undefined) {
    throw new MainAlreadyRunning({ name: settings.name, running: running[runningKey] })
  }
  const main = new Main(app, settings)
  running[runningKey] = settings.name
  main.start()
}

/** In the process, not in this module, which may have been loaded twice. */
const runningKey = Symbol.for("@holdfast/node/NodeMain/running")

const settingsOf = (options: Options): Settings => {
  const duration = (
    name: "gracefulShutdownTimeout" | "hurryTimeout" | "readinessDelay",
    fallback: Duration.Duration,
    allowed: { readonly infinite?: boolean; readonly zero: boolean }
  ) => InvalidOption.unsafeDuration(`NodeMain.${name}`, options[name] ?? fallback, allowed)
  const name = options.name ?? Lifecycle.defaults.name
  const watchdog = options.watchdog ?? defaults.watchdog
  const signals = options.signals ?? defaults.signals
  for (const signal of signals) checkSignal("NodeMain.signals", signal)
  const dumpSignal = options.dumpSignal ?? defaults.dumpSignal
  if (dumpSignal !== false) {
    checkSignal("NodeMain.dumpSignal", dumpSignal)
    InvalidOption.unsafeCheck(
      "NodeMain.dumpSignal",
      dumpSignal,
      (signal) => !signals.includes(signal),
      "a signal that is not one of NodeMain.signals, or false"
    )
  }
  return {
    name,
    timeout: duration("gracefulShutdownTimeout", Lifecycle.defaults.gracefulShutdownTimeout, {
      infinite: true,
      zero: true
    }),
    hurryTimeout: duration("hurryTimeout", defaults.hurryTimeout, { infinite: true, zero: true }),
    readinessDelay: duration("readinessDelay", Lifecycle.defaults.readinessDelay, { zero: true }),
    lifecycle: options,
    report: InvalidOption.unsafeCheck(
      "NodeMain.report",
      options.report ?? defaults.report,
      (report) => ["pretty", "json", "none"].includes(report),
      "pretty, json or none"
    ),
    watchdog: watchdog === true ? {} : watchdog,
    renderFailure: options.renderFailure,
    exitCode: options.exitCode,
    signals,
    dumpSignal,
    prettyLogger: process.stdout.isTTY && !(options.disablePrettyLogger ?? defaults.disablePrettyLogger)
  }
}

const checkSignal = (option: string, signal: NodeJS.Signals) =>
  InvalidOption.unsafeCheck(
    option,
    signal,
    (signal) => signal in constants.signals && signal !== "SIGKILL" && signal !== "SIGSTOP",
    "the name of a signal that can be listened for, such as \"SIGTERM\""
  )

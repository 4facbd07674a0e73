/**
 * The edge of a process: builds an application from a Layer, and brings it down in order, whatever ends it.
 *
 * `SIGINT`, `SIGTERM`, `SIGHUP`, an uncaught exception, an unhandled rejection and a request from inside take the same
 * road: the phases of `Lifecycle`, under one `gracefulShutdownTimeout`. The last line on stdout is a short report that
 * names what overran.
 *
 * | signal | effect |
 * | --- | --- |
 * | first | the phases begin |
 * | second | what is left of them must end within `hurryTimeout`; the report comes all the same |
 * | third | the process ends at once, with the report of what is known |
 * | `SIGUSR2` | prints the tree of fibers to stderr; nothing ends |
 *
 * The same signal twice within 100 ms counts once: a terminal and a package manager both pass on the same Ctrl-C.
 *
 * | exit code | meaning |
 * | --- | --- |
 * | 0 | everything ended in its time, also after a signal |
 * | 1 | it did not start, it crashed, a finalizer or hook failed, or something was abandoned without a signal |
 * | 128 + signal | asked to end by a signal, and something had to be abandoned, or was cut off |
 * | 137 | the watchdog had to use SIGKILL: blocked outside of JavaScript |
 *
 * Guarantees
 * - The process ends within `gracefulShutdownTimeout` plus half a second of the first signal, on a machine that gives it the
 *   processor. A timer past all fibers sees to it, and for a busy loop the `Watchdog` thread does.
 * - stdout or stderr that nobody reads any more (`EPIPE`) ends nothing. A report that stdout does not take goes to stderr.
 * - It works as the first process of a container (PID 1): all ways out are `exit`, none relies on a signal's default.
 *
 * Limits
 * - Signals that come before `runMain` is called, while modules are loaded, have their default effect.
 * - After an uncaught exception the state of the program is unknown; the road down is the best that can be tried.
 * - The process ends by `process.exit`: what other code has only buffered is lost, except stdout, which gets 200 ms.
 * - `SIGKILL` and an exhausted heap end the process without any of this.
 *
 * This module is the edge where effects meet the process, so it alone uses `process`, timers and synchronous writes
 * directly: what must work when no fiber runs cannot be one.
 *
 * @since 0.1.0
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { writeSync } from "node:fs"
import { constants } from "node:os"
import { inspect } from "node:util"
import * as Watchdog from "./Watchdog.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options extends Omit<Lifecycle.Options, "log"> {
  /** What is left of the time after a second signal. Default 1 second. */
  readonly hurryTimeout?: Duration.DurationInput
  /** The last line: for people, as JSON, or none. Default `"pretty"`. */
  readonly report?: "pretty" | "json" | "none"
  /** Options of the watchdog thread, or false to do without. Default: on, with its defaults. */
  readonly watchdog?: boolean | Omit<Watchdog.Options, "name">
  /** How a failed start is told on stderr. Default: the messages of the errors, with stacks for defects alone. */
  readonly renderFailure?: (cause: Cause.Cause<unknown>) => string
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  hurryTimeout: Duration.seconds(1),
  report: "pretty",
  watchdog: true
} as const

/** The same signal within this time is the same event, passed on twice. Milliseconds. */
const debounce = 100

/** How long after a deadline of the fibers the timer past them ends the process, and then the watchdog. Milliseconds. */
const hardMargin = 120
const watchdogMargin = 250

/** How long the application waits for the watchdog before it starts without. Milliseconds. */
const watchdogStart = 1000

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const

/**
 * Runs an application until it is told to end, then ends the process.
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
  layer: Layer.Layer<A, E, Lifecycle.Lifecycle>,
  options: Options = {}
): void => {
  new Main(layer, options).start()
}

class Main<A, E> {
  readonly name: string
  readonly timeout: number
  readonly hurryTimeout: number
  readonly scope = Effect.runSync(Scope.make())
  readonly mainScope = Effect.runSync(Scope.make())
  readonly registry = Effect.runSync(FiberRegistry.FiberRegistry)
  readonly lifecycle: Lifecycle.Service
  readonly watchdog: Watchdog.Service | undefined
  /** Keeps the event loop, and with it the process, alive: a suspended fiber does not. */
  readonly keepAlive = setInterval(() => {}, 2 ** 31 - 1)
  signalled = 0
  signal: NodeJS.Signals | undefined
  signalledAt = Number.NEGATIVE_INFINITY
  hard: NodeJS.Timeout | undefined
  labels: NodeJS.Timeout | undefined
  hardAt = Number.POSITIVE_INFINITY
  ended = false

  constructor(readonly layer: Layer.Layer<A, E, Lifecycle.Lifecycle>, readonly options: Options) {
    this.name = options.name ?? Lifecycle.defaults.name
    this.timeout = Duration.toMillis(
      options.gracefulShutdownTimeout ?? Lifecycle.defaults.gracefulShutdownTimeout
    )
    this.hurryTimeout = Duration.toMillis(options.hurryTimeout ?? defaults.hurryTimeout)
    this.lifecycle = Effect.runSync(Lifecycle.make({
      ...options,
      scope: this.scope,
      log: (options.report ?? defaults.report) === "none"
    }))
    const watchdog = options.watchdog ?? defaults.watchdog
    if (watchdog !== false) {
      this.watchdog = Watchdog.unsafeStart({ ...(watchdog === true ? {} : watchdog), name: this.name }, {
        signals,
        timeout: this.timeout,
        hurry: this.hurryTimeout,
        debounce,
        margin: watchdogMargin
      })
      Watchdog.setReport(() => {
        const report = this.lifecycle.unsafeReport()
        return report === undefined ? undefined : this.line(report)
      })
      this.beat()
    }
  }

  start() {
    for (const signal of signals) process.on(signal, () => this.onSignal(signal))
    process.on("SIGUSR2", () => this.dump())
    process.on("uncaughtException", (error, origin) => this.onCrash(origin, error))
    process.on("unhandledRejection", (error) => this.onCrash("unhandledRejection", error))
    for (const stream of [process.stdout, process.stderr]) {
      // Whoever read it is gone. That is no reason for a service to end.
      stream.on("error", () => {})
    }
    const main = FiberRegistry.track({ name: "main", kind: "lifecycle", crash: "silent" })(this.main)
    Effect.runFork(main).addObserver((exit) => {
      // Reached only when this module itself is at fault.
      if (Exit.isFailure(exit) && !this.ended) {
        write([2], Cause.pretty(exit.cause))
        this.exit(1)
      }
    })
  }

  /** The application's fiber, and the wait for the reason to end it. */
  readonly main: Effect.Effect<void> = Effect.gen(this, function*() {
    const lifecycle = this.lifecycle
    // A loop that the watchdog came too late for would be nobody's. It takes some 50 ms.
    yield* Effect.promise(() => within(watchdogStart, this.watchdog?.ready ?? Promise.resolve()))
    const app = Layer.toRuntime(this.layer).pipe(
      Scope.extend(this.scope),
      Effect.provideService(Lifecycle.Lifecycle, lifecycle),
      // What layers forked without a scope lives as long as the fiber that built them.
      Effect.zipRight(Effect.never)
    )
    const fiber = yield* FiberRegistry.forkIn(app, this.mainScope, {
      name: this.name,
      kind: "lifecycle",
      crash: "silent"
    }).pipe(Effect.locally(FiberRegistry.currentOwner, []))
    fiber.addObserver((exit) => {
      if (Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)) this.onStartFailed(exit.cause)
    })
    const reason = yield* lifecycle.awaitShutdown
    this.arm(this.timeout)
    Cleanup.unsafeGuardScopes()
    const report = yield* lifecycle.shutdown(reason)
    yield* Effect.promise(flushed)
    this.finish(report)
  })

  onStartFailed(cause: Cause.Cause<unknown>) {
    const render = this.options.renderFailure ?? renderFailure
    write([2], `${this.name} could not start: ${render(cause)}`)
    this.request({ _tag: "StartFailed", cause: Cause.pretty(cause).split("\n", 1)[0] })
  }

  onSignal(signal: NodeJS.Signals) {
    const now = performance.now()
    if (signal === this.signal && now - this.signalledAt < debounce) return
    this.signal = signal
    this.signalledAt = now
    this.signalled++
    if (this.signalled === 1) {
      this.request({ _tag: "Signal", signal })
    } else if (this.signalled === 2) {
      this.arm(this.hurryTimeout)
      Effect.runSync(this.lifecycle.hurry(this.hurryTimeout))
    } else {
      this.cutOff()
    }
  }

  onCrash(origin: string, error: unknown) {
    write([2], `${this.name}: ${origin}: ${error instanceof Error ? error.stack ?? error.message : inspect(error)}`)
    const cause = error instanceof Error ? `${error.name}: ${error.message}` : inspect(error, { breakLength: Infinity })
    this.request({ _tag: "Crash", origin, cause: cause.slice(0, 500) })
  }

  request(reason: Lifecycle.ShutdownReason) {
    this.arm(this.timeout)
    Effect.runSync(this.lifecycle.requestShutdown(reason))
  }

  /** The end of the process within this time, past all fibers. */
  arm(within: number) {
    const at = performance.now() + within
    if (at >= this.hardAt) return
    this.hardAt = at
    clearTimeout(this.hard)
    this.hard = setTimeout(() => this.cutOff(), within + hardMargin)
    this.labels ??= setInterval(() => this.beat(), 100)
    this.watchdog?.unsafeDeadline(within + watchdogMargin, this.forcedCode)
    this.beat()
  }

  beat() {
    const phase = this.lifecycle.unsafePhase()
    this.watchdog?.unsafeLabel([phase, ...this.lifecycle.unsafeWaitingFor()].join(" "))
  }

  dump() {
    const { external, heapUsed, rss } = process.memoryUsage()
    const mib = (bytes: number) => `${(bytes / 1048576).toFixed(1)} MiB`
    write(
      [2],
      [
        `${this.name} [${process.pid}] ${this.lifecycle.unsafePhase()}, up ${process.uptime().toFixed(1)} s, ` +
        `heap ${mib(heapUsed)}, rss ${mib(rss)}, external ${mib(external)}`,
        this.registry.unsafeDump()
      ].join("\n")
    )
  }

  get forcedCode(): number {
    return this.signal === undefined ? 1 : 128 + constants.signals[this.signal]
  }

  cutOff() {
    if (this.ended) return
    const report = this.lifecycle.unsafeReport()
    if (report === undefined) {
      // The fibers never got as far as to begin.
      write([1, 2], `shutdown: ${this.name}, ${this.signal ?? "crash"}, forced, cut off before it began`)
      this.exit(this.forcedCode)
    } else {
      this.finish(report)
    }
  }

  finish(report: Lifecycle.ShutdownReport) {
    if (this.ended) return
    const mode = this.options.report ?? defaults.report
    if (mode === "pretty" && report.verdict !== "clean") write([2], ShutdownReport.renderDetails(report))
    if (mode !== "none") write([1, 2], mode === "json" ? ShutdownReport.toJson(report) : this.line(report))
    this.exit(
      report.verdict === "clean"
        ? 0
        : report.verdict === "failed" || (report.finished && ShutdownReport.isFailure(report.reason))
        ? 1
        : this.forcedCode
    )
  }

  line(report: Lifecycle.ShutdownReport): string {
    return ShutdownReport.render(report)
  }

  exit(code: number) {
    this.ended = true
    clearInterval(this.keepAlive)
    // Listeners of "exit" are user code. One that loops is the watchdog's.
    process.exit(code)
  }
}

/** The messages of failures, and defects with their stacks. */
const renderFailure = (cause: Cause.Cause<unknown>): string => {
  const failures = Chunk.toReadonlyArray(Cause.failures(cause))
  const messages = failures.map((failure) =>
    failure instanceof Error && failure.message !== "" ? failure.message : inspect(failure)
  )
  const rest = Chunk.isEmpty(Cause.defects(cause)) ? [] : [Cause.pretty(cause, { renderErrorCause: true })]
  return [...messages, ...rest].join("\n")
}

/** Writes a line to the first of these descriptors that takes it. A reader that is slow has a moment. */
const write = (fds: ReadonlyArray<number>, text: string) => {
  const bytes = Buffer.from(`${text}\n`)
  for (const fd of fds) {
    if (writeAll(fd, bytes)) return
  }
}

const writeAll = (fd: number, bytes: Uint8Array): boolean => {
  const giveUp = performance.now() + 250
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN" || performance.now() > giveUp) return false
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
  return true
}

/** What was written to stdout before, a reader being slow, comes before the report. */
const flushed = (): Promise<void> =>
  process.stdout.writableLength === 0 || process.stdout.destroyed
    ? Promise.resolve()
    : within(200, new Promise((resolve) => process.stdout.write("", () => resolve())))

const within = (millis: number, promise: Promise<void>): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, millis)
    void promise.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })

/**
 * The application of a process, from its start to the exit. This class is where effects meet the process: what must work
 * when no fiber runs cannot be one, so it uses `process`, timers and synchronous writes directly.
 */
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as HashSet from "effect/HashSet"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import { constants } from "node:os"
import { inspect } from "node:util"
import * as Watchdog from "../../Watchdog.js"
import { unsafeTimeout } from "../timeout.js"
import { endNow, exitWith } from "./exit.js"
import { heldBy } from "./heldThreads.js"
import { flushed, within, write } from "./output.js"

/** The options of `runMain`, checked and with their defaults. Times in milliseconds; `Infinity` is no limit. */
export interface Settings {
  readonly name: string
  readonly timeout: number
  readonly hurryTimeout: number
  readonly readinessDelay: number
  readonly lifecycle: Lifecycle.Options
  readonly report: "pretty" | "json" | "none"
  readonly watchdog: false | Omit<Watchdog.Options, "name">
  readonly renderFailure: ((cause: Cause.Cause<unknown>) => string) | undefined
  readonly exitCode:
    | ((ending: {
      readonly report: Lifecycle.ShutdownReport | undefined
      readonly cause: Cause.Cause<unknown> | undefined
      readonly signal: NodeJS.Signals | undefined
      readonly code: number
    }) => number | undefined)
    | undefined
  readonly signals: ReadonlyArray<NodeJS.Signals>
  readonly dumpSignal: NodeJS.Signals | false
  readonly prettyLogger: boolean
}

export type App = Layer.Layer<never, unknown, Lifecycle.Lifecycle> | Program

type Program = Effect.Effect<unknown, unknown, Lifecycle.Lifecycle | Scope.Scope>

/** The same signal within this time is the same event, passed on twice. Milliseconds. */
const debounce = 100

/** How long after a deadline of the fibers the timer past them ends the process, and then the watchdog. Milliseconds. */
const hardMargin = 120
const watchdogMargin = 300

/** How long the application waits for the watchdog before it starts without. Milliseconds. */
const watchdogStart = 1000

/** How often what the shutdown waits for is shown to the watchdog. Milliseconds. */
const labelInterval = 100

export class Main {
  readonly scope = Effect.runSync(Scope.make())
  readonly mainScope = Effect.runSync(Scope.make())
  readonly registry = Effect.runSync(FiberRegistry.FiberRegistry)
  readonly lifecycle: Lifecycle.Service
  readonly watchdog: Watchdog.Service | undefined
  /** What the application has put into `process.exitCode`. */
  applicationCode = 0
  /** Why the start or the program failed, or what nobody caught first. */
  cause: Cause.Cause<unknown> | undefined
  /** A shutdown has been asked for; its reason is decided. */
  requested = false
  begun = false
  /** Exceptions before the shutdown began: the one that is its reason is no item of its report. */
  readonly crashes: Array<{ readonly reason: Lifecycle.ShutdownReason; readonly item: ShutdownReport.Item }> = []
  signalled = 0
  signal: NodeJS.Signals | undefined
  signalledAt = Number.NEGATIVE_INFINITY
  hardAt = Number.POSITIVE_INFINITY
  ended = false
  complained = false
  cancelHard = () => {}
  labels: NodeJS.Timeout | undefined

  constructor(readonly app: App, readonly settings: Settings) {
    this.lifecycle = unsafeRun(Lifecycle.make({
      ...settings.lifecycle,
      scope: this.scope,
      log: settings.report === "none"
    }))
    if (settings.watchdog !== false) {
      this.watchdog = Watchdog.unsafeStart({ ...settings.watchdog, name: settings.name }, {
        signals: settings.signals,
        timeout: settings.timeout + settings.readinessDelay,
        hurry: settings.hurryTimeout,
        debounce,
        margin: watchdogMargin
      })
      Watchdog.setReport(() => {
        const report = this.lifecycle.unsafeReport()
        return report === undefined ? undefined : ShutdownReport.render(report)
      })
      this.beat()
    }
  }

  start() {
    const { dumpSignal, signals } = this.settings
    // Keeps the event loop, and with it the process, alive: a suspended fiber does not.
    setInterval(() => {}, 2 ** 31 - 1)
    for (const signal of signals) process.on(signal, () => this.onSignal(signal))
    if (dumpSignal !== false) process.on(dumpSignal, () => this.dump())
    process.on("uncaughtException", (error, origin) => this.onCrash(origin, error))
    process.on("unhandledRejection", (error) => this.onCrash("unhandledRejection", error))
    for (const stream of [process.stdout, process.stderr]) {
      // Whoever read it is gone. That is no reason for a service to end.
      stream.on("error", () => {})
    }
    for (const signal of earlySignals()) this.onSignal(signal)
    const main = this.settings.prettyLogger ? withPrettyLogger(this.main) : this.main
    const tracked = FiberRegistry.track({ name: "main", kind: "lifecycle", crash: "silent" })(main)
    Effect.runFork(tracked).addObserver((exit) => {
      // Reached only when this module itself is at fault.
      if (Exit.isFailure(exit) && !this.ended) {
        write([2], Cause.pretty(exit.cause))
        this.ended = true
        endNow(1)
      }
    })
  }

  /** The application's fiber, the wait for the reason to end it, and the end. */
  readonly main: Effect.Effect<void> = Effect.gen(this, function*() {
    // A loop that the watchdog came too late for would be nobody's. It takes some 50 ms.
    yield* Effect.promise(() => within(watchdogStart, this.watchdog?.ready ?? Promise.resolve()))
    // A signal may have come before anything was there to be stopped.
    if (!this.requested) yield* this.launch()
    const reason = yield* this.lifecycle.awaitShutdown
    this.begin(reason)
    yield* this.lifecycle.shutdown(reason)
    yield* Effect.promise(flushed)
    yield* Effect.promise(aTurn)
    yield* Effect.promise(nothingHolds)
    this.finish()
  })

  launch(): Effect.Effect<void> {
    const isLayer = Layer.isLayer(this.app)
    const program: Program = isLayer
      // What layers forked without a scope lives as long as the fiber that built them.
      ? Effect.zipRight(
        this.lifecycle.build(Layer.toRuntime(this.app as Layer.Layer<never, unknown, Lifecycle.Lifecycle>)),
        Effect.never
      )
      : this.app as Program
    return program.pipe(
      Scope.extend(this.scope),
      Effect.provideService(Lifecycle.Lifecycle, this.lifecycle),
      (app) =>
        FiberRegistry.forkIn(app, this.mainScope, {
          name: this.settings.name,
          kind: isLayer ? "lifecycle" : "service",
          crash: "silent"
        }),
      Effect.locally(FiberRegistry.currentOwner, []),
      Effect.map((fiber) => {
        fiber.addObserver((exit) => this.onAppEnded(exit, isLayer))
      })
    )
  }

  onAppEnded(exit: Exit.Exit<unknown, unknown>, isLayer: boolean) {
    // From here on the report tells how it ended.
    if (this.begun) return
    if (Exit.isSuccess(exit) || (!isLayer && Cause.isInterruptedOnly(exit.cause))) {
      return this.request({ _tag: "Requested", by: "the end of its program" })
    }
    this.cause ??= exit.cause
    const first = Cause.pretty(exit.cause).split("\n", 1)[0]
    write(
      [2],
      `${this.settings.name} ${isLayer ? "could not start" : "failed"}: ${
        (this.settings.renderFailure ?? renderFailure)(exit.cause)
      }`
    )
    this.request(isLayer ? { _tag: "StartFailed", cause: first } : { _tag: "Crash", origin: "program", cause: first })
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
      this.arm(this.settings.hurryTimeout)
      Effect.runSync(this.lifecycle.hurry(this.settings.hurryTimeout))
    } else {
      this.finish()
    }
  }

  /** An exception or a rejection that nobody caught: the reason to end, or an item of an end that is under way. */
  onCrash(origin: string, error: unknown) {
    write(
      [2],
      `${this.settings.name}: ${origin}: ${error instanceof Error ? error.stack ?? error.message : inspect(error)}`
    )
    const cause = (error instanceof Error
      ? `${error.name}: ${error.message}`
      : inspect(error, { breakLength: Infinity })).slice(0, 500)
    this.cause ??= Cause.die(error)
    const item = outside("exception", origin, "failed", cause)
    if (this.begun) return this.lifecycle.unsafeRecord(item)
    const reason: Lifecycle.ShutdownReason = { _tag: "Crash", origin, cause }
    this.crashes.push({ reason, item })
    this.request(reason)
  }

  request(reason: Lifecycle.ShutdownReason) {
    this.requested = true
    this.arm(this.timeFor(reason))
    Effect.runSync(this.lifecycle.requestShutdown(reason))
  }

  begin(reason: Lifecycle.ShutdownReason) {
    this.requested = true
    this.begun = true
    this.arm(this.timeFor(reason))
    for (const crash of this.crashes) {
      if (crash.reason !== reason) this.lifecycle.unsafeRecord(crash.item)
    }
  }

  timeFor(reason: Lifecycle.ShutdownReason): number {
    return this.settings.timeout + (ShutdownReport.isFailure(reason) ? 0 : this.settings.readinessDelay)
  }

  /** The end of the process within this time, past all fibers. */
  arm(within: number) {
    const at = performance.now() + within
    if (at >= this.hardAt) return
    this.hardAt = at
    this.cancelHard()
    this.cancelHard = unsafeTimeout(() => this.finish(), within + hardMargin)
    this.labels ??= setInterval(() => this.beat(), labelInterval)
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
        `${this.settings.name} [${process.pid}] ${this.lifecycle.unsafePhase()}, up ${
          process.uptime().toFixed(1)
        } s, ` +
        `heap ${mib(heapUsed)}, rss ${mib(rss)}, external ${mib(external)}`,
        this.registry.unsafeDump()
      ].join("\n")
    )
  }

  /** Listeners of the process's exit, then the last line, then the exit: in this order there is one last line. */
  finish() {
    if (this.ended) return
    this.ended = true
    for (const what of heldBy()) {
      this.lifecycle.unsafeRecord(
        outside("thread", what, "abandoned", "a thread that does not come back holds the process")
      )
    }
    this.applicationCode = Number(process.exitCode ?? 0)
    exitWith(this.code(), {
      onListenerError: (error) => {
        const detail = error instanceof Error ? `${error.name}: ${error.message}` : inspect(error)
        write([2], `${this.settings.name}: a listener of exit: ${error instanceof Error ? error.stack : detail}`)
        this.lifecycle.unsafeRecord(outside("listener", "exit", "failed", detail))
      },
      last: (asked) => {
        this.lastWords()
        return asked ?? this.code()
      }
    })
  }

  lastWords() {
    const { name, report: mode } = this.settings
    const report = this.lifecycle.unsafeReport()
    if (report === undefined) {
      // The fibers never got as far as to begin.
      write([1, 2], `shutdown: ${name}, ${this.signal ?? "crash"}, forced, cut off before it began`)
      return
    }
    if (mode === "pretty" && report.verdict !== "clean") write([2], ShutdownReport.renderDetails(report))
    if (mode === "pretty") write([1, 2], ShutdownReport.render(report))
    if (mode === "json") write([1, 2], ShutdownReport.toJson(report))
  }

  /** The code that the report, the application and the option `exitCode` lead to, in rising order of precedence. */
  code(): number {
    const report = this.lifecycle.unsafeReport()
    const reported = this.codeOf(report)
    // What the application says of itself is more than "something failed", and less than "it had to be forced".
    const code = this.applicationCode > 0 && reported <= 1 ? this.applicationCode : reported
    const complain = (what: string) => {
      // It is asked before and after the listeners of the exit.
      if (!this.complained) write([2], `${this.settings.name}: runMain's option exitCode ${what}`)
      this.complained = true
    }
    try {
      const chosen = this.settings.exitCode?.({ report, cause: this.cause, signal: this.signal, code }) ?? code
      if (Number.isInteger(chosen) && chosen >= 0 && chosen <= 255) return chosen
      complain(`returned ${inspect(chosen)}, expected a whole number from 0 to 255`)
    } catch (error) {
      complain(`threw ${inspect(error)}`)
    }
    return code
  }

  codeOf(report: Lifecycle.ShutdownReport | undefined): number {
    if (report === undefined) return this.forcedCode
    if (report.verdict === "clean") return 0
    const failed = report.verdict === "failed" || (report.finished && ShutdownReport.isFailure(report.reason))
    return failed ? 1 : this.forcedCode
  }

  get forcedCode(): number {
    return this.signal === undefined ? 1 : 128 + constants.signals[this.signal]
  }
}

/** What an effect that needs nothing and waits for nothing comes to; its failure is thrown as it is. */
const unsafeRun = <A, E>(effect: Effect.Effect<A, E>): A => {
  const exit = Effect.runSyncExit(effect)
  if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
  return exit.value
}

const outside = (
  kind: ShutdownReport.Item["kind"],
  label: string,
  status: ShutdownReport.Status,
  detail: string
): ShutdownReport.Item =>
  new ShutdownReport.Item({ kind, label, owner: [], status, elapsedMillis: 0, budgetMillis: 0, detail })

/** The signals that `EarlySignals` has noted. */
const earlySignals = (): ReadonlyArray<NodeJS.Signals> => {
  const take = (globalThis as Record<symbol, unknown>)[Symbol.for("@holdfast/node/EarlySignals")]
  if (typeof take !== "function") return []
  return (take() as ReadonlyArray<{ readonly signal: NodeJS.Signals }>).map(({ signal }) => signal)
}

/** As `NodeRuntime.runMain` does it: in place of the default logger, where that is still in use. */
const withPrettyLogger = Effect.locallyWith(
  FiberRef.currentLoggers,
  (loggers) =>
    HashSet.has(loggers, Logger.defaultLogger)
      ? HashSet.add(HashSet.remove(loggers, Logger.defaultLogger), Logger.prettyLoggerDefault)
      : loggers
)

/** The messages of failures, and defects with their stacks. */
const renderFailure = (cause: Cause.Cause<unknown>): string => {
  const failures = Chunk.toReadonlyArray(Cause.failures(cause))
  const messages = failures.map((failure) =>
    failure instanceof Error && failure.message !== "" ? failure.message : inspect(failure)
  )
  const rest = Chunk.isEmpty(Cause.defects(cause)) ? [] : [Cause.pretty(cause, { renderErrorCause: true })]
  if (failures.length === 0 && rest.length === 0) return "it interrupted itself"
  return [...messages, ...rest].join("\n")
}

/** A turn of the event loop: a promise that the last finalizer has rejected is seen as unhandled only then. */
const aTurn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

/** Resolves when no thread of the pool has anything to do. */
const nothingHolds = (): Promise<void> =>
  new Promise((resolve) => {
    let pause = 1
    const look = () => {
      if (heldBy().length === 0) return resolve()
      pause = Math.min(pause * 2, 50)
      setTimeout(look, pause)
    }
    look()
  })

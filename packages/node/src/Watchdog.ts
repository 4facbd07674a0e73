/**
 * A thread that watches the main thread, for the one thing that no timer on the main thread can end: a busy loop.
 *
 * Guarantees
 * - A main thread that is in a busy loop when its shutdown should be over is ended, with the exit code of that shutdown,
 *   and the stack of the loop is printed first: function, file, line, mapped to sources under `--enable-source-maps`. It is
 *   taken by pausing the main thread through `node:inspector`, so it is the stack itself, not a guess.
 * - A signal that arrives in the middle of a busy loop starts the same clock: the watchdog hears signals too.
 * - A thread of the pool that would hold the exit (a FIFO without a writer, a network disk that does not answer) does not.
 * - A main thread that gives no sign of life for `stall` (10 seconds) is ended, or only reported with its stack.
 * - A process that was stopped, a machine that slept and a debugger that is attached are told apart from a loop.
 *
 * Limits
 * - Code that blocks outside of JavaScript (`Atomics.wait`, `execFileSync`, a native module) cannot be paused. After another
 *   second the process gets SIGKILL (exit code 137), and all that is known is the last label.
 * - The first process of a container (PID 1) is immune to its own SIGKILL: blocked outside of JavaScript, it is left to its
 *   container runtime. A busy loop in JavaScript is ended there as everywhere.
 * - To hear signals, the thread uses an internal binding of Node.js: by `process.binding` in 20 and 22, by
 *   `--expose-internals` in 24, which has effect in this thread alone. Where neither is there, a signal during a busy loop
 *   is noticed by `stall` alone.
 * - Where the thread cannot be started (a bundle that left its file behind), a warning says so, and the process is what it
 *   would be without a watchdog.
 * - Finalizers do not run: the loop holds the only thread they could run on.
 * - The thread costs some megabytes of memory and a few wake-ups per second.
 *
 * @since 0.1.0
 */
import * as InvalidOption from "@holdfast/core/InvalidOption"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Inspector from "node:inspector"
import { Worker } from "node:worker_threads"
import { endPaused } from "./internal/main/exit.js"
import type { Message, Setup } from "./internal/watchdog/worker.js"

/**
 * How long the event loop may stand still, and what happens then.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Names the process in what is printed. Default `"service"`. */
  readonly name?: string | undefined
  /** The longest time without a heartbeat of the main thread; infinity watches shutdowns alone. Default 10 seconds. */
  readonly stall?: Duration.DurationInput | undefined
  /** What to do about a stall: end the process, or print the stack and go on. Default `"end"`. */
  readonly onStall?: "end" | "report" | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  name: "service",
  stall: Duration.seconds(10),
  onStall: "end"
} as const

/**
 * What a signal leads to, so that the watchdog can do it when the main thread cannot.
 *
 * @internal
 */
export interface SignalOptions {
  readonly signals: ReadonlyArray<NodeJS.Signals>
  /** Milliseconds; `Infinity` is no limit. */
  readonly timeout: number
  readonly hurry: number
  readonly debounce: number
  /** Milliseconds that the main thread has beyond a deadline to end by itself. */
  readonly margin: number
}

/**
 * The deadlines that the thread beside the event loop keeps.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * The process must have ended within this time, or else is ended with this exit code. A later call can only bring the
   * end nearer.
   */
  readonly unsafeDeadline: (within: Duration.DurationInput, code: number) => void
  /** What the main thread is doing, for the case in which its stack cannot be had. At most 256 bytes are kept. */
  readonly unsafeLabel: (label: string) => void
  readonly unsafeStop: () => void
  /** Resolves when the thread watches and hears signals, or cannot be started. */
  readonly ready: Promise<void>
}

/**
 * A thread that ends the process when the event loop cannot.
 *
 * @since 0.1.0
 * @category tags
 */
export class Watchdog extends Context.Tag("@holdfast/node/Watchdog")<Watchdog, Service>() {}

/**
 * A watchdog for as long as the scope is open. `NodeMain.runMain` starts its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service, InvalidOption.InvalidOption, Scope.Scope> =>
  Effect.acquireRelease(
    InvalidOption.check(() => unsafeStart(options)),
    (watchdog) => Effect.sync(watchdog.unsafeStop)
  )

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts
 * import { Watchdog } from "@holdfast/node"
 * import { Layer } from "effect"
 *
 * const Watch = Watchdog.layer({ name: "site", stall: "30 seconds", onStall: "report" })
 * console.log(Layer.isLayer(Watch))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Watchdog, InvalidOption.InvalidOption> =>
  Layer.scoped(Watchdog, make(options))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<Watchdog, InvalidOption.InvalidOption | ConfigError.ConfigError> = InvalidOption.fromConfig(layer)

/** Where the main thread keeps what the watchdog asks it for when it has paused it. */
const reportKey = "@holdfast/node/Watchdog/report"
const exitKey = "@holdfast/node/Watchdog/exit"

const publish = (key: string, value: unknown): void => {
  ;(globalThis as Record<symbol, unknown>)[Symbol.for(key)] = value
}

/**
 * A function that renders what the main thread knows of its shutdown.
 *
 * @internal
 */
export const setReport = (render: () => string | undefined): void => publish(reportKey, render)

/**
 * Throws `InvalidOption`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unsafeStart = (options: Options = {}, signals?: SignalOptions): Service => {
  const stall = InvalidOption.unsafeDuration("Watchdog.stall", options.stall ?? defaults.stall, { infinite: true })
  const interval = Math.min(1000, Math.max(20, stall / 8))
  const shared = new SharedArrayBuffer(slots * 4 + labelBytes)
  const cells = new Int32Array(shared, 0, slots)
  const text = new Uint8Array(shared, slots * 4, labelBytes)
  publish(exitKey, endPaused)
  const worker = startWorker({
    shared,
    name: options.name ?? defaults.name,
    stall,
    onStall: options.onStall ?? defaults.onStall,
    interval,
    timeout: signals?.timeout ?? 0,
    hurry: signals?.hurry ?? 0,
    debounce: signals?.debounce ?? 0,
    margin: signals?.margin ?? 0,
    signals: signals?.signals ?? [],
    reportKey,
    exitKey
  })
  const ready = new Promise<void>((resolve) => {
    if (worker === undefined) return resolve()
    worker.once("message", () => resolve())
    worker.once("exit", () => resolve())
  })
  const beat = setInterval(() => {
    Atomics.add(cells, 0, 1)
    Atomics.store(cells, 1, Inspector.url() === undefined ? 0 : 1)
  }, interval)
  beat.unref()
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  const post = (message: Message) => worker?.postMessage(message)
  return {
    ready,
    unsafeDeadline: (within, code) => post({ _tag: "Deadline", within: Duration.toMillis(within), code }),
    unsafeLabel: (label) => {
      const { written } = new TextEncoder().encodeInto(label, text)
      Atomics.store(cells, 2, written)
    },
    unsafeStop: () => {
      clearInterval(beat)
      post({ _tag: "Stop" })
    }
  }
}

const startWorker = (setup: Setup): Worker | undefined => {
  // Without its watchdog a process is what it would be anyway.
  const lost = (error: unknown) =>
    process.emitWarning(
      `The watchdog of ${setup.name} does not run, so a busy loop outlasts signals and time limits: ${
        error instanceof Error ? error.message : String(error)
      }`
    )
  try {
    const worker = new Worker(new URL("./internal/watchdog/worker.js", import.meta.url), {
      name: "holdfast-watchdog",
      workerData: setup,
      execArgv: ["--expose-internals", "--no-warnings"],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4 }
    })
    worker.unref()
    worker.on("error", lost)
    return worker
  } catch (error) {
    lost(error)
    return undefined
  }
}

const slots = 3
const labelBytes = 256

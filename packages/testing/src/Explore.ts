/**
 * Deterministic simulation testing: an Effect runs under a seeded scheduler that may preempt a fiber between any two
 * operations, with virtual time and seeded chance. Many seeds are tried; a failing seed replays exactly.
 *
 * **For** races: check-then-act, lost updates and wake-ups, missed interrupts, deadlocks, leaks, finalizers in the wrong
 * order; and for anything that takes hours of clock time. **Not for** real sockets, files or other sources outside the
 * process: those escape the seed, and {@link checkDeterminism} says so.
 *
 * **Guarantees.** The same program, seed and options give the same trace, in any process. `Clock`, `Random`, `Date`,
 * `Math.random`, `performance.now`, `setTimeout` and its kin, `crypto.randomUUID` are virtual while the program runs; a
 * fiber started on the default runtime (`Effect.runFork` inside the program) is taken into the simulation and reported.
 * Promise callbacks run at points that the program alone decides. A run that can never end is reported with a dump of
 * its fibers instead of hanging.
 *
 * **Limits.** A single `Effect.sync` is atomic, as it is in production. `Effect.runSync` runs as one step. Functions that
 * a module copied from `node:timers` or `node:crypto` are not virtual. Programs must build what they use inside the
 * explored effect: a service shared by two runs carries state from one to the other.
 *
 * @since 0.1.0
 */
import { Cause, Data, Duration, Effect, Exit, FiberRef, Option } from "effect"
import type { Scope } from "effect"
import { globalValue } from "effect/GlobalValue"
import * as Prng from "./internal/prng.js"
import * as Simulation from "./internal/simulation.js"

/**
 * How the next fiber is chosen.
 *
 * - `random`: any ready fiber, and before any operation, with the probability `preemption`, another one. Finds most races
 *   within tens of seeds.
 * - `pct`: fibers have random priorities, which change at `depth - 1` random points (Burckhardt et al., "A randomized
 *   scheduler with probabilistic guarantees of finding bugs"). Finds bugs that need one fiber to be kept waiting for long.
 * - `mixed`, the default: the seed chooses between `random` at 0.3, `random` at 0.05 and `pct` at depth 3.
 *
 * @since 0.1.0
 * @category models
 */
export type Strategy =
  | "mixed"
  | { readonly _tag: "random"; readonly preemption: number }
  | { readonly _tag: "pct"; readonly depth: number }

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** the first seed; the following ones count up from it. Default 1. `HOLDFAST_SEED` in the environment overrides. */
  readonly seed?: number
  /** how many seeds are tried. Default 100. `HOLDFAST_SEEDS` in the environment overrides. */
  readonly seeds?: number
  /** Default `"mixed"`. */
  readonly strategy?: Strategy
  /** operations after which a run counts as a livelock. Default 100,000. */
  readonly maxOperations?: number
  /** virtual time after which a run counts as a livelock. Default 7 days. */
  readonly maxTime?: Duration.DurationInput
  /** report fibers and scopes that outlive the program. Default true. */
  readonly leaks?: boolean
  /** virtual time that fibers have to end after the program, before they are a leak. Default 0. */
  readonly settle?: Duration.DurationInput
  /**
   * what to do when every fiber waits, and no virtual timer is left: `"forbid"` calls that blocked; `"await"` gives the
   * world outside one second of real time first. Default `"forbid"`.
   */
  readonly external?: "forbid" | "await"
  /** which results are bugs. Default: every failure. Interrupting itself is a failure too. */
  readonly isBug?: (exit: Exit.Exit<unknown, unknown>) => boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export type Event = Simulation.Event

/**
 * `failed`: the result is a bug · `blocked`: every fiber waits and nothing can wake one · `livelock`: the limit of
 * operations or of virtual time was reached · `leaked`: a fiber or a scope with finalizers outlived the program.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = "ok" | "failed" | "blocked" | "livelock" | "leaked"

/**
 * One run under one seed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run<A, E> {
  readonly seed: number
  readonly strategy: string
  readonly verdict: Verdict
  readonly exit: Option.Option<Exit.Exit<A, E>>
  /** tasks that were run */
  readonly steps: number
  /** Effect operations that were evaluated */
  readonly operations: number
  /** virtual milliseconds that passed */
  readonly millis: number
  /** a hash of every choice: equal fingerprints are equal interleavings */
  readonly fingerprint: string
  /** every event of a replay */
  readonly events: ReadonlyArray<Event>
  /** how the program left the simulation, if it did */
  readonly escapes: ReadonlyArray<string>
  /** the fibers that were left, and the scopes */
  readonly dump: ReadonlyArray<string>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly seeds: number
  /** how many different interleavings the seeds were */
  readonly interleavings: number
  readonly operations: number
  readonly escapes: ReadonlyArray<string>
}

/**
 * A seed under which the program misbehaves, with its replayed trace.
 *
 * @since 0.1.0
 * @category errors
 */
export class Found extends Data.TaggedError("Found")<{
  readonly run: Run<unknown, unknown>
  /** how many seeds had been tried, this one included */
  readonly tried: number
}> {
  override get message() {
    return render(this.run, this.tried)
  }
}

/**
 * The same seed gave two different runs: the program depends on something that the seed does not govern.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotDeterministic extends Data.TaggedError("NotDeterministic")<{
  readonly seed: number
  readonly first: string
  readonly second: string
  readonly escapes: ReadonlyArray<string>
}> {
  override get message() {
    return [
      `seed ${this.seed} gave two different runs: something in the program is not governed by the seed`,
      `  once:  ${this.first}`,
      `  again: ${this.second}`,
      ...this.escapes.map((escape) => `  ${escape}`)
    ].join("\n")
  }
}

/**
 * The seed of the run that the current fiber is part of; none outside a simulation. Fault injection derives from it.
 *
 * @since 0.1.0
 * @category references
 */
export const currentSeed: FiberRef.FiberRef<Option.Option<number>> = globalValue(
  "@holdfast/testing/Explore/currentSeed",
  () => FiberRef.unsafeMake<Option.Option<number>>(Option.none())
)

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  seed: 1,
  seeds: 100,
  strategy: "mixed",
  maxOperations: 100_000,
  maxTime: Duration.days(7),
  leaks: true,
  settle: Duration.zero,
  external: "forbid"
} as const

/**
 * The number of seeds for this size of run: the first in everyday runs, the second when `HOLDFAST_NIGHTLY` is set.
 *
 * @since 0.1.0
 * @category options
 */
export const sized = (everyday: number, nightly: number): number =>
  process.env.HOLDFAST_NIGHTLY === "1" ? nightly : everyday

const fromEnvironment = (name: string): number | undefined => {
  const value = process.env[name]
  return value === undefined || value === "" ? undefined : Number(value)
}

const strategyOf = (options: Options, seed: number, length: number): Simulation.Strategy => {
  const strategy = options.strategy ?? defaults.strategy
  if (strategy === "mixed") {
    const choice = Prng.make(seed, "strategy").below(4)
    return choice < 2
      ? { _tag: "Random", preemption: 0.3 }
      : choice === 2
      ? { _tag: "Random", preemption: 0.05 }
      : { _tag: "Pct", depth: 3, length }
  }
  return strategy._tag === "pct"
    ? { _tag: "Pct", depth: strategy.depth, length }
    : { _tag: "Random", preemption: strategy.preemption }
}

const simulate = async <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  seed: number,
  options: Options,
  full: boolean,
  strategy: Simulation.Strategy
): Promise<Run<A, E>> => {
  const simulation = new Simulation.Simulation<A, E>({
    seed,
    strategy,
    maxOperations: options.maxOperations ?? defaults.maxOperations,
    maxMillis: Duration.toMillis(options.maxTime ?? defaults.maxTime),
    settleMillis: Duration.toMillis(options.settle ?? defaults.settle),
    leaks: options.leaks ?? defaults.leaks,
    external: options.external ?? defaults.external,
    full,
    refs: [[currentSeed, Option.some(seed)]]
  })
  const result = await simulation.run(effect)
  const isBug = options.isBug ?? Exit.isFailure
  const failed = result.exit !== undefined && isBug(result.exit)
  return {
    seed,
    strategy: strategy._tag === "Pct"
      ? `pct, depth ${strategy.depth} of ${strategy.length}`
      : `random, preemption ${strategy.preemption}`,
    verdict: failed ? "failed" : result.verdict === "done" ? "ok" : result.verdict,
    exit: Option.fromNullable(result.exit),
    steps: result.steps,
    operations: result.operations,
    millis: result.millis,
    fingerprint: result.fingerprint,
    events: result.events,
    escapes: result.escapes,
    dump: result.dump
  }
}

/**
 * A run without preemption: it fills the caches that live as long as the process, so that later runs are the same in
 * every process, and it tells how long a run is, more or less.
 */
const calibrate = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>, options: Options): Promise<number> =>
  simulate(effect, 0, options, false, { _tag: "Random", preemption: 0 }).then((run) => Math.max(16, run.operations))

/**
 * Runs the program once under `seed`, keeping the whole trace.
 *
 * @since 0.1.0
 * @category running
 */
export const replay = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  seed: number,
  options: Options = {}
): Effect.Effect<Run<A, E>> =>
  Effect.promise(async () =>
    simulate(effect, seed, options, true, strategyOf(options, seed, await calibrate(effect, options)))
  )

interface Searched {
  readonly tried: number
  readonly fingerprints: Set<string>
  readonly operations: number
  readonly escapes: Set<string>
  readonly bad: number | undefined
}

const search = async <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Options,
  signal: AbortSignal
): Promise<Searched> => {
  const only = fromEnvironment("HOLDFAST_SEED")
  const first = only ?? options.seed ?? defaults.seed
  const count = only === undefined ? fromEnvironment("HOLDFAST_SEEDS") ?? options.seeds ?? defaults.seeds : 1
  const fingerprints = new Set<string>()
  const escapes = new Set<string>()
  let operations = 0
  let breath = Date.now()
  const length = await calibrate(effect, options)
  for (let i = 0; i < count; i++) {
    const run = await simulate(effect, first + i, options, false, strategyOf(options, first + i, length))
    fingerprints.add(run.fingerprint)
    operations += run.operations
    for (const escape of run.escapes) escapes.add(escape)
    if (run.verdict !== "ok") {
      return { tried: i + 1, fingerprints, operations, escapes, bad: first + i }
    }
    if (Date.now() - breath > 20) {
      await new Promise<void>((resolve) => setImmediate(resolve))
      if (signal.aborted) return { tried: i + 1, fingerprints, operations, escapes, bad: undefined }
      breath = Date.now()
    }
  }
  return { tried: count, fingerprints, operations, escapes, bad: undefined }
}

/**
 * Tries seed after seed. Fails with the first one under which the program fails, blocks, does not end, or leaks.
 *
 * @example
 * ```ts
 * import { Explore } from "@holdfast/testing"
 * import { Effect, Ref } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const counter = yield* Ref.make(0)
 *   const add = Ref.get(counter).pipe(Effect.flatMap((n) => Ref.set(counter, n + 1)))
 *   yield* Effect.all([add, add], { concurrency: 2 })
 *   if ((yield* Ref.get(counter)) !== 2) return yield* Effect.dieMessage("lost update")
 * })
 *
 * Explore.check(program, { seeds: 100 }) // fails with Found
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const check = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Options = {}
): Effect.Effect<Report, Found> =>
  Effect.gen(function*() {
    const searched = yield* Effect.promise((signal) => search(effect, options, signal))
    if (searched.bad !== undefined) {
      const run = yield* replay(effect, searched.bad, options)
      return yield* new Found({ run, tried: searched.tried })
    }
    return {
      seeds: searched.tried,
      interleavings: searched.fingerprints.size,
      operations: searched.operations,
      escapes: Array.from(searched.escapes)
    }
  })

/**
 * `check` with uniformly random choice and preemption.
 *
 * @since 0.1.0
 * @category running
 */
export const checkRandom = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Omit<Options, "strategy"> & { /** Default 0.3. */ readonly preemption?: number } = {}
): Effect.Effect<Report, Found> =>
  check(effect, { ...options, strategy: { _tag: "random", preemption: options.preemption ?? 0.3 } })

/**
 * `check` with random priorities that change at `depth - 1` points.
 *
 * @since 0.1.0
 * @category running
 */
export const checkPct = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Omit<Options, "strategy"> & { /** Default 3. */ readonly depth?: number } = {}
): Effect.Effect<Report, Found> => check(effect, { ...options, strategy: { _tag: "pct", depth: options.depth ?? 3 } })

/**
 * The first bad seed as a value: for tests that expect one.
 *
 * @since 0.1.0
 * @category running
 */
export const find = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Options = {}
): Effect.Effect<Option.Option<Found>> => check(effect, options).pipe(Effect.flip, Effect.option)

/**
 * Runs every seed twice and compares the fingerprints. Fails when two runs of one seed differ, or when the program left
 * the simulation: then a failing seed could not be trusted to fail again.
 *
 * @since 0.1.0
 * @category running
 */
export const checkDeterminism = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Options = {}
): Effect.Effect<Report, NotDeterministic> =>
  Effect.gen(function*() {
    const first = options.seed ?? defaults.seed
    const count = options.seeds ?? 10
    const fingerprints = new Set<string>()
    let operations = 0
    const length = yield* Effect.promise(() => calibrate(effect, options))
    const runOnce = (seed: number) =>
      Effect.promise(() => simulate(effect, seed, options, true, strategyOf(options, seed, length)))
    for (let seed = first; seed < first + count; seed++) {
      const once = yield* runOnce(seed)
      const again = yield* runOnce(seed)
      const differs = once.fingerprint !== again.fingerprint || once.operations !== again.operations ||
        shownExit(once) !== shownExit(again)
      const escapes = Array.from(new Set([...once.escapes, ...again.escapes]))
      if (differs || escapes.length > 0) {
        const [left, right] = firstDifference(once, again)
        return yield* new NotDeterministic({ seed, first: left, second: right, escapes })
      }
      fingerprints.add(once.fingerprint)
      operations += once.operations + again.operations
    }
    return { seeds: count, interleavings: fingerprints.size, operations, escapes: [] }
  })

const firstDifference = (a: Run<unknown, unknown>, b: Run<unknown, unknown>): readonly [string, string] => {
  for (let i = 0; i < Math.max(a.events.length, b.events.length); i++) {
    const left = a.events[i] === undefined ? "(ended)" : showEvent(a.events[i]!)
    const right = b.events[i] === undefined ? "(ended)" : showEvent(b.events[i]!)
    if (left !== right) return [left, right]
  }
  return [shownExit(a), shownExit(b)]
}

const shownExit = (run: Run<unknown, unknown>): string =>
  Option.match(run.exit, {
    onNone: () => "no result",
    onSome: (exit) => Exit.isSuccess(exit) ? "success" : Cause.pretty(exit.cause).split("\n")[0]!
  })

const showEvent = (event: Event): string => `${stamp(event)} ${who(event)}${what(event)}`.trimEnd()

const stamp = (event: Event) => `${String(event.step).padStart(5)} ${String(Math.round(event.at)).padStart(7)} ms `

const who = (event: Event) => event.fiber < 0 ? "" : `#${event.fiber} `

const what = (event: Event): string => {
  const { detail, fiber, kind } = event
  switch (kind) {
    case "run":
      return fiber < 0 ? "a timer or callback" : `runs ${detail}`
    case "preempt":
      return `is preempted ${detail}`
    case "fork":
      return `${fiber < 0 ? "start of" : "forks"} ${detail}`
    case "exit":
      return `ends, ${detail}`
    case "clock":
      return "the clock moves"
    case "log":
      return `logs ${detail}`
    case "escape":
      return detail
  }
}

/** One line for each turn of a fiber: from where to where it ran before another one came. */
const showEvents = (events: ReadonlyArray<Event>): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (let i = 0; i < events.length; i++) {
    const first = events[i]!
    if (first.kind !== "run" || first.fiber < 0) {
      if (first.kind !== "run") lines.push(showEvent(first))
      continue
    }
    const places: Array<string> = []
    let last = i
    for (let k = i; k < events.length; k++) {
      const event = events[k]!
      if (event.fiber !== first.fiber || (event.kind !== "run" && event.kind !== "preempt")) break
      if (event.detail !== "" && places.at(-1) !== event.detail) places.push(event.detail)
      last = k
    }
    i = last
    const text = places.length === 0
      ? ""
      : places.length <= 2
      ? places.join(" to ")
      : `${places[0]} to ${places.at(-1)}`
    lines.push(`${stamp(first)} #${first.fiber} runs ${text}`.trimEnd())
  }
  return lines
}

/**
 * The run as text: what happened, how to replay it, the last events, the fibers that were left.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (run: Run<unknown, unknown>, tried?: number, lines = 40): string => {
  const head = run.verdict === "failed"
    ? `the program failed: ${shownExit(run)}`
    : run.verdict === "blocked"
    ? "everything is blocked: no fiber can run, and no timer is left to wake one"
    : run.verdict === "livelock"
    ? "the program does not end: the limit of operations or of virtual time was reached"
    : run.verdict === "leaked"
    ? "the program ended, and left behind:"
    : "the program ended well"
  const all = showEvents(run.events)
  const shown = all.slice(-lines)
  return [
    head,
    ...run.dump.map((line) => `  ${line}`),
    `seed ${run.seed} (${run.strategy})${
      tried === undefined ? "" : `, the ${ordinal(tried)} tried`
    }: ${run.steps} steps, ${run.operations} operations, ${run.millis} ms of virtual time, fingerprint ${run.fingerprint}`,
    `replay with Explore.replay(program, ${run.seed}) or HOLDFAST_SEED=${run.seed}`,
    ...run.escapes.map((escape) => `not governed by the seed: ${escape}`),
    shown.length < all.length ? `the last ${shown.length} of ${all.length} turns:` : "turns:",
    ...shown
  ].join("\n")
}

const ordinal = (n: number): string => {
  const tens = n % 100
  const suffix = tens >= 11 && tens <= 13
    ? "th"
    : n % 10 === 1
    ? "st"
    : n % 10 === 2
    ? "nd"
    : n % 10 === 3
    ? "rd"
    : "th"
  return `${n}${suffix}`
}

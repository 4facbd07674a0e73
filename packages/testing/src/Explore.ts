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
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Check from "./internal/options.js"
import * as Place from "./internal/place.js"
import * as Prng from "./internal/prng.js"
import * as Simulation from "./internal/simulation.js"
import * as Trace from "./internal/trace.js"
import type { InvalidOption } from "./InvalidOption.js"

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
  /**
   * the first seed; the following ones count up from it. Default 1. `HOLDFAST_SEED` in the environment overrides, and
   * tries that one alone unless `HOLDFAST_SEEDS` says how many.
   */
  readonly seed?: number | undefined
  /** how many seeds are tried. Default 100. `HOLDFAST_SEEDS` in the environment overrides. */
  readonly seeds?: number | undefined
  /** Default `"mixed"`. */
  readonly strategy?: Strategy | undefined
  /** operations after which a run counts as a livelock. Default 100,000. */
  readonly maxOperations?: number | undefined
  /** virtual time after which a run counts as a livelock. Default 7 days. */
  readonly maxTime?: Duration.DurationInput | undefined
  /** report fibers and scopes that outlive the program. Default true. */
  readonly leaks?: boolean | undefined
  /** virtual time that fibers have to end after the program, before they are a leak. Default 0. */
  readonly settle?: Duration.DurationInput | undefined
  /**
   * what to do when every fiber waits, and no virtual timer is left: `"forbid"` calls that blocked; `"await"` gives the
   * world outside one second of real time first. Default `"forbid"`.
   */
  readonly external?: "forbid" | "await" | undefined
  /** which results are bugs. Default: every failure. Interrupting itself is a failure too. */
  readonly isBug?: ((exit: Exit.Exit<unknown, unknown>) => boolean) | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export type Event = Simulation.Event

/**
 * How often a fault point was evaluated, and how often it fired.
 *
 * @since 0.1.0
 * @category models
 */
export type FaultCount = Simulation.FaultCount

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
  /** names of the fibers of a replay, by number, as far as they have one */
  readonly names: ReadonlyMap<number, string>
  /** by point; points that options name, and that were not reached, have zeros */
  readonly faults: ReadonlyMap<string, FaultCount>
  /** how the program left the simulation, if it did */
  readonly escapes: ReadonlyArray<string>
  /** the fibers that were left, and the scopes */
  readonly dump: ReadonlyArray<string>
  /** `file:line` where the fibers that were left are, or were forked */
  readonly places: ReadonlyArray<string>
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
  /** over all seeds, by point: a fault that never fired has tested nothing */
  readonly faults: ReadonlyMap<string, FaultCount>
}

/**
 * A seed under which the program misbehaves, with its replayed trace.
 *
 * @since 0.1.0
 * @category errors
 */
export class BugFound extends Data.TaggedError("BugFound")<{
  readonly run: Run<unknown, unknown>
  /** how many seeds had been tried, this one included */
  readonly tried: number
  /** what the program failed with, if it did */
  readonly cause?: unknown
}> {
  constructor(fields: { readonly run: Run<unknown, unknown>; readonly tried: number }) {
    const error = errorOf(fields.run)
    super(Option.isNone(error) ? fields : { ...fields, cause: error.value })
    // reporters print the code around the first line of the stack
    this.stack = Place.stackTo(`BugFound: ${this.message}`, placesOf(fields.run))
  }
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

/** The options, checked and complete. */
interface Plan {
  readonly seed: number
  readonly seeds: number
  readonly strategy: Strategy
  readonly maxOperations: number
  readonly maxMillis: number
  readonly leaks: boolean
  readonly settleMillis: number
  readonly external: "forbid" | "await"
  readonly isBug: (exit: Exit.Exit<unknown, unknown>) => boolean
}

const plan = (options: Options, seeds: number): Effect.Effect<Plan, InvalidOption> =>
  Effect.gen(function*() {
    const { strategy = defaults.strategy } = options
    if (strategy !== "mixed") {
      if (strategy._tag === "pct") yield* Check.whole("Explore.strategy.depth", strategy.depth, 1)
      else yield* Check.probability("Explore.strategy.preemption", strategy.preemption)
    }
    return {
      seed: yield* Check.whole("Explore.seed", options.seed ?? defaults.seed),
      seeds: yield* Check.whole("Explore.seeds", options.seeds ?? seeds, 1),
      strategy,
      maxOperations: yield* Check.whole(
        "Explore.maxOperations",
        options.maxOperations ?? defaults.maxOperations,
        1
      ),
      maxMillis: yield* Check.finite("Explore.maxTime", options.maxTime ?? defaults.maxTime),
      leaks: options.leaks ?? defaults.leaks,
      settleMillis: yield* Check.finite("Explore.settle", options.settle ?? defaults.settle),
      external: options.external ?? defaults.external,
      isBug: options.isBug ?? Exit.isFailure
    }
  })

/** What the environment asks for, in the place of what the test asks for. */
const fromEnvironment = (plan: Plan): Effect.Effect<Plan, InvalidOption> => {
  const read = (name: string, atLeast?: number) => {
    const text = process.env[name] ?? ""
    return text === "" ? Effect.succeed(undefined) : Check.whole(name, Number(text), atLeast, text)
  }
  return Effect.zipWith(
    read("HOLDFAST_SEED"),
    read("HOLDFAST_SEEDS", 1),
    (seed, seeds) => seed === undefined ? { ...plan, seeds: seeds ?? plan.seeds } : { ...plan, seed, seeds: seeds ?? 1 }
  )
}

const strategyOf = (strategy: Strategy, seed: number, length: number): Simulation.Strategy => {
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
  plan: Plan,
  full: boolean,
  strategy: Simulation.Strategy
): Promise<Run<A, E>> => {
  const { external, leaks, maxMillis, maxOperations, settleMillis } = plan
  const refs = [[currentSeed, Option.some(seed)]] as const
  const settings = { seed, strategy, maxOperations, maxMillis, settleMillis, leaks, external, full, refs }
  const { exit, verdict, ...rest } = await new Simulation.Simulation<A, E>(settings).run(effect)
  return {
    ...rest,
    seed,
    strategy: strategy._tag === "Pct"
      ? `pct, depth ${strategy.depth} of ${strategy.length}`
      : `random, preemption ${strategy.preemption}`,
    verdict: exit !== undefined && plan.isBug(exit) ? "failed" : verdict === "done" ? "ok" : verdict,
    exit: Option.fromNullable(exit)
  }
}

/**
 * A run without preemption: it fills the caches that live as long as the process, so that later runs are the same in
 * every process, and it tells how long a run is, more or less.
 */
const calibrate = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>, plan: Plan): Promise<number> =>
  simulate(effect, 0, plan, false, { _tag: "Random", preemption: 0 }).then((run) => Math.max(16, run.operations))

const replayed = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>, seed: number, plan: Plan): Effect.Effect<Run<A, E>> =>
  Effect.promise(async () =>
    simulate(effect, seed, plan, true, strategyOf(plan.strategy, seed, await calibrate(effect, plan)))
  )

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
): Effect.Effect<Run<A, E>, InvalidOption> =>
  Effect.flatMap(plan({ ...options, seed }, 1), (plan) => replayed(effect, seed, plan))

interface Searched {
  readonly tried: number
  readonly fingerprints: Set<string>
  readonly operations: number
  readonly escapes: Set<string>
  readonly faults: Map<string, FaultCount>
  readonly bad: number | undefined
}

const search = async <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  plan: Plan,
  signal: AbortSignal
): Promise<Searched> => {
  const fingerprints = new Set<string>()
  const escapes = new Set<string>()
  const faults = new Map<string, FaultCount>()
  let operations = 0
  let tried = 0
  let breath = Date.now()
  const length = await calibrate(effect, plan)
  const result = (bad?: number): Searched => ({ tried, fingerprints, operations, escapes, faults, bad })
  while (tried < plan.seeds) {
    const seed = plan.seed + tried++
    const run = await simulate(effect, seed, plan, false, strategyOf(plan.strategy, seed, length))
    fingerprints.add(run.fingerprint)
    operations += run.operations
    for (const escape of run.escapes) escapes.add(escape)
    for (const [point, { evaluated, fired }] of run.faults) {
      const sum = faults.get(point)
      faults.set(point, { evaluated: evaluated + (sum?.evaluated ?? 0), fired: fired + (sum?.fired ?? 0) })
    }
    if (run.verdict !== "ok") return result(seed)
    if (Date.now() - breath > 20) {
      await new Promise<void>((resolve) => setImmediate(resolve))
      if (signal.aborted) return result()
      breath = Date.now()
    }
  }
  return result()
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
 * Explore.check(program, { seeds: 100 }) // fails with BugFound
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const check = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Options = {}
): Effect.Effect<Report, BugFound | InvalidOption> =>
  Effect.gen(function*() {
    const planned = yield* Effect.flatMap(plan(options, defaults.seeds), fromEnvironment)
    const searched = yield* Effect.promise((signal) => search(effect, planned, signal))
    if (searched.bad !== undefined) {
      const run = yield* replayed(effect, searched.bad, planned)
      return yield* new BugFound({ run, tried: searched.tried })
    }
    return {
      seeds: searched.tried,
      interleavings: searched.fingerprints.size,
      operations: searched.operations,
      escapes: Array.from(searched.escapes),
      faults: searched.faults
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
): Effect.Effect<Report, BugFound | InvalidOption> =>
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
): Effect.Effect<Report, BugFound | InvalidOption> =>
  check(effect, { ...options, strategy: { _tag: "pct", depth: options.depth ?? 3 } })

/**
 * The first bad seed as a value: for tests that expect one.
 *
 * @since 0.1.0
 * @category running
 */
export const find = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Options = {}
): Effect.Effect<Option.Option<BugFound>, InvalidOption> =>
  check(effect, options).pipe(
    Effect.as(Option.none()),
    Effect.catchTag("BugFound", (found) => Effect.succeedSome(found))
  )

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
): Effect.Effect<Report, NotDeterministic | InvalidOption> =>
  Effect.gen(function*() {
    const planned = yield* plan(options, 10)
    const fingerprints = new Set<string>()
    let operations = 0
    const length = yield* Effect.promise(() => calibrate(effect, planned))
    const runOnce = (seed: number) =>
      Effect.promise(() => simulate(effect, seed, planned, true, strategyOf(planned.strategy, seed, length)))
    for (let seed = planned.seed; seed < planned.seed + planned.seeds; seed++) {
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
    return { seeds: planned.seeds, interleavings: fingerprints.size, operations, escapes: [], faults: new Map() }
  })

const firstDifference = (a: Run<unknown, unknown>, b: Run<unknown, unknown>): readonly [string, string] => {
  for (let i = 0; i < Math.max(a.events.length, b.events.length); i++) {
    const left = a.events[i] === undefined ? "(ended)" : Trace.showEvent(a.events[i]!)
    const right = b.events[i] === undefined ? "(ended)" : Trace.showEvent(b.events[i]!)
    if (left !== right) return [left, right]
  }
  return [shownExit(a), shownExit(b)]
}

/** The message, which may have several lines, without the stack. */
const shownCause = (cause: Cause.Cause<unknown>): string => {
  const lines = Cause.pretty(cause).split("\n")
  const stack = lines.findIndex((line) => /^ +at /.test(line))
  return lines.slice(0, stack === -1 ? maxCause : Math.min(stack, maxCause)).join("\n")
}

const maxCause = 40

const shownExit = (run: Run<unknown, unknown>): string =>
  Option.match(run.exit, {
    onNone: () => "no result",
    onSome: (exit) => Exit.isSuccess(exit) ? "success" : shownCause(exit.cause)
  })

/** What the program failed with, defect or error. */
const errorOf = (run: Run<unknown, unknown>): Option.Option<unknown> =>
  Option.flatMap(run.exit, (exit) => Exit.isFailure(exit) ? Option.some(Cause.squash(exit.cause)) : Option.none())

/** Where it failed; else where the fibers are that are left. */
const placesOf = (run: Run<unknown, unknown>): ReadonlyArray<string> => {
  const error = Option.getOrUndefined(errorOf(run))
  const failed = error instanceof Error ? Place.showUser(error) : undefined
  return failed === undefined ? run.places : [failed]
}

const heads: { readonly [verdict in Exclude<Verdict, "failed">]: string } = {
  blocked: "everything is blocked: no fiber can run, and no timer is left to wake one",
  livelock: "the program does not end: the limit of operations or of virtual time was reached (maxOperations, maxTime)",
  leaked: "the program ended, and left behind:",
  ok: "the program ended well"
}

/**
 * The run as text: what happened, how to replay it, the last moves of the fibers, the fibers that were left.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (run: Run<unknown, unknown>, tried?: number, lines = 40): string => {
  const [place] = placesOf(run)
  return [
    run.verdict === "failed"
      ? `the program failed${place === undefined ? "" : ` at ${place}`}: ${shownExit(run)}`
      : heads[run.verdict],
    ...run.dump.map((line) => `  ${line}`),
    `seed ${run.seed} (${run.strategy})${
      tried === undefined ? "" : `, the ${ordinal(tried)} tried`
    }: ${run.steps} steps, ${run.operations} operations, ${run.millis} ms of virtual time, fingerprint ${run.fingerprint}`,
    `replay with Explore.replay(program, ${run.seed}) or HOLDFAST_SEED=${run.seed}`,
    ...run.escapes.map((escape) => `not governed by the seed: ${escape}`),
    ...Trace.render(run.events, run.names, run.verdict === "failed", lines)
  ].join("\n")
}

const ordinal = (n: number): string => {
  const suffix = n % 100 >= 11 && n % 100 <= 13 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th"
  return `${n}${suffix}`
}

/**
 * Deterministic simulation testing: an Effect runs under a seeded scheduler that may cut a fiber between any two
 * operations, with virtual time and seeded chance. Many seeds are tried; a failing seed replays exactly, and what is
 * printed is the same failure after as few moves as it takes.
 *
 * **For** races: check-then-act, lost updates and wake-ups, missed interrupts, deadlocks, leaks, finalizers in the wrong
 * order; and for anything that takes hours of clock time. **Not for** real sockets, files or other sources outside the
 * process: those escape the seed, and {@link checkDeterminism} says so.
 *
 * **Guarantees.** The same program, seed and options give the same trace, in any process. `Clock`, `Random`, `Date`,
 * `Math.random`, `performance.now`, `process.hrtime`, `setTimeout` and its kin, `crypto.randomUUID` are virtual for the
 * program, before and after an `await`; other code of the process keeps the real ones. A fiber started on the default
 * runtime (`Effect.runFork` inside the program) is taken into the simulation and reported. Promise callbacks run at points
 * that the seed alone decides. A throw that nobody can catch and a rejection that nobody handles are failures. A run that
 * can never end is reported with a dump of its fibers instead of hanging.
 *
 * **Limits.** A single `Effect.sync` is atomic, as it is in production. `Effect.runSync` runs as one step. Functions that
 * a module copied from `node:timers` or `node:crypto` are not virtual. Callbacks of promises run in the order that
 * JavaScript prescribes; the seed decides what fibers do in between. Programs must build what they use inside the
 * explored effect: a service shared by two runs carries state from one to the other.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { FaultCount, Options, Run } from "./ExploreRun.js"
import * as Exhaust from "./internal/explore/exhaust.js"
import * as Plan from "./internal/explore/plan.js"
import * as Regress from "./internal/explore/regress.js"
import * as Run_ from "./internal/explore/run.js"
import { Move } from "./internal/explore/schedule.js"
import * as Search from "./internal/explore/search.js"
import * as Seed from "./internal/explore/seed.js"
import * as Shrink from "./internal/explore/shrink.js"
import * as Words from "./internal/explore/words.js"
import * as Check from "./internal/options.js"
import * as Place from "./internal/place.js"
import type { InvalidOption } from "./InvalidOption.js"

export type {
  /** @since 0.1.0 */
  Event,
  /** @since 0.1.0 */
  FaultCount,
  /** @since 0.1.0 */
  Options,
  /** @since 0.1.0 */
  Run,
  /** @since 0.1.0 */
  Strategy,
  /** @since 0.1.0 */
  Verdict
} from "./ExploreRun.js"

/**
 * What the runs were, when none found a bug.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly seeds: number
  /** how many different behaviours the seeds were: orders of what can touch shared state */
  readonly interleavings: number
  readonly operations: number
  readonly escapes: ReadonlyArray<string>
  /** over all seeds, by point: a fault that never fired has tested nothing */
  readonly faults: ReadonlyMap<string, FaultCount>
  /** how many seeds failed as the option `known` says, by its entries */
  readonly known: ReadonlyMap<string, number>
}

/**
 * A seed under which the program misbehaves, with its replayed trace.
 *
 * @since 0.1.0
 * @category errors
 */
export class BugFound extends Data.TaggedError("BugFound")<{
  readonly run: Run<unknown, unknown>
  /** the same failure after as few moves as it takes; nothing when that was not asked for, or not found */
  readonly minimal: Option.Option<Run<unknown, unknown>>
  /** how many seeds had been tried, this one included */
  readonly tried: number
  /** what the program failed with, if it did */
  readonly cause?: unknown
}> {
  constructor(
    fields: {
      readonly run: Run<unknown, unknown>
      readonly minimal: Option.Option<Run<unknown, unknown>>
      readonly tried: number
    }
  ) {
    const error = Words.errorOf(fields.run)
    super(Option.isNone(error) ? fields : { ...fields, cause: error.value })
    // reporters print the code around the first line of the stack
    this.stack = Place.stackTo(`BugFound: ${this.message}`, Words.placesOf(fields.run))
  }
  override get message() {
    return Words.render(this.run, Option.getOrUndefined(this.minimal), this.tried, maxLines)
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

const maxLines = 40

/**
 * The seed of the run that the current fiber is part of; none outside a simulation. Fault injection derives from it.
 *
 * @since 0.1.0
 * @category references
 */
export const currentSeed: FiberRef.FiberRef<Option.Option<number>> = Seed.currentSeed

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  seed: 1,
  seeds: 500,
  strategy: "mixed",
  maxOperations: 100_000,
  maxTime: Duration.days(7),
  leaks: true,
  settle: Duration.zero,
  maxPause: Duration.zero,
  external: "forbid",
  shrink: true,
  known: [] as ReadonlyArray<string | RegExp>
} as const

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
  Effect.flatMap(
    Plan.make({ ...options, seed }, defaults),
    (plan) => Effect.promise(() => Run_.replaySeed(effect, seed, plan))
  )

/** A seed that failed, once more: with its trace, and with the fewest moves. */
const found = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  plan: Plan.Plan,
  failure: { readonly seed: number; readonly fingerprint: string; readonly signature: string; readonly tried: number }
): Effect.Effect<BugFound, NotDeterministic> =>
  Effect.gen(function*() {
    const run = yield* Effect.promise(() => Run_.replaySeed(effect, failure.seed, plan))
    if (run.verdict === "ok" || (run.fingerprint !== failure.fingerprint && plan.external === "forbid")) {
      return yield* new NotDeterministic({
        seed: failure.seed,
        first: failure.signature,
        second: run.verdict === "ok" ? "ended well" : Words.failureOf(run),
        escapes: run.escapes
      })
    }
    const minimal = plan.shrink && plan.external === "forbid"
      ? yield* Effect.promise(() => Run_.session(() => Shrink.shrink(effect, run, plan)))
      : undefined
    if (minimal !== undefined) return new BugFound({ run, minimal: Option.some(minimal), tried: failure.tried })
    const told = yield* Effect.promise(() => Run_.replaySeed(effect, failure.seed, plan, "told"))
    return new BugFound({ run: told, minimal: Option.none(), tried: failure.tried })
  })

/**
 * Tries seed after seed. Fails with the first one under which the program fails, blocks, does not end, or leaks; with
 * `NotDeterministic` when that seed, run once more, does something else.
 *
 * @example
 * ```ts
 * import * as Explore from "@holdfast/testing/Explore"
 * import { Effect, Ref } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const counter = yield* Ref.make(0)
 *   const add = Ref.get(counter).pipe(Effect.flatMap((n) => Ref.set(counter, n + 1)))
 *   yield* Effect.all([add, add], { concurrency: 2 })
 *   if ((yield* Ref.get(counter)) !== 2) return yield* Effect.dieMessage("lost update")
 * })
 *
 * const found = await Effect.runPromise(Effect.flip(Explore.check(program, { seeds: 100 })))
 * console.log(found.message)
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const check = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Options = {}
): Effect.Effect<Report, BugFound | NotDeterministic | InvalidOption> =>
  Effect.gen(function*() {
    const plan = yield* Effect.flatMap(Plan.make(options, defaults), Plan.fromEnvironment)
    const searched = yield* Effect.promise((signal) => Search.search(effect, plan, false, signal))
    for (const [signature, { fingerprint, seed }] of searched.failures) {
      return yield* Effect.flatten(found(effect, plan, { seed, fingerprint, signature, tried: searched.tried }))
    }
    return reportOf(searched)
  })

const reportOf = (searched: Search.Searched): Report => ({
  seeds: searched.tried,
  interleavings: searched.behaviours.size,
  operations: searched.operations,
  escapes: Array.from(searched.escapes),
  faults: searched.faults,
  known: searched.known
})

/**
 * Seeds that fail alike.
 *
 * @since 0.1.0
 * @category models
 */
export interface Group {
  /** how many seeds */
  readonly count: number
  /** the first of them */
  readonly found: BugFound
}

/**
 * Tries every seed, and goes on past failures: returns them in groups of those that fail alike, the most frequent first.
 *
 * @since 0.1.0
 * @category running
 */
export const survey = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Options = {}
): Effect.Effect<
  { readonly report: Report; readonly groups: ReadonlyArray<Group> },
  NotDeterministic | InvalidOption
> =>
  Effect.gen(function*() {
    const plan = yield* Effect.flatMap(Plan.make(options, defaults), Plan.fromEnvironment)
    const searched = yield* Effect.promise((signal) => Search.search(effect, plan, true, signal))
    const groups: Array<Group> = []
    for (const [signature, { count, fingerprint, seed }] of searched.failures) {
      const tried = seed - plan.seed + 1
      groups.push({ count, found: yield* found(effect, plan, { seed, fingerprint, signature, tried }) })
    }
    return { report: reportOf(searched), groups: groups.sort((a, b) => b.count - a.count) }
  })

/**
 * `check` with uniformly random choice and preemption.
 *
 * @since 0.1.0
 * @category running
 */
export const checkRandom = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Omit<Options, "strategy"> & { /** Default 0.3. */ readonly preemption?: number | undefined } = {}
): Effect.Effect<Report, BugFound | NotDeterministic | InvalidOption> =>
  check(effect, { ...options, strategy: { _tag: "random", preemption: options.preemption ?? 0.3 } })

/**
 * `check` with random priorities that change at `depth - 1` points.
 *
 * @since 0.1.0
 * @category running
 */
export const checkPct = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Omit<Options, "strategy"> & { /** Default 3. */ readonly depth?: number | undefined } = {}
): Effect.Effect<Report, BugFound | NotDeterministic | InvalidOption> =>
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
): Effect.Effect<Option.Option<BugFound>, NotDeterministic | InvalidOption> =>
  check(effect, options).pipe(
    Effect.as(Option.none()),
    Effect.catchTag("BugFound", (found) => Effect.succeedSome(found))
  )

/**
 * What was explored, and whether that was all there is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Exhausted {
  /** schedules that were tried */
  readonly runs: number
  readonly interleavings: number
  readonly operations: number
  /** whether every schedule with at most `cuts` cuts was tried; otherwise `maxRuns` was reached */
  readonly complete: boolean
  /** whether there are schedules with more cuts, which were not tried */
  readonly bounded: boolean
}

/**
 * Tries every schedule of a small program in which fibers are cut at most `cuts` times: most published races need two or
 * three. The report says whether all were tried. Chance is that of the one seed.
 *
 * @since 0.1.0
 * @category running
 */
export const checkAll = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  options: Omit<Options, "seeds" | "strategy"> & {
    /** Default 2. */
    readonly cuts?: number | undefined
    /** Default 100,000. */
    readonly maxRuns?: number | undefined
  } = {}
): Effect.Effect<Exhausted, BugFound | InvalidOption> =>
  Effect.gen(function*() {
    const plan = yield* Plan.make(options, defaults)
    const cuts = yield* Check.whole("Explore.cuts", options.cuts ?? 2, 0)
    const maxRuns = yield* Check.whole("Explore.maxRuns", options.maxRuns ?? 100_000, 1)
    const exhausted = yield* Effect.promise((signal) => Exhaust.exhaust(effect, plan, cuts, maxRuns, signal))
    const { bad, behaviours, bounded, complete, operations, runs } = exhausted
    if (bad === undefined) return { runs, interleavings: behaviours.size, operations, complete, bounded }
    const minimal = yield* Effect.promise(() => Run_.session(() => Shrink.shrink(effect, bad, plan)))
    return yield* new BugFound({ run: bad, minimal: Option.fromNullable(minimal), tried: runs })
  })

/**
 * How a failure came about, in terms that survive edits of the program: cuts and choices by fiber, line and operation.
 * JSON, for a file beside the test.
 *
 * @since 0.1.0
 * @category models
 */
export class Schedule extends Schema.Class<Schedule>("@holdfast/testing/Explore/Schedule")({
  /** what the program failed with */
  failure: Schema.String,
  /** what is drawn at random depends on it */
  seed: Schema.Int,
  moves: Schema.Array(Move)
}) {}

/**
 * The schedule of a failure, the shortest that is known.
 *
 * @since 0.1.0
 * @category regressions
 */
export const scheduleOf = (bug: BugFound): Schedule => {
  const run = Option.getOrElse(bug.minimal, () => bug.run)
  return new Schedule({ failure: Words.failureOf(run), seed: run.seed, moves: run.schedule })
}

/**
 * Writes the schedule of a failure into a file, as JSON. A file that cannot be written is a defect.
 *
 * @since 0.1.0
 * @category regressions
 */
export const record = (bug: BugFound, file: string | URL): Effect.Effect<void> =>
  Effect.sync(() => writeFileSync(file, `${JSON.stringify(Schema.encodeSync(Schedule)(scheduleOf(bug)), null, 2)}\n`))

/**
 * What a regression test has tried.
 *
 * @since 0.1.0
 * @category models
 */
export interface Regression {
  readonly runs: number
  /** moves of the schedule that the program could still make */
  readonly followed: number
  readonly moves: number
}

/**
 * The file of a schedule cannot be read, or holds something else.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidSchedule extends Data.TaggedError("InvalidSchedule")<{
  readonly file: string
  /** what is wrong with it */
  readonly reason: string
}> {
  override get message() {
    return `${this.file} holds no schedule: ${this.reason}; expected a file that Explore.record wrote: find the failure with ` +
      "Explore.find, and record it"
  }
}

/**
 * The program passed, but could make none of the moves of the schedule: it has become another program, and such a test could
 * not fail.
 *
 * @since 0.1.0
 * @category errors
 */
export class ScheduleNotFollowed extends Data.TaggedError("ScheduleNotFollowed")<{
  readonly schedule: Schedule
}> {
  override get message() {
    const { failure, moves } = this.schedule
    const [first] = moves
    const at = first?.anchor === undefined ? "" : `, the first of which was at \`${first.anchor.text}\``
    return `the program could make none of the ${moves.length} moves of the schedule${at}, which led to ${
      JSON.stringify(failure)
    }: it has changed so much that this test tries nothing; record a failure of the program as it is, or delete the test`
  }
}

const read = (file: string | URL): Effect.Effect<Schedule, InvalidSchedule> => {
  const invalid = (error: unknown) =>
    new InvalidSchedule({
      file: file instanceof URL && file.protocol === "file:" ? fileURLToPath(file) : String(file),
      reason: (error as Error).message.split("\n").map((line) => line.trim()).join(" ")
    })
  return Effect.try({ try: () => readFileSync(file, "utf8"), catch: invalid }).pipe(
    Effect.flatMap((text) => Effect.mapError(Schema.decode(Schema.parseJson(Schedule))(text), invalid))
  )
}

/**
 * Runs the program after a recorded schedule, and after those in which a cut comes up to four operations earlier or later:
 * fails with `BugFound` as long as one of them fails. Fails with `InvalidSchedule` for a file that holds none, and with
 * `ScheduleNotFollowed` when the program can make none of the moves any more.
 *
 * @since 0.1.0
 * @category regressions
 */
export const regression = <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  schedule: Schedule | string | URL,
  options: Omit<Options, "seed" | "seeds" | "strategy" | "shrink"> = {}
): Effect.Effect<Regression, BugFound | InvalidOption | InvalidSchedule | ScheduleNotFollowed> =>
  Effect.gen(function*() {
    const plan = yield* Plan.make(options, defaults)
    const recorded = schedule instanceof Schedule ? schedule : yield* read(schedule)
    const { moves, seed } = recorded
    const { bad, followed, runs } = yield* Effect.promise(() => Regress.regress(effect, seed, moves, plan))
    if (bad !== undefined) return yield* new BugFound({ run: bad, minimal: Option.none(), tried: runs })
    if (followed === 0 && moves.length > 0) return yield* new ScheduleNotFollowed({ schedule: recorded })
    return { runs, followed, moves: moves.length }
  })

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
    const plan = yield* Plan.make(options, { ...defaults, seeds: 10 })
    const behaviours = new Set<string>()
    let operations = 0
    const length = yield* Effect.promise(() => Run_.session(() => Run_.calibrate(effect, plan)))
    const runOnce = (seed: number) =>
      Effect.promise(() =>
        Run_.session(() => Run_.simulate(effect, seed, plan, true, Plan.chooserOf(plan.strategy, seed, length)))
      )
    for (let seed = plan.seed; seed < plan.seed + plan.seeds; seed++) {
      const once = yield* runOnce(seed)
      const again = yield* runOnce(seed)
      const differs = once.fingerprint !== again.fingerprint || once.operations !== again.operations ||
        Words.shownExit(once) !== Words.shownExit(again)
      const escapes = Array.from(new Set([...once.escapes, ...again.escapes]))
      if (differs || escapes.length > 0) {
        const [first, second] = Words.firstDifference(once, again)
        return yield* new NotDeterministic({ seed, first, second, escapes })
      }
      behaviours.add(once.behaviour)
      operations += once.operations + again.operations
    }
    return {
      seeds: plan.seeds,
      interleavings: behaviours.size,
      operations,
      escapes: [],
      faults: new Map(),
      known: new Map()
    }
  })

/**
 * The run as text: what happened, how to replay it, the last moves of the fibers, the fibers that were left.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (run: Run<unknown, unknown>, tried?: number, lines = maxLines): string =>
  Words.render(run, undefined, tried, lines)

/**
 * The types of `Explore`: what it can be told, and what it says of one run.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type { Move } from "./internal/explore/schedule.js"
import type * as Types from "./internal/explore/types.js"

/**
 * How the next fiber is chosen.
 *
 * - `random`: any ready fiber, and before any operation, with the probability `preemption`, another one. Finds most races
 *   within tens of seeds.
 * - `pct`: fibers have random priorities, which change at `depth - 1` random points (Burckhardt et al., "A randomized
 *   scheduler with probabilistic guarantees of finding bugs"). Finds bugs that need one fiber to be kept waiting for long.
 * - `mixed`, the default: the seed chooses between `random` at 0.3 and at 0.05, and `pct` at depth 3 and 5.
 *
 * @since 0.1.0
 * @category models
 */
export type Strategy =
  | "mixed"
  | { readonly _tag: "random"; readonly preemption: number }
  | { readonly _tag: "pct"; readonly depth: number }

/**
 * How many runs, by which strategy, and what ends one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * the first seed; the following ones count up from it. Default 1. `HOLDFAST_SEED` in the environment overrides, and
   * tries that one alone unless `HOLDFAST_SEEDS` says how many.
   */
  readonly seed?: number | undefined
  /** how many seeds are tried. Default 500. `HOLDFAST_SEEDS` in the environment overrides. */
  readonly seeds?: number | undefined
  /** Default `"mixed"`. */
  readonly strategy?: Strategy | undefined
  /** operations after which a run counts as a livelock. Default 100,000. */
  readonly maxOperations?: number | undefined
  /** virtual time after which a run counts as a livelock. Default 7 days. */
  readonly maxTime?: Duration.DurationInput | undefined
  /** report fibers, scopes and timers that outlive the program. Default true. */
  readonly leaks?: boolean | undefined
  /** virtual time that fibers have to end after the program, before they are a leak. Default 0. */
  readonly settle?: Duration.DurationInput | undefined
  /**
   * virtual time that may pass, in all, while a fiber could run: a slow machine, a pause of the garbage collector.
   * Finds leases and timeouts that expire in the middle of work. Default 0: time passes when nobody has anything to do.
   */
  readonly maxPause?: Duration.DurationInput | undefined
  /**
   * what to do when every fiber waits: `"forbid"` lets virtual time pass, and calls what no timer wakes blocked;
   * `"await"` lets virtual time pass no faster than real time while a file, a socket or a real timer is awaited, and gives
   * the world outside one second of real time, or 100 ms after every 4,096 operations of fibers that are always ready.
   * Default `"forbid"`.
   */
  readonly external?: "forbid" | "await" | undefined
  /** look for the fewest moves that lead to the failure: up to 600 more runs, or 5 seconds. Default true. */
  readonly shrink?: boolean | undefined
  /**
   * failures that are known, by a part of their text or a pattern: they are counted, and the search goes on past them.
   * Default none.
   */
  readonly known?: ReadonlyArray<string | RegExp> | undefined
  /** which results are bugs. Default: every failure. Interrupting itself is a failure too. */
  readonly isBug?: ((exit: Exit.Exit<unknown, unknown>) => boolean) | undefined
}

/**
 * A step of a run.
 *
 * @since 0.1.0
 * @category models
 */
export type Event = Types.Event

/**
 * How often a fault point was evaluated, and how often it fired.
 *
 * @since 0.1.0
 * @category models
 */
export type FaultCount = Types.FaultCount

/**
 * `failed`: the result is a bug, or something threw where nobody can catch it · `blocked`: every fiber waits and nothing
 * can wake one · `livelock`: the limit of operations or of virtual time was reached · `leaked`: a fiber, a scope with
 * finalizers or a timer outlived the program.
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
  /** a hash of every choice: equal fingerprints are equal schedules */
  readonly fingerprint: string
  /** a hash of the order of what can touch shared state: many schedules are one behaviour */
  readonly behaviour: string
  /** of a replay, how it differs from the plain order, in which nobody is cut and the first that is ready goes first */
  readonly schedule: ReadonlyArray<Move>
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

/** One run of a program: under a seed, or after a schedule. */
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Run } from "../../ExploreRun.js"
import * as Choose from "./chooser.js"
import * as Globals from "./globals.js"
import type { Named, Plan } from "./plan.js"
import { chooserOf } from "./plan.js"
import type { Move } from "./schedule.js"
import { currentSeed } from "./seed.js"
import { Simulation } from "./simulation.js"

export type Program<A, E> = Effect.Effect<A, E, Scope.Scope>

/** Globals are swapped for all runs of `body`. */
export const session = Globals.swapped

export const simulate = async <A, E>(
  program: Program<A, E>,
  seed: number,
  plan: Plan,
  full: boolean | "told",
  { chooser, name }: Named
): Promise<Run<A, E>> => {
  const { external, leaks, maxMillis, maxOperations, pauseMillis, settleMillis } = plan
  const refs = [[currentSeed, Option.some(seed)]] as const
  const settings = {
    seed,
    chooser,
    maxOperations,
    maxMillis,
    settleMillis,
    pauseMillis,
    leaks,
    external,
    full: full !== false,
    told: full === "told",
    refs
  }
  const { exit, verdict, ...rest } = await new Simulation<A, E>(settings).run(program)
  const failed = verdict === "thrown" || (exit !== undefined && plan.isBug(exit))
  return {
    ...rest,
    seed,
    strategy: name,
    verdict: failed ? "failed" : verdict === "done" ? "ok" : verdict as Exclude<typeof verdict, "thrown">,
    exit: Option.fromNullable(exit)
  }
}

/**
 * A run without cuts: it fills the caches that live as long as the process, so that later runs are the same in every
 * process, and it tells how long a run is, more or less.
 */
export const calibrate = async <A, E>(program: Program<A, E>, plan: Plan): Promise<number> => {
  const run = await simulate(program, 0, plan, false, { name: "plain", chooser: Choose.random(0, 0) })
  return Math.max(16, run.operations)
}

/** The run of a seed once more, written down; `told` also looks up what is costly to know. */
export const replaySeed = <A, E>(
  program: Program<A, E>,
  seed: number,
  plan: Plan,
  full: true | "told" = true
): Promise<Run<A, E>> =>
  session(async () =>
    simulate(program, seed, plan, full, chooserOf(plan.strategy, seed, await calibrate(program, plan)))
  )

/**
 * A run after a schedule; the seed governs what is drawn at random. Positions are found by their lines, or counted; `told` also
 * looks up what can be told of it.
 */
export const replaySchedule = <A, E>(
  program: Program<A, E>,
  seed: number,
  moves: ReadonlyArray<Move>,
  plan: Plan,
  full: "positions" | "lines" | "told" | false
): Promise<Run<A, E>> =>
  simulate(program, seed, plan, full === "told" ? "told" : full !== false, {
    name: `a schedule of ${moves.length} move${moves.length === 1 ? "" : "s"}`,
    chooser: Choose.scripted(moves, full === "lines")
  })

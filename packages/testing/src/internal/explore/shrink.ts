/** Of the moves of a run that fails, those without which it does not. */
import type { Run } from "../../ExploreRun.js"
import type { Plan } from "./plan.js"
import type { Program } from "./run.js"
import { replaySchedule } from "./run.js"
import type { Move } from "./schedule.js"
import * as Words from "./words.js"

/** Runs that a search for the fewest moves may take. */
const maxRuns = 600
const maxMillis = 5_000

/**
 * Takes away moves, half of them at first, as long as the same failure comes (delta debugging), and replays what is left.
 * Nothing when the schedule alone does not lead to the failure.
 */
export const shrink = async <A, E>(
  program: Program<A, E>,
  run: Run<A, E>,
  plan: Plan
): Promise<Run<A, E> | undefined> => {
  const wanted = Words.signature(run)
  const deadline = performance.now() + maxMillis
  let runs = 0
  const fails = async (moves: ReadonlyArray<Move>) => {
    runs++
    return Words.signature(await replaySchedule(program, run.seed, moves, plan, false)) === wanted
  }
  const isSpent = () => runs >= maxRuns || performance.now() > deadline
  let moves = run.schedule
  if (!(await fails(moves))) return undefined
  let size = Math.max(1, Math.floor(moves.length / 2))
  while (moves.length > 0 && !isSpent()) {
    let taken = false
    // from the end, since what comes late depends on what comes early
    for (let to = moves.length; to > 0 && !isSpent(); to -= size) {
      const fewer = [...moves.slice(0, Math.max(0, to - size)), ...moves.slice(to)]
      if (await fails(fewer)) {
        moves = fewer
        taken = true
      }
    }
    if (size === 1 && !taken) break
    size = Math.max(1, Math.min(Math.floor(size / 2), Math.floor(moves.length / 2)))
  }
  const minimal = await replaySchedule(program, run.seed, moves, plan, "told")
  return Words.signature(minimal) === wanted ? minimal : undefined
}

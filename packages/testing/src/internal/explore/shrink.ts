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

type Fails = (moves: ReadonlyArray<Move>) => Promise<boolean>

/** Takes away moves, half of them at first, as long as the same failure comes (delta debugging). */
const fewer = async (all: ReadonlyArray<Move>, fails: Fails, isSpent: () => boolean): Promise<ReadonlyArray<Move>> => {
  let moves = all
  let size = Math.max(1, Math.floor(moves.length / 2))
  while (moves.length > 0 && !isSpent()) {
    let taken = false
    // from the end, since what comes late depends on what comes early
    for (let to = moves.length; to > 0 && !isSpent(); to -= size) {
      const rest = [...moves.slice(0, Math.max(0, to - size)), ...moves.slice(to)]
      if (await fails(rest)) {
        moves = rest
        taken = true
      }
    }
    if (size === 1 && !taken) break
    size = Math.max(1, Math.min(Math.floor(size / 2), Math.floor(moves.length / 2)))
  }
  return moves
}

/**
 * One move, or two, that lead to the failure alone. Moves that only undo one another, such as fibers that are paused in turn
 * before they come to the point, cannot be taken away one by one.
 */
const alone = async (
  all: ReadonlyArray<Move>,
  fails: Fails,
  isSpent: () => boolean
): Promise<ReadonlyArray<Move> | undefined> => {
  const late = all.toReversed()
  for (const move of late) {
    if (isSpent()) return undefined
    if (await fails([move])) return [move]
  }
  for (let i = 0; i < late.length; i++) {
    for (let j = 0; j < i; j++) {
      if (isSpent()) return undefined
      if (await fails([late[i]!, late[j]!])) return [late[i]!, late[j]!]
    }
  }
  return undefined
}

/**
 * The same failure after as few moves as it takes. Nothing when the schedule alone does not lead to the failure.
 */
export const shrink = async <A, E>(
  program: Program<A, E>,
  run: Run<A, E>,
  plan: Plan
): Promise<Run<A, E> | undefined> => {
  const wanted = Words.signature(run)
  const deadline = performance.now() + maxMillis
  let runs = 0
  const fails: Fails = async (moves) => {
    runs++
    return Words.signature(await replaySchedule(program, run.seed, moves, plan, false)) === wanted
  }
  const isSpent = () => runs >= maxRuns || performance.now() > deadline
  if (!(await fails(run.schedule))) return undefined
  const least = await fewer(run.schedule, fails, isSpent)
  const moves = least.length <= 2 ? least : await alone(run.schedule, fails, isSpent) ?? least
  const minimal = await replaySchedule(program, run.seed, moves, plan, "told")
  return Words.signature(minimal) === wanted ? minimal : undefined
}

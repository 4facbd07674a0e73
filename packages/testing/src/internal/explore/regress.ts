/** A recorded schedule, tried on a program that may have been edited since. */
import type { Run } from "../../ExploreRun.js"
import type { Plan } from "./plan.js"
import type { Program } from "./run.js"
import { calibrate, replaySchedule, session } from "./run.js"
import type { Move } from "./schedule.js"

/** How far, in operations, a cut is looked for around where it was. */
const reach = 4

export interface Regressed<A, E> {
  readonly runs: number
  /** moves of the schedule that the program still could make */
  readonly followed: number
  readonly bad: Run<A, E> | undefined
}

const shifted = (move: Move, by: number): Move => ({
  ...move,
  operation: Math.max(0, move.operation + by),
  ...(move.anchor === undefined ? {} : { anchor: { ...move.anchor, plus: move.anchor.plus + by } })
})

/** The schedule itself, then those with one of its cuts, or all of them, some operations earlier or later. */
function* around(moves: ReadonlyArray<Move>): Generator<ReadonlyArray<Move>> {
  yield moves
  for (let distance = 1; distance <= reach; distance++) {
    for (const by of [distance, -distance]) {
      for (let i = 0; i < moves.length; i++) {
        if (moves[i]!.cut) yield moves.map((move, j) => j === i ? shifted(move, by) : move)
      }
      if (moves.length > 1) yield moves.map((move) => move.cut ? shifted(move, by) : move)
    }
  }
}

export const regress = <A, E>(
  program: Program<A, E>,
  seed: number,
  moves: ReadonlyArray<Move>,
  plan: Plan
): Promise<Regressed<A, E>> =>
  session(async () => {
    await calibrate(program, plan)
    let runs = 0
    let followed = 0
    for (const nearby of around(moves)) {
      for (const by of ["lines", "positions"] as const) {
        runs++
        const run = await replaySchedule(program, seed, nearby, plan, by)
        followed = Math.max(followed, run.schedule.length)
        if (run.verdict !== "ok") return { runs, followed, bad: run }
      }
    }
    return { runs, followed, bad: undefined }
  })

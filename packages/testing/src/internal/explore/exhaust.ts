/** All schedules of a small program, up to a number of cuts. */
import type { Run } from "../../ExploreRun.js"
import type { Branch } from "./chooser.js"
import * as Choose from "./chooser.js"
import type { Plan } from "./plan.js"
import type { Program } from "./run.js"
import { calibrate, session, simulate } from "./run.js"
import { pause } from "./search.js"

export interface Exhausted<A, E> {
  readonly runs: number
  readonly operations: number
  readonly behaviours: ReadonlySet<string>
  readonly bad: Run<A, E> | undefined
  /** whether every schedule within the bound was tried */
  readonly complete: boolean
  /** whether a schedule with more cuts exists */
  readonly bounded: boolean
}

/** The next path in depth-first order; nothing when all have been tried. */
const after = (path: ReadonlyArray<Branch>): ReadonlyArray<number> | undefined => {
  for (let i = path.length - 1; i >= 0; i--) {
    const { chosen, of } = path[i]!
    if (chosen + 1 < of) return [...path.slice(0, i).map((branch) => branch.chosen), chosen + 1]
  }
  return undefined
}

export const exhaust = <A, E>(
  program: Program<A, E>,
  plan: Plan,
  cuts: number,
  maxRuns: number,
  signal: AbortSignal
): Promise<Exhausted<A, E>> =>
  session(async () => {
    await calibrate(program, plan)
    const behaviours = new Set<string>()
    const breathe = pause()
    let prefix: ReadonlyArray<number> | undefined = []
    let runs = 0
    let operations = 0
    let bounded = false
    while (prefix !== undefined && runs < maxRuns && !signal.aborted) {
      const start: ReadonlyArray<number> = prefix
      const chooser = Choose.enumerating(start, cuts)
      const run = await simulate(program, plan.seed, plan, false, { name: "all schedules", chooser })
      runs++
      operations += run.operations
      behaviours.add(run.behaviour)
      bounded ||= chooser.bounded()
      if (run.verdict !== "ok") {
        const name = `all schedules with up to ${cuts} cuts`
        const bad = await simulate(program, plan.seed, plan, true, { name, chooser: Choose.enumerating(start, cuts) })
        return { runs, operations, behaviours, bad, complete: false, bounded }
      }
      prefix = after(chooser.path)
      await breathe()
    }
    return { runs, operations, behaviours, bad: undefined, complete: prefix === undefined, bounded }
  })

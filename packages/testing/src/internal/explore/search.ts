/** Seed after seed. */
import type { Run } from "../../ExploreRun.js"
import * as Globals from "./globals.js"
import type { Plan } from "./plan.js"
import { chooserOf } from "./plan.js"
import type { Program } from "./run.js"
import { calibrate, session, simulate } from "./run.js"
import type { FaultCount } from "./types.js"
import * as Words from "./words.js"

/** Lets the process do something else now and then. */
export const pause = (): () => Promise<void> => {
  let last = Globals.real.performanceNow()
  return async () => {
    if (Globals.real.performanceNow() - last < 20) return
    await new Promise<void>((resolve) => Globals.real.setImmediate(resolve))
    last = Globals.real.performanceNow()
  }
}

interface Failure {
  readonly seed: number
  readonly fingerprint: string
  count: number
}

export interface Searched {
  readonly tried: number
  readonly behaviours: ReadonlySet<string>
  readonly operations: number
  readonly escapes: ReadonlySet<string>
  readonly faults: ReadonlyMap<string, FaultCount>
  /** by signature, the first seed of each, in the order in which they were found */
  readonly failures: ReadonlyMap<string, Failure>
  /** failures that were expected, by what they were expected as */
  readonly known: ReadonlyMap<string, number>
}

const isKnown = (pattern: string | RegExp, text: string) =>
  typeof pattern === "string" ? text.includes(pattern) : pattern.test(text)

/** Tries seeds until one fails in a way that is not known; with `all`, goes on past every failure. */
export const search = <A, E>(
  program: Program<A, E>,
  plan: Plan,
  all: boolean,
  signal: AbortSignal
): Promise<Searched> =>
  session(async () => {
    const behaviours = new Set<string>()
    const escapes = new Set<string>()
    const faults = new Map<string, FaultCount>()
    const failures = new Map<string, Failure>()
    const known = new Map<string, number>()
    const breathe = pause()
    let operations = 0
    let tried = 0
    const note = (run: Run<A, E>) => {
      behaviours.add(run.behaviour)
      operations += run.operations
      for (const escape of run.escapes) escapes.add(escape)
      for (const [point, { evaluated, fired }] of run.faults) {
        const sum = faults.get(point)
        faults.set(point, { evaluated: evaluated + (sum?.evaluated ?? 0), fired: fired + (sum?.fired ?? 0) })
      }
    }
    const fail = (run: Run<A, E>) => {
      const failure = Words.failureOf(run)
      const pattern = plan.known.find((pattern) => isKnown(pattern, failure))
      if (pattern !== undefined) {
        known.set(String(pattern), (known.get(String(pattern)) ?? 0) + 1)
        return
      }
      const text = Words.signature(run)
      const same = failures.get(text)
      if (same === undefined) failures.set(text, { seed: run.seed, fingerprint: run.fingerprint, count: 1 })
      else same.count++
    }
    const length = await calibrate(program, plan)
    const goesOn = () => !signal.aborted && (all || failures.size === 0)
    while (tried < plan.seeds && goesOn()) {
      const seed = plan.seed + tried++
      const run = await simulate(program, seed, plan, false, chooserOf(plan.strategy, seed, length))
      note(run)
      if (run.verdict !== "ok") fail(run)
      await breathe()
    }
    return { tried, behaviours, operations, escapes, faults, failures, known }
  })

/**
 * What a run under a seed costs: ten fibers that share a counter under `Explore`, the same program by itself, and an empty program
 * under seeds. Processor time, contenders in turns, medians of the rounds after the first.
 */
import * as Explore from "@holdfast/testing/Explore"
import { Effect } from "effect"
import { quick, reportRounds } from "./shared/measure.js"

const rounds = quick ? 3 : 6
const seeds = quick ? 100 : 500

/** About 2,500 operations. */
const ten = Effect.suspend(() => {
  let count = 0
  const one = Effect.forEach(
    Array.from({ length: 40 }),
    () => Effect.zipRight(Effect.yieldNow(), Effect.sync(() => count++))
  )
  return Effect.all(Array.from({ length: 10 }, () => one), { concurrency: "unbounded", discard: true })
})

const contenders: Record<string, () => Promise<unknown>> = {
  "Effect.runPromise": async () => {
    for (let index = 0; index < seeds; index++) await Effect.runPromise(ten)
  },
  "under seeds": () => Effect.runPromise(Explore.check(ten, { seeds })),
  "an empty program under seeds": () => Effect.runPromise(Explore.check(Effect.void, { seeds }))
}

const taken = new Map(Object.keys(contenders).map((name) => [name, [] as Array<number>]))
for (let round = 0; round < rounds; round++) {
  for (const [name, run] of Object.entries(contenders)) {
    const since = process.cpuUsage()
    await run()
    const { system, user } = process.cpuUsage(since)
    if (round > 0) taken.get(name)!.push((system + user) / 1000 / seeds)
  }
}
reportRounds("one run of ten fibers, ms of CPU", taken)

import { assert, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Option } from "effect"
import { loaded, options, scenario } from "./simulation.js"

/** Seeds of one test. */
export const together = 50

/** One test of these seeds: three simulated nodes are one world. */
export const sameWorld = (seed: number, seeds: number): void =>
  it.effect(
    `are one world, whatever happens to them: seeds ${seed} to ${seed + seeds - 1}`,
    () =>
      Effect.gen(function*() {
        const data = yield* loaded
        const report = yield* Explore.check(scenario(data), { ...options, seed, seeds })
        // a few seeds may be spared of some of them
        if (report.seeds < 10) return
        for (const point of ["journal.append.lost", "journal.append.unsure", "journal.parts", "journal.tail.stalls"]) {
          assert.isAbove(Option.getOrThrow(Option.fromNullable(report.faults.get(point))).fired, 0, point)
        }
      }),
    600_000
  )

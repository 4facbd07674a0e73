// edge: the ordinary scheduler, to which the explorations are compared, runs beside the test
import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Option } from "effect"
import { sized } from "../../../scripts/sized.js"
import { published } from "./fixtures/published.js"

const firstSeeds = [1, 1_001, 20_001, 300_001, 4_000_001]
const clean = sized(200, 2_000)

describe("the gallery of published bugs", () => {
  it("has thirty, each with its source", () => {
    assert.isAtLeast(published.length, 30)
    assert.strictEqual(new Set(published.map(({ name }) => name)).size, published.length)
    for (const { source } of published) assert.match(source, /^https:\/\/github\.com\/.+\/(?:issues|pull)\/\d+$/)
  })

  for (const { buggy, lives, mended, name, within } of published) {
    const mark = lives === true ? " (in the installed effect: when it is not found, a release has mended it)" : ""
    it.effect(
      `${name}: found within ${within} seeds from five first seeds, mended clean${mark}`,
      () =>
        Effect.gen(function*() {
          for (const seed of firstSeeds) {
            const found = yield* Explore.find(buggy, { seed, seeds: within, shrink: false })
            assert.isTrue(Option.isSome(found), `not found from seed ${seed}`)
          }
          const report = yield* Explore.check(mended, { seeds: clean })
          assert.strictEqual(report.seeds, clean)
        }),
      120_000
    )
  }
})

import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Option } from "effect"
import { sized } from "../../../scripts/sized.js"
import { gallery } from "./fixtures/gallery.js"

const seeds = sized(400, 5_000, 100)

describe("the gallery of planted bugs", () => {
  for (const { buggy, mended, name, verdict, within } of gallery) {
    it.effect(`${name}: found within ${within} seeds, mended not within ${seeds}`, () =>
      Effect.gen(function*() {
        const found = Option.getOrThrow(yield* Explore.find(buggy, { seeds: within }))
        assert.strictEqual(found.run.verdict, verdict)
        const report = yield* Explore.check(mended, { seeds })
        assert.strictEqual(report.seeds, seeds)
        assert.deepStrictEqual(report.escapes, [])
      }), 60_000)
  }
})

// edge: the ordinary scheduler, to which the explorations are compared, runs beside the test
import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Option } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { sized } from "../../../scripts/sized.js"
import { published } from "./fixtures/published.js"
import * as Table from "./support/table.js"

const firstSeeds = [1, 1_001, 20_001, 300_001, 4_000_001]
const clean = sized(200, 1_000, 40)

/** The trace without its head, which says what failed rather than where. */
const rowsOf = ({ message }: Explore.BugFound) => message.slice(message.indexOf("\n"))

describe("the gallery of published bugs (daily)", () => {
  it("has thirty, each with its source", () => {
    assert.isAtLeast(published.length, 30)
    assert.strictEqual(new Set(published.map(({ name }) => name)).size, published.length)
    for (const { source } of published) assert.match(source, /^https:\/\/github\.com\/.+\/(?:issues|pull)\/\d+$/)
  })

  it.live("is in the documents as it is here", () =>
    Effect.gen(function*() {
      const file = new URL("../../../docs/testing.md", import.meta.url)
      const before = readFileSync(file, "utf8")
      const from = before.indexOf(Table.begin)
      const to = before.indexOf(Table.end)
      assert.isTrue(from >= 0 && to > from, "docs/testing.md has no place for the gallery")
      if (process.env.HOLDFAST_WRITE === "1") {
        const after = before.slice(0, from) + (yield* Table.table(published)) + before.slice(to + Table.end.length)
        writeFileSync(file, after)
      }
      const shown = readFileSync(file, "utf8")
      for (const bug of published) assert.include(shown, Table.row(bug), "run this test with HOLDFAST_WRITE=1")
      // the sum of the table is what the README promises
      const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8").replace(/\s+/g, " ")
      assert.include(readme, /the ordinary scheduler shows \d+ of them in \d+ runs/.exec(shown)![0])
      assert.include(readme, `finds each of ${published.length} published`)
      assert.include(readme, `within ${Math.max(...published.map(({ within }) => within))} seeds`)
    }), 120_000)

  for (const { buggy, fails, lives, mended, name, shows, within } of published) {
    const mark = lives === true ? " (in the installed effect: when it is not found, a release has mended it)" : ""
    it.effect(
      `${name}: found within ${within} seeds from five first seeds, told by its line, mended clean${mark}`,
      () =>
        Effect.gen(function*() {
          // what fails in another way is another bug, and does not count
          const known = [new RegExp(`^(?!${fails})`)]
          for (const seed of firstSeeds) {
            const shrink = seed === firstSeeds[0]
            const found = yield* Explore.find(buggy, { seed, seeds: within, shrink, known })
            if (Option.isNone(found)) return assert.fail(`not found from seed ${seed}`)
            if (shrink) { for (const part of shows) assert.include(rowsOf(found.value), part, found.value.message) }
          }
          const report = yield* Explore.check(mended, { seeds: clean })
          assert.strictEqual(report.seeds, clean)
        }),
      120_000
    )
  }
})

// Nothing is claimed that a command does not show.
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import assert from "node:assert"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { documents, figuresIn, neverRun, page, problems, reasonAgainst, root, table, written } from "./evidence.mjs"

const read = (file) => readFileSync(join(root, file), "utf8")
const test = (name, body) => it.effect(name, () => Effect.sync(body))

describe("evidence", () => {
  test("every figure of the documents is in the table, and every phrase of the table in a document", () =>
    assert.deepStrictEqual(problems(Object.fromEntries(documents().map((file) => [file, read(file)])), table()), []))

  test("every command can be run", () =>
    assert.deepStrictEqual(table().measured.map(({ command }) => reasonAgainst(command)).filter(Boolean), []))

  test("the page is what the table says: node scripts/evidence/evidence.mjs", () =>
    assert.strictEqual(read(page), written()))

  test("every nightly size was run to its end once, and what that took and found is on the page", () =>
    assert.deepStrictEqual(neverRun(), []))

  test("figures are found: with a unit, and in tables of results", () => {
    const text = [
      "It takes 3 to 4.5 ms, 20 % of them 1.2 x; in Node 20.19 or effect 3.22.",
      "```sh",
      "sleep 5 ms",
      "```",
      "| option | 17 |",
      "## Measured",
      "| in bursts of 16 | 2 |",
      "|---|---|",
      "| with 10 | 0.5 | `x` 7 |"
    ].join("\n")
    assert.deepStrictEqual(figuresIn(text).map(({ figure }) => figure), ["3 to 4.5 ms", "20 %", "1.2 x", "0.5", "7"])
  })

  test("a figure that nobody can show is named with its line, and so is a phrase that is gone", () => {
    const texts = { "a.md": "one\nIt is 2.5 times\nas fast, and 10 % smaller." }
    const found = (figures, chosen = {}) => problems(texts, { measured: [{ command: "npm test", figures }], chosen })
    assert.match(found({}).join("\n"), /^a\.md:2: "2\.5 times"[^]*a\.md:3: "10 %"/)
    assert.deepStrictEqual(found({ "a.md": ["2.5 times as fast"] }, { "a.md": ["10 %"] }), [])
    assert.match(
      found({ "a.md": ["3 times as fast"] }, { "a.md": ["10 %", "2.5 times"] }).join(),
      /a\.md has no "3 times/
    )
    assert.match(found({ "b.md": ["1 x"] }).join(), /there is no b\.md/)
  })

  test("a command that is gone is named", () => {
    assert.strictEqual(reasonAgainst("npm run bench bus"), undefined)
    assert.match(reasonAgainst("npm run bench buss"), /no such bench/)
    assert.match(reasonAgainst("npm run benches bus"), /no script benches/)
    assert.match(reasonAgainst("npm test -- packages/core/test/Gone.test.ts"), /there is no packages\/core\/test\/Gone/)
    assert.match(reasonAgainst("npm test"), /expected the files of tests/)
    assert.match(reasonAgainst("make it"), /expected npm/)
  })
})

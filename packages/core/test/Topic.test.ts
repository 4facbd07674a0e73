import { assert, describe, it } from "@effect/vitest"
import * as Topic from "@holdfast/core/Topic"
import { FastCheck } from "effect"

const text = FastCheck.string({ unit: FastCheck.constantFrom("a", "b", ".", "*", "é"), maxLength: 5 })

/** The rule in the words of the module, and nothing else. */
const means = (pattern: string, topic: string) =>
  pattern.at(-1) === "*" ? topic.slice(0, pattern.length - 1) === pattern.slice(0, -1) : topic === pattern

describe("Topic", () => {
  it("a table of patterns", () => {
    const table: ReadonlyArray<readonly [pattern: string, topic: string, matches: boolean]> = [
      ["room", "room", true],
      ["room", "room.hall", false],
      ["room.*", "room.hall", true],
      ["room.*", "room.", true],
      ["room.*", "room", false],
      ["room.*", "rooms.hall", false],
      ["*", "", true],
      ["*", "anything", true],
      ["", "", true],
      ["", "x", false],
      ["a*c", "abc", false],
      ["a*c", "a*c", true],
      ["**", "*", true],
      ["**", "x", false]
    ]
    for (const [pattern, topic, expected] of table) {
      assert.strictEqual(Topic.matches(pattern, topic), expected, `${pattern} ${topic}`)
      assert.strictEqual(Topic.interest([pattern]).matches(topic), expected, `${pattern} ${topic}`)
    }
    assert.isTrue(Topic.interest().matches("x"))
    assert.isFalse(Topic.interest([]).matches("x"))
  })

  it("matches, interest and index agree, over any sequence of additions and removals", () => {
    const step = FastCheck.record({
      add: FastCheck.boolean(),
      pattern: text,
      target: FastCheck.nat(3),
      topic: text
    })
    FastCheck.assert(
      FastCheck.property(FastCheck.array(step, { maxLength: 25 }), (steps) => {
        const index = new Topic.Index<number>()
        const model = new Map<string, Set<number>>()
        for (const { add, pattern, target, topic } of steps) {
          const targets = model.get(pattern) ?? new Set()
          model.set(pattern, targets)
          if (add) {
            targets.add(target)
            index.add(pattern, target)
          } else {
            targets.delete(target)
            index.remove(pattern, target)
          }
          const found = index.lookup(topic)
          assert.isTrue(found.every((list) => list.length > 0))
          const expected = [...model].flatMap(([pattern, targets]) => means(pattern, topic) ? [...targets] : [])
          assert.deepStrictEqual(found.flat().sort(), expected.sort())
          for (const known of model.keys()) {
            assert.strictEqual(Topic.matches(known, topic), means(known, topic))
            assert.strictEqual(
              Topic.interest([known, pattern]).matches(topic),
              means(known, topic) || means(pattern, topic)
            )
          }
          assert.strictEqual(index.size, [...model.values()].filter(({ size }) => size > 0).length)
        }
      }),
      { numRuns: 300 }
    )
  })

  it("a loop over what was found does not notice changes", () => {
    const index = new Topic.Index<string>()
    for (const target of ["a", "b", "c"]) index.add("room.*", target)
    const seen: Array<string> = []
    for (const list of index.lookup("room.hall")) {
      for (const target of list) {
        seen.push(target)
        index.remove("room.*", target)
        index.add("room.*", `${target}!`)
      }
    }
    assert.deepStrictEqual(seen, ["a", "b", "c"])
    assert.deepStrictEqual(index.lookup("room.hall"), [["a!", "b!", "c!"]])
  })
})

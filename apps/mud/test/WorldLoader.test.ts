import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer } from "effect"
import { fileURLToPath } from "node:url"
import { exitsOf, phaseAt } from "../src/data/WorldData.js"
import * as WorldLoader from "../src/data/WorldLoader.js"

const folder = fileURLToPath(new URL("../world", import.meta.url))
const files = Layer.merge(NodeFileSystem.layer, NodePath.layer)
const loaded = WorldLoader.load(folder).pipe(Effect.provide(files))

const problems = (text: string): ReadonlyArray<WorldLoader.Problem> => {
  const parsed = WorldLoader.parse("test.yaml", text)
  if (Either.isLeft(parsed)) return parsed.left
  const combined = WorldLoader.combine([parsed.right])
  return Either.isLeft(combined) ? combined.left : []
}

describe("the world's own data", () => {
  it.effect("is valid, and of the size of a small island", () =>
    Effect.gen(function*() {
      const data = yield* loaded
      assert.isAtLeast(Object.keys(data.rooms).length, 30)
      assert.isAtLeast(Object.keys(data.things).length, 10)
      assert.isAtLeast(Object.keys(data.characters).length, 5)
    }))

  it.effect("can be walked: every room is reached from the start, and every exit has a way back", () =>
    Effect.gen(function*() {
      const data = yield* loaded
      const seen = new Set([data.realm.start])
      for (const id of seen) for (const exit of exitsOf(data.rooms[id])) seen.add(exit.to)
      assert.deepStrictEqual(Object.keys(data.rooms).filter((id) => !seen.has(id)), [])
      for (const [id, room] of Object.entries(data.rooms)) {
        for (const exit of exitsOf(room)) {
          assert.isTrue(exitsOf(data.rooms[exit.to]).some(({ to }) => to === id), `${id} ${exit.direction} ${exit.to}`)
        }
      }
    }))

  it.effect("lets every character walk only where exits lead", () =>
    Effect.gen(function*() {
      const data = yield* loaded
      for (const [id, character] of Object.entries(data.characters)) {
        for (const room of character.roams) {
          const next = exitsOf(data.rooms[room]).filter(({ to }) => character.roams.includes(to))
          assert.isAbove(next.length, 0, `${id} is stuck in ${room}`)
        }
      }
    }))

  it.effect("goes round the day", () =>
    Effect.gen(function*() {
      const { realm } = yield* loaded
      assert.deepStrictEqual(
        [0, 5 * 60 + 30, 12 * 60, 18 * 60 + 30, 23 * 60, 1440 + 720].map((minute) => phaseAt(realm, minute)),
        ["night", "dawn", "day", "dusk", "night", "day"]
      )
    }))
})

describe("a mistake in the data", () => {
  it("that is not YAML is named with its line and column", () => {
    const [problem] = problems("rooms:\n  quay:\n    name: \"unclosed\n    description: x\n")
    assert.strictEqual(problem.file, "test.yaml")
    assert.isAbove(problem.line, 1)
  })

  it("of shape is named with file, line, column and path, all mistakes at once", () => {
    const found = problems(`rooms:
  quay:
    name: The Quay
    description: Stone.
    exits: { north: market }
    indoor: true
  market:
    name: 12
    exits: { sideways: quay }
`)
    assert.deepStrictEqual(
      found.map(({ column, line, path }) => `${line}:${column} ${path}`).sort(),
      [
        "6:5 rooms.quay.indoor",
        "7:3 rooms.market.description",
        "8:5 rooms.market.name",
        "9:14 rooms.market.exits.sideways"
      ]
    )
  })

  it("of reference is named where it stands", () => {
    const found = problems(`rooms:
  quay:
    name: The Quay
    description: Stone.
    exits:
      north: { to: nowhere, when: { flag: never-set } }
things:
  lamp: { name: lamp, description: A lamp., start: attic }
realm:
  title: T
  welcome: W
  start: quay
  clock: "08:00"
  firstWeather: clear
  weatherEvery: 30
  renewed: R
  weather:
    clear: { begins: b, outdoors: o, next: { hail: 1 } }
  phases:
    dawn: { from: "05:00", begins: b, outdoors: o }
    day: { from: "07:00", begins: b, outdoors: o }
    dusk: { from: "18:00", begins: b, outdoors: o }
    night: { from: "20:00", begins: b, outdoors: o }
`)
    assert.deepStrictEqual(
      found.map(({ line, path }) => `${line} ${path}`).sort(),
      [
        "18 realm.weather.clear.next.hail",
        "6 rooms.quay.exits.north",
        "6 rooms.quay.exits.north.when.flag",
        "8 things.lamp.start"
      ]
    )
  })

  it.effect("makes loading fail with one readable message", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(WorldLoader.load("/nowhere/at/all").pipe(Effect.provide(files)))
      assert.match(error.message, /\/nowhere\/at\/all:1:1 the folder cannot be read/)
    }))
})

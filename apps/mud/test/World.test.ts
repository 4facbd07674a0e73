import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer, Schema } from "effect"
import * as fc from "fast-check"
import { fileURLToPath } from "node:url"
import { sized } from "../../../scripts/sized.js"
import type { WorldData } from "../src/data/WorldData.js"
import * as WorldLoader from "../src/data/WorldLoader.js"
import * as Command from "../src/domain/Command.js"
import type * as Consequence from "../src/domain/Consequence.js"
import * as Decide from "../src/domain/Decide.js"
import * as Joining from "../src/domain/Joining.js"
import * as Quest from "../src/domain/Quest.js"
import * as View from "../src/domain/View.js"
import * as World from "../src/domain/World.js"
import { topicOf, WorldEvent } from "../src/domain/WorldEvent.js"

const loaded = WorldLoader.load(fileURLToPath(new URL("../world", import.meta.url))).pipe(
  Effect.provide(Layer.merge(NodeFileSystem.layer, NodePath.layer))
)

const timeout = sized(60_000, 7_200_000)

/** A world to act in by hand: every event is kept, as the log would. */
const play = (data: WorldData) => {
  const log: Array<World.Fact> = []
  let world = World.initial(data)
  const publish = (events: ReadonlyArray<WorldEvent>) => {
    for (const event of events) {
      const fact = { id: world.lastId + 1, at: 1_000 + log.length, event }
      log.push(fact)
      world = World.evolve(world, fact)
    }
  }
  const decided = (result: Consequence.Decided) => {
    if (Either.isLeft(result)) return result.left
    publish(result.right.events)
    return result.right
  }
  return {
    data,
    log,
    world: () => world,
    publish,
    join: (name: string) => decided(Joining.join(data, world, { id: name.toLowerCase(), name })),
    /** Types a line as a player; the answer is a decision or the refusal. */
    type: (id: string, line: string, admin = false) => {
      const command = Command.parse(line)
      return Either.isLeft(command) ? command.left : decided(Decide.decide(data, world, { id, admin }, command.right))
    },
    room: (id: string) => World.playerById(world, id)!.room,
    heard: (id: string) => {
      const windows = World.windowsOf(world, id)
      return log.filter((fact) =>
        windows.some(({ after, topic, upTo }) =>
          topic === topicOf(fact.event) && fact.id > after && fact.id <= (upTo ?? Infinity)
        )
      )
    }
  }
}

const tags = (facts: ReadonlyArray<World.Fact>) => facts.map(({ event }) => event._tag)

describe("the rules of the world", () => {
  it.effect("two players meet, part and are heard only where they are", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      game.join("Ada")
      game.join("Bo")
      game.type("bo", "say hello")
      game.type("bo", "north")
      game.type("bo", "say lonely")
      game.type("ada", "say where are you")
      game.type("ada", "n")
      assert.deepStrictEqual(tags(game.heard("ada")), [
        "Joined",
        "Saw",
        "Joined",
        "Said",
        "Departed",
        "Said",
        "Departed",
        "Arrived",
        "Saw"
      ])
      assert.deepStrictEqual(tags(game.heard("bo")), [
        "Joined",
        "Saw",
        "Said",
        "Departed",
        "Arrived",
        "Saw",
        "Said",
        "Arrived"
      ])
    }))

  it.effect("suggests what was nearly right", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      game.join("Ada")
      const far = game.type("ada", "go south")
      assert.include(far, { _tag: "NoExit", field: "direction" })
      const thing = game.type("ada", "look bronce post")
      assert.include(thing, { _tag: "NotHere", suggestion: "bronze post" })
      game.join("Bertram")
      assert.include(game.type("ada", "whisper Bertarm hi"), { _tag: "NoSuchPlayer", suggestion: "Bertram" })
      assert.include(game.type("ada", "drop herring"), { _tag: "NotHeld", field: "thing" })
      assert.include(game.type("ada", `say ${"x".repeat(500)}`), { _tag: "TooLong", field: "text" })
      assert.include(game.type("ada", "kick Bertram"), { _tag: "NotAllowed" })
    }))

  it.effect("has names that belong to one player, and none that could be mistaken", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      game.join("Ada")
      assert.include(game.join("ada"), { _tag: "NameTaken", field: "name" })
      for (
        const name of [
          "A",
          "",
          "Bosun",
          "the cat",
          "admin",
          "x".repeat(17),
          "Ann-",
          "12",
          "north",
          "Look",
          "Воѕun",
          "аdmin"
        ]
      ) {
        assert.include(game.join(name), { _tag: "BadName", field: "name" }, name)
      }
      for (const name of ["Zoë", "O'Neill", "Jean-Luc", "Лена"]) assert.notProperty(game.join(name), "_tag", name)
    }))

  it.effect("keeps two names apart that look alike, and frees both when one is given up", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      game.join("Limes")
      assert.include(game.join("Iimes"), { _tag: "NameTaken", field: "name" })
      game.publish(Joining.leaveForGood(game.data, game.world(), "limes"))
      assert.notProperty(game.join("Iimes"), "_tag")
      // Players whose names were given before look-alikes were refused: one may go, and the other keeps its name.
      game.publish([{ _tag: "Joined", actor: { id: "old", name: "limes", kind: "player" }, room: "quay" }])
      game.publish(Joining.leaveForGood(game.data, game.world(), "old"))
      assert.strictEqual(World.playerById(game.world(), "iimes")?.name, "Iimes")
    }))

  it.effect("leads a newcomer along the quest, and goes on where another player was faster", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      game.join("Ada")
      game.join("Bo")
      const step = (id: string) => Quest.current(game.data, World.playerById(game.world(), id)!)?.id
      const walk = (id: string, ...lines: ReadonlyArray<string>) => {
        for (const line of lines) assert.notProperty(game.type(id, line), "_tag", line)
      }
      assert.deepStrictEqual([step("ada"), step("bo")], ["oil", "oil"])
      walk("ada", "n", "e", "take oil can", "w", "n", "e", "n", "u", "use oil can on lamp")
      assert.strictEqual(step("ada"), "library")
      // The can is gone and the beacon burns: what cannot be done any more is done.
      walk("bo", "n", "e", "w")
      assert.strictEqual(step("bo"), "climb")
      walk("bo", "n", "e", "n", "u")
      assert.strictEqual(step("bo"), "library")
      walk("bo", "d", "s", "w", "n", "n", "w", "use red book", "w")
      assert.strictEqual(step("bo"), "maren")
      const found = game.heard("bo").flatMap(({ event }) => event._tag === "Reached" ? [event.text ?? ""] : [])
      assert.include(found, "You have found a secret of the island: 1 of 5.")
      const progress = Quest.progress(game.data, World.playerById(game.world(), "bo")!)
      assert.include(progress, { rooms: 11, secrets: 1, allSecrets: 5 })
      const { reply } = game.type("bo", "map") as Consequence.Decision
      assert.isTrue(reply._tag === "Map" && reply.rooms.some(({ id, secret }) => id === "study" && secret === true))
      const map = game.type("ada", "map") as Consequence.Decision
      assert.isFalse(map.reply._tag === "Map" && map.reply.rooms.some(({ id }) => id === "study"))
    }))

  it.effect("writes a room that changes once, however many see it, and once more for who sees something else", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      for (let index = 0; index < 30; index++) {
        game.join(`Pl${"abcdefghij"[index % 10]}${"abc"[Math.floor(index / 10)]}`)
      }
      game.join("Ada")
      const view = View.view(game.data, game.world(), World.playerById(game.world(), "ada")!)
      assert.isAtMost(view.people.filter(({ kind }) => kind === "player").length, 8)
      assert.strictEqual(view.others, 22)
      for (const id of ["ada", "plaa", "plba"]) for (const line of ["n", "n", "n", "n", "w"]) game.type(id, line)
      const before = game.log.length
      game.type("ada", "use red book")
      assert.deepStrictEqual(tags(game.log.slice(before)), ["Used", "Changed"])
    }))

  it.effect("keeps the secret of the cat, the chest and the forest under the sea", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      game.join("Ada")
      for (
        const line of [
          "n",
          "take herring",
          "use herring on cat",
          "take key",
          "s",
          "in",
          "use key on chest",
          "take helmet"
        ]
      ) {
        assert.notProperty(game.type("ada", line), "_tag", line)
      }
      for (const line of ["out", "e", "e"]) game.type("ada", line)
      assert.include(game.type("ada", "s"), { _tag: "NoExit" })
      game.publish([{ _tag: "Ticked", minute: 1440 + 6 * 60, clock: "06:00", phase: "dawn" }])
      for (const line of ["s", "s", "d"]) assert.notProperty(game.type("ada", line), "_tag", line)
      assert.strictEqual(game.room("ada"), "kelp-forest")
    }))

  it.effect("shows nothing in the dark, and everything by the light of somebody's lantern", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      game.join("Ada")
      game.join("Bo")
      for (const id of ["ada", "bo"]) for (const line of ["n", "n", "n", "n", "e", "d"]) game.type(id, line)
      const seen = () => View.view(game.data, game.world(), World.playerById(game.world(), "bo")!)
      assert.include(seen(), { dark: true, name: "Darkness" })
      for (const line of ["u", "w", "s", "s", "s", "w", "take lantern", "use lantern", "e", "n", "n", "n", "e", "d"]) {
        assert.notProperty(game.type("ada", line), "_tag", line)
      }
      assert.include(seen(), { dark: false, name: "The Larder" })
      assert.deepStrictEqual(seen().people.map(({ name }) => name), ["Ada"])
    }))

  it.effect("goes through a day: phases once each, the tide puts things back but for what somebody holds", () =>
    Effect.gen(function*() {
      const game = play(yield* loaded)
      game.join("Ada")
      game.join("Bo")
      for (const line of ["n", "take herring", "w", "take lantern", "use lantern", "drop lantern"]) {
        game.type("ada", line)
      }
      for (let minute = 0; minute < 1440; minute++) {
        game.publish(Decide.tick(game.data, game.world(), (minute * 0.37) % 1))
      }
      const phases = game.log.flatMap(({ event }) => event._tag === "PhaseBegan" ? [event.phase] : [])
      assert.deepStrictEqual(phases, ["dusk", "night", "dawn", "day"])
      assert.isAbove(tags(game.log).filter((tag) => tag === "WeatherTurned").length, 3)
      assert.deepStrictEqual(World.holdings(game.data, game.world(), "ada"), ["herring"])
      assert.strictEqual(game.world().flags.size, 0)
    }))

  it.effect("moves players out of a room that a reload removed, and leaves the others where they are", () =>
    Effect.gen(function*() {
      const data = yield* loaded
      const game = play(data)
      game.join("Ada")
      game.join("Bo")
      game.type("ada", "w")
      const { breakwater: _, ...rooms } = data.rooms
      const quay = { ...rooms["quay"], exits: { ...rooms["quay"].exits, west: undefined } }
      const changed = { ...data, rooms: { ...rooms, quay } }
      game.publish(Decide.reload(changed, game.world()))
      assert.deepStrictEqual([game.room("ada"), game.room("bo")], ["quay", "quay"])
      assert.include(tags(game.heard("bo")), "Arrived")
    }))

  it.effect(
    "any play at all: the state is the fold of the log, a snapshot goes round, every event has its schema",
    () =>
      Effect.gen(function*() {
        const data = yield* loaded
        const line = fc.oneof(
          fc.constantFrom(
            "n",
            "s",
            "e",
            "w",
            "u",
            "d",
            "in",
            "out",
            "take lantern",
            "use lantern",
            "drop lantern",
            "quit",
            "look"
          ),
          fc.constantFrom(
            "take herring",
            "use herring on cat",
            "use red book",
            "say hi",
            "whisper Bo psst",
            "use bell"
          ),
          fc.string()
        )
        fc.assert(
          fc.property(fc.array(fc.tuple(fc.constantFrom("ada", "bo", "cy"), line), { maxLength: 60 }), (moves) => {
            const game = play(data)
            for (const name of ["Ada", "Bo", "Cy"]) game.join(name)
            for (const [id, typed] of moves) {
              game.type(id, typed)
              if (typed === "look") game.publish(Joining.wake(data, game.world(), id))
              game.publish(Decide.tick(data, game.world(), 0.5))
            }
            const encode = Schema.encodeSync(Schema.parseJson(WorldEvent))
            const decode = Schema.decodeSync(Schema.parseJson(WorldEvent))
            const replayed = game.log.reduce(
              (world, fact) => World.evolve(world, { ...fact, event: decode(encode(fact.event)) }),
              World.initial(data)
            )
            assert.deepStrictEqual(World.toSnapshot(replayed), World.toSnapshot(game.world()))
            const snapshot = Schema.decodeSync(World.Snapshot)(
              JSON.parse(JSON.stringify(World.toSnapshot(game.world())))
            )
            const restored = World.toSnapshot(World.fromSnapshot(snapshot))
            assert.sameDeepMembers([...restored.players], [...World.toSnapshot(game.world()).players])
            // Everybody who is awake is present exactly once, where it stands.
            const present = World.awake(game.world()).map(({ id }) => id)
            assert.strictEqual(new Set(present).size, present.length)
          }),
          { numRuns: sized(60, 2_000, 20) }
        )
      }),
    timeout
  )
})

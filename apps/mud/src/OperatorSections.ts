/**
 * What this world adds to the operator's console: who is there, what the world is like, and two buttons.
 *
 * @since 0.1.0
 */
import * as ConsoleSection from "@holdfast/http/ConsoleSection"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Effect, Schema } from "effect"
import { clockOf } from "./data/WorldData.js"
import * as Joining from "./domain/Joining.js"
import { clean } from "./domain/PlayerText.js"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"

/**
 * @since 0.1.0
 * @category sections
 */
export const make = Effect.map(Game, (game) => [
  ConsoleSection.facts({
    id: "world",
    title: "World",
    facts: Effect.map(game.now, ({ data, world }) => ({
      clock: clockOf(world.minute),
      weather: World.weatherOf(data, world),
      awake: World.awake(world).length,
      known: World.count(world)
    }))
  }),
  ConsoleSection.series({
    id: "awake",
    title: "Players awake",
    read: Effect.map(game.now, ({ world }) => World.awake(world).length)
  }),
  ConsoleSection.table({
    id: "players",
    title: "Players",
    empty: "nobody is awake",
    columns: { name: "text", room: "text" },
    sort: "name",
    rows: Effect.map(game.now, ({ data, world }) =>
      World.awake(world).map(({ id, name, room }) => ({
        key: id,
        cells: { name, room: data.rooms[room]?.name ?? room }
      })))
  }),
  ConsoleSection.action({
    name: "kick",
    title: "Kick",
    on: "players",
    confirm: "The player falls asleep, and reads that it was the operator.",
    input: Schema.Struct({ player: Schema.String }),
    run: ({ player }) =>
      Effect.gen(function*() {
        const { facts } = yield* game.publish((_, world) =>
          Joining.sleep(world, World.playerNamed(world, player)?.id ?? player, "kicked")
        )
        if (facts.length > 0) return
        return yield* HttpErrors.make("NoSuchPlayer", "Nobody of that id or name is awake.", {
          field: "player",
          expected: "the id or the name of a player who is awake"
        }, { status: 404 })
      })
  }),
  ConsoleSection.action({
    name: "announce",
    title: "Announce",
    input: Schema.Struct({ text: Schema.NonEmptyString.pipe(Schema.maxLength(400)) }),
    run: ({ text }) => game.publish(() => [{ _tag: "Announced", by: "The operator", text: clean(text) }])
  })
])

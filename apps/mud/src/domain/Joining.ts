/**
 * Who is in the world: names, joining, waking, falling asleep, and being forgotten.
 *
 * @since 0.1.0
 */
import { Either, HashMap } from "effect"
import type { WorldData } from "../data/WorldData.js"
import { type Decided, done, foresee, saw } from "./Consequence.js"
import { BadName, NameTaken } from "./Refusal.js"
import { clean, fold } from "./Words.js"
import { actorOf, playerById, playerNamed, type World } from "./World.js"
import type { SleepReason, WorldEvent } from "./WorldEvent.js"

/**
 * Checks a name that somebody wants to have.
 *
 * @since 0.1.0
 * @category joining
 */
export const checkName = (data: WorldData, name: string): Either.Either<string, BadName> => {
  const cleaned = clean(name)
  const bad = (message: string) =>
    Either.left(
      new BadName({ field: "name", message, expected: "2 to 16 letters; a hyphen or an apostrophe inside is fine" })
    )
  if (cleaned === "") return bad("Who are you?")
  if (!/^\p{L}(?:[\p{L}\p{M}]|['’-](?=\p{L})){1,15}$/u.test(cleaned)) {
    return bad("That is not a name that can be called out.")
  }
  const taken = [
    ...data.realm.reservedNames,
    ...Object.values(data.characters).flatMap((character) => [character.name, ...character.aliases])
  ]
  if (taken.some((other) => fold(other) === fold(cleaned))) {
    return bad(`The name "${cleaned}" belongs to somebody else.`)
  }
  return Either.right(cleaned)
}

/**
 * A player comes into the world for the first time.
 *
 * @since 0.1.0
 * @category joining
 */
export const join = (
  data: WorldData,
  world: World,
  player: { readonly id: string; readonly name: string }
): Decided =>
  Either.flatMap(checkName(data, player.name), (name) => {
    if (playerNamed(world, name) !== undefined) {
      return Either.left(
        new NameTaken({
          field: "name",
          message: `Somebody called "${name}" is already here.`,
          expected: "a name that is free"
        })
      )
    }
    const room = data.realm.start
    const joined: WorldEvent = {
      _tag: "Joined",
      actor: { id: player.id, name, kind: "player" },
      room
    }
    return done(joined, ...saw(data, foresee(world, [joined]), player.id, true))
  })

/**
 * A player that was asleep comes back, to where it was.
 *
 * @since 0.1.0
 * @category joining
 */
export const wake = (data: WorldData, world: World, id: string): ReadonlyArray<WorldEvent> => {
  const player = playerById(world, id)
  if (player === undefined || player.asleep === undefined) return []
  const room = Object.hasOwn(data.rooms, player.room) ? player.room : data.realm.start
  const woke: WorldEvent = { _tag: "Woke", actor: actorOf(player), room }
  return [woke, ...saw(data, foresee(world, [woke]), id, true)]
}

/**
 * A player falls asleep.
 *
 * @since 0.1.0
 * @category joining
 */
export const sleep = (world: World, id: string, reason: SleepReason): ReadonlyArray<WorldEvent> => {
  const player = playerById(world, id)
  return player === undefined || player.asleep !== undefined
    ? []
    : [{ _tag: "Slept", actor: actorOf(player), room: player.room, reason }]
}

/**
 * The longest sleepers beyond `limit` are forgotten.
 *
 * @since 0.1.0
 * @category joining
 */
export const forget = (data: WorldData, world: World, limit: number): ReadonlyArray<WorldEvent> => {
  const sleepers = Array.from(HashMap.values(world.players)).filter(({ asleep }) => asleep !== undefined)
  if (sleepers.length <= limit) return []
  return sleepers.sort((a, b) => a.since - b.since).slice(0, sleepers.length - limit).map((player) => ({
    _tag: "Forgotten",
    actor: actorOf(player),
    room: Object.hasOwn(data.rooms, player.room) ? player.room : data.realm.start
  }))
}

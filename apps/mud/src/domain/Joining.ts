/**
 * Who is in the world: names, joining, waking, falling asleep, and being forgotten.
 *
 * @since 0.1.0
 */
import { Either, HashMap } from "effect"
import { Direction, type WorldData } from "../data/WorldData.js"
import { verbNames } from "./Command.js"
import { type Decided, done, foresee, saw } from "./Consequence.js"
import { alike, isName, rule } from "./Names.js"
import { clean, fold } from "./PlayerText.js"
import { BadName, NameTaken } from "./Refusal.js"
import { actorOf, lookAlike, type Player, playerById, type World } from "./World.js"
import type { SleepReason, WorldEvent } from "./WorldEvent.js"

const commands = new Set<string>([...verbNames, ...Direction.literals, "me", "self", "myself", "here", "all"])

/**
 * Checks a name that somebody wants to have.
 *
 * @since 0.1.0
 * @category joining
 */
export const checkName = (data: WorldData, name: string): Either.Either<string, BadName> => {
  const cleaned = clean(name)
  const bad = (message: string) => Either.left(new BadName({ field: "name", message, expected: rule }))
  if (cleaned === "") return bad("Who are you?")
  if (!isName(cleaned)) return bad("That is not a name that can be called out.")
  if (commands.has(fold(cleaned))) return bad(`"${cleaned}" is something that one does here, and no name.`)
  const taken = [
    ...data.realm.reservedNames,
    ...Object.values(data.characters).flatMap((character) => [character.name, ...character.aliases])
  ]
  if (taken.some((other) => alike(other, cleaned))) return bad(`The name "${cleaned}" belongs to somebody else.`)
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
    const other = lookAlike(world, name)
    if (other !== undefined) {
      return Either.left(
        new NameTaken({
          field: "name",
          message: fold(other.name) === fold(name)
            ? `Somebody called "${name}" is already here.`
            : `"${name}" looks too much like "${other.name}", who is already here.`,
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
 * A player gives up its name: it is forgotten at once, and what it held is put down.
 *
 * @since 0.1.0
 * @category joining
 */
export const leaveForGood = (data: WorldData, world: World, id: string): ReadonlyArray<WorldEvent> => {
  const player = playerById(world, id)
  return player === undefined ? [] : [forgotten(data, player)]
}

const forgotten = (data: WorldData, player: Player): WorldEvent => ({
  _tag: "Forgotten",
  actor: actorOf(player),
  room: Object.hasOwn(data.rooms, player.room) ? player.room : data.realm.start
})

/**
 * The longest sleepers beyond `limit` are forgotten.
 *
 * @since 0.1.0
 * @category joining
 */
export const forget = (data: WorldData, world: World, limit: number): ReadonlyArray<WorldEvent> => {
  const sleepers = Array.from(HashMap.values(world.players)).filter(({ asleep }) => asleep !== undefined)
  if (sleepers.length <= limit) return []
  return sleepers.sort((a, b) => a.since - b.since).slice(0, sleepers.length - limit)
    .map((player) => forgotten(data, player))
}

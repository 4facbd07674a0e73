/**
 * What a player sees of the world.
 *
 * @since 0.1.0
 */
import { clockOf, type Direction, type Phase, phaseAt, type WorldData } from "../data/WorldData.js"
import { describe, isLit, knownExits, lying, people, type Player, weatherOf, type World } from "./World.js"
import { type Actor, namedPeople, type RoomView } from "./WorldEvent.js"

type Room = WorldData["rooms"][string]

/** What each feature of a room may be called in its description, the longest first. Made once for each room. */
const patterns = new WeakMap<Room, ReadonlyArray<ReadonlyArray<RegExp>>>()

const patternsOf = (room: Room): ReadonlyArray<ReadonlyArray<RegExp>> => {
  const known = patterns.get(room)
  if (known !== undefined) return known
  const made = Object.values(room.features).map(({ aliases, name }) =>
    [name, ...aliases].sort((a, b) => b.length - a.length).map(wholeWord)
  )
  patterns.set(room, made)
  return made
}

const wholeWord = (phrase: string) =>
  new RegExp(`(?<![\\p{L}\\p{N}])${phrase.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?![\\p{L}\\p{N}])`, "iu")

/** The phrases of a description that name a feature, each as it stands there. */
const mentioned = (room: Room, description: string): ReadonlyArray<string> =>
  patternsOf(room).flatMap((names) => {
    for (const name of names) {
      const found = name.exec(description)
      if (found !== null) return [found[0]]
    }
    return []
  })

/** Who is named: the characters, and the players who came last. */
const named = (all: ReadonlyArray<Actor>, limit: number): ReadonlyArray<Actor> => {
  const players = all.filter(({ kind }) => kind === "player")
  return limit === 0 ? [] : [...players.slice(-limit), ...all.filter(({ kind }) => kind === "character")]
}

/** A room as somebody sees it who is not counted among those in it. */
const roomView = (data: WorldData, world: World, room: string, who: string, limit: number): RoomView => {
  const here = data.rooms[room]
  const lit = isLit(data, world, room)
  const phase: Phase = phaseAt(data.realm, world.minute)
  const weather = weatherOf(data, world)
  const sky = here.indoors ? "" : `${data.realm.phases[phase].outdoors} ${data.realm.weather[weather].outdoors}`
  const all = lit ? people(data, world, room).filter(({ id }) => id !== who) : []
  const shown = named(all, limit)
  const description = describe(data, world, here, who)
  return {
    id: room,
    name: lit ? here.name : "Darkness",
    description: lit
      ? [description, sky].filter((text) => text !== "").join(" ")
      : "It is too dark to see anything. You can only feel where the ways out are.",
    dark: !lit,
    indoors: here.indoors,
    exits: knownExits(data, world, room, who).map(({ direction, to }): {
      direction: Direction
      name: string
    } => ({ direction, name: lit ? data.rooms[to].name : "somewhere" })),
    things: lit ? lying(data, world, room).map((id) => ({ id, name: data.things[id].name })) : [],
    people: shown,
    ...(shown.length < all.length ? { others: all.length - shown.length } : {}),
    ...(lit ? { features: mentioned(here, description) } : {}),
    clock: clockOf(world.minute),
    phase,
    weather
  }
}

/**
 * What a player sees around it. Of a crowd it names the last {@link namedPeople} who came, and counts the others.
 *
 * @since 0.1.0
 * @category views
 */
export const view = (data: WorldData, world: World, player: Player): RoomView =>
  roomView(data, world, player.room, player.id, namedPeople)

/**
 * What everybody sees of a room, whoever they are. Nobody is named, except where it may have been dark until now.
 *
 * @since 0.1.0
 * @category views
 */
export const sharedView = (data: WorldData, world: World, room: string): RoomView => {
  const { others, ...shared } = roomView(data, world, room, "", data.rooms[room].dark ? namedPeople : 0)
  return { ...shared, ...(data.rooms[room].dark && others !== undefined ? { others } : {}) }
}

/**
 * The state of the world, and what events make of it. Everything here is pure: the state is a fold of {@link evolve} over
 * the event log, so a snapshot and the events after it give the same state as the whole log.
 *
 * Only what differs from the data files is state: a thing that nobody moved lies where the data says, also after the data
 * was changed.
 *
 * @since 0.1.0
 */
import { HashMap, Option, Schema } from "effect"
import {
  exitsOf,
  type Feature,
  minuteOfDay,
  phaseAt,
  type Thing,
  type When,
  type WorldData
} from "../data/WorldData.js"
import { forms } from "./Names.js"
import { fold } from "./PlayerText.js"
import { type Actor, playerTopic, roomTopic, SleepReason, type WorldEvent, worldTopic } from "./WorldEvent.js"

/**
 * A part of a topic that a player may read: events with `after < id <= upTo`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Window = Schema.Struct({
  topic: Schema.String,
  after: Schema.Number,
  upTo: Schema.optional(Schema.Number)
})
/**
 * @since 0.1.0
 * @category models
 */
export type Window = typeof Window.Type

/**
 * @since 0.1.0
 * @category schemas
 */
export const Player = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  room: Schema.String,
  /** Why it sleeps; absent while it is awake. */
  asleep: Schema.optional(SleepReason),
  /** When it fell asleep or woke, in milliseconds of the wall clock. */
  since: Schema.Number,
  /** What it may read, oldest first. At most {@link windowLimit} closed ones are kept. */
  windows: Schema.Array(Window),
  /** The rooms it has been in, in the order in which it found them. */
  seen: Schema.optionalWith(Schema.Array(Schema.String), { default: () => [] }),
  /** The steps of the quest that are behind it. */
  reached: Schema.optionalWith(Schema.Array(Schema.String), { default: () => [] })
})
/**
 * @since 0.1.0
 * @category models
 */
export type Player = typeof Player.Type

const Place = Schema.Union(
  Schema.TaggedStruct("Lies", { room: Schema.String }),
  Schema.TaggedStruct("Held", { by: Schema.String }),
  Schema.TaggedStruct("Gone", {})
)
type Place = typeof Place.Type

/**
 * The state as it is stored.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Snapshot = Schema.Struct({
  lastId: Schema.Number,
  /** When that event happened; 0 where an older release did not say. */
  lastAt: Schema.optionalWith(Schema.Number, { default: () => 0 }),
  term: Schema.optionalWith(Schema.Int, { default: () => 0 }),
  minute: Schema.Int,
  weather: Schema.String,
  players: Schema.Array(Player),
  characters: Schema.Record({ key: Schema.String, value: Schema.String }),
  things: Schema.Record({ key: Schema.String, value: Place }),
  flags: Schema.Array(Schema.String)
})
/**
 * @since 0.1.0
 * @category models
 */
export type Snapshot = typeof Snapshot.Type

/**
 * @since 0.1.0
 * @category models
 */
export interface World {
  /** The id of the last event that is part of this state. */
  readonly lastId: number
  /** When it happened, by the clock of the node that decided it. */
  readonly lastAt: number
  /** Of the node that drives the world: what an earlier one decides is refused. 0 before there is any. */
  readonly term: number
  /** World minutes since the midnight before the world began. */
  readonly minute: number
  readonly weather: string
  readonly players: HashMap.HashMap<string, Player>
  /** Player ids by folded name, and by the forms that a look-alike would have. */
  readonly names: HashMap.HashMap<string, string>
  /** The ids of the players awake in a room, in the order in which they came. */
  readonly present: HashMap.HashMap<string, ReadonlyArray<string>>
  readonly characters: Readonly<Record<string, string>>
  readonly things: Readonly<Record<string, Place>>
  readonly flags: ReadonlySet<string>
}

/**
 * How many windows that are over a player keeps. A client that slept through more moves of its own player than that (it
 * was played from another place) misses what happened in the rooms before.
 *
 * @since 0.1.0
 * @category limits
 */
export const windowLimit = 64

/**
 * The world as the data files describe it, before anything happened.
 *
 * @since 0.1.0
 * @category constructors
 */
export const initial = (data: WorldData): World => ({
  lastId: 0,
  lastAt: 0,
  term: 0,
  minute: minuteOfDay(data.realm.clock),
  weather: data.realm.firstWeather,
  players: HashMap.empty(),
  names: HashMap.empty(),
  present: HashMap.empty(),
  characters: {},
  things: {},
  flags: new Set()
})

/**
 * @since 0.1.0
 * @category storing
 */
export const toSnapshot = (world: World): Snapshot => ({
  lastId: world.lastId,
  lastAt: world.lastAt,
  term: world.term,
  minute: world.minute,
  weather: world.weather,
  players: Array.from(HashMap.values(world.players)),
  characters: world.characters,
  things: world.things,
  flags: [...world.flags]
})

/**
 * @since 0.1.0
 * @category storing
 */
export const fromSnapshot = (snapshot: Snapshot): World => {
  const present = new Map<string, Array<string>>()
  for (const player of snapshot.players) {
    if (player.asleep === undefined) present.set(player.room, [...(present.get(player.room) ?? []), player.id])
  }
  return {
    lastId: snapshot.lastId,
    lastAt: snapshot.lastAt,
    term: snapshot.term,
    minute: snapshot.minute,
    weather: snapshot.weather,
    players: HashMap.fromIterable(snapshot.players.map((player) => [player.id, player])),
    names: HashMap.fromIterable(
      snapshot.players.flatMap(({ id, name }) => namesOf(name).map((form) => [form, id] as const))
    ),
    present: HashMap.fromIterable<string, ReadonlyArray<string>>(present),
    characters: snapshot.characters,
    things: snapshot.things,
    flags: new Set(snapshot.flags)
  }
}

// --- what events make of it

const namesOf = (name: string): ReadonlyArray<string> => [fold(name), ...forms(name)]

const remember = (seen: ReadonlyArray<string>, room: string): ReadonlyArray<string> =>
  seen.includes(room) ? seen : [...seen, room]

const enter = (present: World["present"], room: string, id: string): World["present"] =>
  HashMap.modifyAt(present, room, (ids) => Option.some([...Option.getOrElse(ids, () => []), id]))

const leave = (present: World["present"], room: string, id: string): World["present"] =>
  HashMap.modifyAt(
    present,
    room,
    Option.flatMap((ids) => {
      const rest = ids.filter((other) => other !== id)
      return rest.length === 0 ? Option.none() : Option.some(rest)
    })
  )

const close = (windows: ReadonlyArray<Window>, topics: ReadonlyArray<string>, upTo: number): ReadonlyArray<Window> => {
  const all = windows.map((window) =>
    window.upTo === undefined && topics.includes(window.topic) ? { ...window, upTo } : window
  )
  const over = all.filter((window) => window.upTo !== undefined).length - windowLimit
  if (over <= 0) return all
  let dropped = 0
  return all.filter((window) => window.upTo === undefined || ++dropped > over)
}

const allTopics = (id: string, room: string) => [worldTopic, playerTopic(id), roomTopic(room)]

const put = (world: World, player: Player): World["players"] => HashMap.set(world.players, player.id, player)

const place = (world: World, changes: ReadonlyArray<readonly [thing: string, place: Place]>): World["things"] =>
  changes.length === 0 ? world.things : { ...world.things, ...Object.fromEntries(changes) }

/**
 * An event with its place in the log: what of an envelope the state depends on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fact {
  readonly id: number
  /** Milliseconds of the wall clock. */
  readonly at: number
  readonly event: WorldEvent
}

/**
 * The state after one event.
 *
 * @since 0.1.0
 * @category folding
 */
export const evolve = (before: World, { at: now, event, id }: Fact): World => {
  const world = { ...before, lastId: id, lastAt: now }
  const player = "actor" in event ? Option.getOrUndefined(HashMap.get(world.players, event.actor.id)) : undefined
  switch (event._tag) {
    case "Joined":
    case "Woke": {
      const { actor, room } = event
      const opened = allTopics(actor.id, room).map((topic) => ({ topic, after: id - 1 }))
      const { asleep: _, ...known } = player ??
        { id: actor.id, name: actor.name, room, windows: [], seen: [], reached: [] }
      return {
        ...world,
        players: put(world, {
          ...known,
          room,
          since: now,
          windows: [...known.windows, ...opened],
          seen: remember(known.seen, room)
        }),
        names: namesOf(actor.name).reduce((names, form) => HashMap.set(names, form, actor.id), world.names),
        present: enter(world.present, room, actor.id)
      }
    }
    case "Slept":
      if (player === undefined) return world
      return {
        ...world,
        players: put(world, {
          ...player,
          asleep: event.reason,
          since: now,
          windows: close(player.windows, allTopics(player.id, player.room), id)
        }),
        present: leave(world.present, player.room, player.id)
      }
    case "Forgotten":
      return {
        ...world,
        players: HashMap.remove(world.players, event.actor.id),
        // Only what is its own: of two that look alike and joined before that was checked, the other keeps its name.
        names: HashMap.filter(world.names, (id) => id !== event.actor.id),
        present: leave(world.present, event.room, event.actor.id),
        things: place(world, held(world, event.actor.id).map((thing) => [thing, { _tag: "Lies", room: event.room }]))
      }
    case "Departed": {
      if (event.actor.kind === "character") {
        return { ...world, characters: { ...world.characters, [event.actor.id]: event.to } }
      }
      if (player === undefined) return world
      const windows = close(player.windows, [roomTopic(player.room)], id)
      return {
        ...world,
        players: put(world, {
          ...player,
          room: event.to,
          seen: remember(player.seen, event.to),
          windows: player.asleep === undefined ? [...windows, { topic: roomTopic(event.to), after: id }] : windows
        }),
        present: player.asleep === undefined
          ? enter(leave(world.present, player.room, player.id), event.to, player.id)
          : world.present
      }
    }
    case "Took":
      return { ...world, things: place(world, [[event.thing.id, { _tag: "Held", by: event.actor.id }]]) }
    case "Dropped":
      return { ...world, things: place(world, [[event.thing.id, { _tag: "Lies", room: event.room }]]) }
    case "Used":
      return {
        ...world,
        flags: event.set.length + event.clear.length === 0
          ? world.flags
          : new Set([...[...world.flags].filter((flag) => !event.clear.includes(flag)), ...event.set]),
        things: place(world, [
          ...event.consume.map((thing) => [thing, { _tag: "Gone" }] as const),
          ...event.reveal.map((thing) => [thing, { _tag: "Lies", room: event.room }] as const),
          ...event.give.map((thing) => [thing, { _tag: "Held", by: event.actor.id }] as const)
        ])
      }
    case "Led":
      return { ...world, term: Math.max(world.term, event.term) }
    case "Ticked":
      return { ...world, minute: event.minute }
    case "WeatherTurned":
      return { ...world, weather: event.weather }
    case "Renewed":
      return {
        ...world,
        flags: new Set(),
        things: Object.fromEntries(
          Object.entries(world.things).filter(([, at]) => at._tag === "Held" && isAwake(world, at.by))
        )
      }
    case "Reached": {
      const known = Option.getOrUndefined(HashMap.get(world.players, event.player))
      return known === undefined
        ? world
        : { ...world, players: put(world, { ...known, reached: remember(known.reached, event.step) }) }
    }
    case "Arrived":
    case "Saw":
    case "Changed":
    case "Said":
    case "Emoted":
    case "Whispered":
    case "PhaseBegan":
    case "Announced":
    case "Reshaped":
      return world
  }
}

/**
 * A window of a player that is another one than before.
 *
 * @since 0.1.0
 * @category folding
 */
export interface WindowChange {
  readonly window: Window
  /** It was opened; else it was there, and has been closed. Between two states it may have been opened and closed. */
  readonly opened: boolean
}

/**
 * The windows of one player that `after` has and `before` has not, in their order.
 *
 * @since 0.1.0
 * @category folding
 */
export const windowChanges = (before: World, after: World, player: string): ReadonlyArray<WindowChange> => {
  const known = windowsOf(before, player)
  return windowsOf(after, player).filter((window) => !known.includes(window)).map((window) => ({
    window,
    opened: !known.some(({ after, topic }) => topic === window.topic && after === window.after)
  }))
}

// --- questions

const isAwake = (world: World, id: string): boolean =>
  Option.exists(HashMap.get(world.players, id), (player) => player.asleep === undefined)

/** The things that the state says are held; a thing that the data no longer has is among them. */
const held = (world: World, by: string): ReadonlyArray<string> =>
  Object.entries(world.things).flatMap(([id, at]) => at._tag === "Held" && at.by === by ? [id] : [])

/**
 * @since 0.1.0
 * @category questions
 */
export const playerNamed = (world: World, name: string): Player | undefined =>
  Option.getOrUndefined(
    HashMap.get(world.names, fold(name)).pipe(Option.flatMap((id) => HashMap.get(world.players, id)))
  )

/**
 * The player whose name could be mistaken for this one.
 *
 * @since 0.1.0
 * @category questions
 */
export const lookAlike = (world: World, name: string): Player | undefined => {
  for (const form of namesOf(name)) {
    const found = Option.flatMap(HashMap.get(world.names, form), (id) => HashMap.get(world.players, id))
    if (Option.isSome(found)) return found.value
  }
  return undefined
}

/**
 * @since 0.1.0
 * @category questions
 */
export const playerById = (world: World, id: string): Player | undefined =>
  Option.getOrUndefined(HashMap.get(world.players, id))

/**
 * The players that are awake, in no particular order.
 *
 * @since 0.1.0
 * @category questions
 */
export const awake = (world: World): ReadonlyArray<Player> =>
  Array.from(HashMap.values(world.present)).flat().flatMap((id) => playerById(world, id) ?? [])

/**
 * The windows of a player that are open or may still be wanted; none when there is no such player.
 *
 * @since 0.1.0
 * @category questions
 */
export const windowsOf = (world: World, id: string): ReadonlyArray<Window> =>
  Option.match(HashMap.get(world.players, id), { onNone: () => [], onSome: (player) => player.windows })

/**
 * How many players there are, awake or asleep.
 *
 * @since 0.1.0
 * @category questions
 */
export const count = (world: World): number => HashMap.size(world.players)

/**
 * A player as the one who does something.
 *
 * @since 0.1.0
 * @category questions
 */
export const actorOf = (player: Player): Actor => ({ id: player.id, name: player.name, kind: "player" })

/**
 * The ids of the things that somebody holds.
 *
 * @since 0.1.0
 * @category questions
 */
export const holdings = (data: WorldData, world: World, by: string): ReadonlyArray<string> =>
  held(world, by).filter((id) => Object.hasOwn(data.things, id))

const liesIn = (data: WorldData, world: World, id: string): string | undefined => {
  const at = world.things[id]
  if (at === undefined) return data.things[id].start
  if (at._tag === "Lies") return Object.hasOwn(data.rooms, at.room) ? at.room : data.things[id].start
  return undefined
}

/**
 * The ids of the things that lie in a room.
 *
 * @since 0.1.0
 * @category questions
 */
export const lying = (data: WorldData, world: World, room: string): ReadonlyArray<string> =>
  Object.keys(data.things).filter((id) => liesIn(data, world, id) === room)

/**
 * The room in which a character is.
 *
 * @since 0.1.0
 * @category questions
 */
export const characterRoom = (data: WorldData, world: World, id: string): string => {
  const room = world.characters[id]
  return room !== undefined && Object.hasOwn(data.rooms, room) ? room : data.characters[id].start
}

/**
 * Everybody who is awake in a room, players first.
 *
 * @since 0.1.0
 * @category questions
 */
export const people = (data: WorldData, world: World, room: string): ReadonlyArray<Actor> => [
  ...Option.getOrElse(HashMap.get(world.present, room), () => []).flatMap((id) => {
    const player = playerById(world, id)
    return player === undefined ? [] : [actorOf(player)]
  }),
  ...Object.keys(data.characters).filter((id) => characterRoom(data, world, id) === room)
    .map((id): Actor => ({ id, name: data.characters[id].name, kind: "character" }))
]

/**
 * Whether a condition holds for somebody.
 *
 * @since 0.1.0
 * @category questions
 */
export const holds = (data: WorldData, world: World, when: When | undefined, who: string): boolean => {
  if (when === undefined) return true
  if (when.flag !== undefined && !world.flags.has(when.flag)) return false
  if (when.not !== undefined && world.flags.has(when.not)) return false
  if (when.phase !== undefined && !when.phase.includes(phaseAt(data.realm, world.minute))) return false
  if (when.weather !== undefined && !when.weather.includes(world.weather)) return false
  const holding = when.holding === undefined ? undefined : world.things[when.holding]
  return when.holding === undefined || (holding?._tag === "Held" && holding.by === who)
}

/**
 * A description with the details whose conditions hold.
 *
 * @since 0.1.0
 * @category questions
 */
export const describe = (
  data: WorldData,
  world: World,
  what: Pick<Thing | Feature, "description" | "details">,
  who: string
): string =>
  [what.description, ...what.details.filter(({ when }) => holds(data, world, when, who)).map(({ text }) => text)].join(
    " "
  )

/**
 * Whether there is light enough to see in a room: it is not dark, or somebody there holds a light.
 *
 * @since 0.1.0
 * @category questions
 */
export const isLit = (data: WorldData, world: World, room: string): boolean => {
  if (!data.rooms[room].dark) return true
  return Object.entries(data.things).some(([id, thing]) => {
    if (thing.light === undefined || !world.flags.has(thing.light)) return false
    const at = world.things[id]
    return at?._tag === "Held"
      ? Option.exists(HashMap.get(world.present, room), (ids) => ids.includes(at.by))
      : liesIn(data, world, id) === room
  })
}

/**
 * The exits that somebody knows of: open ones, and closed ones that can be seen.
 *
 * @since 0.1.0
 * @category questions
 */
export const knownExits = (data: WorldData, world: World, room: string, who: string) =>
  exitsOf(data.rooms[room]).map((exit) => ({ ...exit, open: holds(data, world, exit.when, who) }))
    .filter(({ closed, open }) => open || closed !== undefined)

/**
 * The weather as the data knows it now.
 *
 * @since 0.1.0
 * @category questions
 */
export const weatherOf = (data: WorldData, world: World): string =>
  Object.hasOwn(data.realm.weather, world.weather) ? world.weather : data.realm.firstWeather

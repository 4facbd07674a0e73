/**
 * Everything that can happen in the world, as one Schema union. Events are facts: the state of the world is what remains
 * of them, and what a player reads is a rendering of them.
 *
 * Each event belongs to one topic, {@link topicOf}: what happens in a room to `room.<id>`, what only one player may know
 * to `player.<id>`, the sky and the clock to `world`.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"
import { Direction, Phase } from "../data/WorldData.js"

/**
 * Who did it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Actor = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  kind: Schema.Literal("player", "character")
})
/**
 * @since 0.1.0
 * @category models
 */
export type Actor = typeof Actor.Type

const ThingRef = Schema.Struct({ id: Schema.String, name: Schema.String })

/**
 * What a player sees of a room.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RoomView = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  description: Schema.String,
  /** It is too dark to see anything. */
  dark: Schema.Boolean,
  indoors: Schema.Boolean,
  exits: Schema.Array(Schema.Struct({ direction: Direction, name: Schema.String })),
  things: Schema.Array(ThingRef),
  /** Those who are named: all of them, or the last who came when there are too many. */
  people: Schema.Array(Actor),
  /** How many more there are. */
  others: Schema.optional(Schema.Int),
  /** Phrases of the description that can be looked at. */
  features: Schema.optional(Schema.Array(Schema.String)),
  clock: Schema.String,
  phase: Phase,
  weather: Schema.String
})
/**
 * @since 0.1.0
 * @category models
 */
export type RoomView = typeof RoomView.Type

/**
 * How many people are named in what a player sees on coming in. Every newcomer's view goes into the log: with all names in
 * it, a crowd of n would write n² of them.
 *
 * @since 0.1.0
 * @category limits
 */
export const namedPeople = 8

/**
 * Why a player went to sleep: by its own wish, after a long silence, because its connection was lost, or because an
 * operator ended its session.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SleepReason = Schema.Literal("left", "idle", "lost", "kicked")
/**
 * @since 0.1.0
 * @category models
 */
export type SleepReason = typeof SleepReason.Type

const InRoom = { actor: Actor, room: Schema.String }

/** A player comes into the world for the first time. */
const Joined = Schema.TaggedStruct("Joined", InRoom)
/** A player that was asleep is back. */
const Woke = Schema.TaggedStruct("Woke", InRoom)
const Slept = Schema.TaggedStruct("Slept", { ...InRoom, reason: SleepReason })
/** A player that slept too long is forgotten; what it held is put down. */
const Forgotten = Schema.TaggedStruct("Forgotten", InRoom)
const Departed = Schema.TaggedStruct("Departed", {
  ...InRoom,
  direction: Schema.optional(Direction),
  to: Schema.String
})
const Arrived = Schema.TaggedStruct("Arrived", {
  ...InRoom,
  direction: Schema.optional(Direction),
  from: Schema.String
})
/** What one player now sees: after it came into a room, or (`moved: false`) because the room around it changed. */
const Saw = Schema.TaggedStruct("Saw", { player: Schema.String, view: RoomView, moved: Schema.Boolean })
/** A room looks different from now on, for everybody in it. Who is there is not part of it. */
const Changed = Schema.TaggedStruct("Changed", { room: Schema.String, view: RoomView })
/** One player has done a step of the quest, or found a secret. */
const Reached = Schema.TaggedStruct("Reached", {
  player: Schema.String,
  step: Schema.String,
  text: Schema.optional(Schema.String),
  /** What to do next. */
  hint: Schema.optional(Schema.String)
})
const Said = Schema.TaggedStruct("Said", { ...InRoom, text: Schema.String })
const Emoted = Schema.TaggedStruct("Emoted", { ...InRoom, text: Schema.String })
/** Published twice: to the one who hears it, and to the one who spoke. */
const Whispered = Schema.TaggedStruct("Whispered", {
  from: Actor,
  to: Actor,
  reader: Schema.String,
  text: Schema.String
})
const Took = Schema.TaggedStruct("Took", { ...InRoom, thing: ThingRef })
const Dropped = Schema.TaggedStruct("Dropped", { ...InRoom, thing: ThingRef })
/** Something was used. The changes are part of the fact, so that it means the same when the data changes later. */
const Used = Schema.TaggedStruct("Used", {
  ...InRoom,
  thing: Schema.String,
  you: Schema.String,
  others: Schema.String,
  set: Schema.Array(Schema.String),
  clear: Schema.Array(Schema.String),
  reveal: Schema.Array(Schema.String),
  give: Schema.Array(Schema.String),
  consume: Schema.Array(Schema.String)
})
/** A world minute has passed. */
const Ticked = Schema.TaggedStruct("Ticked", { minute: Schema.Int, clock: Schema.String, phase: Phase })
const PhaseBegan = Schema.TaggedStruct("PhaseBegan", { phase: Phase, text: Schema.String })
const WeatherTurned = Schema.TaggedStruct("WeatherTurned", { weather: Schema.String, text: Schema.String })
/** At dawn the tide puts back what nobody holds, and closes what was opened. */
const Renewed = Schema.TaggedStruct("Renewed", { text: Schema.String })
const Announced = Schema.TaggedStruct("Announced", { by: Schema.String, text: Schema.String })
/** The world's data was read anew. */
const Reshaped = Schema.TaggedStruct("Reshaped", { rooms: Schema.Int, text: Schema.String })

/** From here on the node drives the world: its clock, its characters, who falls asleep. Nobody reads it. */
const Led = Schema.TaggedStruct("Led", { term: Schema.Int, node: Schema.String })

/**
 * @since 0.1.0
 * @category schemas
 */
export const WorldEvent = Schema.Union(
  Joined,
  Woke,
  Slept,
  Forgotten,
  Departed,
  Arrived,
  Saw,
  Changed,
  Reached,
  Said,
  Emoted,
  Whispered,
  Took,
  Dropped,
  Used,
  Ticked,
  PhaseBegan,
  WeatherTurned,
  Renewed,
  Announced,
  Reshaped,
  Led
)
/**
 * @since 0.1.0
 * @category models
 */
export type WorldEvent = typeof WorldEvent.Type

/**
 * The topic of the sky, the clock and what concerns everybody.
 *
 * @since 0.1.0
 * @category topics
 */
export const worldTopic = "world"

/**
 * @since 0.1.0
 * @category topics
 */
export const roomTopic = (room: string): string => `room.${room}`

/**
 * @since 0.1.0
 * @category topics
 */
export const playerTopic = (player: string): string => `player.${player}`

/**
 * The topic of what only the nodes of the world are concerned with: no player may read it.
 *
 * @since 0.1.0
 * @category topics
 */
export const nodesTopic = "nodes"

/**
 * The topic to which an event belongs.
 *
 * @since 0.1.0
 * @category topics
 */
export const topicOf = (event: WorldEvent): string => {
  switch (event._tag) {
    case "Saw":
    case "Reached":
      return playerTopic(event.player)
    case "Whispered":
      return playerTopic(event.reader)
    case "Led":
      return nodesTopic
    case "Ticked":
    case "PhaseBegan":
    case "WeatherTurned":
    case "Renewed":
    case "Announced":
    case "Reshaped":
      return worldTopic
    default:
      return roomTopic(event.room)
  }
}

/**
 * The shape of the world's data files: rooms, things, characters and the sky, as Schemas.
 *
 * A data file says what is there and what may be done with it; it never holds code. Everything that depends on the state
 * of the world is a {@link When}: all of its clauses must hold.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

const Text = Schema.NonEmptyTrimmedString.annotations({ description: "text that is not empty" })

const Id = Schema.String.pipe(Schema.pattern(/^[a-z][a-z0-9-]*$/)).annotations({
  description: "an id of small letters, digits and hyphens",
  message: () => "expected an id of small letters, digits and hyphens, such as \"north-quay\""
})

/**
 * The directions in which an exit may lead.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Direction = Schema.Literal(
  "north",
  "northeast",
  "east",
  "southeast",
  "south",
  "southwest",
  "west",
  "northwest",
  "up",
  "down",
  "in",
  "out"
)
/**
 * @since 0.1.0
 * @category models
 */
export type Direction = typeof Direction.Type

/**
 * The part of the day.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Phase = Schema.Literal("dawn", "day", "dusk", "night")
/**
 * @since 0.1.0
 * @category models
 */
export type Phase = typeof Phase.Type

/**
 * A condition on the state of the world. Every clause that is given must hold; none given always holds.
 *
 * @since 0.1.0
 * @category schemas
 */
export const When = Schema.Struct({
  flag: Schema.optional(Id),
  not: Schema.optional(Id),
  phase: Schema.optional(Schema.Array(Phase)),
  weather: Schema.optional(Schema.Array(Id)),
  holding: Schema.optional(Id)
})
/**
 * @since 0.1.0
 * @category models
 */
export type When = typeof When.Type

/**
 * What happens when something is used: words, and the changes that they stand for.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Use = Schema.Struct({
  /** A thing, a feature or a character that has to be named: `use key on chest`. */
  on: Schema.optional(Id),
  /** The rooms in which it works; everywhere when absent. */
  where: Schema.optional(Schema.Array(Id)),
  when: Schema.optional(When),
  /** What the player reads. */
  you: Text,
  /** What the others in the room read, after the player's name. */
  others: Text,
  set: Schema.optionalWith(Schema.Array(Id), { default: () => [] }),
  clear: Schema.optionalWith(Schema.Array(Id), { default: () => [] }),
  /** Things that appear in the room. */
  reveal: Schema.optionalWith(Schema.Array(Id), { default: () => [] }),
  /** Things that come into the player's hands. */
  give: Schema.optionalWith(Schema.Array(Id), { default: () => [] }),
  /** Things that leave the world until the next dawn. */
  consume: Schema.optionalWith(Schema.Array(Id), { default: () => [] }),
  /** The room to which the player is taken. */
  moveTo: Schema.optional(Id)
})
/**
 * @since 0.1.0
 * @category models
 */
export type Use = typeof Use.Type

const Detail = Schema.Struct({ when: When, text: Text })

const Exit = Schema.Union(
  Id,
  Schema.Struct({
    to: Id,
    when: Schema.optional(When),
    /** What is read on trying while the condition does not hold; without it the exit is then not known at all. */
    closed: Schema.optional(Text)
  })
).annotations({ message: () => ({ message: "expected a room id, or { to, when?, closed? }", override: false }) })

/**
 * Scenery: it can be looked at and perhaps used, never taken.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Feature = Schema.Struct({
  name: Text,
  aliases: Schema.optionalWith(Schema.Array(Text), { default: () => [] }),
  description: Text,
  details: Schema.optionalWith(Schema.Array(Detail), { default: () => [] }),
  use: Schema.optionalWith(Schema.Array(Use), { default: () => [] })
})
/**
 * @since 0.1.0
 * @category models
 */
export type Feature = typeof Feature.Type

/**
 * @since 0.1.0
 * @category schemas
 */
export const Room = Schema.Struct({
  name: Text,
  description: Text,
  details: Schema.optionalWith(Schema.Array(Detail), { default: () => [] }),
  /** The weather is not felt here. */
  indoors: Schema.optionalWith(Schema.Boolean, { default: () => false }),
  /** Without a light nothing is seen here. */
  dark: Schema.optionalWith(Schema.Boolean, { default: () => false }),
  exits: Schema.Record({ key: Direction, value: Schema.UndefinedOr(Exit) }).pipe(Schema.partial),
  features: Schema.optionalWith(Schema.Record({ key: Id, value: Feature }), { default: () => ({}) }),
  /** Where it stands on the map: steps to the right and down from the start. Without a place it is not drawn. */
  at: Schema.optional(Schema.Tuple(Schema.Number, Schema.Number)),
  /** Finding it is an event of its own, and is counted. */
  secret: Schema.optionalWith(Schema.Boolean, { default: () => false })
})
/**
 * @since 0.1.0
 * @category models
 */
export type Room = typeof Room.Type

/**
 * @since 0.1.0
 * @category schemas
 */
export const Thing = Schema.Struct({
  name: Text,
  aliases: Schema.optionalWith(Schema.Array(Text), { default: () => [] }),
  description: Text,
  details: Schema.optionalWith(Schema.Array(Detail), { default: () => [] }),
  /** The room where it lies when the world is new; absent: nowhere, until something reveals or gives it. */
  start: Schema.optional(Id),
  /** The flag under which it gives light. */
  light: Schema.optional(Id),
  use: Schema.optionalWith(Schema.Array(Use), { default: () => [] })
})
/**
 * @since 0.1.0
 * @category models
 */
export type Thing = typeof Thing.Type

/**
 * A character that walks by itself, and what it does when something happens near it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Character = Schema.Struct({
  name: Text,
  aliases: Schema.optionalWith(Schema.Array(Text), { default: () => [] }),
  description: Text,
  start: Id,
  /** The rooms it walks between, along exits; empty: it stays. */
  roams: Schema.optionalWith(Schema.Array(Id), { default: () => [] }),
  /** The parts of the day in which it walks. */
  awake: Schema.optionalWith(Schema.Array(Phase), { default: () => Phase.literals }),
  /** World minutes between two steps, on average. */
  pace: Schema.optionalWith(Schema.Int.pipe(Schema.between(3, 600)), { default: () => 30 }),
  /** Emotes now and then; the character's name goes before. */
  idles: Schema.optionalWith(Schema.Array(Text), { default: () => [] }),
  /** Said to a player who arrives. `{name}` is the player. */
  greets: Schema.optionalWith(Schema.Array(Text), { default: () => [] }),
  /** Answers to words that are heard in the room. */
  answers: Schema.optionalWith(Schema.Array(Schema.Struct({ to: Schema.NonEmptyArray(Text), say: Text })), {
    default: () => []
  })
})
/**
 * @since 0.1.0
 * @category models
 */
export type Character = typeof Character.Type

/**
 * @since 0.1.0
 * @category schemas
 */
export const Weather = Schema.Struct({
  /** Read by everybody when it begins. */
  begins: Text,
  /** Read under the description of a room that is outdoors. */
  outdoors: Text,
  /** What may come after it, by weight. */
  next: Schema.Record({ key: Id, value: Schema.Int.pipe(Schema.between(1, 100)) })
})
/**
 * @since 0.1.0
 * @category models
 */
export type Weather = typeof Weather.Type

const PhaseText = Schema.Struct({
  /** The world minute of the day at which it begins, as `hh:mm`. */
  from: Schema.String.pipe(Schema.pattern(/^([01]\d|2[0-3]):[0-5]\d$/)).annotations({
    message: () => "expected a time of day such as \"06:30\""
  }),
  begins: Text,
  outdoors: Text
})

/**
 * One step of the quest that a newcomer may follow. It is done, for one player, as soon as one of `until` holds for that
 * player; a later step does not wait for an earlier one that somebody else has made impossible, when it is named there.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Step = Schema.Struct({
  id: Id,
  /** What to do next, as the player reads it. */
  hint: Text,
  until: Schema.NonEmptyArray(
    Schema.Struct({ seen: Schema.optional(Id), flag: Schema.optional(Id), holding: Schema.optional(Id) })
  ),
  /** Read when it is done. */
  done: Schema.optional(Text)
})
/**
 * @since 0.1.0
 * @category models
 */
export type Step = typeof Step.Type

/**
 * What holds for the whole world.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Realm = Schema.Struct({
  title: Text,
  welcome: Text,
  /** The room in which a new player wakes. */
  start: Id,
  /** The time of day at which the world begins, as `hh:mm`. */
  clock: PhaseText.fields.from,
  phases: Schema.Struct({ dawn: PhaseText, day: PhaseText, dusk: PhaseText, night: PhaseText }),
  firstWeather: Id,
  /** World minutes between two looks at the weather. */
  weatherEvery: Schema.Int.pipe(Schema.between(5, 1440)),
  weather: Schema.Record({ key: Id, value: Weather }),
  /** Read at every dawn, when what nobody holds is back in its place and what was opened is closed. */
  renewed: Text,
  /** What a newcomer is offered to do, one after the other. */
  quest: Schema.optionalWith(Schema.Array(Step), { default: () => [] }),
  /** Names that no player may take, besides those of the characters. */
  reservedNames: Schema.optionalWith(Schema.Array(Text), { default: () => [] })
})
/**
 * @since 0.1.0
 * @category models
 */
export type Realm = typeof Realm.Type

/**
 * One data file. Every part is optional: the files of a folder are put together.
 *
 * @since 0.1.0
 * @category schemas
 */
export const WorldFile = Schema.Struct({
  realm: Schema.optional(Realm),
  rooms: Schema.optionalWith(Schema.Record({ key: Id, value: Room }), { default: () => ({}) }),
  things: Schema.optionalWith(Schema.Record({ key: Id, value: Thing }), { default: () => ({}) }),
  characters: Schema.optionalWith(Schema.Record({ key: Id, value: Character }), { default: () => ({}) })
})
/**
 * @since 0.1.0
 * @category models
 */
export type WorldFile = typeof WorldFile.Type

/**
 * The whole world, put together from its files and checked: every id that is named exists.
 *
 * @since 0.1.0
 * @category models
 */
export interface WorldData {
  readonly realm: Realm
  readonly rooms: Readonly<Record<string, Room>>
  readonly things: Readonly<Record<string, Thing>>
  readonly characters: Readonly<Record<string, Character>>
}

/**
 * The exits of a room in one shape.
 *
 * @since 0.1.0
 * @category accessors
 */
export const exitsOf = (
  room: Room
): ReadonlyArray<
  { readonly direction: Direction; readonly to: string; readonly when?: When; readonly closed?: string }
> =>
  Direction.literals.flatMap((direction) => {
    const exit = room.exits[direction]
    if (exit === undefined) return []
    if (typeof exit === "string") return [{ direction, to: exit }]
    return [{
      direction,
      to: exit.to,
      ...(exit.when === undefined ? {} : { when: exit.when }),
      ...(exit.closed === undefined ? {} : { closed: exit.closed })
    }]
  })

/**
 * The minute of the day that `hh:mm` names.
 *
 * @since 0.1.0
 * @category accessors
 */
export const minuteOfDay = (clock: string): number => {
  const [hours, minutes] = clock.split(":")
  return Number(hours) * 60 + Number(minutes)
}

/**
 * The part of the day at a world minute.
 *
 * @since 0.1.0
 * @category accessors
 */
export const phaseAt = (realm: Realm, minute: number): Phase => {
  const now = ((minute % 1440) + 1440) % 1440
  let phase: Phase = "night"
  let best = -1
  for (const name of Phase.literals) {
    const from = minuteOfDay(realm.phases[name].from)
    if (from <= now && from > best) {
      best = from
      phase = name
    }
  }
  if (best >= 0) return phase
  // Before the first part of the day: it is still the last one of the day before.
  return Phase.literals.reduce((late, name) =>
    minuteOfDay(realm.phases[name].from) > minuteOfDay(realm.phases[late].from) ? name : late
  )
}

/**
 * `hh:mm` of a world minute.
 *
 * @since 0.1.0
 * @category accessors
 */
export const clockOf = (minute: number): string => {
  const now = ((minute % 1440) + 1440) % 1440
  return `${String(Math.floor(now / 60)).padStart(2, "0")}:${String(now % 60).padStart(2, "0")}`
}

/**
 * What a command answers to the one who gave it. What *happened* is not in a reply but in the events: a reply is only
 * what nobody else could see.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"
import { Phase } from "../data/WorldData.js"
import { RoomView } from "./WorldEvent.js"

/** It happened; the events tell. */
const Done = Schema.TaggedStruct("Done", {})
const Room = Schema.TaggedStruct("Room", { view: RoomView })
const Text = Schema.TaggedStruct("Text", { text: Schema.String })
const Carrying = Schema.TaggedStruct("Carrying", {
  things: Schema.Array(Schema.Struct({ id: Schema.String, name: Schema.String }))
})
const Awake = Schema.TaggedStruct("Awake", {
  players: Schema.Array(Schema.Struct({ name: Schema.String, room: Schema.String, you: Schema.Boolean }))
})
const Clock = Schema.TaggedStruct("Clock", { clock: Schema.String, phase: Phase, text: Schema.String })
const Usages = Schema.TaggedStruct("Usages", {
  commands: Schema.Array(Schema.Struct({ usage: Schema.String, does: Schema.String, example: Schema.String }))
})
const Exits = Schema.TaggedStruct("Exits", { exits: RoomView.fields.exits })

/**
 * What a player has found of the world.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Progress = Schema.Struct({
  rooms: Schema.Int,
  allRooms: Schema.Int,
  secrets: Schema.Int,
  allSecrets: Schema.Int
})
/**
 * @since 0.1.0
 * @category models
 */
export type Progress = typeof Progress.Type

const Goal = Schema.TaggedStruct("Goal", { hint: Schema.optional(Schema.String), progress: Progress })

/**
 * The rooms that a player has been in, where they stand, and the ways that it knows between them.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RoomMap = Schema.TaggedStruct("Map", {
  here: Schema.String,
  rooms: Schema.Array(
    Schema.Struct({
      id: Schema.String,
      name: Schema.String,
      x: Schema.Number,
      y: Schema.Number,
      /** It is only known from next door. */
      unseen: Schema.optional(Schema.Boolean),
      secret: Schema.optional(Schema.Boolean)
    })
  ),
  ways: Schema.Array(Schema.Tuple(Schema.String, Schema.String)),
  progress: Progress
})
/**
 * @since 0.1.0
 * @category models
 */
export type RoomMap = typeof RoomMap.Type

const Sleeping = Schema.TaggedStruct("Sleeping", { text: Schema.String })

/**
 * @since 0.1.0
 * @category schemas
 */
export const Reply = Schema.Union(Done, Room, Text, Carrying, Awake, Clock, Usages, Exits, Goal, RoomMap, Sleeping)
/**
 * @since 0.1.0
 * @category models
 */
export type Reply = typeof Reply.Type

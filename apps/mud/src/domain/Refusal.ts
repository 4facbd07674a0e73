/**
 * Why a command was refused. Each has a stable `_tag`, a sentence for the player, the field of the request at fault, what
 * was expected there and, where one comes to mind, a suggestion. The class says under which status it goes over HTTP, and
 * {@link Refusal} is the one list of them.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

const shape = {
  message: Schema.String,
  field: Schema.String,
  expected: Schema.String,
  suggestion: Schema.optional(Schema.String),
  /** Lines that could be typed instead. */
  offers: Schema.optional(Schema.Array(Schema.String))
}

/**
 * The words do not begin with a verb or a direction.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownCommand extends Schema.TaggedError<UnknownCommand>()("UnknownCommand", shape) {
  readonly status = 400
}

/**
 * A verb came without what it needs.
 *
 * @since 0.1.0
 * @category errors
 */
export class MissingWords extends Schema.TaggedError<MissingWords>()("MissingWords", {
  field: Schema.String,
  expected: Schema.String,
  suggestion: Schema.optional(Schema.String),
  offers: Schema.optional(Schema.Array(Schema.String))
}) {
  readonly status = 400
  override get message() {
    return `Something is missing: ${this.expected}.`
  }
}

/**
 * There is no way in that direction, or it is closed.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoExit extends Schema.TaggedError<NoExit>()("NoExit", shape) {
  readonly status = 409
}

/**
 * Nothing here is called so.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotHere extends Schema.TaggedError<NotHere>()("NotHere", shape) {
  readonly status = 404
}

/**
 * The player does not hold it.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotHeld extends Schema.TaggedError<NotHeld>()("NotHeld", shape) {
  readonly status = 409
}

/**
 * It cannot be done with that, or not now.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotPossible extends Schema.TaggedError<NotPossible>()("NotPossible", shape) {
  readonly status = 409
}

/**
 * Nobody awake is called so.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoSuchPlayer extends Schema.TaggedError<NoSuchPlayer>()("NoSuchPlayer", shape) {
  readonly status = 404
}

/**
 * The words are too long.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooLong extends Schema.TaggedError<TooLong>()("TooLong", shape) {
  readonly status = 400
}

/**
 * A name that nobody can have.
 *
 * @since 0.1.0
 * @category errors
 */
export class BadName extends Schema.TaggedError<BadName>()("BadName", shape) {
  readonly status = 400
}

/**
 * A name that another player has.
 *
 * @since 0.1.0
 * @category errors
 */
export class NameTaken extends Schema.TaggedError<NameTaken>()("NameTaken", shape) {
  readonly status = 409
}

/**
 * Only an operator may do it.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotAllowed extends Schema.TaggedError<NotAllowed>()("NotAllowed", shape) {
  readonly status = 403
}

/**
 * The player is asleep and has to join again.
 *
 * @since 0.1.0
 * @category errors
 */
export class Asleep extends Schema.TaggedError<Asleep>()("Asleep", shape) {
  readonly status = 409
}

/**
 * Every refusal there is.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Refusal = Schema.Union(
  UnknownCommand,
  MissingWords,
  NoExit,
  NotHere,
  NotHeld,
  NotPossible,
  NoSuchPlayer,
  TooLong,
  BadName,
  NameTaken,
  NotAllowed,
  Asleep
)
/**
 * @since 0.1.0
 * @category models
 */
export type Refusal = typeof Refusal.Type

/**
 * Whether something that failed is a refusal of the world.
 *
 * @since 0.1.0
 * @category checks
 */
export const isRefusal = Schema.is(Refusal)

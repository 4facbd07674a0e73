/**
 * Publishing on an `EventBus`: what can be said with an event, and why one is not accepted.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Envelope } from "./Envelope.js"
import type { StoreError } from "./EventLogStore.js"

/**
 * The topic and the cause of an event, and the condition under which it is published.
 *
 * @since 0.1.0
 * @category options
 */
export interface PublishOptions {
  /** Default: as the bus was told to find it. */
  readonly topic?: string | undefined
  /** The event that this one is a consequence of. Default: the one that is being handled. */
  readonly causation?: Envelope<unknown> | undefined
  /** Accepted only if this is the last event, 0 for none. Otherwise it fails with `Overtaken`, and nothing is published. */
  readonly ifLast?: number | undefined
  /**
   * The attempt of an `Unconfirmed`: if it was accepted after all, its envelopes are returned and nothing is published. It
   * means something only on a bus over an `EventJournal`.
   */
  readonly attempt?: string | undefined
}

/**
 * An event that does not fit the schema of the bus.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidEvent extends Schema.TaggedError<InvalidEvent>("@holdfast/core/EventBus/InvalidEvent")(
  "InvalidEvent",
  { bus: Schema.String, tag: Schema.optional(Schema.String), issue: Schema.String }
) {
  override get message(): string {
    return `${this.bus} refused ${this.tag === undefined ? "an event" : `event ${this.tag}`}: ${this.issue}`
  }
}

/**
 * The bus accepts nothing: it is being drained, or it is closed.
 *
 * @since 0.1.0
 * @category errors
 */
export class BusClosed extends Schema.TaggedError<BusClosed>("@holdfast/core/EventBus/BusClosed")("BusClosed", {
  bus: Schema.String,
  state: Schema.Literal("draining", "closed")
}) {
  override get message(): string {
    return `${this.bus} accepts no more events: it is ${this.state}`
  }
}

/**
 * An event was not accepted because it is the end of too long a chain of events that cause one another.
 *
 * @since 0.1.0
 * @category errors
 */
export class CycleDetected extends Schema.TaggedError<CycleDetected>("@holdfast/core/EventBus/CycleDetected")(
  "CycleDetected",
  {
    bus: Schema.String,
    tag: Schema.String,
    topic: Schema.String,
    causationId: Schema.Number,
    depth: Schema.Number,
    /** The tags of the last links of the chain, as far as they are in memory, oldest first. */
    chain: Schema.Array(Schema.String)
  }
) {
  override get message(): string {
    return `${this.bus} refused event ${this.tag} at depth ${this.depth}: ${[...this.chain, this.tag].join(" -> ")}`
  }
}

/**
 * A handler published more than the queue of a lossless subscriber can hold beyond its capacity. A handler does not wait
 * for room, since it could wait for itself.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubscriberSaturated
  extends Schema.TaggedError<SubscriberSaturated>("@holdfast/core/EventBus/SubscriberSaturated")(
    "SubscriberSaturated",
    {
      bus: Schema.String,
      subscriber: Schema.String,
      queued: Schema.Number,
      capacity: Schema.Number
    }
  )
{
  override get message(): string {
    return `${this.bus}: ${this.queued} events wait for "${this.subscriber}", whose capacity is ${this.capacity}`
  }
}

/**
 * What was to be accepted only directly after `ifLast` was not: something came between. The bus has seen it: `lastId`, the
 * log and its subscribers are past it, so that whoever decides again at once decides on something new.
 *
 * @since 0.1.0
 * @category errors
 */
export class Overtaken extends Schema.TaggedError<Overtaken>("@holdfast/core/EventBus/Overtaken")("Overtaken", {
  bus: Schema.String,
  ifLast: Schema.Number,
  /** The last event when it was refused. */
  lastId: Schema.Number
}) {
  override get message(): string {
    return `${this.bus} refused events that were decided after event ${this.ifLast}: the last one is ${this.lastId}`
  }
}

/**
 * Nobody knows whether the events were accepted: the journal did not answer. Publish the same events again with this
 * `attempt` to settle it.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unconfirmed extends Schema.TaggedError<Unconfirmed>("@holdfast/core/EventBus/Unconfirmed")(
  "Unconfirmed",
  { bus: Schema.String, attempt: Schema.String, count: Schema.Number, details: Schema.String }
) {
  override get message(): string {
    return `${this.bus} does not know whether ${this.count} events were accepted: ${this.details}. ` +
      `Publish them again with the attempt "${this.attempt}" to find out`
  }
}

/**
 * Why an event was not published.
 *
 * @since 0.1.0
 * @category errors
 */
export type PublishError =
  | InvalidEvent
  | BusClosed
  | CycleDetected
  | SubscriberSaturated
  | Overtaken
  | Unconfirmed
  | StoreError

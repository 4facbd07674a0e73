/**
 * One subscriber of an `EventBus`: what it asks for, how much of it may wait, and what happens when it is too slow.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { Envelope, Gap } from "./Envelope.js"

/**
 * What happens when an event comes and the queue of the subscriber is full.
 *
 * - `suspend`: nothing is lost. A publisher of an event for this subscriber waits. When the subscriber has taken nothing
 *   for `limit` while a publisher waits, it is cut off: it still gets what is queued, then `SubscriptionClosed`. A `publishAll` is
 *   accepted as a whole once there is any room, so the queue may exceed the capacity by its size.
 * - `sliding`: the oldest queued event is lost, and a `Gap` takes the place of what was lost.
 * - `dropping`: the new event is lost, and a `Gap` takes the place of what was lost.
 * - `disconnect`: the subscriber still gets what is queued, then `SubscriptionClosed`.
 *
 * A policy is written as its name, or as an object where it has a setting: `"sliding"` and `{ _tag: "sliding" }` are the
 * same. `"suspend"` has no limit.
 *
 * On a bus over an `EventJournal` nobody waits for events that come from elsewhere: a full `suspend` queue continues from
 * the journal, and is live again when it has caught up.
 *
 * Whatever the policy, no other subscriber notices, except that a publisher which waits for one subscriber has not
 * published yet.
 *
 * @since 0.1.0
 * @category models
 */
export type Policy =
  | "suspend"
  | "sliding"
  | "dropping"
  | "disconnect"
  | { readonly _tag: "suspend"; readonly limit?: Duration.DurationInput | undefined }
  | { readonly _tag: "sliding" }
  | { readonly _tag: "dropping" }
  | { readonly _tag: "disconnect" }

/**
 * The policies that need no options.
 *
 * @since 0.1.0
 * @category models
 */
export type PolicyName = Extract<Policy, string>

/**
 * What a subscriber wants, and what happens when it is slow.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<Tag extends string = string> {
  /** For reports, logs and statistics; it need not be unique. Default `"subscriber"`. */
  readonly name?: string | undefined
  /**
   * Topics of interest; one that ends in `*` stands for all that start so (`"room.*"`; `"*"` is every topic). Default:
   * every topic. An empty list is none at all.
   */
  readonly topics?: ReadonlyArray<string> | undefined
  /** Tags of the events of interest. Default: all of them. */
  readonly tags?: ReadonlyArray<Tag> | undefined
  /** How many events may wait. Default 1024. */
  readonly capacity?: number | undefined
  /** Default `suspend` with a limit of 30 seconds. */
  readonly policy?: Policy | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  name: "subscriber",
  capacity: 1024,
  policy: { _tag: "suspend", limit: "30 seconds" }
} as const satisfies Options

/**
 * The subscription gives no more events.
 *
 * - `unsubscribed`: its scope was closed. `drained`, `closed`: the bus was.
 * - `cut-off`: policy `suspend`, and nothing taken for longer than the limit.
 * - `overflow`: policy `disconnect`, and the queue was full.
 * - `failed`: the history before the live events could not be read.
 * - `diverged`: the journal lost events that it had acknowledged, or is gone.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubscriptionClosed
  extends Schema.TaggedError<SubscriptionClosed>("@holdfast/core/EventSubscription/SubscriptionClosed")(
    "SubscriptionClosed",
    {
      bus: Schema.String,
      subscriber: Schema.String,
      reason: Schema.Literal("unsubscribed", "drained", "closed", "cut-off", "overflow", "failed", "diverged"),
      /** The last event that it could have got; everything after it was not kept for this subscriber. */
      lastId: Schema.Number,
      cause: Schema.optional(Schema.Defect)
    }
  )
{
  override get message(): string {
    return `The subscription "${this.subscriber}" of ${this.bus} gives nothing after event ${this.lastId}: ${this.reason}`
  }
}

/**
 * The numbers of a subscription, counted since its start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly id: number
  readonly name: string
  readonly policy: PolicyName
  readonly capacity: number
  /** Events that wait to be taken. */
  readonly queued: number
  /** Events that were taken and are being handled; 0 unless it is a handler. */
  readonly inFlight: number
  /** Events that were taken. */
  readonly delivered: number
  /** Events that it missed, by its policy. */
  readonly dropped: number
  /** Publishers that wait for it. */
  readonly waiting: number
  /** Why it gets nothing more. */
  readonly closed?: SubscriptionClosed["reason"] | undefined
}

/**
 * A place in the bus, with a buffer of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription<out A> {
  readonly id: number
  readonly name: string
  /**
   * Everything that is queued, `max` items at most, in the order of ids; waits until there is something. May be called
   * by several fibers at once: each item goes to one of them. The array belongs to the caller.
   */
  readonly takeBatch: (max?: number) => Effect.Effect<NonEmptyReadonlyArray<Envelope<A> | Gap>, SubscriptionClosed>
  /** The same, without waiting: empty when there is nothing. */
  readonly poll: (max?: number) => Effect.Effect<ReadonlyArray<Envelope<A> | Gap>, SubscriptionClosed>
  /** `takeBatch`, until the subscription is closed. Fails when it was `cut-off`, by `overflow`, or `failed`. */
  readonly stream: Stream.Stream<Envelope<A> | Gap, SubscriptionClosed>
  readonly stats: Effect.Effect<Stats>
}

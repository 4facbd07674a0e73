/**
 * Handlers of an `EventBus`: functions that run for each event, in named fibers that the scope of the caller owns.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Envelope, Event, Gap } from "./Envelope.js"
import type * as Subscription from "./EventSubscription.js"
import type { InvalidOption } from "./InvalidOption.js"

/**
 * How a handler runs, what it retries, and what becomes of events that it cannot handle.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<A, E, R, Tag extends string = string> extends Subscription.Options<Tag> {
  /** Name of the fiber, of the subscription, and in reports. */
  readonly name: string
  /** How many events are handled at once, each in a fiber of its own. Default 1: one after the other, in order. */
  readonly concurrency?: number | undefined
  /**
   * Events with the same key are handled one after the other, in order, whatever the concurrency. Default: when the
   * concurrency is more than 1, events are handled in any order.
   */
  readonly key?: ((envelope: Envelope<A>) => string) | undefined
  /** What is tried again, and when: every failure and time-out, but no defect. Default: nothing is. */
  readonly retry?: Schedule.Schedule<unknown, E | HandlerTimeout> | undefined
  /** The longest that one attempt may take; it is interrupted then. Default: no limit. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Runs for an event that was given up, after it was logged. Publish an event of your own here. Default: nothing. */
  readonly deadLetter?: ((letter: DeadLetter<A>) => Effect.Effect<unknown, never, R>) | undefined
  /** Runs for events that the policy of the subscription lost. Default: a warning is logged. */
  readonly onGap?: ((gap: Gap) => Effect.Effect<unknown, never, R>) | undefined
}

/**
 * An attempt that took longer than the `timeout` of its handler.
 *
 * @since 0.1.0
 * @category errors
 */
export class HandlerTimeout extends Schema.TaggedError<HandlerTimeout>("@holdfast/core/EventHandler/HandlerTimeout")(
  "HandlerTimeout",
  { bus: Schema.String, handler: Schema.String, id: Schema.Number, millis: Schema.Number }
) {
  override get message(): string {
    return `Handler "${this.handler}" of ${this.bus} took more than ${this.millis} ms for event ${this.id}`
  }
}

/**
 * An event that a handler gave up.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetter<out A> {
  readonly _tag: "DeadLetter"
  readonly bus: string
  readonly handler: string
  readonly envelope: Envelope<A>
  readonly cause: Cause.Cause<unknown>
  readonly attempts: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

/**
 * What the function publishes, and what is published by fibers that it forks, has the handled event as its cause.
 *
 * @since 0.1.0
 * @category models
 */
export type Handle<A extends Event> = <E, R, const T extends A["_tag"] = A["_tag"]>(
  options: Options<Extract<A, { readonly _tag: T }>, E, R, T>,
  f: (envelope: Envelope<Extract<A, { readonly _tag: T }>>) => Effect.Effect<unknown, E, R>
) => Effect.Effect<void, InvalidOption, R | Scope.Scope>

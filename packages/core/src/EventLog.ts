/**
 * The bounded history of an `EventBus`, and how to continue from any point of it without a gap or a repeat.
 *
 * A bus keeps its newest events in memory, bounded by count, bytes and age. With an `EventLogStore` it also writes every
 * event there before anybody sees it, and reads back from there what memory no longer holds.
 *
 * **Guarantees**
 * - `subscribeAfter(id)` gives every event after `id` once, in order: first history, then live. Going live is one
 *   synchronous step, so nothing that is published meanwhile is missed or given twice.
 * - What history no longer holds is announced by a `Gap`, before anything else.
 * - Reading history never makes a publisher wait.
 *
 * **Limits**
 * - Without a store, ids start at 1 in each process. A client that comes with an id from another life is refused with
 *   `UnknownPosition` when that id has not been given yet, and cannot be told from a current one otherwise: name the
 *   process in the token that you give out, or use a store.
 * - The store is trimmed after a write: a bus that writes nothing trims nothing. Its newest event always stays. How old a
 *   stored event is can only be told by the wall clock, since it may be of another process: who sets that clock forth by a
 *   day lets events go a day earlier.
 * - An event that the schema refuses when it is read back (the union has changed) is a `Gap` of one for those who are
 *   interested in its topic and its tag, and logged once. `docs/events.md` shows how a union changes without that.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Envelope, Event, Gap } from "./Envelope.js"
import type { StoreError } from "./EventLogStore.js"
import type * as Subscription from "./EventSubscription.js"
import type { InvalidOption } from "./InvalidOption.js"

export {
  /** @since 0.1.0 */
  layerStoreMemory,
  /** @since 0.1.0 */
  Store,
  /** @since 0.1.0 */
  StoreError
} from "./EventLogStore.js"
export type {
  /** @since 0.1.0 */
  Stored
} from "./EventLogStore.js"

/**
 * How much history is kept. The oldest events go first.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<A> {
  /** Events in memory, at most. 0 keeps none. Default 4096. */
  readonly maxCount?: number | undefined
  /** Bytes in memory, at most, as told by `sizeOf`. Default: no limit. */
  readonly maxBytes?: number | undefined
  /** Events older than this are not kept in memory. Default: no limit. */
  readonly maxAge?: Duration.DurationInput | undefined
  /** Default: the length of the topic and of the event as JSON, in UTF-8. Asked only when `maxBytes` is given. */
  readonly sizeOf?: ((envelope: Envelope<A>) => number) | undefined
  /** Events in the store: when there are more than 1.25 times this many, the oldest are trimmed. Default: no limit. */
  readonly maxStored?: number | undefined
  /**
   * Bytes of the events in the store, as told by `EventLogStore.sizeOf`: the oldest are trimmed each time that a quarter of
   * this has been written. Default: no limit.
   */
  readonly maxStoredBytes?: number | undefined
  /**
   * Age of the events in the store: older ones are trimmed with the first event that is written, and from then on with one
   * that is written when a quarter of this has passed. Default: no limit.
   */
  readonly maxStoredAge?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { maxCount: 4096, limit: 1024 } as const satisfies Options<unknown> & ReadOptions

/**
 * The ids that can be read, both inclusive. Nothing can be when `first` is `last + 1`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bounds {
  readonly first: number
  readonly last: number
}

/**
 * A part of the history.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page<A> {
  /** In the order of ids. A `Gap` stands for events that history does not hold. */
  readonly items: ReadonlyArray<Envelope<A> | Gap>
  /** Continue with `after(cursor)`: everything up to here has been looked at. */
  readonly cursor: number
  /** Whether `cursor` is the newest event. */
  readonly done: boolean
}

/**
 * Which of the events to read, and how many at once.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadOptions<Tag extends string = string> {
  /** As in a subscription. */
  readonly topics?: ReadonlyArray<string> | undefined
  readonly tags?: ReadonlyArray<Tag> | undefined
  /** Items in one page, at most. Default 1024. */
  readonly limit?: number | undefined
}

/**
 * A position that is no id, or one that has not been given yet.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownPosition extends Schema.TaggedError<UnknownPosition>("@holdfast/core/EventLog/UnknownPosition")(
  "UnknownPosition",
  { bus: Schema.String, after: Schema.Number, lastId: Schema.Number }
) {
  override get message(): string {
    return `${this.bus} has no event ${this.after}: the last one is ${this.lastId}`
  }
}

/**
 * The history of a bus, and subscriptions that begin in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventLog<A extends Event> {
  readonly bounds: Effect.Effect<Bounds>
  /** Events with ids greater than `id`. */
  readonly after: <const T extends A["_tag"] = A["_tag"]>(
    id: number,
    options?: ReadOptions<T>
  ) => Effect.Effect<Page<Extract<A, { readonly _tag: T }>>, UnknownPosition | StoreError | InvalidOption>
  /** Events with ids greater than `id`, and all that come, until the scope is closed. */
  readonly subscribeAfter: <const T extends A["_tag"] = A["_tag"]>(
    id: number,
    options?: Subscription.Options<T>
  ) => Effect.Effect<
    Subscription.Subscription<Extract<A, { readonly _tag: T }>>,
    UnknownPosition | StoreError | InvalidOption,
    Scope.Scope
  >
}

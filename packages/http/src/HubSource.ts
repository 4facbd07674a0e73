/**
 * Where a hub takes its events from: the port, and an `EventBus` as its adapter.
 *
 * @since 0.1.0
 */
import type { Event } from "@holdfast/core/Envelope"
import type { EventBus } from "@holdfast/core/EventBus"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Envelope } from "./SseFormat.js"

/**
 * Where the events come from: a bus, with its log where it has one.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Source<out A> {
  /** Every event from now on. */
  readonly subscribe: Effect.Effect<Subscription<A>, never, Scope.Scope>
  /** The id of the last event that was published. */
  readonly lastId: Effect.Effect<number>
  /**
   * The last id of the whole log, where that may be ahead of this process: a client that has seen more on another node is
   * waited for, and is not told of a `gap`. Default: `lastId`.
   */
  readonly head?: Effect.Effect<number, unknown> | undefined
  /** Names the life of the log. With it, ids on the wire are `<epoch>.<number>`, and those of another epoch are unknown. */
  readonly epoch?: string | undefined
  /** Without it, sessions resume from the last `recent` events alone. */
  readonly history?: History<A> | undefined
  /**
   * What an event is as JSON, for formats without a schema of their own. Default: the event as it is. It gets events of
   * this source only.
   */
  readonly toJson?: ((event: never) => unknown) | undefined
}

/**
 * The source has no more events: it was drained or closed. Sessions get their farewell.
 *
 * @since 0.1.0
 * @category errors
 */
export class SourceClosed extends Data.TaggedError("SourceClosed")<{}> {}

/**
 * Hands out what has been published since the last time.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Subscription<out A> {
  /**
   * Waits for at least one. A `Gap` stands for events that the subscription has lost. Any failure ends the hub's sessions,
   * with the reason `drained` when it is `SourceClosed`, and `error` otherwise.
   */
  readonly takeBatch: (max: number) => Effect.Effect<ReadonlyArray<Envelope<A> | Gap>, unknown>
}

/**
 * Events that are lost to this subscriber.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Gap {
  readonly _tag: "Gap"
  readonly firstId: number
  readonly lastId: number
}

/**
 * Events of the past, for clients that come back.
 *
 * @since 0.1.0
 * @category ports
 */
export interface History<out A> {
  /** Events with greater ids, in order, of these topics. A `Gap` stands for events that are no longer kept. */
  readonly after: (
    id: number,
    options: { readonly topics: ReadonlyArray<string>; readonly limit: number }
  ) => Effect.Effect<Page<A>, unknown>
}

/**
 * A part of the history, and where the next one begins.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Page<out A> {
  readonly items: ReadonlyArray<Envelope<A> | Gap>
  /** Everything up to here has been looked at. */
  readonly cursor: number
}

/**
 * A bus as the source of a hub, with its log as history and its schema on the wire: what a client gets can be decoded with
 * the schema of the bus. The hub never makes a publisher wait: should it fall more than
 * `capacity` events behind (default 16,384), it takes what it missed from the log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBus = <A extends Event>(
  bus: EventBus<A>,
  options?: { readonly name?: string | undefined; readonly capacity?: number | undefined }
): Source<A> => ({
  subscribe: Effect.map(
    // a capacity that makes no sense dies with the error that names it
    Effect.orDie(bus.subscribe({
      name: options?.name ?? "sse",
      capacity: options?.capacity ?? 16_384,
      policy: "sliding"
    })),
    (subscription) => ({
      takeBatch: (max) =>
        Effect.mapError(
          subscription.takeBatch(max),
          (closed) => closed.reason === "drained" || closed.reason === "closed" ? new SourceClosed() : closed
        )
    })
  ),
  lastId: bus.lastId,
  head: bus.head,
  epoch: bus.epoch,
  history: { after: (id, { limit, topics }) => bus.log.after(id, { limit, topics }) },
  toJson: Schema.encodeSync(bus.schema)
})

/**
 * Whether this stands for events that were lost.
 *
 * @since 0.1.0
 * @category guards
 */
export const isGap = (one: object): one is Gap => (one as { readonly _tag?: unknown })._tag === "Gap"

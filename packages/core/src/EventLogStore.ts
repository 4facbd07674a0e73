/**
 * The port of an `EventLog` to what keeps its events: rows without types, in the order of their ids.
 *
 * **What an adapter guarantees**
 * - `append` is atomic, and durable when it returns: all rows or none.
 * - Ids are gap-free. Rows that do not continue at `last + 1` are refused with the reason `"OutOfOrder"`; nothing is
 *   written then.
 * - `last` survives `trim`, a restart, and both together: an id is never given twice.
 * - `trim` forgets the oldest rows first, so that what is left has no gaps, and never the newest one for its age or size.
 * - Every string comes back as it was, also with NUL characters or lone surrogates in it.
 *
 * `@holdfast/testing/EventStoreConformance` checks an adapter for all of this.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { utf8Length } from "./internal/utf8.js"

/**
 * One event as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stored {
  /** Gap-free, from 1. */
  readonly id: number
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly topic: string
  readonly tag: string
  /** The event, as JSON. */
  readonly payload: string
  /** Causation, depth and trace of the envelope, as JSON. */
  readonly meta: string
}

/**
 * The ids that a store holds, both inclusive. It is empty when `first` is `last + 1`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bounds {
  readonly first: number
  readonly last: number
}

/**
 * What is too much beside the rows before an id.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** Rows are forgotten, the oldest first, until those that are left have this many bytes, as told by `sizeOf`. */
  readonly bytes?: number | undefined
  /** Rows that are older than this are forgotten, up to the first one that is not. Milliseconds since the epoch. */
  readonly since?: number | undefined
}

/**
 * The length of the topic, the tag, the payload and the meta in UTF-8. An adapter may count a text otherwise that has NUL
 * characters or lone surrogates in it.
 *
 * @since 0.1.0
 * @category models
 */
export const sizeOf = ({ meta, payload, tag, topic }: Stored): number =>
  utf8Length(topic) + utf8Length(tag) + utf8Length(payload) + utf8Length(meta)

/**
 * - `OutOfOrder`: the rows do not continue where the store ends. Nothing was written.
 * - `Full`: no space. `ReadOnly`, `Io`: the medium says no. `TooBig`: a row beyond what the store can hold.
 * - `Corrupt`: the store is damaged. `Closed`: it has been closed. `Unreachable`: it is elsewhere, and nothing was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreError extends Schema.TaggedError<StoreError>("@holdfast/core/EventLog/StoreError")(
  "StoreError",
  {
    operation: Schema.Literal("append", "read", "trim", "bounds"),
    reason: Schema.Literal("OutOfOrder", "Full", "ReadOnly", "TooBig", "Corrupt", "Closed", "Unreachable", "Io"),
    details: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  override get message(): string {
    return `The event store cannot ${this.operation}: ${this.reason}, ${this.details}`
  }
}

/**
 * Where a log keeps its events.
 *
 * @since 0.1.0
 * @category tags
 */
export class Store extends Context.Tag("@holdfast/core/EventLog/Store")<Store, {
  readonly append: (rows: ReadonlyArray<Stored>) => Effect.Effect<void, StoreError>
  /** Rows with ids greater than `after`, in order, `limit` at most. */
  readonly read: (
    options: { readonly after: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<Stored>, StoreError>
  readonly bounds: Effect.Effect<Bounds, StoreError>
  /**
   * Forgets the rows with ids less than `beforeId`, and what is beyond the limits. The newest row is kept whatever its age
   * and its size.
   */
  readonly trim: (beforeId: number, limits?: Limits) => Effect.Effect<void, StoreError>
}>() {}

/**
 * Returns the reason to refuse rows that do not continue after `last`.
 *
 * @since 0.1.0
 * @category errors
 */
export const outOfOrder = (last: number, rows: ReadonlyArray<Stored>): StoreError | undefined => {
  const index = rows.findIndex((row, index) => row.id !== last + 1 + index)
  return index < 0 ? undefined : new StoreError({
    operation: "append",
    reason: "OutOfOrder",
    details: `expected id ${last + 1 + index}, got ${rows[index].id}`
  })
}

/**
 * A store that lasts as long as the layer.
 *
 * @example
 * ```ts
 * import { EventBus, EventLogStore } from "@holdfast/core"
 * import { Layer, Schema } from "effect"
 *
 * const Said = Schema.TaggedStruct("Said", { text: Schema.String })
 * class Talk extends EventBus.Tag("example/Talk")<Talk, typeof Said.Type>() {}
 *
 * const durable = Talk.layerDurable({ schema: Said }).pipe(Layer.provide(EventLogStore.layerStoreMemory))
 * console.log(Layer.isLayer(durable))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStoreMemory: Layer.Layer<Store> = Layer.sync(Store, () => {
  let rows: Array<Stored> = []
  let last = 0
  const first = () => rows.length === 0 ? last + 1 : rows[0].id
  return {
    append: (added) =>
      Effect.suspend(() => {
        const refused = outOfOrder(last, added)
        if (refused !== undefined) return refused
        for (const row of added) rows.push({ ...row })
        last += added.length
        return Effect.void
      }),
    read: ({ after, limit }) =>
      Effect.sync(() => {
        const start = Math.max(0, after + 1 - first())
        return rows.slice(start, start + Math.max(0, limit))
      }),
    bounds: Effect.sync(() => ({ first: first(), last })),
    trim: (beforeId, { bytes = Number.POSITIVE_INFINITY, since = Number.NEGATIVE_INFINITY } = {}) =>
      Effect.sync(() => {
        const newest = rows.length - 1
        let from = Math.max(0, Math.min(rows.length, beforeId - first()))
        while (from < newest && rows[from].at < since) from++
        if (bytes < Number.POSITIVE_INFINITY) {
          let kept = newest
          for (let left = bytes - (newest < 0 ? 0 : sizeOf(rows[newest])); kept > from; kept--) {
            left -= sizeOf(rows[kept - 1])
            if (left < 0) break
          }
          from = Math.max(from, kept)
        }
        rows = rows.slice(from)
      })
  }
})

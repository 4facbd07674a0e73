/**
 * Events of a bus as frames of server-sent events: `id` is the envelope's id, `event` the event's `_tag`, `data` the
 * event as JSON.
 *
 * Control frames are events too, so that a page sees them with `addEventListener`:
 *
 * | event | data | `id` |
 * |---|---|---|
 * | `gap` | `{ reason, firstId, lastId, count? }` | the last id that is missing, so that a reconnect goes on behind it |
 * | `farewell` | `{ reason, retryMillis? }`, with a `retry:` line | none |
 *
 * A heartbeat is a comment with an `id:` line: no client dispatches it, and browsers remember the id.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Format } from "./SessionSink.js"
import * as Sse from "./Sse.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Envelope<out A> {
  readonly id: number
  readonly at: number
  readonly topic: string
  readonly event: A
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<A, I = unknown> {
  /** Sessions with equal names share encoded bytes. Default: `sse`. Give each format of a hub its own. */
  readonly name?: string | undefined
  /** How an event becomes JSON. Default: `JSON.stringify` of the event as it is. */
  readonly schema?: Schema.Schema<A, I> | undefined
  /** Takes the place of `schema`: the whole frame, but for the `id`, which is the hub's. */
  readonly encode?: ((envelope: Envelope<A>) => Omit<Sse.Frame, "id">) | undefined
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, I = unknown>(options?: Options<A, I>): Format<Envelope<A>> => {
  const toJson = options?.schema === undefined ? (event: A): unknown => event : Schema.encodeSync(options.schema)
  const encode = options?.encode ?? ((envelope: Envelope<A>): Omit<Sse.Frame, "id"> => {
    const tag = (envelope.event as { readonly _tag?: unknown } | null | undefined)?._tag
    return {
      event: typeof tag === "string" ? tag : undefined,
      data: JSON.stringify(toJson(envelope.event)) ?? "null"
    }
  })
  return {
    name: options?.name ?? "sse",
    event: (envelope, id) => Sse.encodeBytes({ ...encode(envelope), id: String(id) }),
    opening: ({ retryMillis, session }) => Sse.encodeBytes({ comment: `session ${session}`, retry: retryMillis }),
    gap: (gap) =>
      Sse.encodeBytes({
        event: "gap",
        id: String(gap.lastId),
        data: JSON.stringify({ reason: gap.reason, firstId: gap.firstId, lastId: gap.lastId, count: gap.count })
      }),
    farewell: ({ reason, retryMillis }) =>
      Sse.encodeBytes({
        event: "farewell",
        retry: retryMillis,
        data: JSON.stringify({ reason, retryMillis })
      }),
    heartbeat: (position) => Sse.encodeBytes({ comment: "", id: String(position) })
  }
}

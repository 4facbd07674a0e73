/**
 * Events of a bus as frames of server-sent events: `id` is the envelope's id, `event` the event's `_tag`, `data` the
 * event as JSON.
 *
 * Control frames are events too, so that a page sees them with `addEventListener`:
 *
 * | event | data | `id` |
 * |---|---|---|
 * | `position` | `{ id }`, once, at the start | the place of the session, so that a reconnect before the first event misses nothing |
 * | `gap` | `{ reason, firstId, lastId, count? }` | the last id that is missing, so that a reconnect goes on behind it |
 * | `farewell` | `{ reason, retryMillis? }`, with a `retry:` line | none |
 *
 * A heartbeat is a comment with an `id:` line: no client dispatches it, and browsers and `SseClient` remember the id.
 *
 * An event whose name is one of these, or one that an `EventSource` uses itself (`error`, `open`), would be taken for
 * something else. It goes out with an underscore behind its name, and a name that looks so already with one more: see
 * `eventName`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Format } from "./SessionSink.js"
import * as Sse from "./Sse.js"

/**
 * An event, as a format takes it.
 *
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
 * How events become frames.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<A, I = unknown> {
  /** Sessions with equal names share encoded bytes. Default: `sse`. Give each format of a hub its own. */
  readonly name?: string | undefined
  /** How an event becomes JSON. Default: as the source of the hub encodes it, a bus by its schema. */
  readonly schema?: Schema.Schema<A, I> | undefined
  /** Takes the place of `schema`: the whole frame, but for the `id`, which is the hub's. Its event's name goes through `eventName`. */
  readonly encode?: ((envelope: Envelope<A>) => Omit<Sse.Frame, "id">) | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { name: "sse" } as const

/**
 * Names of events that mean something to the hub or to an `EventSource`.
 *
 * @since 0.1.0
 * @category names
 */
export const reservedNames = ["position", "gap", "farewell", "open", "error"] as const

/** No two names become one: each takes an underscore, whether it has some already or none. */
const reserved = new RegExp(`^(?:${reservedNames.join("|")})_*$`)

/**
 * The name on the wire of an event with this tag: the tag itself, but `gap_` for `gap`, `gap__` for `gap_`, and so on for
 * every reserved name.
 *
 * @example
 * ```ts
 * import { SseFormat } from "@holdfast/http"
 * import assert from "node:assert"
 *
 * assert.deepStrictEqual(["Said", "error", "error_"].map(SseFormat.eventName), ["Said", "error_", "error__"])
 * ```
 *
 * @since 0.1.0
 * @category names
 */
export const eventName = (tag: string): string => reserved.test(tag) ? `${tag}_` : tag

/**
 * Frames with the id of the event, its tag as name, and its JSON as data.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, I = unknown>(options?: Options<A, I>): Format<Envelope<A>> => {
  const { encode, schema } = options ?? {}
  const toJson = schema && Schema.encodeSync(schema)
  return {
    name: options?.name ?? defaults.name,
    event: (envelope, id, json) => {
      if (encode !== undefined) {
        const frame = encode(envelope)
        return Sse.encodeBytes({ ...frame, event: frame.event && eventName(frame.event), id: String(id) })
      }
      const tag = (envelope.event as { readonly _tag?: unknown } | null | undefined)?._tag
      return Sse.encodeBytes({
        event: typeof tag === "string" ? eventName(tag) : undefined,
        data: JSON.stringify(toJson === undefined ? json() : toJson(envelope.event)) ?? "null",
        id: String(id)
      })
    },
    opening: ({ position, retryMillis, session }) =>
      Sse.encodeBytes({
        comment: `session ${session}`,
        retry: retryMillis,
        event: "position",
        id: String(position),
        data: JSON.stringify({ id: position })
      }),
    gap: (gap) =>
      Sse.encodeBytes({
        event: "gap",
        id: String(gap.id),
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

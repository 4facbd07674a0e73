/**
 * Events of a bus as messages of a WebSocket: each is one JSON text message with a `_tag`.
 *
 * | `_tag` | fields | what for |
 * |---|---|---|
 * | `open` | `session`, `id`, `retryMillis` | the first message; `id` is the place to come back to until there is another |
 * | `event` | `id`, `at`, `topic`, `event` | one event; `id` is what to come back with (`?lastEventId=`) |
 * | `position` | `id` | nothing happened, but everything up to `id` was given |
 * | `gap` | `reason`, `firstId`, `lastId`, `count?`, `id` | events that this connection will not see; `id` is what to come back with |
 * | `reply` | `ref?`, `value` | what a command answered |
 * | `error` | `ref?`, `error` | a message that was refused, in the shape of `HttpErrors` |
 * | `farewell` | `reason`, `retryMillis?` | the last message, before the close |
 *
 * An `id` is a number, or a string `<epoch>.<number>` where the log has an epoch: hand it back as it came.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Format, WireId } from "./SessionSink.js"
import type { Envelope } from "./SseFormat.js"

/**
 * How events become messages.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<A, I = unknown> {
  /** Sessions with equal names share encoded bytes. Default: `websocket`. Give each format of a hub its own. */
  readonly name?: string | undefined
  /** How an event becomes JSON. Default: as the source of the hub encodes it, a bus by its schema. */
  readonly schema?: Schema.Schema<A, I> | undefined
  /** Takes the place of `schema`: the whole message, as a value for `JSON.stringify`. It must carry the `id`. */
  readonly encode?: ((envelope: Envelope<A>, id: WireId) => unknown) | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { name: "websocket" } as const

/**
 * Messages of JSON with the id of the event, its tag and its fields.
 *
 * @example
 * ```ts
 * import { WebSocketFormat } from "@holdfast/http"
 * import assert from "node:assert"
 *
 * const format = WebSocketFormat.make<{ readonly _tag: "Said" }>({ name: "chat" })
 * assert.strictEqual(format.name, "chat")
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, I = unknown>(options?: Options<A, I>): Format<Envelope<A>> => {
  const { schema } = options ?? {}
  const toJson = schema && Schema.encodeSync(schema)
  const encode = options?.encode
  return {
    name: options?.name ?? defaults.name,
    event: (envelope, id, json) =>
      message(
        encode === undefined
          ? {
            _tag: "event",
            id,
            at: envelope.at,
            topic: envelope.topic,
            event: toJson === undefined ? json() : toJson(envelope.event)
          }
          : encode(envelope, id)
      ),
    opening: ({ position, retryMillis, session }) => message({ _tag: "open", session, id: position, retryMillis }),
    gap: (gap) => message({ _tag: "gap", ...gap }),
    farewell: (info) => message({ _tag: "farewell", ...info }),
    heartbeat: (id) => message({ _tag: "position", id })
  }
}

/**
 * A value as JSON in UTF-8.
 *
 * @since 0.1.0
 * @category conversions
 */
export const message = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value))

/**
 * The wire format of server-sent events: an encoder that no value can break out of, and a typed decoder.
 *
 * - `encode` is total. CR, LF and CRLF inside `data` and `comment` become line borders, as the format has it, so a reader
 *   sees LF for each of them. In `event` and `id`, which are one line by definition, CR, LF and NUL become U+FFFD: a
 *   hostile name is visible and harmless, and never a second event. `retry` is written only as ASCII digits.
 * - Lone surrogates become U+FFFD on the wire, because the stream is UTF-8.
 * - `decode` follows the HTML standard through eventsource-parser: characters split over chunk borders, one byte order
 *   mark at the start, CR, LF and CRLF, an unfinished last event is discarded. One limit of that parser: an `id:` in a
 *   block without `data:` is not seen.
 * - The decoder fails on an event of more than `maxFrameLength` characters and holds no more than that and one chunk.
 *
 * It is not a connection: see `SseClient` for reconnecting, `SseHub` and `SseRoute` for serving.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { createParser } from "eventsource-parser"

/**
 * One block on the wire. A frame without `data` is not dispatched by clients, but its `retry` and `comment` count.
 *
 * @since 0.1.0
 * @category models
 */
export interface Frame {
  readonly event?: string | undefined
  readonly id?: string | undefined
  readonly data?: string | undefined
  /** The client's delay before it reconnects. */
  readonly retry?: Duration.DurationInput | undefined
  readonly comment?: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export type Incoming = Message | Retry | Comment

/**
 * `lastEventId` is the id that a client would send if the connection broke after this message.
 *
 * @since 0.1.0
 * @category models
 */
export interface Message {
  readonly _tag: "Message"
  readonly event: string
  readonly data: string
  readonly id: string | undefined
  readonly lastEventId: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Retry {
  readonly _tag: "Retry"
  readonly millis: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Comment {
  readonly _tag: "Comment"
  readonly comment: string
}

/**
 * The peer sent an event longer than `limit` characters.
 *
 * @since 0.1.0
 * @category errors
 */
export class FrameTooLarge extends Data.TaggedError("FrameTooLarge")<{ readonly limit: number }> {
  /** @since 0.1.0 */
  override get message() {
    return `an event is longer than ${this.limit} characters`
  }
}

/**
 * @since 0.1.0
 * @category encoding
 */
export const contentType = "text/event-stream"

/**
 * @example
 * ```ts
 * import { Sse } from "@holdfast/http"
 *
 * console.log(Sse.encode({ id: "7", event: "said", data: "hello\nworld" }))
 * ```
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (frame: Frame): string => {
  let out = ""
  if (frame.comment !== undefined) {
    out += lines(": ", frame.comment)
  }
  if (frame.retry !== undefined) {
    const retry = Duration.decodeUnknown(frame.retry)
    const millis = retry._tag === "Some" ? Math.round(Duration.toMillis(retry.value)) : Number.NaN
    if (Number.isSafeInteger(millis)) {
      out += `retry: ${millis}\n`
    }
  }
  if (frame.event !== undefined) {
    out += `event: ${oneLine(frame.event)}\n`
  }
  if (frame.id !== undefined) {
    out += `id: ${oneLine(frame.id)}\n`
  }
  if (frame.data !== undefined) {
    out += lines("data: ", frame.data)
  }
  return out === "" ? "" : `${out}\n`
}

/**
 * @since 0.1.0
 * @category encoding
 */
export const encodeBytes = (frame: Frame): Uint8Array => encoder.encode(encode(frame))

const encoder = new TextEncoder()

const lineBreak = /\r\n|\r|\n/g

const lines = (prefix: string, text: string): string =>
  text.includes("\n") || text.includes("\r")
    ? `${prefix}${text.replace(lineBreak, `\n${prefix}`)}\n`
    : `${prefix}${text}\n`

// eslint-disable-next-line no-control-regex -- these are the characters that end a line or void an id
const breaking = /[\r\n\0]/g

const oneLine = (text: string): string => text.replace(breaking, "\uFFFD")

/**
 * @since 0.1.0
 * @category decoding
 */
export interface DecodeOptions {
  /** Characters of one event. Default: 1,048,576. */
  readonly maxFrameLength?: number | undefined
  /** The id known from before, kept until the stream sets another. Default: the empty string. */
  readonly lastEventId?: string | undefined
}

/**
 * @since 0.1.0
 * @category decoding
 */
export interface Decoder {
  /** What the bytes completed, in order. Throws `FrameTooLarge`. */
  readonly unsafeFeed: (bytes: Uint8Array) => Array<Incoming>
}

/**
 * The decoder as a plain object, for code outside of streams.
 *
 * @since 0.1.0
 * @category decoding
 */
export const unsafeMakeDecoder = (options?: DecodeOptions): Decoder => {
  const limit = options?.maxFrameLength ?? 1024 * 1024
  const text = new TextDecoder()
  let lastEventId = options?.lastEventId ?? ""
  let out: Array<Incoming> = []
  let tooLarge = false
  const parser = createParser({
    maxBufferSize: limit,
    onEvent: (event) => {
      if (event.id !== undefined) {
        lastEventId = event.id
      }
      tooLarge = tooLarge || event.data.length > limit
      out.push({ _tag: "Message", event: event.event ?? "message", data: event.data, id: event.id, lastEventId })
    },
    onRetry: (millis) => out.push({ _tag: "Retry", millis }),
    onComment: (comment) => out.push({ _tag: "Comment", comment }),
    onError: (error) => {
      tooLarge = tooLarge || error.type === "max-buffer-size-exceeded"
    }
  })
  return {
    unsafeFeed: (bytes) => {
      if (!tooLarge) {
        parser.feed(text.decode(bytes, { stream: true }))
      }
      if (tooLarge) {
        throw new FrameTooLarge({ limit })
      }
      const complete = out
      out = []
      return complete
    }
  }
}

/**
 * A stream of bytes, in any chunks, as messages, retries and comments.
 *
 * @example
 * ```ts
 * import { Sse } from "@holdfast/http"
 * import { Effect, Stream } from "effect"
 *
 * const program = Stream.make("data: a\n", "\ndata: b\n\n").pipe(Stream.encodeText, Sse.decode(), Stream.runCollect)
 * Effect.runPromise(program).then((messages) => console.log(messages.length))
 * ```
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode =
  (options?: DecodeOptions) =>
  <E, R>(bytes: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Incoming, E | FrameTooLarge, R> =>
    Stream.suspend(() => {
      const decoder = unsafeMakeDecoder(options)
      return Stream.mapChunksEffect(bytes, (chunk) =>
        Effect.try({
          try: () => {
            const out: Array<Incoming> = []
            for (const part of chunk) {
              out.push(...decoder.unsafeFeed(part))
            }
            return Chunk.unsafeFromArray(out)
          },
          catch: (error) => {
            if (error instanceof FrameTooLarge) {
              return error
            }
            throw error
          }
        }))
    })

/**
 * The wire format of server-sent events: an encoder that no value can break out of, and a typed decoder.
 *
 * - `encode` is total. CR, LF and CRLF inside `data` and `comment` become line borders, as the format has it, so a reader
 *   sees LF for each of them. In `event` and `id`, which are one line by definition, CR, LF and NUL become U+FFFD: a
 *   hostile name is visible and harmless, and never a second event. `retry` is written only as ASCII digits.
 * - Lone surrogates become U+FFFD on the wire, because the stream is UTF-8.
 * - `decode` follows the HTML standard (9.2.6): characters split over chunk borders, one byte order mark at the start, CR,
 *   LF and CRLF, an unfinished last event is discarded, an `id:` in a block without `data:` counts.
 * - The decoder fails on an event of more than `maxFrameLength` characters and holds no more than that and one chunk.
 *
 * It is not a connection: see `SseClient` for reconnecting, `SseHub` and `SseRoute` for serving.
 *
 * @since 0.1.0
 */
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

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
 * What a stream can bring.
 *
 * @since 0.1.0
 * @category models
 */
export type Incoming = Message | Position | Retry | Comment

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
 * A block with an `id:` and without `data:`. Nothing is dispatched, but it is the id that a client would send from now on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Position {
  readonly _tag: "Position"
  readonly lastEventId: string
}

/**
 * The time after which to reconnect, in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retry {
  readonly _tag: "Retry"
  readonly millis: number
}

/**
 * A line that means nothing; a heartbeat, as a rule.
 *
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
 * `text/event-stream`.
 *
 * @since 0.1.0
 * @category encoding
 */
export const contentType = "text/event-stream"

/**
 * A frame as text. Line breaks in its fields cannot begin another field.
 *
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
 * `encode`, as UTF-8.
 *
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
 * The largest frame, and the id to begin with.
 *
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
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  /** Characters. */
  maxFrameLength: 1024 * 1024
} as const

/**
 * Takes bytes as they come, and hands out what is complete.
 *
 * @since 0.1.0
 * @category decoding
 */
export interface Decoder {
  /** What the bytes completed, in order. Throws `FrameTooLarge`. */
  readonly unsafeFeed: (bytes: Uint8Array) => Array<Incoming>
}

/**
 * The decoder as a plain object, for code outside of streams. Throws `InvalidOption` for a length that makes no sense.
 *
 * @since 0.1.0
 * @category decoding
 */
export const unsafeMakeDecoder = (options?: DecodeOptions): Decoder =>
  new StandardDecoder(
    InvalidOption.unsafeWhole("Sse.maxFrameLength", options?.maxFrameLength ?? defaults.maxFrameLength, {
      min: 1,
      infinite: true
    }),
    options?.lastEventId ?? ""
  )

/** The algorithm of the HTML standard, 9.2.6, over chunks. */
class StandardDecoder implements Decoder {
  private readonly text = new TextDecoder()
  private out: Array<Incoming> = []
  /** A line that is not complete, in the chunks in which it came. */
  private parts: Array<string> = []
  private pending = 0
  /** The last chunk ended in CR: a LF that follows belongs to it. */
  private afterCr = false
  private data = ""
  /** Whether the block has a `data` line: an empty one is dispatched, too. */
  private hasData = false
  private type = ""
  private id: string | undefined
  private tooLarge = false

  constructor(private readonly limit: number, private lastEventId: string) {}

  unsafeFeed(bytes: Uint8Array): Array<Incoming> {
    if (!this.tooLarge) {
      this.feed(this.text.decode(bytes, { stream: true }))
    }
    if (this.tooLarge) {
      throw new FrameTooLarge({ limit: this.limit })
    }
    const complete = this.out
    this.out = []
    return complete
  }

  private feed(chunk: string): void {
    let at = 0
    if (this.afterCr && chunk.length > 0) {
      this.afterCr = false
      if (chunk.charCodeAt(0) === 10) {
        at = 1
      }
    }
    let lf = chunk.indexOf("\n", at)
    let cr = chunk.indexOf("\r", at)
    while (lf !== -1 || cr !== -1) {
      const end = lf === -1 || (cr !== -1 && cr < lf) ? cr : lf
      this.line(chunk.slice(at, end))
      at = end + 1
      if (end === cr) {
        if (at === chunk.length) {
          this.afterCr = true
        } else if (lf === at) {
          at++
        }
        cr = chunk.indexOf("\r", at)
      }
      if (lf !== -1 && lf < at) {
        lf = chunk.indexOf("\n", at)
      }
    }
    if (at < chunk.length) {
      this.parts.push(at === 0 ? chunk : chunk.slice(at))
      this.pending += chunk.length - at
    }
    if (this.pending + this.data.length > this.limit) {
      this.tooLarge = true
    }
  }

  private line(end: string): void {
    let line = end
    if (this.parts.length > 0) {
      this.parts.push(end)
      line = this.parts.join("")
      this.parts = []
      this.pending = 0
    }
    if (line === "") {
      return this.dispatch()
    }
    const colon = line.indexOf(":")
    if (colon === 0) {
      this.out.push({ _tag: "Comment", comment: line.slice(line.charCodeAt(1) === 32 ? 2 : 1) })
      return
    }
    const name = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? "" : line.slice(line.charCodeAt(colon + 1) === 32 ? colon + 2 : colon + 1)
    switch (name) {
      case "data":
        this.data = this.hasData ? `${this.data}\n${value}` : value
        this.hasData = true
        return
      case "event":
        this.type = value
        return
      case "id":
        if (!value.includes("\0")) {
          this.id = value
        }
        return
      case "retry":
        if (/^[0-9]+$/.test(value)) {
          this.out.push({ _tag: "Retry", millis: Number(value) })
        }
    }
  }

  private dispatch(): void {
    const { data, hasData, id, type } = this
    this.data = this.type = ""
    this.hasData = false
    this.id = undefined
    if (id !== undefined) {
      this.lastEventId = id
    }
    if (hasData) {
      this.tooLarge ||= data.length > this.limit
      this.out.push({ _tag: "Message", event: type || "message", data, id, lastEventId: this.lastEventId })
    } else if (id !== undefined) {
      this.out.push({ _tag: "Position", lastEventId: id })
    }
  }
}

/**
 * A stream of bytes, in any chunks, as messages, positions, retries and comments.
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

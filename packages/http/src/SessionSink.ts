/**
 * The ports between a hub and its connections: what the hub writes (`Format`, `Frame`, `Payload`), what it writes to
 * (`Sink`), and how a request becomes one (`Transport`).
 *
 * A sink is synchronous on purpose. The hub writes the same bytes to every session of a topic in one loop; a fiber, a
 * queue or a promise per write costs more than the write (docs/sse.md, "Measured").
 *
 * `portable` serves over `HttpServerResponse.stream` and runs on every platform. `@holdfast/node/NodeSseSink` writes
 * shared buffers to the socket of a `ServerResponse`.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/**
 * Why a session ended.
 *
 * - `client-left`: the connection closed from the other side.
 * - `slow`: the reader took nothing for the send time-out, or its buffer ran over under the policy `disconnect`.
 * - `expired`: the authorisation ended. `drained`: the hub is shutting down. `replaced`: the principal connected anew.
 * - `error`: the transport or the source of events failed.
 *
 * @since 0.1.0
 * @category models
 */
export type EndReason = "client-left" | "slow" | "expired" | "drained" | "replaced" | "error" | (string & {})

/**
 * The id of an event as clients see it, and come back with: a number, or `<epoch>.<number>` where the log has an epoch.
 *
 * @since 0.1.0
 * @category models
 */
export type WireId = number | string

/**
 * One encoded event or control message. `id` is that of the event, undefined for what is not an event.
 *
 * @since 0.1.0
 * @category models
 */
export interface Frame {
  readonly bytes: Uint8Array
  readonly id: number | undefined
}

/**
 * Frames that are written together. It is shared by all sessions that get the same frames, so its bytes are immutable.
 *
 * @since 0.1.0
 * @category models
 */
export class Payload {
  readonly byteLength: number
  /** How many of the frames are events. */
  readonly events: number
  /** The greatest id of an event in it. */
  readonly lastId: number | undefined
  /** A sink's own form of the bytes (for example with the framing of its transport), made once for all its sessions. */
  memo: unknown = undefined
  private joined: Uint8Array | undefined

  constructor(readonly frames: ReadonlyArray<Frame>) {
    let length = 0
    let events = 0
    let lastId: number | undefined
    for (let i = 0; i < frames.length; i++) {
      const { bytes, id } = frames[i]
      length += bytes.length
      if (id !== undefined) {
        events++
        lastId = id
      }
    }
    this.byteLength = length
    this.events = events
    this.lastId = lastId
  }

  /** All frames in one piece. */
  get bytes(): Uint8Array {
    if (this.joined === undefined) {
      if (this.frames.length === 1) {
        this.joined = this.frames[0].bytes
      } else {
        this.joined = new Uint8Array(this.byteLength)
        let at = 0
        for (const frame of this.frames) {
          this.joined.set(frame.bytes, at)
          at += frame.bytes.length
        }
      }
    }
    return this.joined
  }
}

/**
 * Events that the session will not see. Both ids are inclusive.
 *
 * - `history`: it asked for more than is still kept.
 * - `overflow`: its buffer ran over and the policy dropped them.
 * - `reset`: it came with an id that this log has never given, or gave in another epoch, so it starts anew at `lastId`.
 *
 * @since 0.1.0
 * @category models
 */
export interface GapInfo {
  readonly reason: "history" | "overflow" | "reset"
  readonly firstId: number
  readonly lastId: number
  /** How many events of its topics, where that is known. */
  readonly count?: number | undefined
}

/**
 * What a session is told first.
 *
 * @since 0.1.0
 * @category models
 */
export interface GapNotice extends GapInfo {
  /** What to come back with: `lastId` on the wire. */
  readonly id: WireId
}

/**
 * What a session is told first.
 *
 * @since 0.1.0
 * @category models
 */
export interface Opening {
  readonly session: string
  readonly retryMillis: number
  /**
   * The id up to which the session has been given everything that it follows. A client that loses the connection before
   * its first event comes back with this id, and misses nothing.
   */
  readonly position: WireId
}

/**
 * How one kind of client reads: server-sent events, messages of a WebSocket.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Format<in Envelope> {
  /** Sessions with the same name share their encoded bytes. */
  readonly name: string
  /**
   * One event. `id` is the client's place in the log, greater than the envelope's own when an older event is late. `json`
   * returns the event as its source encodes it.
   */
  readonly event: (envelope: Envelope, id: WireId, json: () => unknown) => Uint8Array
  /** The first thing on a connection: it makes headers leave the server, and tells the client its place in the log. */
  readonly opening: (info: Opening) => Uint8Array
  readonly gap: (gap: GapNotice) => Uint8Array
  /** The last thing on a connection that the server ends. */
  readonly farewell: (
    info: { readonly reason: EndReason; readonly retryMillis: number | undefined }
  ) => Uint8Array
  /**
   * What is sent when nothing was for a while; undefined where the transport has its own. `position` is the last id that
   * the session has been given everything up to, so that a quiet topic does not fall behind history.
   */
  readonly heartbeat: (position: WireId) => Uint8Array | undefined
}

/**
 * What a sink tells its session.
 *
 * @since 0.1.0
 * @category ports
 */
export interface SinkHandlers {
  /** There is room again after a `write` that answered false. */
  readonly onReady: () => void
  /** The connection is gone, or was refused by the transport. Called once at most. */
  readonly onClose: (reason: EndReason) => void
}

/**
 * One connection, write side. All methods are synchronous and never throw.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Sink {
  /** Begins: sends the head of the response. Nothing may leave before it. */
  readonly start: (handlers: SinkHandlers) => void
  /** Takes the payload, always. False: no more until `onReady`, or it will be held in memory without a bound. */
  readonly write: (payload: Payload) => boolean
  /** Bytes taken and not yet given to the transport. */
  readonly buffered: () => number
  /** Ends the connection in order, after what was written. */
  readonly end: () => void
  /** Ends the connection at once, whatever was written. */
  readonly destroy: () => void
}

/**
 * A session as its transport sees it.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Opened {
  readonly id: string
  readonly awaitEnd: Effect.Effect<unknown>
  /** What the session holds. Whoever has it closes it, once, when the session has ended or its fiber was interrupted. */
  readonly scope: Scope.CloseableScope
}

/**
 * How a request becomes a sink. `respond` takes the session's scope over and answers what the handler returns: a stream,
 * or nothing where the sink wrote the response itself.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Connection {
  readonly sink: Sink
  readonly respond: (opened: Opened) => Effect.Effect<HttpServerResponse.HttpServerResponse, never, Scope.Scope>
}

/**
 * The method of a request whose server tells its streams that it stops, before it cuts them off. The callback is called
 * once at most, and at once when the server stops already.
 *
 * @since 0.1.0
 * @category ports
 */
export const onStop: unique symbol = Symbol.for("@holdfast/http/SessionSink/onStop")

/**
 * A sink that can be told to stop.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Stoppable {
  readonly [onStop]: (f: () => void) => void
}

/**
 * Calls back when the server of the request stops and nobody else has ended the stream: a server under a `Lifecycle`
 * leaves that to the hub. Never on a server that does not tell.
 *
 * @since 0.1.0
 * @category combinators
 */
export const whenStopped = (request: HttpServerRequest.HttpServerRequest, f: () => void): void => {
  if (Predicate.hasProperty(request, onStop)) {
    ;(request as unknown as Stoppable)[onStop](f)
  }
}

/**
 * The transport in use: `portable`, unless a layer such as `NodeSseSink.layer` says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class Transport extends Context.Reference<Transport>()("@holdfast/http/SessionSink/Transport", {
  defaultValue: (): TransportService => portable
}) {}

/**
 * How a response becomes a connection that can be written to.
 *
 * @since 0.1.0
 * @category ports
 */
export interface TransportService {
  readonly connect: (
    request: HttpServerRequest.HttpServerRequest,
    head: { readonly headers: Readonly<Record<string, string>> }
  ) => Effect.Effect<Connection>
}

/** Bytes that wait for the consumer before the portable sink says that it is full. */
const portableHighWater = 64 * 1024

/**
 * Serves over `HttpServerResponse.stream`. What a session is sent waits in the sink until the platform pulls it. The
 * platform gives no way to a connection: a reader that stalls loses its session and its slot in time, and the fiber of
 * the response is interrupted; when the socket goes is up to the server.
 *
 * @since 0.1.0
 * @category transports
 */
export const portable: TransportService = {
  connect: (_request, head) =>
    Effect.withFiberRuntime((fiber) => {
      let handlers: SinkHandlers | undefined
      let waiting: ((next: Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<never>>) => void) | undefined
      let parts: Array<Uint8Array> = []
      let buffered = 0
      let full = false
      let state: "open" | "ending" | "gone" = "open"

      const take = () => {
        const chunk = Chunk.unsafeFromArray(parts)
        parts = []
        buffered = 0
        return Effect.succeed(chunk)
      }
      const pull: Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<never>> = Effect.async((resume) => {
        if (full && state === "open") {
          full = false
          // what is ready joins the bytes that are about to go
          handlers?.onReady()
        }
        if (parts.length > 0 && state !== "gone") {
          return resume(take())
        }
        if (state !== "open") {
          return resume(Effect.fail(Option.none()))
        }
        waiting = resume
        return Effect.sync(() => {
          waiting = undefined
        })
      })
      const wake = (next: Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<never>>) => {
        const resume = waiting
        waiting = undefined
        resume?.(next)
      }

      const sink: Sink = {
        start: (given) => {
          handlers = given
        },
        write: (payload) => {
          if (state !== "open") {
            return true
          }
          parts.push(payload.bytes)
          if (waiting !== undefined) {
            wake(take())
            return true
          }
          buffered += payload.byteLength
          full = buffered >= portableHighWater
          return !full
        },
        buffered: () => buffered,
        end: () => {
          if (state === "open") {
            state = "ending"
            wake(Effect.fail(Option.none()))
          }
        },
        destroy: () => {
          if (state !== "gone") {
            state = "gone"
            parts = []
            wake(Effect.fail(Option.none()))
            fiber.unsafeInterruptAsFork(fiber.id())
          }
        }
      }
      return Effect.succeed<Connection>({
        sink,
        respond: ({ scope }) =>
          Effect.as(
            Effect.addFinalizer((exit) => Scope.close(scope, exit)),
            HttpServerResponse.stream(Stream.repeatEffectChunkOption(pull), {
              contentType: head.headers["content-type"],
              headers: head.headers
            })
          )
      })
    })
}

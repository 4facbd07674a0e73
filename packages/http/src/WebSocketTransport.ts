/**
 * The port between `WebSocketRoute` and a platform's WebSockets.
 *
 * A request that can be upgraded carries the method `accept`: `NodeServer` puts it there. Requests of other servers are
 * served by `portable`, over `HttpServerRequest.upgrade`, with what that offers: no pings, no view of what the peer has
 * not taken yet, and a message's size known only once it has arrived.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Socket from "@effect/platform/Socket"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Inbox } from "@holdfast/core/Inbox"
import * as Race from "@holdfast/core/Race"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as HttpErrors from "./HttpErrors.js"
import type { EndReason, Sink, SinkHandlers } from "./SessionSink.js"

/**
 * The limits of a WebSocket. `closeTimeout` is in milliseconds.
 *
 * @since 0.1.0
 * @category options
 */
export interface AcceptOptions {
  /** Bytes of an inbound message; a larger one closes the connection with code 1009. */
  readonly maxMessageBytes: number
  /** Subprotocols in the server's order of preference. */
  readonly protocols: ReadonlyArray<string>
  /** How long the peer may take to answer a close, milliseconds. */
  readonly closeTimeout: number
}

/**
 * What is called when a peer sends something.
 *
 * @since 0.1.0
 * @category models
 */
export interface PeerHandlers {
  readonly onMessage: (data: string | Uint8Array) => void
  /** Anything at all came from the peer, a pong for instance. */
  readonly onSign: () => void
}

/**
 * One WebSocket on the server's side. The connection is upgraded when its sink is started, so that it can be refused with
 * a status until then. All methods are synchronous and never throw.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Peer {
  /** Writes each frame of a payload as one text message. */
  readonly sink: Sink
  /** Called before the start. */
  readonly listen: (handlers: PeerHandlers) => void
  /** Where the platform can tell: bytes that have come so far, as a part of a message, too. More of them is a sign of life. */
  readonly received?: () => number
  /** False where the platform has no pings. */
  readonly ping: () => boolean
  /** Stops reading, for back-pressure, until `resume`. False where the platform cannot. */
  readonly pause: () => boolean
  readonly resume: () => void
  /** Ends in order, after what was written. The first call counts. */
  readonly close: (code: number, reason: string) => void
  /** Waits until the close no longer needs the request's fiber; no longer than `closeTimeout`. */
  readonly released: Effect.Effect<void>
  /**
   * Where the server can: goes on in a fiber of its own, which waits for `until` and runs `finish` with its exit, and lets the
   * fiber of the request end with everything on its stack. False, or no such method: the request's fiber has to wait.
   */
  readonly handOver?: (
    name: string,
    until: Effect.Effect<unknown>,
    finish: (exit: Exit.Exit<unknown>) => Effect.Effect<void>
  ) => boolean
}

/**
 * Refuses what is no handshake of RFC 6455 (4.2.1), before anything is acquired: 426 for a plain request or another version,
 * 400 for a key or a list of subprotocols that is malformed.
 *
 * @since 0.1.0
 * @category conversions
 */
export const checkHandshake = (
  { headers }: Pick<HttpServerRequest.HttpServerRequest, "headers">
): Effect.Effect<void, HttpErrors.HttpError> => {
  if (!/\bupgrade\b/i.test(headers["connection"] ?? "") || (headers["upgrade"] ?? "").toLowerCase() !== "websocket") {
    return HttpErrors.make("UpgradeRequired", "this is a WebSocket", { field: "upgrade", expected: "websocket" }, {
      headers: { upgrade: "websocket" }
    })
  }
  if (headers["sec-websocket-version"] !== "13") {
    return HttpErrors.make(
      "UpgradeRequired",
      "this version of WebSocket is not spoken here",
      { field: "sec-websocket-version", expected: "13" },
      { headers: { upgrade: "websocket", "sec-websocket-version": "13" } }
    )
  }
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers["sec-websocket-key"] ?? "")) {
    return HttpErrors.make("BadRequest", "the handshake has no valid key", {
      field: "sec-websocket-key",
      expected: "16 bytes in base64"
    })
  }
  const protocols = headers["sec-websocket-protocol"]
  return protocols === undefined || isListOfTokens(protocols)
    ? Effect.void
    : HttpErrors.make("BadRequest", "the subprotocols are malformed", {
      field: "sec-websocket-protocol",
      expected: "names between commas, each once"
    })
}

/** Tokens (RFC 9110, 5.6.2), none of them empty or twice (RFC 6455, 4.1). */
const isListOfTokens = (list: string): boolean => {
  const names = list.split(",").map((name) => name.replace(/^[ \t]+|[ \t]+$/g, ""))
  return new Set(names).size === names.length && names.every((name) => /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name))
}

/**
 * The method of a request that can be upgraded.
 *
 * @since 0.1.0
 * @category ports
 */
export const accept: unique symbol = Symbol.for("@holdfast/http/WebSocketTransport/accept")

/**
 * A request that can become a WebSocket.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Upgradable {
  readonly [accept]: (options: AcceptOptions) => Effect.Effect<Peer, HttpErrors.HttpError, Scope.Scope>
}

/**
 * The request's own way, else the portable one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const connect = (
  request: HttpServerRequest.HttpServerRequest,
  options: AcceptOptions
): Effect.Effect<Peer, HttpErrors.HttpError, Scope.Scope> =>
  Predicate.hasProperty(request, accept)
    ? (request as unknown as Upgradable)[accept](options)
    : portable(request, options)

/** Bytes on their way to the platform's socket before the portable sink says that it is full. */
const portableHighWater = 64 * 1024

/**
 * Over the platform's `Socket`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const portable = (
  request: HttpServerRequest.HttpServerRequest,
  options: AcceptOptions
): Effect.Effect<Peer, HttpErrors.HttpError, Scope.Scope> =>
  Effect.gen(function*() {
    const socket = yield* Effect.mapError(
      request.upgrade,
      (error) => HttpErrors.make("UpgradeRequired", "the request cannot be upgraded", {}, { cause: error })
    )
    const fiberId = yield* Effect.fiberId
    const begun = Deferred.unsafeMake<void>(fiberId)
    const gone = Deferred.unsafeMake<void>(fiberId)
    const ended = Deferred.unsafeMake<void>(fiberId)
    const outgoing = new Inbox<string | Socket.CloseEvent>()
    let handlers: SinkHandlers | undefined
    let peer: PeerHandlers | undefined
    let buffered = 0
    let full = false
    let fallback: ReturnType<typeof setTimeout> | undefined
    let ending = false
    let closed = false

    const close = (code: number, reason: string) => {
      clearTimeout(fallback)
      if (!ending) {
        ending = true
        outgoing.unsafeOffer(new Socket.CloseEvent(code, closeReason(reason)))
      }
    }
    const closedBy = (reason: EndReason) =>
      Effect.sync(() => {
        clearTimeout(fallback)
        if (!closed) {
          closed = true
          ending = true
          handlers?.onClose(reason)
          Deferred.unsafeDone(ended, Effect.void)
        }
      })
    const receive = (data: string | Uint8Array) => {
      if (closed || ending) {
        return
      }
      peer?.onSign()
      if ((typeof data === "string" ? data.length : data.byteLength) > options.maxMessageBytes) {
        close(1009, "the message is too large")
      } else {
        peer?.onMessage(data)
      }
    }
    const send = Effect.flatMap(socket.writer, (write) =>
      outgoing.each(([message], restore) =>
        restore(Effect.flatMap(write(message), () => {
          if (Socket.isCloseEvent(message)) {
            return Effect.zipRight(Effect.sleep(options.closeTimeout), Effect.fail("late" as const))
          }
          buffered -= message.length
          if (full && buffered < portableHighWater) {
            full = false
            handlers?.onReady()
          }
          return Effect.void
        }))
      ))

    const run = Effect.zipRight(
      Deferred.await(begun),
      Race.first(
        Race.first(Effect.exit(socket.runRaw(receive)), Effect.exit(Effect.scoped(send))),
        Deferred.await(gone)
      )
    )
    yield* FiberRegistry.forkFinally(run, { name: "websocket", kind: "session" }, () =>
      closedBy("client-left"))

    return {
      sink: {
        start: (given) => {
          handlers = given
          Deferred.unsafeDone(begun, Effect.void)
        },
        write: (payload) => {
          if (ending) {
            return true
          }
          for (const frame of payload.frames) {
            const text = new TextDecoder().decode(frame.bytes)
            buffered += text.length
            outgoing.unsafeOffer(text)
          }
          full = buffered >= portableHighWater
          return !full
        },
        buffered: () =>
          buffered,
        end: () => {
          // Whoever waits for the session's end knows the reason, and with it the code. This is for when nobody does.
          fallback ??= setTimeout(() => close(1001, ""), 500)
        },
        destroy: () => Deferred.unsafeDone(gone, Effect.void)
      },
      listen: (given) => {
        peer = given
      },
      ping: () => false,
      pause: () => false,
      resume: () => {},
      close,
      released: Deferred.await(ended)
    }
  })

/**
 * The close code that goes with a reason to end.
 *
 * @since 0.1.0
 * @category conversions
 */
export const closeCode = (reason: EndReason): number => {
  switch (reason) {
    case "drained":
      return 1001
    case "error":
      return 1011
    case "slow":
      return 1013
    case "expired":
      return 4401
    case "kicked":
    case "banned":
      return 4403
    case "replaced":
      return 4409
    default:
      return 1000
  }
}

/** What a close frame has room for beside its code (RFC 6455, 5.5), in bytes. */
const reasonBytes = 123

/**
 * The reason as far as a close frame can carry it, cut at the border of a character.
 *
 * @example
 * ```ts
 * import { WebSocketTransport } from "@holdfast/http"
 * import assert from "node:assert"
 *
 * assert.strictEqual(WebSocketTransport.closeReason("too slow"), "too slow")
 * ```
 *
 * @since 0.1.0
 * @category conversions
 */
export const closeReason = (reason: string): string => {
  const bytes = new TextEncoder().encode(reason)
  let end = Math.min(bytes.length, reasonBytes)
  while (end < bytes.length && end > 0 && (bytes[end] & 0xc0) === 0x80) {
    end--
  }
  return end === bytes.length ? reason : new TextDecoder().decode(bytes.subarray(0, end))
}

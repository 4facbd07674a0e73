/**
 * The fast path of `SseHub` on Node.js: shared buffers, written to the socket as they are.
 *
 * A `ServerResponse` frames and corks each write on its own, for each connection. Here the chunk with its framing is made
 * once per payload and goes to every socket of the group in one write call. The response still owns the head, the end and
 * the connection; only the chunks in between go past it.
 *
 * - A reader that does not read fills its kernel buffers, then `highWaterMark` bytes of its socket (Node's own, 16 to 64
 *   KiB), then the session's buffer, and never more.
 * - `destroy` destroys the socket: nothing else frees a write that waits.
 * - HTTP/1.0 gets no framing and ends with the connection. A response that waits for an earlier one on its connection, and
 *   one over HTTP/2, is written through the response, at its cost.
 *
 * The head is that of the response as it leaves the application: headers and cookies of middleware are on it. Without the
 * platform's `HttpApp.toHandled`, or a server that uses it, nothing begins.
 *
 * It works with `NodeServer` and with the platform's own `NodeHttpServer`. Requests from elsewhere are served by the
 * portable transport.
 *
 * @since 0.1.0
 */
import * as Cookies from "@effect/platform/Cookies"
import * as HttpApp from "@effect/platform/HttpApp"
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as SessionSink from "@holdfast/http/SessionSink"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import type * as Net from "node:net"
import { handOver } from "./internal/server/request.js"
import { discardUnread } from "./internal/server/response.js"
import { markLongLived } from "./NodeRequest.js"

const crlf = Buffer.from("\r\n")

/** The payload as one chunk of the chunked coding. All sessions write the same buffer. */
const chunked = (payload: SessionSink.Payload): Buffer => {
  if (payload.memo === undefined) {
    const parts: Array<Uint8Array> = [Buffer.from(`${payload.byteLength.toString(16)}\r\n`, "latin1")]
    for (const frame of payload.frames) {
      parts.push(frame.bytes)
    }
    parts.push(crlf)
    payload.memo = Buffer.concat(parts)
  }
  return payload.memo as Buffer
}

/** Bytes that may wait for the head. */
const heldHighWater = 64 * 1024

/**
 * One event stream over a `ServerResponse`. What it is sent waits until `begin` has the final head of the response.
 *
 * @since 0.1.0
 * @category sinks
 */
export class NodeSseSink implements SessionSink.Sink {
  private handlers: SessionSink.SinkHandlers | undefined
  /** Set while chunks may go past the response. */
  private socket: Net.Socket | undefined
  private closed = false
  /** What waits for the head; undefined when that was sent. */
  private held: Array<SessionSink.Payload> | undefined = []
  private heldBytes = 0
  private ended = false

  constructor(private readonly response: Http.ServerResponse) {}

  start(handlers: SessionSink.SinkHandlers): void {
    const { response } = this
    this.handlers = handlers
    if (response.destroyed || response.writableEnded) {
      return this.close()
    }
    response.on("close", this.onClose)
  }

  /** Sends the head, and with it what has waited for it. */
  begin(head: HttpServerResponse.HttpServerResponse): void {
    const { held, response } = this
    if (this.closed || response.destroyed || held === undefined || this.handlers === undefined) {
      return
    }
    this.held = undefined
    const full = this.heldBytes >= heldHighWater
    this.heldBytes = 0
    response.on("drain", this.onDrain)
    const { socket } = response
    // the head, the opening and what is caught up at once leave together
    socket?.cork()
    process.nextTick(() => socket?.uncork())
    const headers: Record<string, string | Array<string>> = { ...head.headers }
    const cookies = Cookies.toSetCookieHeaders(head.cookies)
    if (cookies.length > 0) {
      headers["set-cookie"] = cookies
    }
    response.writeHead(head.status, headers)
    response.flushHeaders()
    discardUnread(response.req)
    if (socket !== null && response instanceof Http.ServerResponse) {
      // a stream that says little is not idle; who does not read is the hub's to judge
      socket.setTimeout(0)
      // Node emits the socket's drain on the response only when the response has seen the write
      socket.on("drain", this.onDrain)
      this.socket = socket
    }
    let room = true
    for (const payload of held) {
      room = this.write(payload)
    }
    if (this.ended) {
      response.end()
    } else if (full && room) {
      this.handlers.onReady()
    }
  }

  write(payload: SessionSink.Payload): boolean {
    if (this.closed) {
      return true
    }
    const { held, response, socket } = this
    if (held !== undefined) {
      held.push(payload)
      this.heldBytes += payload.byteLength
      return this.heldBytes < heldHighWater
    }
    return socket === undefined
      ? response.write(payload.bytes)
      : socket.write(response.chunkedEncoding ? chunked(payload) : payload.bytes)
  }

  buffered(): number {
    return this.closed ? 0 : this.heldBytes + this.response.writableLength
  }

  end(): void {
    this.ended = true
    if (!this.closed && this.held === undefined) {
      this.response.end()
    }
  }

  destroy(): void {
    if (!this.closed) {
      this.response.destroy()
      this.response.socket?.destroy()
    }
  }

  private readonly onDrain = (): void => {
    if (!this.closed) {
      this.handlers?.onReady()
    }
  }

  private readonly onClose = (): void => this.close()

  private close(): void {
    if (!this.closed) {
      this.closed = true
      this.response.off("close", this.onClose)
      this.response.off("drain", this.onDrain)
      this.socket?.off("drain", this.onDrain)
      this.socket = undefined
      this.held = undefined
      this.heldBytes = 0
      this.handlers?.onClose("client-left")
    }
  }
}

/**
 * Writes to the socket of Node.js; requests of other servers go the portable way.
 *
 * @since 0.1.0
 * @category transports
 */
export const transport: SessionSink.TransportService = {
  connect: (request, head) =>
    Effect.suspend(() => {
      if (!(request.source instanceof Http.IncomingMessage)) {
        return SessionSink.portable.connect(request, head)
      }
      markLongLived(request)
      const sink = new NodeSseSink(responseOf(request))
      const body = { session: sink }
      return Effect.succeed<SessionSink.Connection>({
        sink,
        respond: ({ awaitEnd, id, scope }) => {
          let begun = false
          const close = closing(scope)
          // The last to see the response before the server: what middleware has made of the head is on it.
          const begin = HttpApp.appendPreResponseHandler((_request, response) =>
            Effect.suspend(() => {
              if (begun || response.body._tag !== "Raw" || response.body.body !== body) {
                return Effect.succeed(response)
              }
              begun = true
              sink.begin(response)
              return handOver(request, id, awaitEnd, close)
                ? Effect.succeed(written)
                : Effect.as(Effect.onExit(Effect.interruptible(awaitEnd), (exit) => close(exit)), written)
            })
          )
          // an application may answer something else in the end
          const unlessBegun = Effect.flatMap(
            Effect.scope,
            (own) => Scope.addFinalizerExit(own, (exit) => begun ? Effect.void : close(exit))
          )
          return Effect.zipRight(begin, unlessBegun).pipe(
            Effect.as(HttpServerResponse.raw(body, { status: 200, headers: head.headers }))
          )
        }
      })
    })
}

/** In a function of its own: it stays with an open stream, and has nothing else of its opening in reach. */
const closing = (scope: Scope.CloseableScope) => (exit: Exit.Exit<unknown, unknown>) => Scope.close(scope, exit)

/**
 * As `NodeHttpServerRequest.toServerResponse`, whose module loads the platform's server and a second client of HTTP: a tenth of
 * all that a server would load.
 */
const responseOf = (request: HttpServerRequest): Http.ServerResponse => {
  const { response } = request as HttpServerRequest & {
    readonly response: Http.ServerResponse | (() => Http.ServerResponse)
  }
  return typeof response === "function" ? response() : response
}

/** The response is begun, and over when this is a platform's turn: it looks at `writableEnded` and sends nothing. */
const written = HttpServerResponse.empty({ status: 200 })

/**
 * Serves every event stream under it by the fast path.
 *
 * @example
 * ```ts
 * import { SseHub, SseRoute } from "@holdfast/http"
 * import { NodeSseSink } from "@holdfast/node"
 * import { Effect, Layer } from "effect"
 *
 * const Events = SseRoute.layer("/events", Effect.map(SseHub.SseHub, (hub) => ({ hub }))).pipe(
 *   Layer.provide(NodeSseSink.layer)
 * )
 * console.log(Layer.isLayer(Events))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never> = Layer.succeed(SessionSink.Transport, transport) as Layer.Layer<never>

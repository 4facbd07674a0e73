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
 * It works with `NodeServer` and with the platform's own `NodeHttpServer`. Requests from elsewhere are served by the
 * portable transport.
 *
 * @since 0.1.0
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as SessionSink from "@holdfast/http/SessionSink"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import type * as Net from "node:net"
import { handOver } from "./internal/server/request.js"
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

/**
 * @since 0.1.0
 * @category sinks
 */
export class NodeSseSink implements SessionSink.Sink {
  private handlers: SessionSink.SinkHandlers | undefined
  /** Set while chunks may go past the response. */
  private socket: Net.Socket | undefined
  private closed = false

  constructor(
    private readonly response: Http.ServerResponse,
    private readonly headers: Readonly<Record<string, string>>
  ) {}

  start(handlers: SessionSink.SinkHandlers): void {
    const { response } = this
    this.handlers = handlers
    if (response.destroyed || response.writableEnded) {
      return this.close()
    }
    response.on("close", this.onClose)
    response.on("drain", this.onDrain)
    const { socket } = response
    // the head, the opening and what is caught up at once leave together
    socket?.cork()
    process.nextTick(() => socket?.uncork())
    response.writeHead(200, this.headers)
    response.flushHeaders()
    if (socket === null || !(response instanceof Http.ServerResponse)) {
      return
    }
    // a stream that says little is not idle; who does not read is the hub's to judge
    socket.setTimeout(0)
    // Node emits the socket's drain on the response only when the response has seen the write
    socket.on("drain", this.onDrain)
    this.socket = socket
  }

  write(payload: SessionSink.Payload): boolean {
    if (this.closed) {
      return true
    }
    const { response, socket } = this
    return socket === undefined
      ? response.write(payload.bytes)
      : socket.write(response.chunkedEncoding ? chunked(payload) : payload.bytes)
  }

  buffered(): number {
    return this.closed ? 0 : this.response.writableLength
  }

  end(): void {
    if (!this.closed) {
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
      this.handlers?.onClose("client-left")
    }
  }
}

/**
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
      return Effect.succeed<SessionSink.Connection>({
        sink: new NodeSseSink(NodeHttpServerRequest.toServerResponse(request), head.headers),
        respond: ({ awaitEnd, id, scope }) =>
          Effect.suspend(() => {
            const close = (exit: Exit.Exit<unknown>) => Scope.close(scope, exit)
            return handOver(request, id, awaitEnd, close)
              ? Effect.succeed(written)
              : Effect.as(Effect.onExit(Effect.interruptible(awaitEnd), close), written)
          })
      })
    })
}

/** The response is begun, and over when this is a platform's turn: it looks at `writableEnded` and sends nothing. */
const written = HttpServerResponse.empty({ status: 200 })

/**
 * Serves every event stream under it by the fast path.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never> = Layer.succeed(SessionSink.Transport, transport) as Layer.Layer<never>

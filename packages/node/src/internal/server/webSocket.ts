/**
 * WebSockets of `NodeServer`, through `ws`: the peer of a `WebSocketRoute`, and the platform's `Socket`.
 *
 * Events go to the socket as ready frames, made once for all sessions of a group; everything else (handshake, control
 * frames, what comes in) is `ws`. Compression is off: it costs memory per connection and couples their contents.
 */
import * as Socket from "@effect/platform/Socket"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import type { Payload, SinkHandlers } from "@holdfast/http/SessionSink"
import * as WebSocketTransport from "@holdfast/http/WebSocketTransport"
import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import type * as Net from "node:net"
import * as Ws from "ws"

/**
 * A connection that may be upgraded: what node's `upgrade` event hands over.
 */
export interface Upgrade {
  readonly request: Http.IncomingMessage
  readonly socket: Net.Socket
  /** Takes the bytes that came before the upgrade. Whoever calls it reads on in the same turn. */
  readonly takeEarly: () => Buffer
  /** Called when the connection is no longer HTTP. */
  readonly onUpgraded: () => void
}

export const peer = (upgrade: Upgrade, options: WebSocketTransport.AcceptOptions): WebSocketTransport.Peer => {
  const { socket } = upgrade
  let handlers: SinkHandlers | undefined
  let listener: WebSocketTransport.PeerHandlers | undefined
  let ws: Ws.WebSocket | undefined
  let closed = false
  let closing = false
  let fallback: NodeJS.Timeout | undefined

  const onDrain = () => handlers?.onReady()
  const onClose = () => {
    if (!closed) {
      closed = true
      clearTimeout(fallback)
      socket.off("drain", onDrain)
      socket.off("close", onClose)
      handlers?.onClose("client-left")
    }
  }
  const close = (code: number, reason: string) => {
    if (!closing && !closed) {
      closing = true
      clearTimeout(fallback)
      ws?.close(code, WebSocketTransport.closeReason(reason))
    }
  }

  return {
    listen: (given) => {
      listener = given
    },
    sink: {
      start: (given) => {
        handlers = given
        if (socket.destroyed) {
          return onClose()
        }
        socket.on("close", onClose)
        ws = handshake(upgrade, options)
        if (ws === undefined) {
          socket.destroy()
          return
        }
        socket.on("drain", onDrain)
        ws.on("error", () => {})
        ws.on("close", onClose)
        ws.on("pong", () => listener?.onSign())
        ws.on("message", (data, binary) => {
          listener?.onSign()
          if (!closing) {
            listener?.onMessage(binary ? data as Buffer : (data as Buffer).toString("utf8"))
          }
        })
      },
      // Past `ws`, so what `ws` has closed by itself is looked at here: nothing follows a close frame (RFC 6455, 5.5.1).
      write: (payload) => closed || closing || ws?.readyState !== Ws.WebSocket.OPEN || socket.write(framed(payload)),
      buffered: () => closed ? 0 : socket.writableLength,
      end: () => {
        // Whoever waits for the session's end knows the reason, and with it the code. This is for when nobody does.
        fallback ??= setTimeout(() => close(1001, ""), 500)
      },
      destroy: () => {
        socket.destroy()
      }
    },
    ping: () => {
      if (!closed && !closing && ws?.readyState === Ws.WebSocket.OPEN) {
        ws.ping()
      }
      return true
    },
    pause: () => {
      ws?.pause()
      return true
    },
    resume: () => {
      ws?.resume()
    },
    close,
    // The socket is the server's, and `ws` ends it in time.
    released: Effect.void
  }
}

/**
 * The platform's socket, upgraded when it is run.
 */
export const toSocket = (
  upgrade: Upgrade,
  options: Parameters<typeof handshake>[1]
): Effect.Effect<Socket.Socket> =>
  Socket.fromWebSocket(
    Effect.acquireRelease(
      Effect.suspend(() => {
        const ws = handshake(upgrade, options)
        return ws === undefined
          ? Effect.fail(
            new Socket.SocketGenericError({
              reason: "Open",
              cause: HttpErrors.make("BadRequest", "this is not a WebSocket handshake")
            })
          )
          : Effect.succeed(ws as unknown as globalThis.WebSocket)
      }),
      (ws) => Effect.sync(() => ws.close(1000))
    )
  )

const handshake = (
  { onUpgraded, request, socket, takeEarly }: Upgrade,
  { closeTimeout, maxMessageBytes, protocols }: Omit<WebSocketTransport.AcceptOptions, "protocols"> & {
    /** Undefined takes the first that is offered, as the platform does. */
    readonly protocols: ReadonlyArray<string> | undefined
  }
): Ws.WebSocket | undefined => {
  let upgraded: Ws.WebSocket | undefined
  const server = new Ws.WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: maxMessageBytes,
    closeTimeout,
    handleProtocols: (offered) =>
      (protocols === undefined ? offered.values().next().value : protocols.find((one) => offered.has(one))) ?? false
  } as Ws.ServerOptions)
  server.on("wsClientError", () => {})
  server.handleUpgrade(request, socket, takeEarly(), (ws) => {
    upgraded = ws
  })
  if (upgraded !== undefined) {
    onUpgraded()
  }
  return upgraded
}

/** Unmasked, final text frames (RFC 6455, 5.2), one per frame of the payload. All sessions write the same buffer. */
const framed = (payload: Payload): Buffer => {
  if (payload.memo === undefined) {
    const parts: Array<Uint8Array> = []
    for (const { bytes } of payload.frames) {
      const { length } = bytes
      let header: Buffer
      if (length < 126) {
        header = Buffer.from([0x81, length])
      } else if (length < 65536) {
        header = Buffer.from([0x81, 126, length >> 8, length & 255])
      } else {
        header = Buffer.alloc(10)
        header[0] = 0x81
        header[1] = 127
        header.writeBigUInt64BE(BigInt(length), 2)
      }
      parts.push(header, bytes)
    }
    payload.memo = Buffer.concat(parts)
  }
  return payload.memo as Buffer
}

/**
 * WebSockets of `NodeServer`, through `ws`: the peer of a `WebSocketRoute`, and the platform's `Socket`.
 *
 * Events go to the socket as ready frames, made once for all sessions of a group; everything else (handshake, control
 * frames, what comes in) is `ws`. Compression is off: it costs memory per connection and couples their contents.
 */
import * as Socket from "@effect/platform/Socket"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import type { Payload, Sink, SinkHandlers } from "@holdfast/http/SessionSink"
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

/** Goes on with a session in a fiber of its own: see `handOver` of `request.ts`. */
type HandOver = NonNullable<WebSocketTransport.Peer["handOver"]>

/** Thousands of these are idle: what is made once is one object, and no closure for each of its methods. */
export class Peer implements WebSocketTransport.Peer, Sink {
  private handlers: SinkHandlers | undefined
  private listener: WebSocketTransport.PeerHandlers | undefined
  private ws: Ws.WebSocket | undefined
  private readonly socket: Net.Socket
  private closed = false
  private closing = false
  private fallback: NodeJS.Timeout | undefined

  constructor(
    /** Until the start. */
    private upgrade: Upgrade | undefined,
    private readonly options: WebSocketTransport.AcceptOptions,
    readonly handOver: HandOver
  ) {
    this.socket = upgrade!.socket
  }

  get sink(): Sink {
    return this
  }

  // The socket is the server's, and `ws` ends it in time.
  get released(): Effect.Effect<void> {
    return Effect.void
  }

  listen(listener: WebSocketTransport.PeerHandlers): void {
    this.listener = listener
  }

  start(handlers: SinkHandlers): void {
    const { socket, upgrade } = this
    this.handlers = handlers
    this.upgrade = undefined
    if (socket.destroyed) {
      return this.onClose()
    }
    socket.on("close", this.onClose)
    // the handshake and what the session is sent first leave together
    socket.cork()
    process.nextTick(uncork, socket)
    const ws = this.ws = handshake(upgrade!, this.options)
    if (ws === undefined) {
      socket.destroy()
      return
    }
    socket.on("drain", this.onDrain)
    ws.on("error", ignore)
    ws.on("close", this.onClose)
    ws.on("pong", this.onPong)
    ws.on("message", this.onMessage)
  }

  // Past `ws`, so what `ws` has closed by itself is looked at here: nothing follows a close frame (RFC 6455, 5.5.1).
  write(payload: Payload): boolean {
    return !this.isOpen || this.socket.write(framed(payload))
  }

  buffered(): number {
    return this.closed ? 0 : this.socket.writableLength
  }

  end(): void {
    // Whoever waits for the session's end knows the reason, and with it the code. This is for when nobody does.
    this.fallback ??= setTimeout(() => this.close(1001, ""), 500)
  }

  destroy(): void {
    this.socket.destroy()
  }

  received(): number {
    return this.socket.bytesRead
  }

  ping(): boolean {
    if (this.isOpen) {
      this.ws!.ping()
    }
    return true
  }

  pause(): boolean {
    this.ws?.pause()
    return true
  }

  resume(): void {
    this.ws?.resume()
  }

  close(code: number, reason: string): void {
    if (!this.closing && !this.closed) {
      this.closing = true
      clearTimeout(this.fallback)
      this.ws?.close(code, WebSocketTransport.closeReason(reason))
    }
  }

  private get isOpen(): boolean {
    return !this.closed && !this.closing && this.ws?.readyState === Ws.WebSocket.OPEN
  }

  private readonly onDrain = (): void => this.handlers?.onReady()

  private readonly onClose = (): void => {
    if (!this.closed) {
      this.closed = true
      clearTimeout(this.fallback)
      this.socket.off("drain", this.onDrain)
      this.socket.off("close", this.onClose)
      this.handlers?.onClose("client-left")
    }
  }

  private readonly onPong = (): void => this.listener?.onSign()

  private readonly onMessage = (data: Ws.RawData, binary: boolean): void => {
    this.listener?.onSign()
    if (!this.closing) {
      this.listener?.onMessage(binary ? data as Buffer : (data as Buffer).toString("utf8"))
    }
  }
}

const ignore = () => {}

const uncork = (socket: Net.Socket): void => socket.uncork()

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

type HandshakeOptions = Omit<WebSocketTransport.AcceptOptions, "protocols"> & {
  /** Undefined takes the first that is offered, as the platform does. */
  readonly protocols: ReadonlyArray<string> | undefined
}

const handshake = ({ onUpgraded, request, socket, takeEarly }: Upgrade, options: HandshakeOptions) => {
  let upgraded: Ws.WebSocket | undefined
  serverOf(options).handleUpgrade(request, socket, takeEarly(), (ws) => {
    upgraded = ws
  })
  if (upgraded !== undefined) {
    onUpgraded()
  }
  return upgraded as Ws.WebSocket | undefined
}

/** One for all connections with the same options, which is one for each route. */
const servers = new WeakMap<HandshakeOptions, Ws.WebSocketServer>()

const serverOf = (options: HandshakeOptions): Ws.WebSocketServer => {
  let server = servers.get(options)
  if (server === undefined) {
    const { closeTimeout, maxMessageBytes, protocols } = options
    server = new Ws.WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: maxMessageBytes,
      closeTimeout,
      handleProtocols: (offered) =>
        (protocols === undefined ? offered.values().next().value : protocols.find((one) => offered.has(one))) ?? false
    } as Ws.ServerOptions)
    server.on("wsClientError", ignore)
    servers.set(options, server)
  }
  return server
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

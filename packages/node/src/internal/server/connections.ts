/**
 * The sockets of a server and what is in flight on each of them. Everything that Node.js tells about them arrives here,
 * and becomes an exchange that is begun, aborted or retired.
 *
 * It knows nothing of applications: a handler is given to it, and who refuses a request says so with an `HttpError`.
 */
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as EventLoop from "@holdfast/core/EventLoop"
import { unsafeCheck } from "@holdfast/core/InvalidOption"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Http from "node:http"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import * as Tls from "node:tls"
import type { Settings } from "../../NodeServerOptions.js"
import { Exchange } from "./exchange.js"
import { IncomingRequest, isUpgradeIgnored, shortestSize } from "./incoming.js"
import * as Refusal from "./refusal.js"
import { NodeRequest } from "./request.js"
import { respond } from "./response.js"
import * as Stats from "./stats.js"

/** One socket. */
export interface Connection {
  readonly socket: Net.Socket
  readonly exchanges: Set<Exchange>
  readonly overload: boolean
  /** How many requests have begun on it. */
  requests: number
  /** It speaks another protocol, and nobody answers here any more. */
  released: boolean
  /** Nothing more can be parsed here. */
  broken: boolean
  /** Bytes that had been read when nothing was in flight last. */
  bytesBefore: number
  /** A request to upgrade, behind others that are not answered yet. */
  upgrade: Exchange | undefined
  /** The answer to what could not be parsed, after those to the requests before it. */
  refusal: HttpErrors.HttpError | undefined
}

/** Begins the fiber that answers. */
export type Handle = (exchange: Exchange) => Fiber.RuntimeFiber<unknown, unknown>

/** Bytes of a body that wait in memory for whoever reads it, at most. */
const maxReadAhead = 1024 * 1024

/** A connection that is open, with the requests on it. */
export class Connections {
  readonly server: Http.Server
  readonly sockets = new Map<Duplex, Connection>()
  /** The sockets beneath TLS. */
  readonly beneath = new Set<Net.Socket>()
  /** Of all connections. */
  readonly exchanges = new Set<Exchange>()
  readonly counters = { accepted: 0, requests: 0, refused: 0, aborted: 0, stalled: 0 }
  readonly responses = Stats.unsafeMake()
  /** Undefined while nobody serves. */
  handle: Handle | undefined
  private readonly readAhead: number
  private draining = false
  private readonly observers = new Set<() => void>()

  constructor(
    private readonly settings: Settings,
    private readonly runFork: (effect: Effect.Effect<void>) => Fiber.RuntimeFiber<unknown, unknown>
  ) {
    this.readAhead = Math.min(settings.maxBodyBytes, maxReadAhead)
    this.server = settings.server({
      IncomingMessage: IncomingRequest,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      noDelay: true,
      maxHeaderSize: settings.maxHeaderBytes,
      headersTimeout: settings.headersTimeout,
      requestTimeout: settings.requestTimeout,
      keepAliveTimeout: settings.keepAliveTimeout,
      connectionsCheckingInterval: Math.max(50, Math.min(1000, settings.headersTimeout / 4)),
      // Answered here, as JSON.
      requireHostHeader: false
    })
    checkFresh(this.server)
    // A peer that shut its sending side down still reads: see onHalfClose.
    Object.assign(this.server, { httpAllowHalfOpen: true })
    this.server.maxConnections = settings.maxConnections + Math.max(64, settings.maxConnections >> 3)
    this.server.setTimeout(settings.sendTimeout)
    if (this.server instanceof Tls.Server) {
      this.server.on("connection", (socket: Net.Socket) => this.onBeneath(socket))
      this.server.on("secureConnection", (socket) => this.onConnection(socket))
    } else {
      this.server.on("connection", (socket) => this.onConnection(socket))
    }
    this.server.on("request", (request, response) => this.onRequest(request, response))
    this.server.on("checkContinue", (request, response) => this.onRequest(request, response, { expectsContinue: true }))
    this.server.on(
      "checkExpectation",
      (request, response) => this.onRequest(request, response, { refusal: Refusal.expectationFailed })
    )
    this.server.on("upgrade", (request, socket, head) => this.onUpgrade(request, socket as Net.Socket, head))
    this.server.on("connect", (_request, socket) => this.onConnect(socket as Net.Socket))
    this.server.on("clientError", (error, socket) => this.onClientError(error, socket))
    this.server.on("timeout", (socket) => this.onTimeout(socket))
  }

  /** Calls back whenever a connection or an exchange has ended. Returns what takes the callback back. */
  whenChanged(f: () => void): () => void {
    this.observers.add(f)
    return () => this.observers.delete(f)
  }

  /** Closes the listener and the connections that are idle; what is in flight becomes the last of its connection. */
  refuseNew(): void {
    this.draining = true
    // `http.Server.close` also destroys connections whose response was ended but is not flushed yet.
    Net.Server.prototype.close.call(this.server)
    for (const connection of this.sockets.values()) {
      if (connection.exchanges.size === 0 && !connection.released) {
        connection.socket.destroySoon()
      }
      for (const exchange of connection.exchanges) {
        exchange.last = true
      }
    }
  }

  get isDraining(): boolean {
    return this.draining
  }

  private changed(): void {
    this.observers.forEach((f) => f())
  }

  private onConnection(socket: Net.Socket): void {
    const connection: Connection = {
      socket,
      exchanges: new Set(),
      overload: this.sockets.size >= this.settings.maxConnections,
      requests: 0,
      released: false,
      broken: false,
      bytesBefore: 0,
      upgrade: undefined,
      refusal: undefined
    }
    this.counters.accepted++
    this.sockets.set(socket, connection)
    socket.on("error", ignore)
    socket.on("end", () => this.onHalfClose(connection))
    socket.on("close", () => {
      this.sockets.delete(socket)
      connection.upgrade = undefined
      // Also the pipelined ones behind, whose response never had the socket and hears of nothing.
      connection.exchanges.forEach((exchange) => this.abort(exchange))
      this.changed()
    })
  }

  /** Whoever never ends the handshake of TLS is no connection yet, and has a socket all the same. */
  private onBeneath(socket: Net.Socket): void {
    this.beneath.add(socket)
    socket.on("close", () => this.beneath.delete(socket))
  }

  private onRequest(
    request: Http.IncomingMessage,
    response: Http.ServerResponse,
    options: { readonly refusal?: HttpErrors.HttpError; readonly expectsContinue?: boolean } = {}
  ): void {
    const exchange = new Exchange(request, () => response, this.settings)
    if (request instanceof IncomingRequest) {
      request.readAhead = this.readAhead
      request.onFull = () => exchange.stoppedAt(request)
    }
    exchange.expectsContinue = options.expectsContinue === true
    // Not `writableFinished`, which is also true of a response whose socket was destroyed.
    response.on("finish", () => exchange.finish())
    response.on("close", () => {
      if (!exchange.flushed) {
        this.abort(exchange)
      }
    })
    const connection = this.sockets.get(request.socket)!
    if (isUpgradeIgnored(request)) {
      exchange.mayHaveLostMore = () => mayHaveLostMore(request, connection)
      if (!Refusal.declaresBody(request) && exchange.mayHaveLostMore()) {
        response.shouldKeepAlive = false
      }
    }
    this.enter(exchange, connection, options.refusal)
  }

  private onUpgrade(request: Http.IncomingMessage, socket: Net.Socket, head: Buffer): void {
    const exchange: Exchange = new Exchange(
      request,
      () => {
        const response = new Http.ServerResponse(request)
        response.shouldKeepAlive = false
        response.assignSocket(socket)
        response.on("finish", () => {
          exchange.finish()
          socket.end()
        })
        return response
      },
      this.settings,
      this.readEarly(socket, head, () => exchange)
    )
    exchange.last = true
    const connection = this.sockets.get(socket)!
    if (connection.exchanges.size === 0) {
      this.enter(exchange, connection)
    } else {
      connection.upgrade = exchange
    }
  }

  /**
   * Reads what comes before an upgrade is answered: else nobody would notice that the client leaves. It returns what gives
   * the bytes away, and stops reading.
   */
  private readEarly(socket: Net.Socket, head: Buffer, exchange: () => Exchange): () => Buffer {
    const limit = this.settings.maxHeaderBytes
    const early = [head]
    let size = head.length
    const onData = (chunk: Buffer) => {
      size += chunk.length
      if (size <= limit) {
        early.push(chunk)
      } else if (!exchange().closed && !exchange().responded) {
        this.counters.refused++
        Refusal.refuseSocket(socket, Refusal.tooEarly(limit), this.settings.lingerTimeout)
        this.abort(exchange())
      }
    }
    socket.on("data", onData)
    return () => {
      // The next reader begins in this very turn: nothing is lost in between.
      socket.off("data", onData)
      return Buffer.concat(early)
    }
  }

  private onConnect(socket: Net.Socket): void {
    this.counters.refused++
    socket.resume()
    Refusal.refuseSocket(socket, Refusal.noProxy, this.settings.lingerTimeout)
  }

  private onClientError(error: Error & { readonly code?: string }, socket: Duplex): void {
    const connection = this.sockets.get(socket)
    if (connection === undefined || !socket.writable || error.code === "ECONNRESET") {
      socket.destroy()
      return
    }
    if (connection.broken) {
      return
    }
    if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") {
      this.whenLate(connection, () => this.fail(connection, error))
    } else {
      this.fail(connection, error)
    }
  }

  /** Node.js looks by a timer, and before it reads: what came while this process stood still is read first. */
  private whenLate(connection: Connection, fail: () => void): void {
    const { exchanges, requests, socket } = connection
    const reading = readingOf(exchanges)
    EventLoop.unsafeAfterTurn(() => {
      const isLate = reading === undefined
        ? connection.requests === requests
        : !reading.request.complete && exchanges.has(reading)
      if (isLate && !connection.broken && socket.writable) {
        fail()
      }
    })
  }

  private fail(connection: Connection, error: Error): void {
    connection.broken = true
    const problem = Refusal.parseProblem(error)
    const reading = readingOf(connection.exchanges)
    this.counters.refused++
    if (reading !== undefined) {
      // The one whose body broke answers for it.
      reading.last = true
      reading.failBody(problem)
    } else {
      connection.refusal = problem
      if (connection.exchanges.size === 0) {
        Refusal.refuseSocket(connection.socket, problem, this.settings.lingerTimeout)
      }
    }
  }

  private onTimeout(socket: Net.Socket): void {
    // What came, and what the peer took, while this process stood still shows in the turn behind the timers.
    const { bytesRead, writableLength } = socket
    const queued = queuedBy(socket)
    EventLoop.unsafeAfterTurn(() => {
      // It is gone, or has become a stream, whose readers its hub judges.
      if (socket.destroyed || socket.timeout === 0) {
        return
      }
      if (socket.bytesRead === bytesRead && socket.writableLength === writableLength && queuedBy(socket) === queued) {
        this.onSilence(socket)
      } else {
        socket.setTimeout(socket.timeout ?? this.settings.sendTimeout)
      }
    })
  }

  private onSilence(socket: Net.Socket): void {
    if (socket.writableLength === 0 && (this.sockets.get(socket)?.exchanges.size ?? 0) > 0) {
      // Nothing to send yet: the handler takes its time.
      socket.setTimeout(this.settings.sendTimeout)
      return
    }
    if (socket.writableLength > 0) {
      this.counters.stalled++
    }
    socket.destroy()
  }

  private onHalfClose(connection: Connection): void {
    const open = Array.from(connection.exchanges)
    // an event stream over HTTP/1.0 (a proxy's default) has no chunks, and whoever reads it never ends its side first
    if (open.some((one) => one.responded && (one.response.chunkedEncoding || one.longLived))) {
      connection.socket.destroy()
    } else if (open.length > 0) {
      const timer = setTimeout(() => connection.socket.destroy(), this.settings.halfOpenTimeout)
      connection.socket.on("close", () => clearTimeout(timer))
    }
  }

  private enter(exchange: Exchange, connection: Connection, refusal?: HttpErrors.HttpError): void {
    this.counters.requests++
    connection.requests++
    this.exchanges.add(exchange)
    connection.exchanges.add(exchange)
    const refused = refusal ?? this.refusalOf(exchange, connection)
    const fiber = refused === undefined ? this.handle!(exchange) : this.runFork(refuse(exchange, refused))
    exchange.fiber = exchange.successor ?? fiber
    if (refused !== undefined) {
      this.counters.refused++
    }
    fiber.addObserver(() => {
      if (exchange.successor !== undefined) {
        exchange.successor.addObserver(() => this.retire(connection, exchange))
      } else if (exchange.taken && !exchange.flushed && !exchange.closed) {
        // What comes next on the connection waits until Node.js, too, is done with this response.
        exchange.whenFlushed = () => {
          exchange.whenFlushed = undefined
          this.retire(connection, exchange)
        }
      } else {
        this.retire(connection, exchange)
      }
    })
  }

  private refusalOf(exchange: Exchange, connection: Connection): HttpErrors.HttpError | undefined {
    if (this.draining) {
      return HttpErrors.make("ShuttingDown", "the server is shutting down", {}, { headers: { "retry-after": "1" } })
    }
    if (this.handle === undefined) {
      return Refusal.unavailable("the server is not serving")
    }
    if (connection.overload) {
      return Refusal.unavailable("the server has too many connections")
    }
    if (connection.exchanges.size > this.settings.maxPipelined) {
      return Refusal.unavailable(`more than ${this.settings.maxPipelined} requests are in flight on this connection`)
    }
    return Refusal.malformed(exchange.request)
  }

  private abort(exchange: Exchange): void {
    if (!exchange.closed) {
      if (!exchange.flushed && !exchange.taken) {
        this.counters.aborted++
      }
      exchange.close()
      if (!exchange.hasSocket) {
        exchange.fiber?.unsafeInterruptAsFork(HttpServerError.clientAbortFiberId)
      }
    }
  }

  private retire(connection: Connection, exchange: Exchange): void {
    connection.exchanges.delete(exchange)
    this.exchanges.delete(exchange)
    this.responses.add(exchange)
    if (!exchange.flushed && !exchange.closed) {
      // It failed on its way: whatever the peer waits for will not come.
      connection.socket.destroySoon()
    } else if (exchange.upgraded) {
      // Its closing handshake has begun.
      connection.released = true
    } else if (connection.exchanges.size === 0) {
      connection.bytesBefore = connection.socket.bytesRead
      const { upgrade } = connection
      if (upgrade !== undefined) {
        connection.upgrade = undefined
        this.enter(upgrade, connection)
      } else if (connection.refusal !== undefined) {
        Refusal.refuseSocket(connection.socket, connection.refusal, this.settings.lingerTimeout)
      } else if (connection.broken || this.draining) {
        connection.socket.destroySoon()
      }
    }
    this.changed()
  }
}

const ignore = () => {}

/** The one whose body is still to come. */
const readingOf = (exchanges: Iterable<Exchange>): Exchange | undefined => {
  for (const exchange of exchanges) {
    if (!exchange.request.complete) {
      return exchange
    }
  }
  return undefined
}

/** What the kernel has not taken of a write yet, by which Node.js itself tells a slow peer from a silent one. */
const queuedBy = (socket: Net.Socket): number | undefined =>
  (socket as { readonly _handle?: { readonly writeQueueSize?: number } | null })._handle?.writeQueueSize

const checkFresh = (server: Http.Server): void => {
  unsafeCheck(
    "NodeServer.server",
    server.listening ? "a server that listens" : `a server with ${server.listenerCount("request")} listeners`,
    () => !server.listening && server.listenerCount("request") === 0,
    "a function that makes a server which neither listens nor answers requests yet"
  )
}

const mayHaveLostMore = (request: Http.IncomingMessage, connection: Connection): boolean => {
  const size = shortestSize(request)
  // With others in flight nobody knows whose bytes they are.
  return size === undefined || connection.exchanges.size > 1 ||
    request.socket.bytesRead - connection.bytesBefore > size
}

const refuse = (exchange: Exchange, problem: HttpErrors.HttpError): Effect.Effect<void> => {
  exchange.last = true
  return Effect.ignore(respond(new NodeRequest(exchange), HttpErrors.toResponse(problem.problem)))
}

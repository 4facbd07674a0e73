/**
 * An HTTP server for Node.js that can drain: it gives `@effect/platform`'s `HttpServer`, and nothing that it starts
 * outlives its scope.
 *
 * Guarantees
 * - Every request fiber belongs to the scope of `serve`. When that closes, requests in flight have a budget to finish,
 *   then they are interrupted, then they are named and left.
 * - Closing is bounded: a peer that never reads, never finishes its header or never goes away delays it by no more than
 *   the budgets in `DrainOptions`.
 * - While it drains, the listener is closed (a client that reconnects is refused by the kernel, which an `EventSource`
 *   survives, unlike a 503), new requests on open connections are answered 503 with `Connection: close` and a JSON body.
 * - A handler's failure or defect is a JSON answer. A request that cannot be parsed, is too large or too slow has a
 *   status of its own: 400, 408, 413, 431.
 *
 * Limits
 * - A peer that shuts its sending side down while an answer without a length streams counts as gone.
 * - A reader is cut off when it takes nothing for `sendTimeout`; one that takes a byte now and then is not.
 * - Timers here are the wall clock's: budgets that a test clock could stop would bound nothing.
 *
 * @since 0.1.0
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpPlatform from "@effect/platform-node/NodeHttpPlatform"
import * as Etag from "@effect/platform/Etag"
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import type * as HttpPlatform from "@effect/platform/HttpPlatform"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Lifecycle } from "@holdfast/core/Lifecycle"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Metrics from "@holdfast/http/Metrics"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import * as NodeRefusal from "./internal/server/refusal.js"
import { respond } from "./internal/server/response.js"
import * as NodeServerStats from "./internal/server/stats.js"
import type { ListenError } from "./NodeListen.js"
import { listen } from "./NodeListen.js"
import { Exchange, NodeRequest } from "./NodeRequest.js"
import type { Options } from "./NodeServerOptions.js"
import { settingsOf } from "./NodeServerOptions.js"

export {
  /**
   * @since 0.1.0
   * @category options
   */
  defaults
} from "./NodeServerOptions.js"

export type {
  /**
   * @since 0.1.0
   * @category options
   */
  DrainOptions,
  /**
   * @since 0.1.0
   * @category options
   */
  Options
} from "./NodeServerOptions.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  ListenError
} from "./NodeListen.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface CutRequest {
  readonly method: string
  readonly url: string
  /** Milliseconds since the request began. */
  readonly age: number
}

/**
 * What a drain did.
 *
 * @since 0.1.0
 * @category models
 */
export interface DrainReport {
  /** Requests in flight when it began. */
  readonly inFlight: number
  /** Of them, those that were interrupted, because their budget was over. */
  readonly cut: ReadonlyArray<CutRequest>
  /** Of those, the ones whose clean-up did not end in its budget either. */
  readonly abandoned: ReadonlyArray<CutRequest>
  /** Connections that had to be destroyed. */
  readonly destroyed: number
  /** Milliseconds. */
  readonly elapsed: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly connections: number
  readonly inFlight: number
  readonly draining: boolean
  /** Counters since the start. */
  readonly accepted: number
  readonly requests: number
  /** Answered by the server itself: overload, drain, or a request that could not be read. */
  readonly refused: number
  /** Connections that went away with a request in flight. */
  readonly aborted: number
  /** Connections destroyed because their peer did not take the response. */
  readonly stalled: number
}

/**
 * What this server can beyond `HttpServer`.
 *
 * @since 0.1.0
 * @category tags
 */
export class NodeServer extends Context.Tag("@holdfast/node/NodeServer")<NodeServer, {
  readonly address: HttpServer.Address
  readonly stats: Effect.Effect<Stats>
  /** Closes the listener, lets requests finish within the budgets, then closes everything. Later calls join the first. */
  readonly drain: Effect.Effect<DrainReport>
}>() {}

/**
 * `HttpServer` and `NodeServer`.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { NodeServer } from "@holdfast/node"
 * import { Layer } from "effect"
 *
 * const app = HttpRouter.empty.pipe(HttpRouter.get("/", HttpServerResponse.text("hello")))
 * const main = HttpServer.serve(app).pipe(Layer.provide(NodeServer.layer({ port: 0 })))
 * console.log(Layer.isLayer(main))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerServer = (options: Options = {}): Layer.Layer<HttpServer.HttpServer | NodeServer, ListenError> =>
  Layer.scopedContext(make(options))

/**
 * `layerServer` with what the platform's file responses, etags and multipart bodies need.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<
  HttpServer.HttpServer | NodeServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext,
  ListenError
> => Layer.mergeAll(layerServer(options), layerContext)

/**
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<
  HttpServer.HttpServer | NodeServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext,
  ListenError | ConfigError.ConfigError
> => Layer.mergeAll(Layer.scopedContext(Effect.flatMap(Config.unwrap(options), make)), layerContext)

const layerContext = Layer.mergeAll(NodeHttpPlatform.layer, Etag.layerWeak, NodeContext.layer)

interface Connection {
  readonly socket: Net.Socket
  readonly exchanges: Set<Exchange>
  readonly overload: boolean
  /** It speaks another protocol, and nobody answers here any more. */
  released: boolean
  /** Nothing more can be parsed here. */
  broken: boolean
  /** A request to upgrade, behind others that are not answered yet. */
  upgrade: Exchange | undefined
  /** The answer to what could not be parsed, after those to the requests before it. */
  refusal: HttpErrors.HttpError | undefined
}

type Handle = (exchange: Exchange) => Fiber.RuntimeFiber<unknown, unknown>

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Context.Context<HttpServer.HttpServer | NodeServer>, ListenError, Scope.Scope> =>
  Effect.gen(function*() {
    const settings = settingsOf(options)
    const connections = new Map<Duplex, Connection>()
    const exchanges = new Set<Exchange>()
    const wake = new Set<() => void>()
    const counters = { accepted: 0, requests: 0, refused: 0, aborted: 0, stalled: 0 }
    const answers = NodeServerStats.unsafeMake()
    let handle: Handle | undefined
    let draining = false
    const runFork = Runtime.runFork(yield* Effect.runtime<never>())

    const server = Http.createServer({
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
    // A peer that shut its sending side down still reads: see onHalfClose.
    Object.assign(server, { httpAllowHalfOpen: true })
    server.maxConnections = settings.maxConnections + Math.max(64, settings.maxConnections >> 3)
    server.setTimeout(settings.sendTimeout)

    const retire = (connection: Connection, exchange: Exchange) => {
      connection.exchanges.delete(exchange)
      exchanges.delete(exchange)
      answers.add(exchange)
      if (!exchange.flushed && !exchange.closed) {
        // It failed on its way: whatever the peer waits for will not come.
        connection.socket.destroySoon()
      } else if (exchange.upgraded) {
        // Its closing handshake has begun.
        connection.released = true
      } else if (connection.exchanges.size === 0) {
        const { upgrade } = connection
        if (upgrade !== undefined) {
          connection.upgrade = undefined
          enter(upgrade, connection)
        } else if (connection.refusal !== undefined) {
          NodeRefusal.refuseSocket(connection.socket, connection.refusal, settings.lingerTimeout)
        } else if (connection.broken || draining) {
          connection.socket.destroySoon()
        }
      }
      wake.forEach((f) => f())
    }

    const refusalOf = (exchange: Exchange, connection: Connection): HttpErrors.HttpError | undefined => {
      if (draining) {
        return HttpErrors.make("ShuttingDown", "the server is shutting down", {}, { headers: { "retry-after": "1" } })
      }
      if (handle === undefined) {
        return NodeRefusal.unavailable("the server is not serving")
      }
      if (connection.overload) {
        return NodeRefusal.unavailable("the server has too many connections")
      }
      if (connection.exchanges.size > settings.maxPipelined) {
        return NodeRefusal.unavailable(`more than ${settings.maxPipelined} requests are in flight on this connection`)
      }
      return NodeRefusal.malformed(exchange.request)
    }

    const enter = (exchange: Exchange, connection: Connection, refusal?: HttpErrors.HttpError) => {
      counters.requests++
      exchanges.add(exchange)
      connection.exchanges.add(exchange)
      const refused = refusal ?? refusalOf(exchange, connection)
      const fiber = refused === undefined ? handle!(exchange) : runFork(refuse(exchange, refused))
      exchange.fiber = exchange.successor ?? fiber
      if (refused !== undefined) {
        counters.refused++
      }
      fiber.addObserver(() =>
        exchange.successor === undefined
          ? retire(connection, exchange)
          : exchange.successor.addObserver(() => retire(connection, exchange))
      )
    }

    const onRequest = (
      request: Http.IncomingMessage,
      response: Http.ServerResponse,
      refusal?: HttpErrors.HttpError,
      expectsContinue = false
    ) => {
      const exchange = new Exchange(request, () => response, settings)
      exchange.expectsContinue = expectsContinue
      // Not `writableFinished`, which is also true of a response whose socket was destroyed.
      response.on("finish", () => {
        exchange.flushed = true
      })
      response.on("close", () => {
        if (!exchange.flushed) {
          abort(exchange)
        }
      })
      enter(exchange, connections.get(request.socket)!, refusal)
    }

    const abort = (exchange: Exchange) => {
      if (!exchange.closed) {
        if (!exchange.flushed) {
          counters.aborted++
        }
        exchange.close()
        exchange.fiber?.unsafeInterruptAsFork(HttpServerError.clientAbortFiberId)
      }
    }

    const onHalfClose = (connection: Connection) => {
      const open = Array.from(connection.exchanges)
      if (open.some((exchange) => exchange.responded && exchange.response.chunkedEncoding)) {
        connection.socket.destroy()
      } else if (open.length > 0) {
        const timer = setTimeout(() => connection.socket.destroy(), settings.halfOpenTimeout)
        connection.socket.on("close", () => clearTimeout(timer))
      }
    }

    server.on("connection", (socket) => {
      const connection: Connection = {
        socket,
        exchanges: new Set(),
        overload: connections.size >= settings.maxConnections,
        released: false,
        broken: false,
        upgrade: undefined,
        refusal: undefined
      }
      counters.accepted++
      connections.set(socket, connection)
      socket.on("error", () => {})
      socket.on("end", () => onHalfClose(connection))
      socket.on("close", () => {
        connections.delete(socket)
        connection.upgrade = undefined
        // Also the pipelined ones behind, whose response never had the socket and hears of nothing.
        connection.exchanges.forEach(abort)
        wake.forEach((f) => f())
      })
    })
    server.on("request", (request, response) => onRequest(request, response))
    server.on("checkContinue", (request, response) => onRequest(request, response, undefined, true))
    server.on("checkExpectation", (request, response) => onRequest(request, response, NodeRefusal.expectationFailed))
    server.on("upgrade", (request: Http.IncomingMessage, socket: Net.Socket, head: Buffer) => {
      const exchange = new Exchange(
        request,
        () => {
          const response = new Http.ServerResponse(request)
          response.shouldKeepAlive = false
          response.assignSocket(socket)
          response.on("finish", () => {
            exchange.flushed = true
            socket.end()
          })
          return response
        },
        settings,
        head
      )
      exchange.last = true
      const connection = connections.get(socket)!
      if (NodeRefusal.declaresBody(request)) {
        enter(exchange, connection, NodeRefusal.upgradeWithBody)
      } else if (connection.exchanges.size === 0) {
        enter(exchange, connection)
      } else {
        connection.upgrade = exchange
      }
    })
    server.on("connect", (_request, socket: Net.Socket) => {
      counters.refused++
      socket.resume()
      NodeRefusal.refuseSocket(socket, NodeRefusal.noProxy, settings.lingerTimeout)
    })
    server.on("clientError", (error: Error & { readonly code?: string }, socket) => {
      const connection = connections.get(socket)
      if (connection === undefined || !socket.writable || error.code === "ECONNRESET") {
        socket.destroy()
        return
      }
      if (connection.broken) {
        return
      }
      connection.broken = true
      const problem = NodeRefusal.parseProblem(error)
      const open = Array.from(connection.exchanges)
      const reading = open.find((exchange) => !exchange.request.complete)
      counters.refused++
      if (reading !== undefined) {
        // The one whose body broke answers for it.
        reading.last = true
        reading.failBody(problem)
      } else {
        connection.refusal = problem
        if (open.length === 0) {
          NodeRefusal.refuseSocket(connection.socket, problem, settings.lingerTimeout)
        }
      }
    })
    server.on("timeout", (socket) => {
      if (socket.writableLength === 0 && (connections.get(socket)?.exchanges.size ?? 0) > 0) {
        // Nothing to send yet: the handler takes its time.
        socket.setTimeout(settings.sendTimeout)
        return
      }
      if (socket.writableLength > 0) {
        counters.stalled++
      }
      socket.destroy()
    })

    const settled = (count: () => number, milliseconds: number): Effect.Effect<boolean> =>
      Effect.async((resume) => {
        if (count() === 0) {
          return resume(Effect.succeed(true))
        }
        // Once per turn of the event loop: counting for each of 10,000 sessions that end together would be quadratic.
        let scheduled: NodeJS.Immediate | undefined
        const check = () => {
          scheduled ??= setImmediate(() => {
            scheduled = undefined
            if (count() === 0) {
              done(true)
            }
          })
        }
        const done = (value: boolean) => {
          clearTimeout(timer)
          clearImmediate(scheduled)
          wake.delete(check)
          resume(Effect.succeed(value))
        }
        const timer = setTimeout(() => done(count() === 0), milliseconds)
        wake.add(check)
      })

    const finish = (waitForStreams: boolean) =>
      Effect.gen(function*() {
        const inFlight = exchanges.size
        const waitedFor = () => waitForStreams ? exchanges.size : count(exchanges, (exchange) => !exchange.longLived)
        yield* settled(waitedFor, settings.drain.requests)
        const cut = Array.from(exchanges)
        for (const exchange of cut) {
          exchange.cut = true
          exchange.last = true
          exchange.fiber?.unsafeInterruptAsFork(FiberId.none)
        }
        if (!(yield* settled(() => exchanges.size, settings.drain.interruption))) {
          // Those that only wait for a peer to take their last bytes end with its socket.
          for (const connection of connections.values()) {
            if (connection.exchanges.size > 0) {
              connection.socket.destroy()
            }
          }
          yield* settled(() => exchanges.size, settings.drain.sockets)
        }
        return { inFlight, cut: cut.map(describe), abandoned: Array.from(exchanges, describe) }
      })

    const closeSockets = Effect.gen(function*() {
      const released = () => count(connections.values(), (connection) => connection.released)
      yield* settled(released, settings.drain.sockets / 2)
      const destroyed = connections.size
      for (const connection of connections.values()) {
        connection.socket.destroy()
      }
      yield* settled(() => connections.size, settings.drain.sockets)
      return destroyed
    })

    const drain = yield* Effect.cached(
      Effect.uninterruptible(Effect.gen(function*() {
        const begun = Date.now()
        draining = true
        // `http.Server.close` also destroys connections whose response was ended but is not flushed yet.
        Net.Server.prototype.close.call(server)
        for (const connection of connections.values()) {
          if (connection.exchanges.size === 0 && !connection.released) {
            connection.socket.destroySoon()
          }
          for (const exchange of connection.exchanges) {
            exchange.last = true
          }
        }
        const finished = yield* finish(true)
        const destroyed = yield* closeSockets
        // Only for its timer: nothing is left to close.
        server.close()
        const report: DrainReport = { ...finished, destroyed, elapsed: Date.now() - begun }
        yield* logDrain(report)
        return report
      }))
    )

    yield* Effect.addFinalizer(() => drain)
    const lifecycle = yield* Effect.serviceOption(Lifecycle)
    if (Option.isSome(lifecycle)) {
      yield* lifecycle.value.onPhase("draining", { label: "http server" }, drain)
    }
    yield* Metrics.collect(Effect.sync(() => [
      ...Metrics.gauges("http_server", "the HTTP server", {
        connections: connections.size,
        requests_in_flight: exchanges.size
      }),
      ...Metrics.counters("http_server", "the HTTP server", counters),
      ...answers.families()
    ]))
    const address = yield* listen(server, settings)

    const serve = (app: HttpApp.Default<unknown>, middleware?: HttpMiddleware.HttpMiddleware) =>
      Effect.gen(function*() {
        const registry = yield* FiberRegistry.FiberRegistry
        const runtime = yield* Effect.runtime<never>()
        const run = Runtime.runFork(
          Runtime.updateContext(
            runtime,
            (context) =>
              context.unsafeMap.has(HttpServerRequest.MaxBodySize.key) ? context : Context.add(
                context,
                HttpServerRequest.MaxBodySize,
                Option.some(FileSystem.Size(settings.maxBodyBytes))
              )
          )
        )
        const traced = options.traced ?? shortLived
        const answered = HttpApp.toHandled(HttpErrors.handled(app), respond, middleware).pipe(
          HttpMiddleware.withTracerDisabledWhenEffect((request) => !traced(request))
        )
        // A fiber that was interrupted runs no handler of its cause where it can be interrupted.
        const handled = Effect.uninterruptibleMask((restore) =>
          Effect.catchAllCause(restore(answered), withoutResponse)
        )
        yield* Effect.addFinalizer(() =>
          Effect.suspend(() => {
            if (handle === own) {
              handle = undefined
            }
            return Effect.flatMap(finish(false), logCut)
          })
        )
        const fork = (effect: Effect.Effect<unknown>, name: string) =>
          run(Effect.withFiberRuntime<unknown>((fiber) => {
            registry.unsafeTrack(fiber, { name, kind: "session" })
            return effect
          }))
        const own: Handle = (exchange) => {
          exchange.fork = fork
          return run(Effect.withFiberRuntime<void>((fiber) => {
            registry.unsafeTrack(fiber, { name: nameOf(exchange.request), kind: "request" })
            return Effect.provideService(handled, HttpServerRequest.HttpServerRequest, new NodeRequest(exchange))
          }))
        }
        handle = own
      })

    return Context.make(HttpServer.HttpServer, HttpServer.make({ address, serve })).pipe(
      Context.add(NodeServer, {
        address,
        drain,
        stats: Effect.sync(() => ({ ...counters, connections: connections.size, inFlight: exchanges.size, draining }))
      })
    )
  })

const count = <A>(values: Iterable<A>, predicate: (value: A) => boolean): number => {
  let found = 0
  for (const value of values) {
    if (predicate(value)) {
      found++
    }
  }
  return found
}

const describe = (exchange: Exchange): CutRequest => ({
  method: exchange.request.method ?? "",
  url: exchange.request.url ?? "",
  age: Date.now() - exchange.startedAt
})

const nameOf = (request: Http.IncomingMessage): string => `${request.method} ${request.url?.split("?", 1)[0]}`

const shortLived = (request: HttpServerRequest.HttpServerRequest): boolean =>
  request.headers["upgrade"] === undefined && !(request.headers["accept"] ?? "").includes("text/event-stream")

/** The platform adds the response to the cause of a request that failed; the census is told of the failure alone. */
const withoutResponse = (cause: Cause.Cause<never>): Effect.Effect<void> => {
  const [, stripped] = HttpServerError.causeResponseStripped(cause)
  return stripped._tag === "Some" && !Cause.isEmpty(stripped.value) ? Effect.failCause(stripped.value) : Effect.void
}

const logCut = (report: Pick<DrainReport, "cut" | "abandoned">): Effect.Effect<void> =>
  report.cut.length === 0 ? Effect.void : Effect.annotateLogs(
    Effect.logWarning(
      `${report.cut.length} requests were cut off, ${report.abandoned.length} did not clean up in time`
    ),
    {
      module: "NodeServer",
      cut: report.cut.slice(0, 10).map((request) => `${request.method} ${request.url} (${request.age} ms)`),
      abandoned: report.abandoned.slice(0, 10).map((request) => `${request.method} ${request.url} (${request.age} ms)`)
    }
  )

const logDrain = (report: DrainReport): Effect.Effect<void> =>
  Effect.zipRight(
    logCut(report),
    Effect.annotateLogs(
      Effect.logDebug(
        `drained in ${report.elapsed} ms: ${report.inFlight} requests in flight, ${report.destroyed} sockets destroyed`
      ),
      { module: "NodeServer" }
    )
  )

const refuse = (exchange: Exchange, problem: HttpErrors.HttpError): Effect.Effect<void> => {
  exchange.last = true
  return Effect.ignore(respond(new NodeRequest(exchange), HttpErrors.toResponse(problem.problem)))
}

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
 * TLS: `server` in the options makes the server.
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
import type * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import type * as HttpPlatform from "@effect/platform/HttpPlatform"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { check, fromConfig, type InvalidOption } from "@holdfast/core/InvalidOption"
import { Lifecycle, onPhaseIfPresent } from "@holdfast/core/Lifecycle"
import { once } from "@holdfast/core/Lock"
import * as Roster from "@holdfast/core/Roster"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Metrics from "@holdfast/http/Metrics"
import * as Observe from "@holdfast/http/Observe"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberRefs from "effect/FiberRefs"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type { Handle } from "./internal/server/connections.js"
import { Connections } from "./internal/server/connections.js"
import * as Drain from "./internal/server/drain.js"
import { declaresBody } from "./internal/server/refusal.js"
import { NodeRequest } from "./internal/server/request.js"
import { respond } from "./internal/server/response.js"
import type { ListenError } from "./NodeListen.js"
import { listen } from "./NodeListen.js"
import * as NodeMetrics from "./NodeMetrics.js"
import type { Options, Settings } from "./NodeServerOptions.js"
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
 * A request that was cut off.
 *
 * @since 0.1.0
 * @category models
 */
export interface CutRequest {
  readonly method: string
  readonly url: string
  /** Since the request began. */
  readonly ageMillis: number
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
  readonly elapsedMillis: number
}

/**
 * What the server has now, and what it has had.
 *
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
export const layerServer = (
  options: Options = {}
): Layer.Layer<HttpServer.HttpServer | NodeServer, ListenError | InvalidOption> => Layer.scopedContext(make(options))

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
  ListenError | InvalidOption
> => Layer.mergeAll(layerServer(options), layerContext)

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<
  HttpServer.HttpServer | NodeServer | HttpPlatform.HttpPlatform | Etag.Generator | NodeContext.NodeContext,
  ListenError | InvalidOption | ConfigError.ConfigError
> = fromConfig((options) => layer(options))

/**
 * A server on a free port of loopback, and the `HttpClient` that speaks to it: `/path` is enough as an address.
 *
 * @example
 * ```ts
 * import { HttpClient, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { NodeServer } from "@holdfast/node"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const test = Effect.gen(function*() {
 *   yield* HttpServer.serveEffect(HttpServerResponse.text("hello"))
 *   const response = yield* HttpClient.get("/")
 *   assert.strictEqual(yield* response.text, "hello")
 * })
 *
 * await Effect.runPromise(Effect.scoped(test).pipe(Effect.provide(NodeServer.layerTest)))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerTest: Layer.Layer<
  | HttpClient.HttpClient
  | HttpServer.HttpServer
  | NodeServer
  | HttpPlatform.HttpPlatform
  | Etag.Generator
  | NodeContext.NodeContext,
  ListenError | InvalidOption
> = Layer.unwrapEffect(
  // Loaded where it is wanted: it brings a second client of HTTP, a tenth of all that a server would load.
  Effect.map(
    Effect.promise(() => import("@effect/platform-node/NodeHttpClient")),
    (NodeHttpClient) =>
      HttpServer.layerTestClient.pipe(
        Layer.provide(NodeHttpClient.layerWithoutAgent),
        // A connection that is kept open would be cut by the end of the test.
        Layer.provide(NodeHttpClient.makeAgentLayer({ keepAlive: false })),
        Layer.provideMerge(layer({ port: 0 }))
      )
  )
)

const layerContext = Layer.mergeAll(NodeHttpPlatform.layer, Etag.layerWeak, NodeContext.layer)

/**
 * `HttpServer` and `NodeServer`, until the scope closes. Fails with `ListenError` when the address cannot be had, and with `InvalidOption` for options that make no sense.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Context.Context<HttpServer.HttpServer | NodeServer>, ListenError | InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const settings = yield* check(() => settingsOf(options))
    const runFork = Runtime.runFork(yield* Effect.runtime<never>())
    const connections = yield* check(() => new Connections(settings, runFork))
    const streams = Option.isSome(yield* Effect.serviceOption(Lifecycle)) ? "byHubs" : "byServer"
    // Later calls join the first.
    const drain = once(
      Effect.uninterruptible(Effect.tap(Drain.drain(connections, settings, streams), logDrain))
    )
    yield* Effect.addFinalizer(() => drain)
    yield* onPhaseIfPresent("draining", { label: "http server" }, drain)
    yield* Metrics.collect(Effect.sync(() => metrics(connections)))
    yield* NodeMetrics.collect
    const address = yield* listen(connections.server, settings)
    const serve = (app: HttpApp.Default<unknown>, middleware?: HttpMiddleware.HttpMiddleware) =>
      Effect.gen(function*() {
        const handle = yield* handleWith(app, middleware, settings)
        yield* Effect.addFinalizer(() =>
          Effect.suspend(() => {
            if (connections.handle === handle) {
              connections.handle = undefined
            }
            return Effect.flatMap(Drain.finish(connections, settings, "byServer"), logCut)
          })
        )
        connections.handle = handle
      })
    const stats = Effect.sync(() => ({
      ...connections.counters,
      connections: connections.sockets.size,
      inFlight: connections.exchanges.size,
      draining: connections.isDraining
    }))
    yield* Roster.add(Observe.servers, {
      address: address._tag === "TcpAddress" ? `${address.hostname}:${address.port}` : address.path,
      stats,
      responses: Effect.sync(connections.responses.counts),
      routes: Effect.sync(connections.responses.routes)
    })
    return Context.make(HttpServer.HttpServer, HttpServer.make({ address, serve })).pipe(
      Context.add(NodeServer, { address, drain, stats })
    )
  })

/** Runs the app for each exchange, in a fiber that the census knows. */
const handleWith = (
  app: HttpApp.Default<unknown>,
  middleware: HttpMiddleware.HttpMiddleware | undefined,
  settings: Settings
): Effect.Effect<Handle> =>
  Effect.gen(function*() {
    const runtime = Runtime.updateContext(
      yield* Effect.runtime<never>(),
      (context) =>
        context.unsafeMap.has(HttpServerRequest.MaxBodySize.key) ? context : Context.add(
          context,
          HttpServerRequest.MaxBodySize,
          Option.some(FileSystem.Size(settings.maxBodyBytes))
        )
    )
    const serving = Runtime.updateFiberRefs(
      runtime,
      (refs) =>
        FiberRefs.updateAs(refs, {
          fiberId: FiberId.unsafeMake(),
          fiberRef: HttpMiddleware.currentTracerDisabledWhen,
          value: (request) => !settings.traced(request)
        })
    )
    const startSession = FiberRegistry.unsafeStarter(runtime, { kind: "session", interruptible: false })
    const startRequest = FiberRegistry.unsafeStarter(serving, { kind: "request", interruptible: false })
    const handled = middleware === undefined
      ? HttpErrors.toHandledScoped(app, respond)
      : HttpErrors.toHandled(app, respond, middleware)
    return (exchange) => {
      exchange.fork = startSession
      const request = new NodeRequest(exchange)
      const services = new Map(runtime.context.unsafeMap)
      services.set(HttpServerRequest.HttpServerRequest.key, request)
      services.set(Scope.Scope.key, unsafeScope())
      // With a body, a turn later: most bodies come in one piece with their header, and need no waiting then.
      const immediate = !declaresBody(exchange.request) || exchange.expectsContinue
      return startRequest(
        exchange.request.url === "*"
          ? Effect.ignore(respond(request, serverWide))
          : handled as Effect.Effect<void>,
        nameOf(exchange.request),
        Context.unsafeMake(services),
        immediate
      )
    }
  })

/** `Scope.make` is one synchronous step, which is taken here. */
const unsafeScope = (): Scope.CloseableScope =>
  (Scope.make() as unknown as { readonly effect_instruction_i0: () => Scope.CloseableScope }).effect_instruction_i0()

/** `OPTIONS *` asks about the server, not about a route (RFC 9110, 9.3.7). */
const serverWide = HttpServerResponse.empty({
  status: 204,
  headers: { allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" }
})

const metrics = (connections: Connections): ReadonlyArray<Metrics.Family> => [
  ...Metrics.gauges("http_server", {
    connections: "Connections that are open, idle ones and WebSockets among them.",
    requests_in_flight: "Requests that are not answered to the end, event streams among them."
  }, { connections: connections.sockets.size, requests_in_flight: connections.exchanges.size }),
  ...Metrics.counters("http_server", {
    accepted: "Connections that were accepted.",
    requests: "Requests whose header was read.",
    refused: "Requests and connections that were refused by a limit or as malformed.",
    aborted: "Requests whose client left before the end of the response.",
    stalled: "Connections that were cut off because their client took nothing."
  }, connections.counters),
  ...connections.responses.families()
]

const nameOf = (request: Http.IncomingMessage): string => {
  const url = request.url!
  const query = url.indexOf("?")
  return `${request.method} ${query === -1 ? url : url.slice(0, query)}`
}

const logCut = (report: Pick<DrainReport, "cut" | "abandoned">): Effect.Effect<void> =>
  report.cut.length === 0 ? Effect.void : Effect.annotateLogs(
    Effect.logWarning(
      `${report.cut.length} requests were cut off, ${report.abandoned.length} did not clean up in time`
    ),
    {
      module: "NodeServer",
      cut: report.cut.slice(0, 10).map((request) => `${request.method} ${request.url} (${request.ageMillis} ms)`),
      abandoned: report.abandoned.slice(0, 10).map((request) =>
        `${request.method} ${request.url} (${request.ageMillis} ms)`
      )
    }
  )

const logDrain = (report: DrainReport): Effect.Effect<void> =>
  Effect.zipRight(
    logCut(report),
    Effect.annotateLogs(
      Effect.logDebug(
        `drained in ${report.elapsedMillis} ms: ${report.inFlight} requests in flight, ${report.destroyed} sockets destroyed`
      ),
      { module: "NodeServer" }
    )
  )

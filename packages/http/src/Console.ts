/**
 * An application shows itself: a page, and the feed behind it, of what runs on whose behalf, what is cleaned up, who is
 * connected, what fails, and what an operator can do about it. One layer adds it to any app.
 *
 * ```ts
 * import { HttpApi, HttpApiBuilder, HttpLayerRouter } from "@effect/platform"
 * import { Console } from "@holdfast/http"
 * import { NodeServer } from "@holdfast/node"
 * import { Layer } from "effect"
 *
 * const Api = HttpApi.make("app")
 * const Routes = Layer.mergeAll(HttpLayerRouter.addHttpApi(Api), Console.layer({ path: "/console" }))
 * const app = HttpLayerRouter.serve(Routes).pipe(Layer.provide(NodeServer.layer({ port: 0 })))
 * console.log(Layer.isLayer(app))
 * ```
 *
 * | app | how |
 * |---|---|
 * | `HttpLayerRouter` | `Console.layer(options)` beside the other routes |
 * | `HttpApiBuilder.serve` | `Console.layerApi(options)`, provided to it |
 * | `HttpRouter` | `HttpRouter.concat(router, yield* Console.routes(options))` |
 *
 * `GET <path>/snapshot` is the picture of this moment as one JSON document, with the token, for scripts.
 *
 * **How it is made.** Sections are values (`ConsoleSection`); those of the library and those of the application are the same.
 * Buses, tickers, hubs and servers are found in the `Roster`, nothing is registered by hand. One engine looks at the sections
 * once a second while somebody looks, and sends what has changed (`ConsoleFeed`). Who has a section open says so by
 * `POST <path>/watch/<section>`, again every half minute. The page is plain files; it knows nothing of fibers or buses, and
 * draws what the feed announces.
 *
 * **Who may look, who may act.** The `OperatorGuard`: that of the context, or one made from `access`. Without a token in either
 * one is made for this run, and its link logged at the start.
 *
 * **Restarts.** The feed has an epoch and no ids. A page that comes back after a restart gets the new process's picture and
 * forgets the old one's; it says how the old one ended, where there is a `LastShutdown`.
 *
 * **Shutdown.** The page is told of each phase. Its streams end when nothing else is in flight, and at the latest a second
 * after draining begins, so that they never hold a drain up.
 *
 * **What it costs.** Without a viewer: one reading of each series a second. With one: the sections, once a second; those that
 * cost something less often, so that all of them together take a quarter of a hundredth of a core: every 8 seconds at the least
 * where somebody has them open, else every 30. A viewer who reads too slowly misses frames, and nobody else does. A section
 * shows 2000 rows, and says how many there are.
 *
 * **Limits.** It is for people, and shows the last hour: alerts that wake somebody, and longer histories, belong to what scrapes
 * `Metrics`. It is one process's page: a cluster has one per node. What `ConsoleLog`, `LastShutdown`, `Health` and `Audit`
 * add is there when these are in the context.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Audit from "@holdfast/core/Audit"
import { CleanupMonitor } from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { check, type InvalidOption, unsafeCheck, unsafeDuration, unsafeWhole } from "@holdfast/core/InvalidOption"
import { Lifecycle, onPhaseIfPresent } from "@holdfast/core/Lifecycle"
import { LagProbe } from "@holdfast/core/Probes"
import * as Roster from "@holdfast/core/Roster"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ConsoleLog } from "./ConsoleLog.js"
import type { Action, Section } from "./ConsoleSection.js"
import { Health } from "./Health.js"
import * as HttpErrors from "./HttpErrors.js"
import * as Assets from "./internal/console/assets.js"
import * as Census from "./internal/console/census.js"
import { Engine } from "./internal/console/engine.js"
import { host, hostname } from "./internal/console/host.js"
import * as Process from "./internal/console/process.js"
import { serverSections } from "./internal/console/servers.js"
import * as Services from "./internal/console/services.js"
import { tickerSections } from "./internal/console/tickers.js"
import { fromRouter, type Made } from "./internal/layerRoutes.js"
import type { Registry } from "./internal/registry.js"
import { unsafeMake } from "./internal/registry.js"
import { LastShutdown } from "./LastShutdown.js"
import * as OperatorGuard from "./OperatorGuard.js"
import * as Sse from "./Sse.js"
import { present as hubs } from "./SseHub.js"

/**
 * Where the console is served, and what it shows.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Where the page is. Default `/console`. */
  readonly path?: `/${string}` | undefined
  /** Of the guard. Default: the `OperatorGuard` of the context, or one with a token of its own. */
  readonly access?: OperatorGuard.Options | undefined
  /** What the application adds. One with the id of the library's takes its place. */
  readonly sections?: ReadonlyArray<Section> | undefined
  /** In the page's title. Default `service`. */
  readonly name?: string | undefined
  /** Of the application. */
  readonly version?: string | undefined
  /** Between two looks. Default 1 second. */
  readonly interval?: Duration.DurationInput | undefined
  /** Feeds that may be open at once. Default 16, 429 beyond. */
  readonly maxViewers?: number | undefined
  /** A folder with the files of the page, for a bundle that does not hold them. Default: that of this package. */
  readonly assets?: string | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  path: "/console",
  name: "service",
  interval: Duration.seconds(1),
  maxViewers: 16
} as const

/**
 * What was added by `register`. There is one set for the process unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class Sections extends Context.Reference<Sections>()("@holdfast/http/Console/Sections", {
  defaultValue: (): Registry<Section> => unsafeMake<Section>()
}) {}

/**
 * Shows a section for as long as the scope is open: for a module that does not know where the console is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const register = (...sections: ReadonlyArray<Section>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Sections, (registry) => Effect.forEach(sections, registry.add, { discard: true }))

/**
 * The routes of the page, its feed and its acts, for an `HttpRouter`.
 *
 * @since 0.1.0
 * @category routes
 */
export const routes = (
  options: Options = {}
): Effect.Effect<HttpRouter.HttpRouter, InvalidOption, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const settings = yield* settingsOf(options)
    const guard = yield* guardOf(options, settings.path)
    const assets = yield* Assets.read(options.assets)
    const engine = yield* makeEngine(options, settings, guard)
    // The scope is that of each request.
    const context = Context.omit(Scope.Scope)(yield* Effect.context<Scope.Scope>()) as Context.Context<never>
    const page = Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
      request.url.split("?", 1)[0].endsWith("/")
        ? assets.get("index.html")!
        // Relative: a proxy may serve it under a path that is not known here.
        : HttpServerResponse.empty({ status: 307, headers: { location: `${settings.path.split("/").at(-1)}/` } }))
    // Its refusals are answers, whatever stands around it.
    const answered = <R>(app: HttpApp.Default<HttpErrors.HttpError, R>) =>
      Effect.catchAll(Effect.provide(app, context), ({ problem }) =>
        Effect.succeed(HttpErrors.toResponse(problem)))
    let router: HttpRouter.HttpRouter = HttpRouter.empty.pipe(
      HttpRouter.get(settings.path, page),
      HttpRouter.get(`${settings.path}/feed`, answered(feed(engine, guard))),
      HttpRouter.get(`${settings.path}/snapshot`, answered(snapshot(engine, guard))),
      HttpRouter.post(`${settings.path}/watch/:section`, answered(watch(engine, guard))),
      HttpRouter.post(`${settings.path}/act/:name`, answered(act(engine, guard)))
    )
    for (const [name, asset] of assets) {
      if (name !== "index.html") {
        router = HttpRouter.get(router, `${settings.path}/${name}`, asset)
      }
    }
    return router
  })

/**
 * `routes` as a Layer for `HttpLayerRouter`. The options may come from an effect, with the application's services.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E = never, R = never>(
  options: Made<Options, E, R> = {}
): Layer.Layer<
  never,
  E | InvalidOption,
  HttpLayerRouter.HttpRouter | FileSystem.FileSystem | Exclude<R, Scope.Scope>
> =>
  Layer.unwrapScoped(
    Effect.map(
      Effect.flatMap(Effect.isEffect(options) ? options : Effect.succeed(options), routes),
      (router) => fromRouter(router)
    )
  )

/**
 * `routes` as a Layer for an app of `HttpApiBuilder.serve`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerApi = <E = never, R = never>(
  options: Made<Options, E, R> = {}
): Layer.Layer<never, E | InvalidOption, FileSystem.FileSystem | Exclude<R, Scope.Scope>> =>
  Layer.scopedDiscard(
    Effect.flatMap(
      Effect.flatMap(Effect.isEffect(options) ? options : Effect.succeed(options), routes),
      (router) => Effect.flatMap(HttpApiBuilder.Router, (api) => api.concat(router))
    )
  ).pipe(Layer.provide(HttpApiBuilder.Router.Live))

const settingsOf = (options: Options) =>
  check(() => ({
    path: unsafeCheck(
      "Console.path",
      options.path ?? defaults.path,
      (path) => /^\/[^\s?#:*]*[^\s?#:*/]$/.test(path),
      "a path such as \"/console\", without a slash at its end"
    ),
    intervalMillis: unsafeDuration("Console.interval", options.interval ?? defaults.interval),
    maxViewers: unsafeWhole("Console.maxViewers", options.maxViewers ?? defaults.maxViewers, { min: 1 })
  }))

/** That of the options, of the context, or one of its own, whose link is said. */
const guardOf = (options: Options, path: string) =>
  Effect.gen(function*() {
    const given = yield* Effect.serviceOption(OperatorGuard.OperatorGuard)
    if (options.access === undefined && Option.isSome(given)) return given.value
    const guard = yield* OperatorGuard.make(options.access)
    const server = yield* Effect.serviceOption(HttpServer.HttpServer)
    const at = Option.match(server, {
      onNone: () => "",
      onSome: ({ address }) => address._tag === "TcpAddress" ? `http://${nameOf(address)}:${address.port}` : ""
    })
    const link = guard.link(`${at}${path}`)
    if (Option.isSome(link)) yield* Effect.logInfo(`The operator's console: ${link.value}`)
    return guard
  })

/** As a browser on this machine says it. */
const nameOf = ({ hostname }: HttpServer.TcpAddress): string =>
  ["0.0.0.0", "::"].includes(hostname) ? "localhost" : hostname.includes(":") ? `[${hostname}]` : hostname

const makeEngine = (
  options: Options,
  settings: { readonly intervalMillis: number; readonly maxViewers: number },
  guard: OperatorGuard.Service
) =>
  Effect.gen(function*() {
    const registry = yield* FiberRegistry.FiberRegistry
    const lifecycle = yield* Effect.serviceOption(Lifecycle)
    const startedAt = Date.now()
    const own = yield* ownSections({ registry, startedAt, version: options.version, guard })
    const named = hostname()
    const engine = new Engine({
      hello: {
        epoch: crypto.randomUUID(),
        name: options.name ?? defaults.name,
        ...(options.version === undefined ? {} : { version: options.version }),
        ...(host.pid === undefined ? {} : { pid: host.pid }),
        ...(named === undefined ? {} : { host: named }),
        startedAt
      },
      ...settings,
      own,
      given: options.sections ?? [],
      registered: yield* Sections,
      registry,
      lifecycle
    })
    yield* Effect.addFinalizer(() => engine.farewell)
    yield* FiberRegistry.forkScoped(engine.run, { name: "console", kind: "service" })
    yield* onPhaseIfPresent(
      "draining",
      { label: "console: the last picture" },
      Effect.zipRight(awaitIdle(engine, registry, lifecycle), engine.farewell)
    )
    return engine
  })

/** Longer than this no page holds a drain up. Servers give requests 1.5 seconds. */
const lastLook = 1000

const awaitIdle = (engine: Engine, registry: FiberRegistry.Service, lifecycle: Option.Option<Lifecycle["Type"]>) =>
  Effect.gen(function*() {
    const end = performance.now() + lastLook
    while (engine.viewers.all.size > 0 && performance.now() < end) {
      const admitted = Option.isNone(lifecycle) ? 0 : yield* lifecycle.value.admitted
      const requests = registry.unsafeCounts().byKind["request"] ?? 0
      const open = yield* Effect.forEach(yield* Roster.all(hubs), (hub) => hub.stats)
      // Its own requests are those of the feeds.
      if (admitted === 0 && requests <= engine.viewers.all.size && open.every((stats) => stats.open === 0)) break
      yield* Effect.sleep(50)
    }
    // The next frame shows it.
    if (engine.viewers.all.size > 0) yield* Effect.sleep(200)
  })

interface Surroundings {
  readonly registry: FiberRegistry.Service
  readonly startedAt: number
  readonly version: string | undefined
  readonly guard: OperatorGuard.Service
}

/** Crashes that are kept. */
const maxCrashes = 100

const ownSections = ({ guard, registry, startedAt, version }: Surroundings) =>
  Effect.gen(function*() {
    const monitor = yield* CleanupMonitor
    const lifecycle = yield* Effect.serviceOption(Lifecycle)
    const health = yield* Effect.serviceOption(Health)
    const log = yield* Effect.serviceOption(ConsoleLog)
    const last = yield* Effect.serviceOption(LastShutdown)
    const lag = yield* Effect.serviceOption(LagProbe)
    const given = yield* Effect.serviceOption(Audit.Audit)
    const audit = Option.isSome(given) ? given.value : yield* Audit.make({ orphanAfter: "3 seconds" })
    const crashes: Array<Census.Crash> = []
    let number = 0
    yield* FiberRegistry.forkScoped(
      Stream.runForEach(registry.crashes, (crash) =>
        Effect.sync(() => {
          crashes.push({ ...crash, key: String(number++) })
          if (crashes.length > maxCrashes) crashes.shift()
        })),
      { name: "console crashes", kind: "service" }
    )
    const drained = { isDrained: false }
    if (Option.isSome(health) && Option.isSome(lifecycle)) {
      yield* health.value.check({
        name: Process.operatorCheck,
        run: Effect.suspend(() =>
          drained.isDrained ? Effect.fail("taken out of rotation by the operator") : Effect.void
        )
      })
    }
    return [
      ...(yield* Process.processSections({ lag, registry, startedAt, version })),
      ...(Option.isSome(lifecycle) ? Process.lifecycleSections(lifecycle.value, health, drained) : []),
      ...(Option.isSome(last) ? Process.lastShutdownSections(last.value, startedAt) : []),
      ...(Option.isSome(health) ? [Process.healthSection(health.value)] : []),
      ...Census.fiberSections(registry),
      Census.auditSection(audit),
      ...Census.cleanupSections(monitor),
      ...Census.crashSections(crashes),
      ...Services.hubSections(),
      ...Services.busSections(),
      ...tickerSections(),
      ...serverSections(),
      ...(Option.isSome(log) ? Process.logSections(log.value) : []),
      ...Process.guardSections(guard)
    ] satisfies ReadonlyArray<Section>
  })

const feed = (engine: Engine, guard: OperatorGuard.Service) =>
  Effect.gen(function*() {
    const { role } = yield* guard.visitor
    const viewer = yield* engine.enter(role)
    if (viewer === undefined) {
      return yield* HttpErrors.make("TooManyRequests", `There are already ${engine.viewers.all.size} who look.`, {}, {
        headers: { "retry-after": "10" }
      })
    }
    return HttpServerResponse.stream(viewer.stream, {
      contentType: Sse.contentType,
      headers: { "cache-control": "no-store, no-transform", "x-accel-buffering": "no" }
    })
  })

const snapshot = (engine: Engine, guard: OperatorGuard.Service) =>
  Effect.flatMap(
    guard.visitor,
    ({ role }) =>
      Effect.map(engine.snapshot(role), (all) =>
        HttpServerResponse.unsafeJson(all, { headers: { "cache-control": "no-store" } }))
  )

/** Changes nothing but how often a section is looked at, so who may look may say it. */
const watch = (engine: Engine, guard: OperatorGuard.Service) =>
  Effect.zipRight(
    guard.visitor,
    Effect.flatMap(HttpRouter.params, ({ section = "" }) =>
      engine.watch(section)
        ? HttpServerResponse.empty({ status: 204, headers: { "cache-control": "no-store" } })
        : HttpErrors.make("NotFound", `There is no section "${section}".`, { field: "section" }))
  )

const act = (engine: Engine, guard: OperatorGuard.Service) =>
  Effect.flatMap(HttpRouter.params, ({ name = "" }) => {
    const action = engine.action(name)
    return action === undefined
      ? Effect.zipRight(guard.visitor, HttpErrors.make("NotFound", `There is no act "${name}".`, { field: "name" }))
      : Effect.as(Effect.ensuring(guard.act(action.name, action.input, perform(action)), engine.lookAgain), done)
  })

const done = HttpServerResponse.unsafeJson({ _tag: "Done" }, { headers: { "cache-control": "no-store" } })

/** What goes wrong is said to the operator, in its own words. */
const perform = (action: Action) => (input: never): Effect.Effect<unknown, HttpErrors.HttpError> =>
  Effect.catchAll(
    Effect.flatMap(action.available ?? Effect.succeed(true), (available) =>
      available
        ? action.run(input)
        : HttpErrors.make("NotNow", `"${action.title}" is not possible now.`, {}, { status: 409 })),
    (error) =>
      error instanceof HttpErrors.HttpError
        ? Effect.fail(error)
        : HttpErrors.make("ActFailed", error instanceof Error ? error.message : String(error), {}, { status: 500 })
  )

/**
 * The server that the fault matrix is tried on: small, of the library's parts, with a switch for every fault. Its argument is a
 * plan as JSON; see {@link Plan}.
 */
import { HttpLayerRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Audit, Cleanup, EventBus, FiberRegistry, Supervision, Ticker } from "@holdfast/core"
import { Health, SseHub, SseRoute } from "@holdfast/http"
import { NodeMain, NodeProbes, NodeServer, NodeSseSink } from "@holdfast/node"
import { Context, Deferred, Effect, ExecutionStrategy, Layer, Schedule, Schema, Scope, Stream } from "effect"
import type { Plan } from "./lib/plan.js"

const plan: Plan = JSON.parse(process.argv[2] ?? "{}")

const Ticked = Schema.TaggedStruct("Ticked", { n: Schema.Int })
class Events extends EventBus.Tag("subject/Events")<Events, typeof Ticked.Type>() {}

const busy = (millis: number) => {
  const until = performance.now() + millis
  while (performance.now() < until);
}

/** What a finalizer of the plan does. */
const release = {
  hang: Effect.never,
  throw: Effect.sync(() => {
    throw new Error("planted: the finalizer throws")
  }),
  block: Effect.sync(() => busy(1_000))
}

/** A finalizer in a scope that so many others stand around. */
const nested = (scope: Scope.Scope, depth: number): Effect.Effect<void> =>
  depth === 0
    ? Cleanup.addFinalizer({ label: "planted", budget: "500 millis" }, () => release[plan.finalizer!.kind]).pipe(
      Effect.provideService(Scope.Scope, scope)
    )
    : Effect.gen(function*() {
      const inner = yield* Scope.fork(scope, ExecutionStrategy.sequential)
      yield* Scope.addFinalizer(inner, Effect.void)
      yield* nested(inner, depth - 1)
    })

const Planted = Layer.scopedDiscard(
  plan.finalizer === undefined
    ? Effect.void
    : Effect.flatMap(Effect.scope, (scope) => nested(scope, plan.finalizer!.depth))
)

/** Children that die when they are told to. */
class Workers extends Context.Tag("subject/Workers")<Workers, {
  readonly crash: (name: string) => Effect.Effect<boolean>
  readonly starts: () => Readonly<Record<string, number>>
}>() {}

const names = ["ann", "ben", "cleo"]

const WorkersOn = Layer.scoped(
  Workers,
  Effect.gen(function*() {
    const starts: Record<string, number> = {}
    const ends = new Map<string, Deferred.Deferred<never>>()
    yield* Supervision.make({
      name: "workers",
      intensity: 100,
      period: "1 minute",
      backoff: Schedule.spaced("10 millis"),
      children: names.map((name) => ({
        name,
        start: Effect.gen(function*() {
          const end = yield* Deferred.make<never>()
          ends.set(name, end)
          starts[name] = (starts[name] ?? 0) + 1
          return yield* Deferred.await(end)
        })
      }))
    })
    return {
      crash: (name) => {
        const end = ends.get(name)
        return end === undefined
          ? Effect.succeed(false)
          : Deferred.die(end, new Error(`planted: ${name} crashes`))
      },
      starts: () => ({ ...starts })
    }
  })
)

const Ticking = Layer.scopedDiscard(Effect.gen(function*() {
  const events = yield* Events
  const ticker = yield* Ticker.make({ name: "ticks", interval: "50 millis" })
  let n = 0
  yield* ticker.onTick({ name: "publish" }, () => events.publish({ _tag: "Ticked", n: n++ }))
}))

const query = (name: string) =>
  Effect.map(
    HttpServerRequest.HttpServerRequest,
    ({ url }) => new URL(url, "http://a").searchParams.get(name) ?? ""
  )

const kept: Array<Buffer> = []

const echo = Effect.flatMap(
  HttpServerRequest.HttpServerRequest,
  (request) => Effect.flatMap(request.text, (text) => HttpServerResponse.json({ length: text.length }))
)

/** Ten chunks a second, for as long as somebody reads. */
const download = Effect.succeed(HttpServerResponse.stream(
  Stream.repeatEffect(Effect.succeed(new Uint8Array(262_144))).pipe(Stream.schedule(Schedule.spaced("20 millis")))
))

const state = Effect.gen(function*() {
  const registry = yield* FiberRegistry.FiberRegistry
  const hub = yield* SseHub.SseHub
  const server = yield* NodeServer.NodeServer
  const audit = yield* Audit.Audit
  const workers = yield* Workers
  return yield* HttpServerResponse.json({
    fibers: (yield* registry.counts).live,
    crashed: (yield* registry.counts).crashed,
    streams: (yield* hub.stats).open,
    http: yield* server.stats,
    starts: workers.starts(),
    orphans: (yield* audit.inspect).filter(({ _tag }) => _tag === "Orphan").length
  })
})

const Routes = Layer.mergeAll(
  HttpLayerRouter.add("GET", "/hello", HttpServerResponse.json({ hello: "world" })),
  HttpLayerRouter.add("POST", "/echo", echo),
  HttpLayerRouter.add(
    "GET",
    "/slow",
    Effect.flatMap(query("millis"), (millis) => Effect.delay(HttpServerResponse.json({ slow: true }), Number(millis)))
  ),
  HttpLayerRouter.add("GET", "/download", download),
  HttpLayerRouter.add("GET", "/state", state),
  HttpLayerRouter.add(
    "POST",
    "/crash",
    Effect.flatMap(
      query("child"),
      (name) =>
        Effect.flatMap(
          Workers,
          ({ crash }) => Effect.flatMap(crash(name), (crashed) => HttpServerResponse.json({ crashed }))
        )
    )
  ),
  HttpLayerRouter.add(
    "POST",
    "/block",
    Effect.flatMap(query("millis"), (millis) => {
      busy(Number(millis))
      return HttpServerResponse.json({ blocked: Number(millis) })
    })
  ),
  HttpLayerRouter.add(
    "POST",
    "/eat",
    Effect.flatMap(query("mebibytes"), (mebibytes) => {
      kept.push(Buffer.alloc(Number(mebibytes) * 1_048_576, 1))
      return HttpServerResponse.json({ kept: kept.length })
    })
  ),
  SseRoute.layer(
    "/events",
    Effect.map(SseHub.SseHub, (hub) => ({ hub, authorize: () => Effect.succeed({ following: [{ topic: "ticks" }] }) }))
  ),
  Health.layerRoutes()
)

const Listening = Layer.scopedDiscard(
  Effect.flatMap(
    NodeServer.NodeServer,
    ({ address }) =>
      Effect.sync(() =>
        process.stdout.write(`listening on http://127.0.0.1:${(address as { readonly port: number }).port}\n`)
      )
  )
)

const App = Layer.merge(
  HttpLayerRouter.serve(Routes, { disableLogger: true }),
  Layer.mergeAll(Ticking, Listening, Planted)
).pipe(
  Layer.provide(NodeSseSink.layer),
  Layer.provideMerge(NodeServer.layer({
    port: 0,
    headersTimeout: "1 second",
    bodyTimeout: "1 second",
    sendTimeout: "1 second",
    halfOpenTimeout: "1 second",
    keepAliveTimeout: "1 second",
    ...(plan.timeout === undefined ? {} : { drain: { requests: plan.timeout } })
  })),
  Layer.provide(SseHub.layer(Effect.map(Events, (bus) => ({ source: SseHub.fromBus(bus) })))),
  Layer.provide([
    Events.layer({ schema: Ticked, topic: () => "ticks" }),
    Health.layer(),
    WorkersOn,
    Audit.layer({
      schedule: Schedule.spaced("200 millis"),
      orphanAfter: "1 second",
      ...(plan.memory === undefined ? {} : { memory: { rss: { hard: plan.memory } } }),
      policy: (finding) => finding._tag === "HighMemory" ? ["log", "drain"] : ["log"]
    }).pipe(Layer.provide(NodeProbes.layer))
  ])
)

NodeMain.runMain(App, {
  name: "subject",
  gracefulShutdownTimeout: plan.timeout ?? "3 seconds",
  watchdog: { stall: plan.stall ?? "10 seconds" },
  report: "pretty"
})

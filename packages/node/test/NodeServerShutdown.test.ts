import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Health from "@holdfast/http/Health"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { Context, Deferred, Effect, Layer, Logger, LogLevel, Schema } from "effect"
import * as Ws from "ws"
import { makeBus } from "./support/bus.js"
import { connect } from "./support/rawSocket.js"
import { eventually, requests } from "./support/serve.js"

const authorize = () => Effect.succeed({ following: [{ topic: "hall" }] })

/** A whole application in a layer, with a lifecycle. */
const start = (extra: HttpRouter.HttpRouter<never, never>) =>
  Effect.gen(function*() {
    const bus = makeBus()
    const app = Layer.unwrapEffect(Effect.map(SseHub.SseHub, (hub) =>
      HttpServer.serve(HttpErrors.handled(HttpRouter.concatAll(
        HttpRouter.empty.pipe(
          HttpRouter.get("/", HttpServerResponse.text("hello")),
          SseRoute.mount("/events", { hub, authorize }),
          WebSocketRoute.mount("/ws", {
            hub,
            authorize,
            commands: { schema: Schema.Unknown, handle: () => Effect.never }
          })
        ),
        extra,
        Health.routes() as never
      ) as HttpRouter.HttpRouter<HttpErrors.HttpError, Health.Health>))))
    const context = yield* Layer.build(
      app.pipe(
        Layer.provide(NodeSseSink.layer),
        Layer.provideMerge(SseHub.layer({ source: bus.source })),
        Layer.provideMerge(NodeServer.layerServer({ port: 0 })),
        Layer.provideMerge(Health.layer()),
        Layer.provideMerge(Lifecycle.layer({ log: false })),
        Layer.provide(Logger.minimumLogLevel(LogLevel.None))
      )
    )
    const { port } = Context.get(context, HttpServer.HttpServer).address as HttpServer.TcpAddress
    return { bus, context, port, lifecycle: Context.get(context, Lifecycle.Lifecycle) }
  })

const stop = { _tag: "Requested", by: "test" } as const

describe("NodeServer in a lifecycle", () => {
  it.scopedLive("streams and WebSockets hear the farewell, requests finish, and the report is clean", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const it = yield* start(
        HttpRouter.empty.pipe(
          HttpRouter.get("/slow", Effect.as(Deferred.await(gate), HttpServerResponse.text("done")))
        )
      )
      const streams = yield* Effect.forEach(
        Array.from({ length: 100 }),
        () =>
          Effect.tap(
            connect(it.port),
            (raw) =>
              Effect.sync(() => raw.write("GET /events HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n"))
          )
      )
      const sockets = Array.from({ length: 100 }, () => {
        const ws = new Ws.WebSocket(`ws://127.0.0.1:${it.port}/ws`)
        const seen = { code: 0, farewell: false, open: false }
        ws.on("error", () => {})
        ws.on("message", (data) => {
          seen.open = true
          seen.farewell ||= String(data).includes("farewell")
          ws.send("{}")
        })
        ws.on("close", (code) => {
          seen.code = code
        })
        return { ws, seen }
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => sockets.forEach(({ ws }) => ws.terminate())))
      const slow = yield* connect(it.port)
      slow.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
      const hub = Context.get(it.context, SseHub.SseHub)
      assert.strictEqual((yield* eventually(hub.sessions, (open) => open.length === 200, 10_000)).length, 200)
      yield* eventually(Effect.sync(() => sockets.every(({ seen }) => seen.open)), (all) => all)

      const shutdown = yield* Effect.fork(it.lifecycle.shutdown(stop))
      yield* eventually(it.lifecycle.phase, (phase) => phase === "draining")
      slow.write("GET /health/ready HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Effect.sleep("20 millis")
      yield* Deferred.succeed(gate, void 0)
      const report = yield* Effect.flatten(shutdown.await)

      for (const raw of streams) {
        assert.isTrue(yield* raw.closed())
        assert.match(raw.received(), /event: farewell\ndata: \{"reason":"drained"/)
        assert.match(raw.received(), /retry: \d+\n/)
        assert.isTrue(raw.received().endsWith("0\r\n\r\n"))
      }
      yield* eventually(Effect.sync(() => sockets.every(({ seen }) => seen.code !== 0)), (all) => all)
      assert.deepStrictEqual(new Set(sockets.map(({ seen }) => seen.code)), new Set([1001]))
      assert.isTrue(sockets.every(({ seen }) => seen.farewell))
      assert.isTrue(yield* slow.closed())
      assert.strictEqual(slow.replies()[0].body, "done")
      const items = report.phases.flatMap((phase) => phase.items)
      assert.deepStrictEqual(items.filter((item) => item.status !== "completed"), [], JSON.stringify(items))
      assert.isBelow(report.elapsedMillis, 3000)
      assert.deepStrictEqual(yield* requests, [])
    }))

  it.scopedLive("a request that cannot be interrupted is left, and the rest ends in time (daily)", () =>
    Effect.gen(function*() {
      let release = () => {}
      const it = yield* start(
        HttpRouter.empty.pipe(
          HttpRouter.get(
            "/stuck",
            Effect.uninterruptible(Effect.async<HttpServerResponse.HttpServerResponse>((resume) => {
              release = () => resume(Effect.succeed(HttpServerResponse.text("late")))
            }))
          ),
          HttpRouter.get(
            "/untidy",
            Effect.zipRight(
              Cleanup.addFinalizer({ label: "never ends", budget: "200 millis" }, () => Effect.never),
              Effect.never
            ).pipe(Effect.scoped)
          )
        )
      )
      for (const path of ["/stuck", "/untidy"]) {
        const raw = yield* connect(it.port)
        raw.write(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`)
      }
      yield* eventually(requests, (found) => found.length === 2)
      const begun = Date.now()
      const server = Context.get(it.context, NodeServer.NodeServer)
      const drain = yield* Effect.fork(server.drain)
      const report = yield* it.lifecycle.shutdown(stop)
      assert.isBelow(Date.now() - begun, 6500)
      assert.isDefined(report)
      const drained = yield* Effect.flatten(drain.await)
      assert.deepStrictEqual(drained.abandoned.map(({ url }) => url), ["/stuck"])
      assert.deepStrictEqual(drained.cut.map(({ url }) => url).sort(), ["/stuck", "/untidy"])
      release()
      assert.deepStrictEqual(yield* eventually(requests, (found) => found.length === 0), [])
    }))
})

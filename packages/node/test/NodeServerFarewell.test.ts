import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { Context, Duration, Effect, Exit, Layer, Logger, LogLevel, Scope, Stream } from "effect"
import * as Ws from "ws"
import { makeBus } from "./support/bus.js"
import { connect } from "./support/rawSocket.js"
import { eventually, requests } from "./support/serve.js"

const authorize = () => Effect.succeed({ following: [{ topic: "hall" }] })

/** An application in a scope, without a lifecycle, in the usual layering: the routes need the hub. */
const start = (transport: "portable" | "NodeSseSink") =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
    const app = Layer.unwrapEffect(Effect.map(SseHub.SseHub, (hub) =>
      HttpServer.serve(HttpErrors.handled(HttpRouter.empty.pipe(
        SseRoute.mount("/events", { hub, authorize }),
        WebSocketRoute.mount("/ws", { hub, authorize }),
        HttpRouter.get(
          "/own",
          HttpServerResponse.stream(Stream.concat(Stream.make(new Uint8Array([58, 10, 10])), Stream.never), {
            contentType: "text/event-stream"
          })
        )
      )))))
    const context = yield* Layer.buildWithScope(
      app.pipe(
        Layer.provide(transport === "portable" ? Layer.empty : NodeSseSink.layer),
        Layer.provideMerge(NodeServer.layerServer({ port: 0, drain: { requests: "15 seconds" } })),
        Layer.provideMerge(SseHub.layer({ source: makeBus().source })),
        Layer.provide(Logger.minimumLogLevel(LogLevel.None))
      ),
      scope
    )
    const { port } = Context.get(context, HttpServer.HttpServer).address as HttpServer.TcpAddress
    return { context, hub: Context.get(context, SseHub.SseHub), port, close: Scope.close(scope, Exit.void) }
  })

const dial = (port: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const ws = new Ws.WebSocket(`ws://127.0.0.1:${port}/ws`)
      const seen = { code: 0, messages: [] as Array<string> }
      ws.on("error", () => {})
      ws.on("message", (data) => {
        seen.messages.push(JSON.parse(String(data))._tag)
      })
      ws.on("close", (code) => {
        seen.code = code
      })
      return { ws, seen }
    }),
    ({ ws }) => Effect.sync(() => ws.terminate())
  )

describe("NodeServer without a lifecycle", () => {
  for (const transport of ["NodeSseSink", "portable"] as const) {
    for (const how of ["the end of its scope", "NodeServer.drain"] as const) {
      it.scopedLive(`lets streams say farewell, with ${transport}, at ${how}`, () =>
        Effect.gen(function*() {
          const it = yield* start(transport)
          const streams = yield* Effect.forEach(
            Array.from({ length: 20 }),
            () =>
              Effect.tap(connect(it.port), (raw) =>
                Effect.sync(() => raw.write("GET /events HTTP/1.1\r\nhost: a\r\n\r\n")))
          )
          const sockets = yield* Effect.forEach(Array.from({ length: 20 }), () =>
            dial(it.port))
          for (const raw of streams) {
            assert.isTrue(yield* raw.until((received) => received.includes("event: position"), 20_000))
          }
          yield* eventually(
            Effect.sync(() => sockets.every(({ seen }) => seen.messages.includes("open"))),
            (all) => all,
            20_000
          )
          yield* how === "NodeServer.drain"
            ? Effect.flatMap(NodeServer.NodeServer, (server) =>
              Effect.map(server.drain, (report) =>
                assert.deepInclude(report, { inFlight: 40, cut: [], abandoned: [] })))
              .pipe(Effect.provide(it.context))
            : it.close
          for (const raw of streams) {
            assert.isTrue(yield* raw.closed(20_000))
            assert.match(raw.received(), /retry: \d+\nevent: farewell\ndata: \{"reason":"drained","retryMillis":\d+\}/)
            assert.isTrue(raw.received().endsWith("0\r\n\r\n"))
          }
          yield* eventually(
            Effect.sync(() =>
              sockets.every(({ seen }) =>
                seen.code !== 0
              )
            ),
            (all) => all,
            20_000
          )
          assert.deepStrictEqual(new Set(sockets.map(({ seen }) => seen.code)), new Set([1001]))
          assert.isTrue(sockets.every(({ seen }) => seen.messages.at(-1) === "farewell"))
          assert.deepStrictEqual((yield* it.hub.ended).map(({ reason }) => reason), Array(40).fill("drained"))
          assert.deepStrictEqual(yield* requests, [])
        }))
    }
  }

  it.scopedLive("does not wait for a stream that nobody can tell to end", () =>
    Effect.gen(function*() {
      const it = yield* start("NodeSseSink")
      const raw = yield* connect(it.port)
      raw.write("GET /own HTTP/1.1\r\nhost: a\r\n\r\n")
      assert.isTrue(yield* raw.until((received) => received.includes(":\n\n"), 20_000))
      const [elapsed] = yield* Effect.timed(it.close)
      assert.isTrue(yield* raw.closed(20_000))
      // the budget for requests alone is more
      assert.isBelow(Duration.toMillis(elapsed), 10_000)
    }))
})

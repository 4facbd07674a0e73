import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpLayerRouter, HttpServer } from "@effect/platform"
import { describe, it } from "@effect/vitest"
import { EventBus } from "@holdfast/core"
import { Health, HttpErrors, Inspector, Metrics, OperatorGuard, SseHub, SseRoute, WebSocketRoute } from "@holdfast/http"
import { NodeServer, NodeSseSink } from "@holdfast/node"
import { Effect, Layer, Schema } from "effect"
import assert from "node:assert"
import { WebSocket } from "ws"

const Said = Schema.TaggedStruct("Said", { text: Schema.String })
class Chat extends EventBus.Tag("test/LayerRoutes/Chat")<Chat, typeof Said.Type>() {}

const Api = HttpApi.make("app").add(
  HttpApiGroup.make("chat").add(HttpApiEndpoint.get("greet", "/greet").addSuccess(Schema.String))
)
const Greet = HttpApiBuilder.group(Api, "chat", (handlers) => handlers.handle("greet", () => Effect.succeed("hello")))

/** An application whose routes are layers: an API of its own, and every route of the library beside it. */
const Routes = Layer.mergeAll(
  HttpLayerRouter.addHttpApi(Api).pipe(Layer.provide(Greet)),
  SseRoute.layer(
    "/events",
    Effect.map(SseHub.SseHub, (hub) => ({
      hub,
      authorize: ({ request }: { readonly request: { readonly headers: Readonly<Record<string, string>> } }) =>
        request.headers["x-banned"] === undefined
          ? Effect.succeed({ following: [{ topic: "Said" }] })
          : HttpErrors.make("Forbidden", "you are banned")
    }))
  ),
  WebSocketRoute.layer(
    "/socket",
    Effect.map(SseHub.SseHub, (hub) => ({ hub, authorize: () => Effect.succeed({ following: [{ topic: "Said" }] }) }))
  ),
  Health.layerRoutes(),
  Metrics.layerRoutes(),
  Inspector.layerRoutes()
)

const App = HttpLayerRouter.serve(Routes, { disableListenLog: true, disableLogger: true }).pipe(
  Layer.provide(NodeSseSink.layer),
  Layer.provideMerge(NodeServer.layer({ port: 0 })),
  Layer.provide(SseHub.layer(Effect.map(Chat, (bus) => ({ source: SseHub.fromBus(bus) })))),
  Layer.provide(Health.layer()),
  Layer.provide(OperatorGuard.layer()),
  Layer.provideMerge(Chat.layer({ schema: Said }))
)

const url = (path: string) =>
  Effect.map(
    HttpServer.HttpServer,
    ({ address }) => `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}${path}`
  )

const get = (path: string, headers: Record<string, string> = {}) =>
  Effect.flatMap(url(path), (url) =>
    Effect.promise(async () => {
      const response = await fetch(url, { headers })
      return { status: response.status, body: await response.text() }
    }))

describe("routes as layers", () => {
  it.scoped("serve an HttpApi and every route of the library from one router", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* get("/greet"), { status: 200, body: "\"hello\"" })
      assert.strictEqual((yield* get("/health/ready")).status, 200)
      assert.match((yield* get("/metrics")).body, /holdfast_/)
      assert.strictEqual((yield* get("/inspector")).status, 401)
      const banned = yield* get("/events", { "x-banned": "1" })
      assert.deepStrictEqual([banned.status, JSON.parse(banned.body)._tag], [403, "Forbidden"])
      assert.strictEqual((yield* get("/socket")).status, 426)
    }).pipe(Effect.provide(App)))

  it.scoped("stream events over SSE and WebSocket", () =>
    Effect.gen(function*() {
      const bus = yield* Chat
      const stream = yield* Effect.flatMap(url("/events"), (url) =>
        Effect.acquireRelease(
          Effect.promise(async () => {
            const abort = new AbortController()
            const response = await fetch(url, { signal: abort.signal })
            return { abort, reader: response.body!.pipeThrough(new TextDecoderStream()).getReader() }
          }),
          ({ abort }) => Effect.sync(() => abort.abort())
        ))
      const socket = yield* Effect.flatMap(url("/socket"), (url) =>
        Effect.acquireRelease(
          Effect.async<{ readonly socket: WebSocket; readonly messages: Array<string> }>((resume) => {
            const socket = new WebSocket(url.replace("http", "ws"))
            const messages: Array<string> = []
            socket.on("message", (data) => messages.push(String(data)))
            socket.once("message", () => resume(Effect.succeed({ socket, messages })))
          }),
          ({ socket }) => Effect.sync(() => socket.terminate())
        ))
      yield* bus.publish({ _tag: "Said", text: "to everybody" })
      let seen = ""
      while (!seen.includes("to everybody")) {
        seen += (yield* Effect.promise(() => stream.reader.read())).value ?? ""
      }
      while (!socket.messages.some((message) => message.includes("to everybody"))) yield* Effect.yieldNow()
    }).pipe(Effect.provide(App)))
})

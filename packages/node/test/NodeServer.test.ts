import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Metrics from "@holdfast/http/Metrics"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Context, Deferred, Effect, Layer, Logger, LogLevel, Schema, Stream } from "effect"
import { connect } from "./support/rawSocket.js"
import { eventually } from "./support/serve.js"

const quiet = Logger.minimumLogLevel(LogLevel.None)

const serve = <E>(router: HttpRouter.HttpRouter<E>, options: NodeServer.Options = {}) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      HttpServer.serve(HttpErrors.handled(router)).pipe(
        Layer.provideMerge(NodeServer.layerServer({ port: 0, ...options })),
        Layer.provide(quiet)
      )
    )
    const server = Context.get(context, NodeServer.NodeServer)
    const address = server.address as HttpServer.TcpAddress
    return { server, port: address.port, url: `http://127.0.0.1:${address.port}` }
  })

const get = (url: string, init?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text.startsWith("{") ? JSON.parse(text) : text
    }
  })

/** Why it does not listen. */
const listening = (options: NodeServer.Options) =>
  Effect.flip(Effect.catchTag(Layer.build(NodeServer.layerServer(options)), "InvalidOption", Effect.die))

const echo = HttpRouter.empty.pipe(
  HttpRouter.get("/", HttpServerResponse.text("hello")),
  HttpRouter.post("/echo", Effect.flatMap(HttpErrors.bodyJson(Schema.Unknown), HttpServerResponse.json)),
  HttpRouter.get("/die", Effect.die(new Error("inside"))),
  HttpRouter.get("/never", Effect.never),
  HttpRouter.get(
    "/stream",
    HttpServerResponse.stream(Stream.concat(Stream.make(new TextEncoder().encode("first")), Stream.never))
  )
)

describe("NodeServer", () => {
  it.scopedLive("serves on a free port, with JSON for what goes wrong", () =>
    Effect.gen(function*() {
      const { server, url } = yield* serve(echo)
      assert.strictEqual((yield* get(`${url}/`)).body, "hello")
      assert.strictEqual((yield* get(`${url}/nowhere`)).body._tag, "NotFound")
      assert.strictEqual((yield* get(`${url}/die`)).body._tag, "InternalError")
      const posted = yield* get(`${url}/echo`, {
        method: "POST",
        body: "[1,2]",
        headers: { "content-type": "application/json" }
      })
      assert.strictEqual(posted.body, "[1,2]")
      assert.strictEqual((yield* server.stats).requests, 4)
      const metrics = yield* eventually(Metrics.render, (text) => text.includes("http_server_requests_in_flight 0"))
      assert.include(metrics, "http_server_responses_total{method=\"GET\",status=\"404\"} 1")
      assert.include(metrics, "http_server_request_duration_seconds_count 4")
      assert.include(metrics, "http_server_request_duration_seconds_bucket{le=\"+Inf\"} 4")
    }))

  it.scopedLive("a port in use is a typed error that says what to do", () =>
    Effect.gen(function*() {
      const { port } = yield* serve(echo)
      const error = yield* listening({ port })
      assert.strictEqual(error.reason, "PortInUse")
      assert.include(error.message, `127.0.0.1:${port}: the port is in use`)
      assert.strictEqual(
        (yield* listening({ port: 0, host: "192.0.2.1" })).reason,
        "AddressUnavailable"
      )
    }))

  it.scopedLive("refuses options that make no sense, by name", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [NodeServer.Options, string]> = [
        [{ port: 70_000 }, "port"],
        [{ maxConnections: NaN }, "maxConnections"],
        [{ maxConnections: 0 }, "maxConnections"],
        [{ maxPipelined: 0.5 }, "maxPipelined"],
        [{ maxHeaderBytes: -1 }, "maxHeaderBytes"],
        [{ maxBodyBytes: -1 }, "maxBodyBytes"],
        [{ headersTimeout: NaN }, "headersTimeout"],
        [{ requestTimeout: -5, headersTimeout: 1 }, "requestTimeout"],
        [{ headersTimeout: "31 seconds" }, "headersTimeout"],
        [{ bodyTimeout: 0 }, "bodyTimeout"],
        [{ sendTimeout: "-1 seconds" as never }, "sendTimeout"],
        [{ drain: { requests: NaN } }, "drain.requests"],
        [{ webSocket: { maxMessageBytes: 0 } }, "webSocket.maxMessageBytes"]
      ]
      for (const [options, option] of cases) {
        const error = yield* Effect.flip(Layer.build(NodeServer.layerServer({ port: 0, ...options })))
        assert.deepInclude(error, { _tag: "InvalidOption", option: `NodeServer.${option}` })
      }
      // Beyond what node's timers hold is no limit, and not "at once".
      const { url } = yield* serve(echo, { bodyTimeout: "30 days", sendTimeout: Infinity, requestTimeout: "30 days" })
      assert.strictEqual((yield* get(`${url}/`)).body, "hello")
    }))

  it.scopedLive("a client that leaves in the middle of a stream is no crash", () =>
    Effect.gen(function*() {
      const registry = yield* FiberRegistry.FiberRegistry
      const { server, url } = yield* serve(echo)
      const before = (yield* registry.counts).crashed
      yield* Effect.promise(async () => {
        const leaving = new AbortController()
        const response = await fetch(`${url}/stream`, { signal: leaving.signal })
        await response.body!.getReader().read()
        leaving.abort()
      })
      assert.strictEqual((yield* eventually(server.stats, ({ inFlight }) => inFlight === 0)).inFlight, 0)
      assert.strictEqual((yield* registry.counts).crashed, before)
    }))

  it.scopedLive("request fibers are in the census while they run, and end with the scope", () =>
    Effect.gen(function*() {
      const registry = yield* FiberRegistry.FiberRegistry
      yield* Effect.scoped(Effect.gen(function*() {
        const { port } = yield* serve(echo, { drain: { requests: "100 millis" } })
        const raw = yield* connect(port)
        raw.write("GET /never HTTP/1.1\r\nhost: a\r\n\r\n")
        raw.write("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
        yield* Effect.yieldNow().pipe(
          Effect.zipRight(registry.census),
          Effect.repeat({ until: (entries) => entries.filter((entry) => entry.kind === "request").length === 2 }),
          Effect.delay("5 millis"),
          Effect.timeout("5 seconds")
        )
      }))
      assert.deepStrictEqual((yield* registry.census).filter((entry) => entry.kind === "request"), [])
    }).pipe(Effect.provide(Logger.minimumLogLevel(LogLevel.None))))

  it.scopedLive("drain refuses new work, lets requests finish, and closes everything", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { port, server } = yield* serve(
        HttpRouter.get(echo, "/slow", Effect.as(Deferred.await(gate), HttpServerResponse.text("done")))
      )
      const busy = yield* connect(port)
      const idle = yield* connect(port)
      idle.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      assert.isTrue(yield* idle.until((text) => text.endsWith("hello")))
      busy.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Effect.repeat(Effect.delay(server.stats, "5 millis"), { until: (stats) => stats.inFlight === 1 })
      const draining = yield* Effect.fork(server.drain)
      assert.isTrue(yield* idle.closed())
      busy.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Effect.repeat(Effect.delay(server.stats, "5 millis"), { until: (stats) => stats.refused === 1 })
      yield* Deferred.succeed(gate, void 0)
      const report = yield* draining.await.pipe(Effect.flatten)
      assert.isTrue(yield* busy.closed())
      const [first] = busy.replies()
      assert.strictEqual(first.body, "done")
      assert.strictEqual(first.headers["connection"], "close")
      assert.deepInclude(report, { inFlight: 1, cut: [], abandoned: [] })
    }))
})

/** What the short ways through the server, for small bodies and requests that nobody traces, must not change. */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Context, Effect, Layer, Option, Tracer } from "effect"
import { connect } from "./support/rawSocket.js"
import { eventually, serve } from "./support/serve.js"

const post = (body: string, length = Buffer.byteLength(body)) =>
  `POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n${body}`

const isInside = Effect.map(Effect.option(Effect.currentSpan), Option.isSome)

const app = HttpRouter.empty.pipe(
  HttpRouter.get("/span", Effect.map(isInside, (inside) => HttpServerResponse.text(inside ? "span" : "none"))),
  HttpRouter.get(
    "/refs",
    Effect.zipRight(
      HttpApp.appendPreResponseHandler((_, response) =>
        Effect.succeed(HttpServerResponse.setHeader(response, "x-late", "é"))
      ),
      HttpServerResponse.text("größe €")
    )
  ),
  HttpRouter.post(
    "/echo",
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
      Effect.matchEffect(request.json, {
        onFailure: () => HttpServerResponse.text("no", { status: 400 }),
        onSuccess: (value) => HttpServerResponse.json(value)
      }))
  )
)

const textOf = (url: string, headers: Record<string, string> = {}) =>
  Effect.promise(async () => {
    const response = await fetch(url, { headers })
    return [await response.text(), response.headers.get("x-late")] as const
  })

describe("requests", () => {
  it.scopedLive("a span where somebody keeps it, or where a trace comes with the request", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(app)
      const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      assert.strictEqual((yield* textOf(`${url}/span`))[0], "none")
      assert.strictEqual((yield* textOf(`${url}/span`, { traceparent: trace }))[0], "span")
      const own = Context.get(
        yield* Effect.map(Effect.tracer, (tracer) => Context.make(Tracer.Tracer, tracer)),
        Tracer.Tracer
      )
      const keeping = Tracer.make({ ...own, span: own.span, context: own.context })
      const context = yield* Layer.build(
        HttpServer.serve(app).pipe(
          Layer.provideMerge(NodeServer.layerServer({ port: 0 })),
          Layer.provide(Layer.setTracer(keeping))
        )
      )
      const { port } = Context.get(context, NodeServer.NodeServer).address as HttpServer.TcpAddress
      assert.strictEqual((yield* textOf(`http://127.0.0.1:${port}/span`))[0], "span")
    }))

  it.scopedLive("text beyond ASCII arrives as it was, and handlers before the response are asked", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(app)
      assert.deepStrictEqual(yield* textOf(`${url}/refs`), ["größe €", "é"])
    }))

  it.scopedLive("a body is read whole however it comes, and a bad one does not end the connection", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve(app)
      const raw = yield* connect(port)
      const replies = (count: number) => (got: string) =>
        got.split("HTTP/1.1 ").length === count + 1 && got.endsWith("\n") === false
      raw.write(post("{\"a\":\"€\"}"))
      assert.isTrue(
        yield* raw.until((got) => got.endsWith("{\"a\":\"€\"}") || got.endsWith("{\"a\":\"\u00e2\u0082\u00ac\"}"), 5000)
      )
      raw.write(post("{\"a\""))
      assert.isTrue(yield* raw.until((got) => replies(2)(got) && got.endsWith("no"), 5000))
      const whole = post("[1,2,3,4]")
      raw.write(whole.slice(0, -4))
      yield* eventually(server.stats, (stats) => stats.requests === 3)
      raw.write(whole.slice(-4))
      assert.isTrue(yield* raw.until((got) => got.endsWith("[1,2,3,4]"), 5000))
      raw.write(post("[5]") + post("[6]"))
      assert.isTrue(yield* raw.until((got) => got.endsWith("[6]"), 5000))
      const stats = yield* eventually(server.stats, (stats) => stats.inFlight === 0)
      assert.deepInclude(stats, { accepted: 1, requests: 5, refused: 0, aborted: 0 })
    }))
})

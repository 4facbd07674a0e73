import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as Sse from "@holdfast/http/Sse"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as Harness from "@holdfast/testing/Harness"
import { Effect, Stream } from "effect"

const app = HttpServer.serve(HttpRouter.empty.pipe(
  HttpRouter.get("/hello", HttpServerResponse.text("hello")),
  HttpRouter.get(
    "/events",
    Effect.succeed(HttpServerResponse.stream(
      Stream.concat(
        Stream.make(Sse.encodeBytes({ id: "1", data: "one" }), Sse.encodeBytes({ id: "2", data: "two" })),
        Stream.never
      ),
      { contentType: Sse.contentType }
    ))
  )
))

describe("Harness on a real port", () => {
  it.scopedLive("serves the same app over a socket", () =>
    Effect.gen(function*() {
      const harness = yield* Harness.make(app, {
        server: NodeServer.layerServer({ port: 0, host: "127.0.0.1" })
      })
      assert.match(harness.address, /^http:\/\/127\.0\.0\.1:\d+$/)
      const response = yield* harness.http.get("/hello")
      assert.strictEqual(yield* response.text, "hello")
      const events = yield* harness.sse("/events")
      assert.deepStrictEqual((yield* events.take(2)).map(({ data, id }) => [id, data]), [["1", "one"], ["2", "two"]])
      yield* events.leave
    }))
})

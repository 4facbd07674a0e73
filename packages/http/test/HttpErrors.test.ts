import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Data, Effect, Logger, LogLevel, Option, Schema } from "effect"

class Full extends Data.TaggedError("Full")<{ readonly room: string }> {}

const Say = Schema.Struct({
  text: Schema.String.pipe(Schema.minLength(1), Schema.maxLength(5)),
  volume: Schema.optional(Schema.Literal("low", "high")),
  to: Schema.optional(Schema.Array(Schema.Struct({ name: Schema.NonEmptyString })))
})

const router = HttpRouter.empty.pipe(
  HttpRouter.get("/", HttpServerResponse.text("hello")),
  HttpRouter.post("/say", Effect.map(HttpErrors.bodyJson(Say), (say) => HttpServerResponse.unsafeJson(say))),
  HttpRouter.get("/things/:id/parts/:part?", Effect.map(HttpRouter.params, (p) => HttpServerResponse.unsafeJson(p))),
  HttpRouter.del("/things/:id/parts/:part?", HttpServerResponse.empty()),
  HttpRouter.get("/files/*", HttpServerResponse.text("file")),
  HttpRouter.get("/full", new Full({ room: "hall" })),
  HttpRouter.get("/defect", Effect.die(new Error("secret of the house"))),
  HttpRouter.get("/failed", Effect.fail(HttpErrors.make("Conflict", "the name is taken", { field: "name" }))),
  HttpRouter.get(
    "/query",
    Effect.map(
      HttpErrors.searchParams(Schema.Struct({ after: Schema.NumberFromString })),
      (q) => HttpServerResponse.unsafeJson(q)
    )
  )
)

const app = HttpErrors.handled(router, {
  problem: (error) =>
    error._tag === "Full"
      ? Option.some({ status: 423, body: { _tag: "Full", message: `${error.room} is full` } })
      : Option.none()
})

const quiet = Logger.withMinimumLogLevel(LogLevel.None)

const call = (path: string, init?: RequestInit) => {
  const handler = HttpApp.toWebHandler(quiet(app))
  return Effect.promise(async () => {
    const response = await handler(new Request(`http://localhost${path}`, init))
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text === "" ? undefined : text.startsWith("{") ? JSON.parse(text) : text
    }
  })
}

const json = (body: string, type = "application/json"): RequestInit => ({
  method: "POST",
  body,
  headers: { "content-type": type }
})

describe("HttpErrors", () => {
  it.effect("an unknown route is 404, in the one shape", () =>
    Effect.gen(function*() {
      const response = yield* call("/nowhere?x=1")
      assert.strictEqual(response.status, 404)
      assert.deepStrictEqual(response.body, { _tag: "NotFound", message: "there is no GET /nowhere" })
      assert.strictEqual(response.headers.get("cache-control"), "no-store")
      assert.include(response.headers.get("content-type"), "application/json")
    }))

  it.effect("another method of a known route is 405 with Allow, through parameters and wildcards", () =>
    Effect.gen(function*() {
      const root = yield* call("/", { method: "PUT" })
      assert.strictEqual(root.status, 405)
      assert.strictEqual(root.headers.get("allow"), "GET, HEAD, OPTIONS")
      assert.strictEqual(root.body._tag, "MethodNotAllowed")
      assert.strictEqual(
        (yield* call("/things/7/parts/2", { method: "POST" })).headers.get("allow"),
        "GET, HEAD, DELETE, OPTIONS"
      )
      assert.strictEqual((yield* call("/Things/7/parts/", { method: "POST" })).status, 405)
      assert.strictEqual((yield* call("/files/a/b.txt", { method: "POST" })).status, 405)
      assert.strictEqual((yield* call("/things/7/other", { method: "POST" })).status, 404)
      const options = yield* call("/say", { method: "OPTIONS" })
      assert.strictEqual(options.status, 204)
      assert.strictEqual(options.headers.get("allow"), "POST, OPTIONS")
    }))

  it.effect("broken JSON is 400 with the parser's words", () =>
    Effect.gen(function*() {
      for (const body of ["{\"text\":", "", "nope", "{\"text\":\"a\"} {}"]) {
        const response = yield* call("/say", json(body))
        assert.strictEqual(response.status, 400)
        assert.strictEqual(response.body._tag, "InvalidJson")
      }
    }))

  it.effect("a value that does not fit names the field and what was expected", () =>
    Effect.gen(function*() {
      const of = (value: unknown) => Effect.map(call("/say", json(JSON.stringify(value))), (_) => _.body)
      assert.deepStrictEqual(yield* of({ text: "" }), {
        _tag: "InvalidRequest",
        message: "text: is \"\", expected a string at least 1 character(s) long",
        field: "text",
        expected: "a string at least 1 character(s) long"
      })
      assert.deepInclude(yield* of({}), { field: "text", message: "text: is missing" })
      assert.deepInclude(yield* of({ text: 7 }), { field: "text", expected: "a string" })
      assert.deepInclude(yield* of({ text: "a", volume: "mid" }), {
        field: "volume",
        expected: "\"low\" or \"high\""
      })
      assert.deepInclude(yield* of({ text: "a", to: [{ name: "x" }, { name: "" }] }), { field: "to.1.name" })
      assert.strictEqual((yield* of([])).field, undefined)
      assert.strictEqual((yield* of(null))._tag, "InvalidRequest")
      const query = yield* call("/query?after=soon")
      assert.strictEqual(query.status, 400)
      assert.strictEqual(query.body.field, "after")
      assert.strictEqual((yield* call("/query")).body.message, "after: is missing")
    }))

  it.effect("another content type is 415", () =>
    Effect.gen(function*() {
      const response = yield* call("/say", json("{\"text\":\"a\"}", "text/plain"))
      assert.strictEqual(response.status, 415)
      assert.deepInclude(response.body, {
        _tag: "UnsupportedMediaType",
        field: "content-type",
        expected: "application/json"
      })
      assert.strictEqual((yield* call("/say", json("{\"text\":\"a\"}", "application/json; charset=utf-8"))).status, 200)
      assert.strictEqual((yield* call("/say", json("{\"text\":\"a\"}", "application/vnd.world+json"))).status, 200)
    }))

  it.effect("application errors have their own problem, defects say nothing of their inside", () =>
    Effect.gen(function*() {
      const full = yield* call("/full")
      assert.strictEqual(full.status, 423)
      assert.deepStrictEqual(full.body, { _tag: "Full", message: "hall is full" })
      assert.deepInclude(yield* call("/failed"), {
        status: 409,
        body: { _tag: "Conflict", message: "the name is taken", field: "name" }
      })
      const defect = yield* call("/defect")
      assert.strictEqual(defect.status, 500)
      assert.deepStrictEqual(defect.body, {
        _tag: "InternalError",
        message: "the server failed to answer this request"
      })
    }))

  it.effect("a body over MaxBodySize is 413", () =>
    Effect.gen(function*() {
      const small = HttpErrors.handled(
        HttpServerRequest.withMaxBodySize(
          Effect.flatMap(HttpErrors.bodyJson(Schema.Unknown), HttpServerResponse.json),
          Option.some(16)
        )
      )
      const handler = HttpApp.toWebHandler(small)
      const response = yield* Effect.promise(() =>
        handler(new Request("http://localhost/", json("[1,2,3,4,5,6,7,8,9]")))
      )
      assert.strictEqual(response.status, 413)
      assert.strictEqual(
        ((yield* Effect.promise(() => response.json())) as { readonly _tag: string })._tag,
        "BodyTooLarge"
      )
    }))

  it("says when to come back in whole seconds, one at least, and nothing of a time that never comes", () => {
    const seconds = (millis: number) => HttpErrors.retryAfter(millis)["retry-after"]
    assert.deepStrictEqual([0, 1, 1000, 1001, 60_000].map(seconds), ["1", "1", "1", "2", "60"])
    assert.deepStrictEqual(HttpErrors.retryAfter(Infinity), {})
  })
})

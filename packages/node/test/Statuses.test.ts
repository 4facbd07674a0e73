import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodeHttpPlatform from "@effect/platform-node/NodeHttpPlatform"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodePath from "@effect/platform-node/NodePath"
import * as Etag from "@effect/platform/Etag"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerRespondable from "@effect/platform/HttpServerRespondable"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Multipart from "@effect/platform/Multipart"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as Transport from "@holdfast/testing/Transport"
import { Cause, Context, Effect, Layer, Logger, LogLevel, Option, Schema } from "effect"
import { createServer } from "node:http"

const User = Schema.Struct({ name: Schema.NonEmptyString })

const api = HttpApi.make("api").add(
  HttpApiGroup.make("users").add(
    HttpApiEndpoint.post("create", "/users").setPayload(User).addSuccess(User)
  ).add(
    HttpApiEndpoint.get("find", "/users/:id").setPath(Schema.Struct({ id: Schema.NumberFromString })).addSuccess(User)
  ).add(
    HttpApiEndpoint.get("list", "/users").setUrlParams(Schema.Struct({ page: Schema.NumberFromString })).addSuccess(
      User
    )
  )
)

const apiLayer = HttpApiBuilder.api(api).pipe(
  Layer.provide(HttpApiBuilder.group(api, "users", (handlers) =>
    handlers
      .handle("create", ({ payload }) => Effect.succeed(payload))
      .handle("find", () => Effect.succeed({ name: "ada" }))
      .handle("list", () => Effect.succeed({ name: "ada" }))))
)

class Teapot extends Error implements HttpServerRespondable.Respondable {
  [HttpServerRespondable.symbol]() {
    return Effect.succeed(HttpServerResponse.text("short and stout", { status: 418 }))
  }
}

const ask = HttpServerRequest.HttpServerRequest

const app = Effect.gen(function*() {
  const users = yield* HttpApiBuilder.httpApp
  return HttpRouter.empty.pipe(
    HttpRouter.mountApp("/api", users as never),
    HttpRouter.get("/text", HttpServerResponse.text("hello")),
    HttpRouter.get("/fail", Effect.fail("no")),
    HttpRouter.get("/die", Effect.die(new Error("inside"))),
    HttpRouter.get(
      "/throw",
      Effect.sync(() => {
        throw new Error("inside")
      })
    ),
    HttpRouter.get("/fail-teapot", Effect.fail(new Teapot())),
    HttpRouter.get("/die-teapot", Effect.die(new Teapot())),
    HttpRouter.get("/fail-response", Effect.fail(HttpServerResponse.empty({ status: 402 }))),
    HttpRouter.get("/die-response", Effect.die(HttpServerResponse.empty({ status: 402 }))),
    HttpRouter.get("/none", Effect.flatten(Effect.succeed(Option.none<HttpServerResponse.HttpServerResponse>()))),
    HttpRouter.get("/die-none", Effect.die(new Cause.NoSuchElementException())),
    HttpRouter.get("/unfit", Effect.flatMap(Schema.decodeUnknown(User)({}), () => HttpServerResponse.text("fits"))),
    HttpRouter.get(
      "/die-unfit",
      Effect.orDie(Effect.flatMap(Schema.decodeUnknown(User)({}), () => HttpServerResponse.text("fits")))
    ),
    HttpRouter.get("/then-die", Effect.ensuring(Effect.fail(new Teapot()), Effect.die(new Error("in the finalizer"))))
  ).pipe(
    HttpRouter.get("/problem", HttpErrors.make("Conflict", "taken")),
    HttpRouter.get("/die-problem", Effect.die(HttpErrors.make("Conflict", "taken"))),
    HttpRouter.post("/json", Effect.flatMap(ask, (request) => Effect.flatMap(request.json, HttpServerResponse.json))),
    HttpRouter.post(
      "/json-die",
      Effect.flatMap(ask, (request) => Effect.flatMap(Effect.orDie(request.json), HttpServerResponse.json))
    ),
    HttpRouter.post("/schema", Effect.flatMap(HttpServerRequest.schemaBodyJson(User), HttpServerResponse.json)),
    HttpRouter.post(
      "/schema-die",
      Effect.flatMap(Effect.orDie(HttpServerRequest.schemaBodyJson(User)), HttpServerResponse.json)
    ),
    HttpRouter.post("/form", Effect.flatMap(HttpServerRequest.schemaBodyForm(User), HttpServerResponse.json)),
    HttpRouter.post("/parts", Effect.flatMap(HttpServerRequest.schemaBodyMultipart(User), HttpServerResponse.json)),
    HttpRouter.post(
      "/parts-die",
      Effect.flatMap(Effect.orDie(HttpServerRequest.schemaBodyMultipart(User)), HttpServerResponse.json)
    ),
    HttpRouter.post(
      "/few-parts",
      Multipart.withMaxParts(
        Effect.flatMap(HttpServerRequest.schemaBodyMultipart(User), HttpServerResponse.json),
        Option.some(1)
      )
    ),
    HttpRouter.post(
      "/limited",
      HttpServerRequest.withMaxBodySize(
        Effect.flatMap(ask, (request) => Effect.flatMap(request.text, HttpServerResponse.text)),
        Option.some(8 as never)
      )
    )
  )
})

interface Row {
  readonly what: string
  readonly request: HttpClientRequest.HttpClientRequest
  readonly status: number
  /** What the platform's server says, and why ours does not. */
  readonly platform?: readonly [status: number, why: string]
}

const boundary = "----------------------------holdfast"
const part = (name: string, value: string) =>
  `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
const parts = (...all: ReadonlyArray<string>) => `${all.join("")}--${boundary}--\r\n`

const get = (path: string, status: number, platform?: Row["platform"]): Row => ({
  what: `GET ${path}`,
  request: HttpClientRequest.get(path),
  status,
  ...(platform === undefined ? {} : { platform })
})
const post = (
  path: string,
  what: string,
  body: string,
  status: number,
  platform?: Row["platform"],
  type = "application/json"
): Row => ({
  what: `POST ${path}, ${what}`,
  request: HttpClientRequest.post(path).pipe(HttpClientRequest.bodyText(body, type)),
  status,
  ...(platform === undefined ? {} : { platform })
})
const multipart = (path: string, what: string, body: string, status: number, platform?: Row["platform"]) =>
  post(path, what, body, status, platform, `multipart/form-data; boundary=${boundary}`)

const large = "x".repeat(1024 * 1024 + 1)
const noLimit = "the platform limits no body unless it is told to"
const unsaid = "the platform does not say what was wrong with a multipart body"
const methods = "the platform knows no 405"

const rows: ReadonlyArray<Row> = [
  get("/text", 200),
  get("/nowhere", 404),
  get("/fail", 500),
  get("/die", 500),
  get("/throw", 500),
  get("/fail-teapot", 418),
  get("/die-teapot", 418),
  get("/fail-response", 402),
  get("/die-response", 402),
  get("/none", 404),
  get("/die-none", 404, [500, "a defect that is a missing element is missing all the same"]),
  get("/unfit", 400),
  get("/die-unfit", 500),
  get("/then-die", 418, [500, "the platform answers with what came last, we with what failed first"]),
  get("/problem", 409),
  get("/die-problem", 409),
  { what: "POST /text", request: HttpClientRequest.post("/text"), status: 405, platform: [404, methods] },
  { what: "HEAD /text", request: HttpClientRequest.head("/text"), status: 200 },
  { what: "OPTIONS /text", request: HttpClientRequest.options("/text"), status: 204, platform: [404, methods] },
  post("/json", "fine", "{}", 200),
  post("/json", "broken", "{", 400),
  post("/json", "empty", "", 200),
  post("/json-die", "broken", "{", 400),
  post("/json", "large", `"${large}"`, 413, [200, noLimit]),
  post("/json-die", "large", `"${large}"`, 413, [200, noLimit]),
  post("/schema", "fine", `{"name":"ada"}`, 200),
  post("/schema", "broken", "{", 400),
  post("/schema", "unfit", "{}", 400),
  post("/schema-die", "broken", "{", 400),
  post("/schema-die", "unfit", "{}", 500),
  post("/form", "fine", "name=ada", 200, undefined, "application/x-www-form-urlencoded"),
  post("/form", "unfit", "nick=ada", 400, undefined, "application/x-www-form-urlencoded"),
  post("/limited", "within", "12345678", 200),
  post("/limited", "beyond", "123456789", 413, [0, "the platform cuts the connection"]),
  post("/api/users", "fine", `{"name":"ada"}`, 200),
  post("/api/users", "broken", "{", 400),
  post("/api/users", "unfit", "{}", 400),
  post("/api/users", "large", `{"name":"${large}"}`, 413, [200, noLimit]),
  get("/api/users/1", 200),
  get("/api/users/one", 400),
  get("/api/users?page=1", 200),
  get("/api/users", 400),
  multipart("/parts", "fine", parts(part("name", "ada")), 200),
  multipart("/parts", "unfit", parts(part("nick", "ada")), 400),
  multipart("/parts", "no form at all", "this is not a form", 400, [500, unsaid]),
  multipart("/parts-die", "no form at all", "this is not a form", 400, [500, unsaid]),
  multipart("/few-parts", "too many parts", parts(part("name", "ada"), part("nick", "a"), part("nock", "a")), 413, [
    500,
    unsaid
  ]),
  multipart("/parts", "more than 1 MiB", parts(part("name", "ada"), part("rest", large)), 413, [200, noLimit]),
  post("/parts", "without a boundary", "x", 400, [500, unsaid], "multipart/form-data")
]

type Server = Layer.Layer<HttpServer.HttpServer | HttpClient.HttpClient>

const overSockets = (server: Layer.Layer<HttpServer.HttpServer, unknown>): Server =>
  Layer.orDie(
    Layer.map(Layer.merge(server, FetchHttpClient.layer), (context) => {
      const { port } = Context.get(context, HttpServer.HttpServer).address as HttpServer.TcpAddress
      return Context.add(
        context,
        HttpClient.HttpClient,
        HttpClient.mapRequest(
          Context.get(context, HttpClient.HttpClient),
          HttpClientRequest.prependUrl(`http://127.0.0.1:${port}`)
        )
      )
    })
  )

const servers: ReadonlyArray<readonly [name: string, server: Server, expected: (row: Row) => number]> = [
  [
    "the platform's server",
    overSockets(NodeHttpServer.layerServer(createServer, { port: 0 })),
    (row) => row.platform?.[0] ?? row.status
  ],
  ["NodeServer", overSockets(NodeServer.layerServer({ port: 0 })), (row) => row.status],
  ["the harness in memory", Layer.orDie(Transport.layer()), (row) => row.status]
]

describe("statuses after the swap of a server", () => {
  for (const [name, server, expected] of servers) {
    it.scopedLive(`${name}: ${rows.length} requests`, () =>
      Effect.gen(function*() {
        const lines: Array<string> = []
        const log = Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ logLevel, message }) => {
            if (LogLevel.greaterThanEqual(logLevel, LogLevel.Error)) lines.push(String(message))
          })
        )
        const served = Layer.unwrapEffect(
          Effect.map(app, (router) => HttpServer.serve(router as unknown as HttpApp.Default))
        ).pipe(
          Layer.provideMerge(server),
          Layer.provide(
            [
              HttpApiBuilder.Router.Live,
              HttpApiBuilder.Middleware.layer,
              apiLayer,
              NodeFileSystem.layer,
              NodePath.layer,
              NodeHttpPlatform.layer,
              Etag.layer,
              log
            ] as never
          )
        ) as unknown as Server
        const client = Context.get(yield* Layer.build(served), HttpClient.HttpClient)
        const wrong: Array<string> = []
        for (const row of rows) {
          const status = yield* client.execute(row.request).pipe(
            Effect.tap((response) => Effect.ignore(response.text)),
            Effect.map((response) => response.status),
            // No answer at all.
            Effect.catchAll(() => Effect.succeed(0)),
            Effect.scoped
          )
          if (status !== expected(row)) wrong.push(`${row.what}: ${status}, expected ${expected(row)}`)
        }
        assert.deepStrictEqual(wrong, [])
        // A line that any client can write at the level of errors is noise, and an alarm for somebody.
        if (name !== "the platform's server") {
          assert.strictEqual(lines.length, rows.filter(({ status }) => status >= 500).length)
        }
      }))
  }
})

import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Effect } from "effect"
import { connect } from "./support/rawSocket.js"
import { eventually, serve } from "./support/serve.js"

const ask = HttpServerRequest.HttpServerRequest

const app = HttpErrors.handled(HttpRouter.empty.pipe(
  HttpRouter.get("/n/:n", Effect.map(HttpRouter.params, ({ n = "" }) => HttpServerResponse.text(`n${n}.`))),
  HttpRouter.post("/echo", Effect.flatMap(ask, (request) => Effect.map(request.text, HttpServerResponse.text))),
  HttpRouter.get("/never", Effect.never),
  HttpRouter.get(
    "/late",
    Effect.gen(function*() {
      const request = yield* ask
      yield* Effect.sleep("50 millis")
      const socket = yield* request.upgrade
      const writer = yield* socket.writer
      yield* socket.runRaw((message) => writer(`echo ${String(message)}`))
      return HttpServerResponse.empty()
    }).pipe(Effect.scoped)
  )
))

const h2c = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nhost: a\r\n${more}\r\n`
const handshake = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n" +
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

describe("an upgrade that the server does not speak", () => {
  const rows: ReadonlyArray<readonly [what: string, bytes: string, bodies: ReadonlyArray<string>, kept: boolean]> = [
    ["GET as curl --http2", get("/n/1", h2c), ["n1."], true],
    [
      "POST as Java's client",
      `POST /echo HTTP/1.1\r\nhost: a\r\n${h2c}content-length: 5\r\n\r\nabcde`,
      ["abcde"],
      true
    ],
    [
      "POST in chunks: only the parser knows whether it forgot something",
      `POST /echo HTTP/1.1\r\nhost: a\r\n${h2c}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      ["abc"],
      false
    ],
    ["TLS/1.0, as RFC 2817", get("/n/2", "connection: upgrade\r\nupgrade: TLS/1.0\r\n"), ["n2."], true],
    ["an empty one", get("/n/3", "connection: upgrade\r\nupgrade: \r\n"), ["n3."], true],
    ["Connection alone, as nginx with a fixed header", get("/n/4", "connection: upgrade\r\n"), ["n4."], true],
    ["Upgrade alone", get("/n/5", "upgrade: h2c\r\n"), ["n5."], true],
    ["a WebSocket by POST", `POST /echo HTTP/1.1\r\nhost: a\r\n${handshake}content-length: 2\r\n\r\nhi`, ["hi"], true],
    ["with another behind it, which the parser forgets: the end tells", get("/n/6", h2c) + get("/n/7"), ["n6."], false],
    ["behind another", get("/n/8") + get("/n/9", h2c), ["n8.", "n9."], false]
  ]
  for (const [what, bytes, bodies, kept] of rows) {
    it.scopedLive(`is ignored: ${what}`, () =>
      Effect.gen(function*() {
        const { port } = yield* serve(app)
        const raw = yield* connect(port)
        raw.write(bytes)
        assert.isTrue(yield* raw.until(() => raw.replies().length === bodies.length, 20_000))
        assert.deepStrictEqual(raw.replies().map(({ body }) => body), bodies)
        if (kept) {
          raw.write(get("/n/10"))
          assert.isTrue(yield* raw.until(() => raw.replies().length === bodies.length + 1, 20_000))
          assert.strictEqual(raw.replies().at(-1)?.body, "n10.")
        } else {
          assert.isTrue(yield* raw.closed(20_000))
          assert.strictEqual(raw.replies().at(-1)?.headers["connection"], "close")
        }
      }))
  }

  it.scopedLive("keeps the leaving of the client in sight, whatever it sends after its request", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve(app, { halfOpenTimeout: "100 millis" })
      for (const more of ["", "x", "PRI * HTTP/2.0\r\n\r\n"]) {
        const raw = yield* connect(port)
        raw.write(get("/never", h2c))
        yield* eventually(server.stats, ({ inFlight }) => inFlight === 1, 20_000)
        raw.write(more)
        raw.socket.destroy()
        assert.strictEqual(
          (yield* eventually(server.stats, ({ inFlight }) => inFlight === 0, 20_000)).inFlight,
          0,
          more
        )
      }
    }))
})

describe("a request for a WebSocket that is not answered yet", () => {
  it.scopedLive("keeps what comes early for the socket", () =>
    Effect.gen(function*() {
      const { port } = yield* serve(app)
      const raw = yield* connect(port)
      raw.write(get("/late", handshake))
      // "hi", masked with zeros.
      raw.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]))
      assert.isTrue(yield* raw.until((text) => text.includes("echo hi"), 20_000))
    }))

  it.scopedLive("keeps the leaving of the client in sight", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve(app, { halfOpenTimeout: "100 millis" })
      const raw = yield* connect(port)
      raw.write(get("/never", handshake))
      yield* eventually(server.stats, ({ inFlight }) => inFlight === 1, 20_000)
      raw.write("x")
      raw.socket.destroy()
      assert.strictEqual((yield* eventually(server.stats, ({ inFlight }) => inFlight === 0, 20_000)).inFlight, 0)
    }))

  it.scopedLive("bounds what comes early: 400", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve(app, { halfOpenTimeout: "100 millis" })
      const raw = yield* connect(port)
      raw.write(get("/never", handshake))
      yield* eventually(server.stats, ({ inFlight }) => inFlight === 1, 20_000)
      raw.write(Buffer.alloc(20 * 1024, 120))
      assert.isTrue(yield* raw.closed(20_000))
      assert.strictEqual(raw.replies()[0]?.status, 400)
      assert.strictEqual((yield* eventually(server.stats, ({ inFlight }) => inFlight === 0, 20_000)).inFlight, 0)
    }))
})

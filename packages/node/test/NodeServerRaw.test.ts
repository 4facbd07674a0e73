import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import type * as NodeServer from "@holdfast/node/NodeServer"
import { Deferred, Effect, Exit, Schedule, Schema, Stream } from "effect"
import { connect } from "./support/rawSocket.js"
import { eventually, requests, serve } from "./support/serve.js"

const text = new TextEncoder()

const router = HttpRouter.empty.pipe(
  HttpRouter.get("/", HttpServerResponse.text("hello")),
  HttpRouter.get(
    "/n/:n",
    Effect.flatMap(HttpRouter.params, ({ n }) => HttpServerResponse.text(n!).pipe(Effect.succeed))
  ),
  HttpRouter.get("/never", Effect.never),
  HttpRouter.get("/die", Effect.die(new Error("inside"))),
  HttpRouter.get("/large", Effect.sync(() => HttpServerResponse.uint8Array(new Uint8Array(64 * 1024 * 1024)))),
  HttpRouter.get(
    "/endless",
    HttpServerResponse.stream(Stream.repeat(Stream.make(new Uint8Array(64 * 1024)), Schedule.forever))
  ),
  HttpRouter.get(
    "/ticks",
    HttpServerResponse.stream(Stream.concat(Stream.make(text.encode("tick")), Stream.never))
  ),
  HttpRouter.get(
    "/broken",
    // From Node.js 22 on, what is written in the step of the failure goes with the connection.
    HttpServerResponse.stream(
      Stream.concat(
        Stream.make(text.encode("half")),
        Stream.fromEffect(Effect.delay(Effect.fail("no more"), "50 millis"))
      )
    )
  ),
  HttpRouter.post("/json", Effect.flatMap(HttpErrors.bodyJson(Schema.Unknown), HttpServerResponse.json)),
  HttpRouter.post("/ignored", HttpServerResponse.text("did not look")),
  HttpRouter.post(
    "/counted",
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
      Effect.map(
        Stream.runFold(request.stream, 0, (sum, chunk) => sum + chunk.length),
        (sum) => HttpServerResponse.text(String(sum))
      ))
  )
)

const started = (options?: NodeServer.Options) => serve(HttpErrors.handled(router), options)

const head = (line: string, ...headers: ReadonlyArray<string>) =>
  `${line} HTTP/1.1\r\nhost: test\r\n${headers.map((header) => `${header}\r\n`).join("")}\r\n`

const json = (length: number) => ["content-type: application/json", `content-length: ${length}`]

/** Nothing of any request is left, and the server still answers. */
const unharmed = (server: { readonly port: number; readonly server: NodeServer.NodeServer["Type"] }) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* eventually(requests, (found) => found.length === 0), [])
    const probe = yield* connect(server.port)
    probe.write(head("GET /", "connection: close"))
    assert.isTrue(yield* probe.closed())
    assert.strictEqual(probe.replies()[0].body, "hello")
    const stats = yield* eventually(server.server.stats, (stats) => stats.connections === 0)
    assert.deepInclude(stats, { connections: 0, inFlight: 0 })
  })

describe("NodeServer on raw sockets", () => {
  it.scopedLive("1 MiB of headers is 431, and the client can read it", () =>
    Effect.gen(function*() {
      const running = yield* started({ lingerTimeout: "2 seconds" })
      const raw = yield* connect(running.port)
      raw.write("GET / HTTP/1.1\r\nhost: test\r\n")
      for (let i = 0; i < 1024; i++) {
        raw.write(`x-${i}: ${"a".repeat(1015)}\r\n`)
      }
      assert.isTrue(yield* raw.until(() => raw.replies().length > 0))
      assert.deepInclude(raw.replies()[0], {
        status: 431,
        json: { _tag: "HeadersTooLarge", message: "the headers are too large" }
      })
      assert.strictEqual(raw.replies()[0].headers["connection"], "close")
      raw.socket.destroy()
      yield* unharmed(running)
    }))

  it.scopedLive("a header that never ends is 408", () =>
    Effect.gen(function*() {
      const running = yield* started({ headersTimeout: "300 millis", requestTimeout: "600 millis" })
      const raw = yield* connect(running.port)
      raw.write("GET / HTTP/1.1\r\nhost: te")
      assert.isTrue(yield* raw.closed())
      assert.deepInclude(raw.replies()[0], { status: 408 })
      assert.strictEqual(raw.replies()[0].json?._tag, "RequestTimeout")
      yield* unharmed(running)
    }))

  it.scopedLive("a body that stops, or takes too long in all, is 408", () =>
    Effect.gen(function*() {
      const stops = yield* started({ bodyTimeout: "200 millis" })
      const raw = yield* connect(stops.port)
      raw.write(`${head("POST /json", ...json(100))}{"a":`)
      assert.isTrue(yield* raw.closed())
      assert.strictEqual(raw.replies()[0].status, 408)
      assert.include(String(raw.replies()[0].json?.message), "stopped arriving")
      yield* unharmed(stops)

      const drips = yield* started({ headersTimeout: "200 millis", requestTimeout: "500 millis" })
      const slow = yield* connect(drips.port)
      slow.write(head("POST /counted", ...json(1000)))
      const timer = setInterval(() => slow.write("x"), 20)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
      assert.isTrue(yield* slow.closed())
      clearInterval(timer)
      assert.strictEqual(slow.replies()[0].status, 408)
      yield* unharmed(drips)
    }))

  it.scopedLive("a body over the limit is 413 while the client is still sending", () =>
    Effect.gen(function*() {
      const running = yield* started({ maxBodyBytes: 64 * 1024 })
      const declared = yield* connect(running.port)
      declared.write(head("POST /json", ...json(8 * 1024 * 1024)))
      for (let i = 0; i < 128; i++) {
        declared.write("x".repeat(64 * 1024))
      }
      assert.isTrue(yield* declared.until(() => declared.replies().length > 0))
      assert.deepInclude(declared.replies()[0], {
        status: 413,
        json: {
          _tag: "BodyTooLarge",
          message: "the body is larger than 65536 bytes",
          expected: "at most 65536 bytes",
          limit: 65536
        }
      })
      assert.isTrue(yield* declared.closed())

      const chunked = yield* connect(running.port)
      chunked.write(head("POST /json", "content-type: application/json", "transfer-encoding: chunked"))
      for (let i = 0; i < 16; i++) {
        chunked.write(`2000\r\n${" ".repeat(0x2000)}\r\n`)
      }
      chunked.write("0\r\n\r\n")
      assert.isTrue(yield* chunked.until(() => chunked.replies().length > 0))
      assert.strictEqual(chunked.replies()[0].status, 413)
      assert.isTrue(yield* chunked.closed())
      yield* unharmed(running)
    }))

  it.scopedLive("100 Continue comes when the body is wanted, and a refusal instead of it", () =>
    Effect.gen(function*() {
      const running = yield* started({ maxBodyBytes: 1000 })
      const wanted = yield* connect(running.port)
      wanted.write(head("POST /json", ...json(2), "expect: 100-continue"))
      assert.isTrue(yield* wanted.until((got) => got.startsWith("HTTP/1.1 100 Continue\r\n\r\n")))
      wanted.write("{}")
      assert.isTrue(yield* wanted.until(() => wanted.replies().length === 2))
      assert.strictEqual(wanted.replies()[1].body, "{}")

      const refused = yield* connect(running.port)
      refused.write(head("POST /json", ...json(2000), "expect: 100-continue"))
      assert.isTrue(yield* refused.until(() => refused.replies().length === 1))
      assert.strictEqual(refused.replies()[0].status, 413)

      const odd = yield* connect(running.port)
      odd.write(head("POST /json", ...json(2), "expect: tea"))
      assert.isTrue(yield* odd.until(() => odd.replies().length === 1))
      assert.strictEqual(odd.replies()[0].status, 417)
      wanted.socket.destroy()
      refused.socket.destroy()
      odd.socket.destroy()
      yield* unharmed(running)
    }))

  it.scopedLive("resets in the header, the body and the response leave nothing", () =>
    Effect.gen(function*() {
      // A reset comes behind the end of what its client sends. Where the end was read before it, nobody hears of the reset, and
      // the request goes on for so long.
      const running = yield* started({ halfOpenTimeout: "100 millis" })
      for (
        const bytes of [
          "GET / HT",
          "GET / HTTP/1.1\r\nhost: te",
          `${head("POST /json", ...json(100))}{"a"`,
          head("GET /never"),
          head("GET /large"),
          head("GET /endless"),
          head("GET /ticks"),
          head("GET /never") + head("GET /never") + head("GET /large")
        ]
      ) {
        const raw = yield* connect(running.port, { paused: bytes.includes("large") || bytes.includes("endless") })
        raw.write(bytes)
        yield* Effect.sleep("30 millis")
        raw.socket.resetAndDestroy()
      }
      yield* unharmed(running)
    }))

  it.scopedLive("pipelined requests are answered in order", () =>
    Effect.gen(function*() {
      const running = yield* started()
      const raw = yield* connect(running.port)
      raw.write(Array.from({ length: 10 }, (_, i) => head(`GET /n/${i}`)).join(""))
      assert.isTrue(yield* raw.until(() => raw.replies().length === 10))
      assert.deepStrictEqual(raw.replies().map((reply) => reply.body), Array.from({ length: 10 }, (_, i) => String(i)))
      raw.socket.destroy()
      yield* unharmed(running)
    }))

  it.scopedLive("too many pipelined requests are refused", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const running = yield* serve(
        HttpRouter.get(router, "/gate", Effect.as(Deferred.await(gate), HttpServerResponse.text("open"))),
        { maxPipelined: 3 }
      )
      const raw = yield* connect(running.port)
      raw.write(Array.from({ length: 5 }, () => head("GET /gate")).join(""))
      yield* eventually(running.server.stats, (stats) => stats.refused >= 1)
      yield* Deferred.succeed(gate, void 0)
      assert.isTrue(yield* raw.closed())
      assert.deepStrictEqual(raw.replies().map((reply) => reply.status), [200, 200, 200, 503])
      yield* unharmed(running)
    }))

  it.scopedLive("a client that never reads is cut off after the send timeout", () =>
    Effect.gen(function*() {
      const running = yield* started({ sendTimeout: "400 millis" })
      for (const path of ["/large", "/endless"]) {
        const raw = yield* connect(running.port, { paused: true })
        raw.write(head(`GET ${path}`))
      }
      const stats = yield* eventually(running.server.stats, (stats) => stats.stalled === 2)
      assert.strictEqual(stats.stalled, 2)
      yield* unharmed(running)
    }))

  it.scopedLive("a client that reads a little at a time delays nobody, and a drain cuts it off in its budget", () =>
    Effect.gen(function*() {
      const running = yield* started({ drain: { requests: "300 millis", interruption: "100 millis" } })
      const raw = yield* connect(running.port, { paused: true })
      raw.write(head("GET /large"))
      const timer = setInterval(() => raw.socket.read(1), 10)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
      yield* eventually(running.server.stats, (stats) => stats.inFlight === 1)
      const other = yield* connect(running.port)
      other.write(head("GET /"))
      assert.isTrue(yield* other.until((got) => got.endsWith("hello"), 2000))
      const report = yield* running.server.drain
      assert.strictEqual(report.cut.length, 1, JSON.stringify(report))
      assert.deepInclude(report.cut[0], { method: "GET", url: "/large" })
      assert.deepStrictEqual(report.abandoned, [])
      assert.isBelow(report.elapsedMillis, 4000)
    }))

  it.scopedLive("a half-closed client has its answer, and an open stream ends with it", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const running = yield* serve(
        HttpRouter.get(router, "/gate", Effect.as(Deferred.await(gate), HttpServerResponse.text("open"))),
        { halfOpenTimeout: "1 second" }
      )
      const patient = yield* connect(running.port, { allowHalfOpen: true })
      patient.socket.end(head("GET /gate"))
      yield* eventually(running.server.stats, (stats) => stats.inFlight === 1)
      yield* Effect.sleep("50 millis")
      yield* Deferred.succeed(gate, void 0)
      assert.isTrue(yield* patient.until(() => patient.replies().length === 1))
      assert.strictEqual(patient.replies()[0].body, "open")

      const streaming = yield* connect(running.port, { allowHalfOpen: true })
      streaming.write(head("GET /ticks"))
      assert.isTrue(yield* streaming.until((got) => got.includes("tick")))
      streaming.socket.end()
      assert.strictEqual((yield* eventually(running.server.stats, (stats) => stats.inFlight === 0)).inFlight, 0)

      const waiting = yield* connect(running.port, { allowHalfOpen: true })
      waiting.socket.end(head("GET /never"))
      yield* eventually(running.server.stats, (stats) => stats.inFlight === 1)
      assert.strictEqual((yield* eventually(running.server.stats, (stats) => stats.inFlight === 0)).inFlight, 0)
      patient.socket.destroy()
      streaming.socket.destroy()
      waiting.socket.destroy()
      yield* unharmed(running)
    }))

  it.scopedLive("what is not HTTP is 400, after the answers to what was", () =>
    Effect.gen(function*() {
      const running = yield* started()
      const cases: ReadonlyArray<readonly [string, ReadonlyArray<number>]> = [
        ["\u0016\u0003\u0001 hello\r\n\r\n", [400]],
        ["GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n", [400]],
        ["GET / HTTP/1.1\r\n\r\n", [400]],
        ["GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n", [400]],
        ["GET nowhere HTTP/1.1\r\nhost: a\r\n\r\n", [400]],
        ["CONNECT other:443 HTTP/1.1\r\nhost: a\r\n\r\n", [405]],
        ["TRACE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", [405]],
        ["BREW / HTTP/1.1\r\nhost: a\r\n\r\n", [400]],
        ["OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", [204]],
        [`${head("GET /")}\u0000\u0001nonsense\r\n\r\n`, [200, 400]],
        [
          "POST /json HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
          [400]
        ],
        [`${head("POST /json", "content-type: application/json", "transfer-encoding: chunked")}zz\r\n`, [400]],
        ["GET / HTTP/1.0\r\n\r\n", [200]],
        ["GET http://test/n/5 HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n", [200]],
        [head("HEAD /", "connection: close"), [200]],
        [head("GET /", "connection: upgrade, close", "upgrade: h2c"), [200]],
        [head("GET /die", "connection: close"), [500]],
        [`${head("POST /json", ...json(2), "connection: upgrade", "upgrade: h2c", "connection: close")}{}`, [200]],
        [head("GET /n/1") + head("GET /n/2", "connection: upgrade", "upgrade: h2c"), [200, 200]],
        [head("GET /die") + head("GET /nowhere", "connection: upgrade", "upgrade: websocket"), [500, 404]]
      ]
      for (const [bytes, expected] of cases) {
        const raw = yield* connect(running.port)
        raw.write(bytes)
        assert.isTrue(yield* raw.closed(), JSON.stringify(bytes))
        const replies = bytes.startsWith("HEAD")
          ? [{ status: Number(raw.received().slice(9, 12)), json: {} }]
          : raw.replies()
        assert.deepStrictEqual(replies.map((reply) => reply.status), expected, JSON.stringify(bytes))
        for (const reply of replies) {
          assert.strictEqual(reply.status >= 400, reply.json !== undefined && "_tag" in reply.json)
        }
      }
      yield* unharmed(running)
    }))

  it.scopedLive("connections beyond the limit are answered 503", () =>
    Effect.gen(function*() {
      const running = yield* started({ maxConnections: 2 })
      const first = yield* connect(running.port)
      const second = yield* connect(running.port)
      yield* eventually(running.server.stats, (stats) => stats.connections === 2)
      const third = yield* connect(running.port)
      third.write(head("GET /"))
      assert.isTrue(yield* third.closed())
      assert.strictEqual(third.replies()[0].status, 503)
      assert.strictEqual(third.replies()[0].headers["retry-after"], "1")
      first.write(head("GET /"))
      assert.isTrue(yield* first.until((got) => got.endsWith("hello")))
      first.socket.destroy()
      second.socket.destroy()
      yield* eventually(running.server.stats, (stats) => stats.connections === 0)
      yield* unharmed(running)
    }))

  it.scopedLive("an idle connection is closed, an idle handler is not", () =>
    Effect.gen(function*() {
      const running = yield* started({ keepAliveTimeout: "200 millis", sendTimeout: "300 millis" })
      const idle = yield* connect(running.port)
      idle.write(head("GET /"))
      const waiting = yield* connect(running.port)
      waiting.write(head("GET /ticks"))
      const silent = yield* connect(running.port)
      assert.isTrue(yield* idle.closed())
      assert.isTrue(yield* silent.closed())
      yield* Effect.sleep("700 millis")
      assert.isFalse(waiting.isClosed())
      waiting.socket.destroy()
      yield* unharmed(running)
    }))

  it.scopedLive("a stream that fails half way does not look complete", () =>
    Effect.gen(function*() {
      const running = yield* started()
      const raw = yield* connect(running.port)
      raw.write(head("GET /broken"))
      assert.isTrue(yield* raw.closed())
      assert.include(raw.received(), "half")
      assert.notInclude(raw.received(), "\r\n0\r\n")
      yield* unharmed(running)
    }))

  it.scopedLive("a body that nobody reads does not keep the connection from its next request", () =>
    Effect.gen(function*() {
      const running = yield* started()
      const raw = yield* connect(running.port)
      raw.write(head("POST /ignored", ...json(200_000)))
      raw.write("x".repeat(200_000))
      raw.write(head("GET /n/2", "connection: close"))
      assert.isTrue(yield* raw.closed())
      assert.deepStrictEqual(raw.replies().map((reply) => reply.body), ["did not look", "2"])
      const counted = yield* connect(running.port)
      counted.write(head("POST /counted", "transfer-encoding: chunked", "connection: close"))
      counted.write("5\r\nhello\r\n")
      counted.write("1\r\n!\r\n0\r\n\r\n")
      assert.isTrue(yield* counted.closed())
      assert.strictEqual(counted.replies()[0].body, "6")
      yield* unharmed(running)
    }))

  it.scopedLive("closing is bounded with every kind of peer attached", () =>
    Effect.gen(function*() {
      const begun = Date.now()
      const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
        const running = yield* started({
          drain: { requests: "300 millis", interruption: "300 millis", sockets: "500 millis" }
        })
        for (
          const bytes of ["", "GET / HT", head("GET /never"), head("GET /ticks"), `${head("POST /json", ...json(9))}{`]
        ) {
          const raw = yield* connect(running.port)
          raw.write(bytes)
        }
        for (const path of ["/large", "/endless"]) {
          const raw = yield* connect(running.port, { paused: true })
          raw.write(head(`GET ${path}`))
        }
        yield* eventually(running.server.stats, (stats) => stats.inFlight >= 5)
      })))
      assert.isTrue(Exit.isSuccess(exit))
      assert.isBelow(Date.now() - begun, 6000)
      assert.deepStrictEqual(yield* requests, [])
    }))
})

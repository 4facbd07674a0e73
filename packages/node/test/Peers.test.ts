import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import type * as NodeServer from "@holdfast/node/NodeServer"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { Deferred, Effect, Schema, Stream } from "effect"
import { EventSource } from "eventsource"
import * as Http from "node:http"
import { makeBus } from "./support/bus.js"
import { connect, parseReplies, type RawSocket } from "./support/rawSocket.js"
import { eventually, serve } from "./support/serve.js"

/*
 * What users of other servers and clients reported, tried on this one. Each test names its reports.
 */

const bytes = (text: string) => new TextEncoder().encode(text)

const head = (line: string, ...headers: ReadonlyArray<string>) =>
  `${line} HTTP/1.1\r\n${["host: test", ...headers].map((header) => `${header}\r\n`).join("")}\r\n`

const setup = (options: NodeServer.Options = {}) =>
  Effect.gen(function*() {
    const bus = makeBus()
    const hub = yield* SseHub.make({ source: bus.source })
    const marks: Array<string> = []
    const gate = yield* Deferred.make<void>()
    const authorize = ({ query }: { readonly query: URLSearchParams }) =>
      Effect.zipRight(
        Effect.sync(() => marks.push("authorize")),
        query.has("gate") ? Deferred.await(gate) : Effect.void
      ).pipe(Effect.as({ following: [{ topic: "hall" }] }))
    const router = HttpRouter.empty.pipe(
      SseRoute.mount("/events", { hub, authorize }),
      WebSocketRoute.mount("/ws", {
        hub,
        authorize,
        commands: {
          schema: Schema.TaggedStruct("Say", { text: Schema.String }),
          handle: ({ text }) => Effect.succeed(text)
        }
      }),
      HttpRouter.get("/", HttpServerResponse.text("hello")),
      HttpRouter.get("/text304", HttpServerResponse.text("not sent", { status: 304 })),
      HttpRouter.get("/stream304", HttpServerResponse.stream(Stream.make(bytes("not sent")), { status: 304 })),
      HttpRouter.get("/stream204", HttpServerResponse.stream(Stream.make(bytes("not sent")), { status: 204 })),
      HttpRouter.get("/streamed", HttpServerResponse.stream(Stream.make(bytes("one"), bytes("two")))),
      HttpRouter.get(
        "/mark/:name",
        Effect.map(HttpRouter.params, ({ name }) => {
          marks.push(name!)
          return HttpServerResponse.text(name!)
        })
      ),
      HttpRouter.get(
        "/redirect",
        Effect.map(HttpServerRequest.HttpServerRequest, ({ url }) =>
          HttpServerResponse.empty({
            status: 302,
            headers: { location: decodeURIComponent(url.slice(url.indexOf("=") + 1)) }
          }))
      ),
      HttpRouter.post("/unread", HttpServerResponse.text("not needed")),
      HttpRouter.post(
        "/upload",
        Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => request.text).pipe(
          Effect.map((text) => HttpServerResponse.text(String(text.length))),
          Effect.ensuring(Effect.sync(() => marks.push("over")))
        )
      )
    )
    const { port, server, url } = yield* serve(
      Effect.provide(HttpErrors.handled(router), NodeSseSink.layer),
      options
    )
    const sessions = (count: number) =>
      Effect.map(eventually(hub.sessions, (all) => all.length === count), (all) => all.length)
    /** One request on a connection of its own. */
    const ask = (request: string) =>
      Effect.scoped(Effect.gen(function*() {
        const raw = yield* connect(port)
        raw.write(request)
        yield* raw.until((received) => received.includes("\r\n\r\n"))
        return raw.received()
      }))
    return { bus, hub, marks, gate, port, server, url, sessions, ask }
  })

const statusOf = (received: string) => Number(received.slice(9, 12))

describe("event streams", () => {
  it.scopedLive(
    "the head comes before any event, and asks proxies to pass everything on (danielgtaylor/huma#1037, r3labs/sse#57, MatthewWid/better-sse#41)",
    () =>
      Effect.gen(function*() {
        const { ask } = yield* setup()
        const received = (yield* ask(head("GET /events", "accept-encoding: gzip, br"))).toLowerCase()
        assert.include(received, "content-type: text/event-stream\r\n")
        assert.include(received, "no-transform")
        assert.include(received, "x-accel-buffering: no\r\n")
        assert.notInclude(received, "content-encoding")
      })
  )

  it.scopedLive(
    "Accept is not needed, and obeyed where it refuses (tpeczek/Lib.AspNetCore.ServerSentEvents#34, aesteve/vertx-sse#12)",
    () =>
      Effect.gen(function*() {
        const { ask } = yield* setup()
        for (
          const [accept, status] of [
            [undefined, 200],
            ["*/*", 200],
            ["text/*", 200],
            ["Text/Event-Stream", 200],
            ["application/json, text/event-stream", 200],
            ["*/*;q=0, text/event-stream", 200],
            ["text/event-stream;q=0", 406],
            ["text/html", 406]
          ] as const
        ) {
          const received = yield* ask(head("GET /events", ...accept === undefined ? [] : [`accept: ${accept}`]))
          assert.strictEqual(statusOf(received), status, accept)
        }
      })
  )

  it.scopedLive(
    "texts of line breaks arrive as they were, and none begins a field (arizona-framework/roadrunner#63, h3js/h3#733, Atmosphere/atmosphere#2150)",
    () =>
      Effect.gen(function*() {
        const { bus, sessions, url } = yield* setup()
        const texts = [
          "\n",
          "",
          "\r",
          "a\n",
          "one\revent: steal\rid: 99\r\n\r\ndata: x",
          "\0",
          "\u2028",
          "\uFEFF",
          " lead"
        ]
        const seen: Array<string> = []
        const stolen: Array<unknown> = []
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            const source = new EventSource(`${url}/events`)
            source.addEventListener("Said", ({ data }) => seen.push((JSON.parse(data) as { text: string }).text))
            source.addEventListener("steal", (event) => stolen.push(event))
            return source
          }),
          (source) => Effect.sync(() => source.close())
        )
        yield* sessions(1)
        yield* Effect.forEach(texts, (text) => bus.publish("hall", text))
        yield* eventually(Effect.sync(() => seen.length), (length) => length >= texts.length)
        assert.deepStrictEqual(seen, texts)
        assert.deepStrictEqual(stolen, [])
      })
  )

  it.scopedLive(
    "a Last-Event-ID that no event had is a gap, and what is new arrives (dunglas/mercure#704, dunglas/mercure#586)",
    () =>
      Effect.gen(function*() {
        const { bus, port, sessions } = yield* setup()
        yield* bus.publish("hall", "before")
        for (const id of ["999999", "-1", "abc", "urn:uuid:1", "1e3", "0x10", "9007199254740993", "5, 6"]) {
          yield* Effect.scoped(Effect.gen(function*() {
            const raw = yield* connect(port)
            raw.write(head("GET /events", `last-event-id: ${id}`))
            assert.isTrue(yield* raw.until((received) => received.includes("event: gap")), id)
            yield* bus.publish("hall", `after ${id}`)
            assert.isTrue(yield* raw.until((received) => received.includes(`after ${id}`)), id)
            assert.notInclude(raw.received(), "before")
          }))
          yield* sessions(0)
        }
      })
  )

  it.scopedLive(
    "clients that leave a quiet stream are gone at once, however they leave (sysid/sse-starlette#39, sysid/sse-starlette#40)",
    () =>
      Effect.gen(function*() {
        const { port, sessions } = yield* setup()
        const clients = yield* Effect.replicateEffect(connect(port), 12)
        clients.forEach((client) => client.write(head("GET /events")))
        assert.strictEqual(yield* sessions(12), 12)
        clients.forEach(({ socket }, index) =>
          index % 3 === 0 ? socket.end() : index % 3 === 1 ? socket.destroy() : socket.resetAndDestroy()
        )
        assert.strictEqual(yield* sessions(0), 0)
      })
  )
})

const key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
const version = "sec-websocket-version: 13"
const upgrade = ["connection: Upgrade", "upgrade: websocket"]
const handshake = (path: string) => head(`GET ${path}`, ...upgrade, version, key)

const masked = (opcode: number, payload: string | Uint8Array, rsv = 0, mask = 0x80): Buffer => {
  const body = Buffer.from(payload as string)
  const lengths = body.length < 126 ? [mask | body.length] : [mask | 126, body.length >> 8, body.length & 255]
  // A mask of zeros leaves the bytes as they are.
  return Buffer.concat([Buffer.from([0x80 | rsv | opcode, ...lengths]), Buffer.alloc(mask === 0 ? 0 : 4), body])
}

/** The server's frames: opcode, and the text or the code of a close. */
const framesOf = (received: string): ReadonlyArray<readonly [opcode: number, content: string]> => {
  const found: Array<readonly [number, string]> = []
  let rest = Buffer.from(received.slice(received.indexOf("\r\n\r\n") + 4), "latin1")
  while (rest.length >= 2) {
    const short = rest[1] & 127
    const at = short === 126 ? 4 : 2
    if (rest.length < at) break
    const length = short === 126 ? rest.readUInt16BE(2) : short
    if (rest.length < at + length) break
    const opcode = rest[0] & 15
    const payload = rest.subarray(at, at + length)
    found.push([opcode, opcode === 8 ? String(payload.readUInt16BE(0)) : payload.toString()])
    rest = rest.subarray(at + length)
  }
  return found
}

const opened = (raw: RawSocket) => raw.until((received) => received.includes("\"_tag\":\"open\""))

describe("WebSockets", () => {
  it.scopedLive(
    "handshakes: what browsers send is taken, the rest is refused before anything runs (snapview/tungstenite-rs#106, snapview/tungstenite-rs#543, websockets/ws#2291, oven-sh/bun#35298)",
    () =>
      Effect.gen(function*() {
        const { ask, marks } = yield* setup()
        const rows: ReadonlyArray<readonly [status: number, lines: ReadonlyArray<string>]> = [
          [101, ["connection: keep-alive, Upgrade", "upgrade: websocket", version, key]],
          [101, ["connection: keep-alive", "connection: Upgrade", "upgrade: websocket", version, key]],
          [101, ["connection: UPGRADE", "upgrade: WebSocket", version, key]],
          [426, ["connection: keep-alive", "upgrade: websocket", version, key]],
          [426, ["connection: Upgrade", "upgrade: h2c", version, key]],
          ...["25", "8", "013", "13.0", "13, 8", ""].map((other) =>
            [426, [...upgrade, `sec-websocket-version: ${other}`, key]] as const
          ),
          [426, [...upgrade, key]],
          ...["", "short", "!!!!!!!!!!!!!!!!!!!!!!==", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE="].map((
            other
          ) => [400, [...upgrade, version, `sec-websocket-key: ${other}`]] as const),
          [400, [...upgrade, version]],
          [400, [...upgrade, version, key, key]]
        ]
        for (const [status, lines] of rows) {
          marks.length = 0
          const received = yield* ask(head("GET /ws", ...lines))
          assert.strictEqual(statusOf(received), status, lines.join(" | "))
          assert.deepStrictEqual(marks, status === 101 ? ["authorize"] : [], lines.join(" | "))
          if (status === 426 && lines.includes("connection: Upgrade") && lines.includes("upgrade: websocket")) {
            assert.match(received, /\r\nsec-websocket-version: 13\r\n/i, lines.join(" | "))
          }
        }
      })
  )

  it.scopedLive("an origin without a host is foreign (phoenixframework/phoenix#2770)", () =>
    Effect.gen(function*() {
      const { ask } = yield* setup()
      for (
        const [origin, status] of [
          ["http://test", 101],
          ["null", 403],
          ["file://", 403],
          ["", 403],
          ["test", 403],
          ["http://test.evil.example", 403],
          ["http://test, http://evil.example", 403]
        ] as const
      ) {
        const received = yield* ask(head("GET /ws", ...upgrade, version, key, `origin: ${origin}`))
        assert.strictEqual(statusOf(received), status, origin)
      }
    }))

  it.scopedLive(
    "a broken frame ends its own connection, with the code for it (websockets/ws#1777, websockets/ws#1825, websockets/ws#2220, websockets/ws#1417)",
    () =>
      Effect.gen(function*() {
        const { ask, port } = yield* setup()
        for (
          const [what, sent, code] of [
            ["a reserved bit", masked(1, "hi", 0x40), "1002"],
            ["no mask", masked(1, "hi", 0, 0), "1002"],
            ["a close of 1006", masked(8, Uint8Array.of(3, 238)), "1002"],
            ["one line break too many", Buffer.from("\r\n"), "1002"],
            ["a request", Buffer.from(head("GET /")), "1002"],
            ["what is not UTF-8", masked(1, Uint8Array.of(0xff, 0xfe)), "1007"]
          ] as const
        ) {
          const raw = yield* connect(port)
          raw.write(handshake("/ws"))
          assert.isTrue(yield* opened(raw), what)
          raw.write(sent)
          assert.isTrue(yield* raw.closed(), what)
          assert.deepStrictEqual(framesOf(raw.received()).at(-1), [8, code], what)
        }
        assert.strictEqual(statusOf(yield* ask(head("GET /"))), 200)
      })
  )

  it.scopedLive(
    "messages that are no commands have one answer each, and the connection stays (microsoft/playwright#40121, signalive/line#50)",
    () =>
      Effect.gen(function*() {
        const { port } = yield* setup()
        const raw = yield* connect(port)
        raw.write(handshake("/ws"))
        const wrong = ["]", "", "{}", "{\"n\":123}", "[]", "null", "3", "\"s\"", "{\"ref\":{}}", "[".repeat(2000)]
        wrong.forEach((message) => raw.write(masked(1, message)))
        raw.write(masked(1, "{\"_tag\":\"Say\",\"text\":\"still here\",\"ref\":7}"))
        assert.isTrue(yield* raw.until((received) => received.includes("still here")))
        const tags = framesOf(raw.received()).map(([, text]) => (JSON.parse(text) as { _tag: string })._tag)
        assert.deepStrictEqual(tags.filter((tag) => tag === "error").length, wrong.length)
        assert.isFalse(raw.isClosed())
      })
  )

  it.scopedLive(
    "what comes before the 101 is not lost while the server makes up its mind (oven-sh/bun#43149, boazsegev/facil.io#16)",
    () =>
      Effect.gen(function*() {
        const { gate, marks, port } = yield* setup()
        const raw = yield* connect(port)
        const say = masked(1, "{\"_tag\":\"Say\",\"text\":\"early\",\"ref\":1}")
        // The first frame is cut in the middle.
        raw.write(Buffer.concat([Buffer.from(handshake("/ws?gate=1")), say.subarray(0, 9)]))
        yield* eventually(Effect.sync(() => marks.length), (length) => length > 0)
        raw.write(Buffer.concat([say.subarray(9), masked(1, "{\"_tag\":\"Say\",\"text\":\"later\",\"ref\":2}")]))
        yield* Deferred.succeed(gate, undefined)
        assert.isTrue(yield* raw.until((received) => received.includes("later")))
        assert.isBelow(raw.received().indexOf("early"), raw.received().indexOf("later"))
        assert.include(raw.received(), "early")
      })
  )

  it.scopedLive(
    "a client that closes its half without a Close frame is gone at once (websockets/ws#2225, jetty/jetty.project#13346)",
    () =>
      Effect.gen(function*() {
        const { port, sessions } = yield* setup()
        const raw = yield* connect(port, { allowHalfOpen: true })
        raw.write(handshake("/ws"))
        assert.isTrue(yield* opened(raw))
        raw.socket.end()
        assert.strictEqual(yield* sessions(0), 0)
        assert.isTrue(yield* raw.closed())
      })
  )

  it.scopedLive(
    "pongs for a client that reads nothing are bounded (openai/openai-java#1013, python-websockets/websockets#105)",
    () =>
      Effect.gen(function*() {
        const { ask, port, sessions } = yield* setup()
        const raw = yield* connect(port)
        raw.write(handshake("/ws"))
        assert.isTrue(yield* opened(raw))
        raw.socket.pause()
        raw.write(Buffer.concat(Array.from({ length: 20_000 }, () => masked(9, "x".repeat(125)))))
        assert.strictEqual(yield* sessions(0), 0)
        assert.strictEqual(statusOf(yield* ask(head("GET /"))), 200)
      })
  )
})

describe("HTTP", () => {
  it.scopedLive(
    "204 and 304 have no body, and the next answer begins behind them (amphp/http-server#392, cherrypy/cherrypy#588, nodejs/node-v0.x-archive#4647)",
    () =>
      Effect.gen(function*() {
        const { port } = yield* setup()
        for (const [path, status] of [["/text304", 304], ["/stream304", 304], ["/stream204", 204]] as const) {
          const raw = yield* connect(port)
          raw.write(head(`GET ${path}`) + head("GET /mark/next", "connection: close"))
          assert.isTrue(yield* raw.closed())
          const [first, second] = raw.received().split(/(?=HTTP\/1\.1 200 )/)
          assert.strictEqual(statusOf(first), status)
          assert.isTrue(first.endsWith("\r\n\r\n"), path)
          assert.notMatch(first, /transfer-encoding/i, path)
          assert.isTrue(second.endsWith("\r\n\r\nnext"), path)
        }
      })
  )

  it.scopedLive(
    "HEAD has no other length than GET, also where there is nothing (letsencrypt/boulder#1152, serverpod/relic#175)",
    () =>
      Effect.gen(function*() {
        const { ask } = yield* setup()
        const length = (received: string) => /\r\ncontent-length: (\d+)/i.exec(received)?.[1]
        for (const path of ["/", "/text304", "/nothing", "/unread"]) {
          const full = yield* ask(head(`GET ${path}`, "connection: close"))
          const empty = yield* ask(head(`HEAD ${path}`, "connection: close"))
          assert.strictEqual(statusOf(empty), statusOf(full), path)
          assert.isDefined(length(full), path)
          assert.strictEqual(length(empty), length(full), path)
          assert.isTrue(empty.endsWith("\r\n\r\n"), path)
        }
      })
  )

  it.scopedLive("nothing runs that comes behind Connection: close (oven-sh/bun#33005)", () =>
    Effect.gen(function*() {
      const { marks, port } = yield* setup()
      for (const close of ["close", "Close", "keep-alive, close", "close, keep-alive"]) {
        marks.length = 0
        const raw = yield* connect(port)
        raw.write(head("GET /mark/first", `connection: ${close}`) + head("GET /mark/second"))
        assert.isTrue(yield* raw.closed())
        assert.deepStrictEqual(marks, ["first"], close)
        assert.strictEqual(raw.replies().length, 1)
      }
    }))

  it.scopedLive(
    "a path that cannot be decoded is the client's fault (flipt-io/flipt#6337, leptos-rs/leptos#4662, actix/actix-web#130)",
    () =>
      Effect.gen(function*() {
        const { ask } = yield* setup()
        for (
          const [path, status] of [
            ["/%C0", 400],
            ["/mark/%", 400],
            ["/mark/%zz", 400],
            ["/mark/%E2%82", 400],
            ["/mark/%C0%AE", 400],
            ["/mark/%E2%80%99", 200],
            ["/mark/a^", 200],
            ["/events?topic=%C0", 200],
            ["/^", 404]
          ] as const
        ) {
          assert.strictEqual(statusOf(yield* ask(head(`GET ${path}`))), status, path)
        }
      })
  )

  it.scopedLive(
    "no value splits a response (yhirose/cpp-httplib#425, valyala/fasthttp#2186)",
    () =>
      Effect.gen(function*() {
        const { port } = yield* setup()
        for (const to of ["/a%0d%0aset-cookie:%20x=1", "/a%0ax:%201", "/a%00"]) {
          const raw = yield* connect(port)
          raw.write(head(`GET /redirect?to=${to}`) + head("GET /mark/next", "connection: close"))
          assert.isTrue(yield* raw.closed())
          const [first, second] = raw.replies()
          assert.strictEqual(first.status, 500, to)
          assert.notProperty(first.headers, "set-cookie")
          assert.strictEqual(second.body, "next")
        }
      })
  )

  it.scopedLive(
    "an upload that breaks off is over at once, whatever the linger (oven-sh/bun#33699, vert-x3/vertx-web#766)",
    () =>
      Effect.gen(function*() {
        const { marks, port, server } = yield* setup({ lingerTimeout: "1 minute" })
        for (const body of ["content-length: 90000\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n5\r\nhal"]) {
          for (const leave of ["end", "destroy", "resetAndDestroy"] as const) {
            const before = marks.length
            const raw = yield* connect(port)
            raw.write(`POST /upload HTTP/1.1\r\nhost: test\r\n${body}`)
            yield* eventually(server.stats, ({ inFlight }) => inFlight === 1)
            raw.socket[leave]()
            const stats = yield* eventually(server.stats, ({ inFlight }) => inFlight === 0)
            assert.strictEqual(stats.inFlight, 0, `${body} ${leave}`)
            assert.strictEqual(marks.length, before + 1)
          }
        }
      })
  )

  it.scopedLive(
    "HTTP/1.0 has no chunks, and ends with the connection (ninenines/cowboy#140, vibe-d/vibe.d#1722)",
    () =>
      Effect.gen(function*() {
        const { port } = yield* setup()
        for (const header of ["", "connection: keep-alive\r\n"]) {
          const raw = yield* connect(port)
          raw.write(`GET /streamed HTTP/1.0\r\n${header}\r\n`)
          assert.isTrue(yield* raw.closed())
          assert.notMatch(raw.received(), /transfer-encoding/i)
          assert.isTrue(raw.received().endsWith("\r\n\r\nonetwo"))
        }
      })
  )

  it.scopedLive(
    "an upload that is too large can read why, in a client that sends before it reads (rwf2/Rocket#2783, valyala/fasthttp#1348)",
    () =>
      Effect.gen(function*() {
        const { port } = yield* setup({ maxBodyBytes: 100_000 })
        const post = Effect.async<number | string>((resume) => {
          const request = Http.request({ port, method: "POST", path: "/upload", agent: false }, (response) => {
            response.resume()
            response.on("end", () => resume(Effect.succeed(response.statusCode!)))
          })
          request.on("error", (error) => resume(Effect.succeed(error.message)))
          request.end(Buffer.alloc(4_000_000))
        })
        assert.deepStrictEqual(yield* Effect.replicateEffect(post, 5), [413, 413, 413, 413, 413])
      })
  )

  it.scopedLive(
    "Expect: 100-continue has its answer at once, also from a handler that reads nothing (lalinsky/dusty#163, macournoyer/thin#253)",
    () =>
      Effect.gen(function*() {
        const { ask } = yield* setup()
        for (
          const [path, expect, status] of [
            ["/unread", "100-continue", 200],
            ["/unread", "100-Continue", 200],
            ["/nothing", "100-continue", 404],
            ["/upload", "100-continue", 100],
            ["/unread", "200-ok", 417]
          ] as const
        ) {
          const received = yield* ask(head(`POST ${path}`, "content-length: 10", `expect: ${expect}`))
          assert.strictEqual(statusOf(received), status, `${path} ${expect}`)
        }
      })
  )

  it.scopedLive(
    "the time for a head begins with its first byte, not with the connection (nodejs/node#27363)",
    () =>
      Effect.gen(function*() {
        const { port } = yield* setup({ headersTimeout: "400 millis" })
        const raw = yield* connect(port)
        raw.write(head("GET /"))
        yield* raw.until((received) => parseReplies(received).length === 1)
        // Longer than the head may take: nothing is there to wait for but time.
        assert.isFalse(yield* raw.closed(900))
        raw.write(head("GET /", "connection: close"))
        assert.isTrue(yield* raw.closed())
        assert.deepStrictEqual(raw.replies().map(({ status }) => status), [200, 200])
      })
  )
})

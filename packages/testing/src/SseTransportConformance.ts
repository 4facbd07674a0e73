/**
 * What a server does with an event stream of `SseRoute`, whichever `SessionSink.Transport` carries it, as a vitest suite.
 * The clients are bytes on real sockets.
 *
 * ```ts no-run
 * import * as SseTransportConformance from "@holdfast/testing/SseTransportConformance"
 *
 * SseTransportConformance.suite({ name: "mine", serve: (app) => startMyServer(app) })
 *
 * declare const startMyServer: SseTransportConformance.Options["serve"]
 * ```
 *
 * @since 0.1.0
 */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Sse from "@holdfast/http/Sse"
import type * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

/**
 * The server to test.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly name: string
  /** Serves on a port of the loopback address until the scope closes. */
  readonly serve: (
    app: HttpApp.Default<never, Scope.Scope>
  ) => Effect.Effect<{ readonly port: number }, unknown, Scope.Scope>
  /** Whether the socket of a reader that stalls is destroyed. The portable transport cannot. Default true. */
  readonly destroysStalled?: boolean | undefined
  /**
   * Whether a request's body that nobody reads is discarded once the stream has begun. The portable transport on the
   * platform's server cannot. Default true.
   */
  readonly discardsBody?: boolean | undefined
}

interface Said {
  readonly _tag: "Said"
  readonly text: string
}

const bus = Effect.map(Queue.unbounded<SseFormat.Envelope<Said>>(), (queue) => {
  const log: Array<SseFormat.Envelope<Said>> = []
  return {
    publish: (topic: string, text: string) =>
      Effect.sync(() => {
        const envelope = { id: log.length + 1, at: 0, topic, event: { _tag: "Said" as const, text } }
        log.push(envelope)
        queue.unsafeOffer(envelope)
      }),
    source: {
      subscribe: Effect.succeed({
        takeBatch: (max) => Effect.map(Queue.takeBetween(queue, 1, max), (taken) => Array.from(taken))
      }),
      lastId: Effect.sync(() => log.length)
    } satisfies SseHub.Source<Said>
  }
})

/** A client of bytes: what it received, whole and without the chunked coding, and when the connection went. */
class Client {
  readonly socket: Net.Socket
  private parts: Array<Buffer> = []
  private cached = Buffer.alloc(0)
  closed = false

  constructor(port: number) {
    this.socket = Net.connect({ port, host: "127.0.0.1" })
    this.socket.on("data", (data) => this.parts.push(data))
    this.socket.on("error", () => {})
    this.socket.on("close", () => {
      this.closed = true
    })
  }
  private get bytes() {
    if (this.parts.length > 0) {
      this.cached = Buffer.concat([this.cached, ...this.parts])
      this.parts = []
    }
    return this.cached
  }
  /** Bytes, of whatever. */
  get length() {
    return this.bytes.length
  }
  get head() {
    return this.bytes.toString("latin1", 0, 2048).split("\r\n\r\n")[0].toLowerCase()
  }
  get status() {
    return Number(this.head.split(" ")[1])
  }
  get body() {
    const at = this.bytes.indexOf("\r\n\r\n")
    const body = this.bytes.subarray(at + 4)
    return this.head.includes("transfer-encoding: chunked") ? dechunk(body) : body
  }
  /** Without the opening. */
  get messages() {
    return Sse.unsafeMakeDecoder().unsafeFeed(this.body).flatMap((one) =>
      one._tag === "Message" && one.event !== "position" ? [one] : []
    )
  }
  get texts() {
    return this.messages.map((one) => one.event === "Said" ? JSON.parse(one.data).text as string : one.event)
  }
}

/** Fails on anything that is not the chunked coding. */
const dechunk = (bytes: Buffer): Buffer => {
  const out: Array<Buffer> = []
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf("\r\n", at)
    if (end === -1) {
      break
    }
    const line = bytes.toString("latin1", at, end)
    assert.match(line, /^[0-9a-f]+$/i)
    const size = Number.parseInt(line, 16)
    const from = end + 2
    if (bytes.length < from + size + 2) {
      out.push(bytes.subarray(from, Math.min(bytes.length, from + size)))
      break
    }
    assert.strictEqual(bytes.toString("latin1", from + size, from + size + 2), "\r\n")
    if (size === 0) {
      assert.strictEqual(from + 2, bytes.length, "nothing follows the last chunk")
      break
    }
    out.push(bytes.subarray(from, from + size))
    at = from + size + 2
  }
  return Buffer.concat(out)
}

const until = (what: string, holds: () => boolean, millis = 8000): Effect.Effect<void> =>
  Effect.gen(function*() {
    const deadline = performance.now() + millis
    while (!holds()) {
      if (performance.now() > deadline) {
        return yield* Effect.die(new Error(`waited in vain: ${what}`))
      }
      yield* Effect.sleep(5)
    }
  })

/**
 * Registers the suite, under `describe`.
 *
 * @since 0.1.0
 * @category suites
 */
export const suite = (options: Options): void => {
  const start = (
    given: Partial<SseHub.Options<Said>> = {},
    route: Partial<SseRoute.Options<HttpErrors.HttpError, never, HttpErrors.HttpError, never>> = {},
    wrap: (app: HttpApp.Default<never, Scope.Scope>) => HttpApp.Default<never, Scope.Scope> = (app) => app
  ) =>
    Effect.gen(function*() {
      const { publish, source } = yield* bus
      const hub = yield* SseHub.make({ source, ...given })
      const app = HttpErrors.handled(HttpRouter.empty.pipe(
        SseRoute.mount("/events", { hub, topics: { authorize: () => Effect.void }, ...route })
      ))
      const { port } = yield* options.serve(wrap(app))
      const client = Effect.acquireRelease(
        Effect.sync(() => new Client(port)),
        (client) => Effect.sync(() => client.socket.destroy())
      )
      const ask = (
        query = "?topic=a",
        headers: Readonly<Record<string, string>> = {},
        first: { readonly method?: string; readonly version?: string } = {}
      ) =>
        Effect.tap(client, ({ socket }) =>
          Effect.sync(() => {
            const lines = Object.entries({ host: "test", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
            socket.write(
              `${first.method ?? "GET"} /events${query} HTTP/${first.version ?? "1.1"}\r\n${lines.join("")}\r\n`
            )
          }))
      /** Asks, and waits until the stream is open. */
      const open = (...args: Parameters<typeof ask>) =>
        Effect.tap(ask(...args), (one) => until("the stream is open", () => one.body.length > 0))
      const answer = (...args: Parameters<typeof ask>) =>
        Effect.tap(ask(...args), (one) => until("an answer", () => one.head.includes("http/1.1") && one.status > 0))
      const sessions = (count: number) =>
        Effect.gen(function*() {
          const deadline = performance.now() + 8000
          while ((yield* hub.stats).open !== count) {
            if (performance.now() > deadline) {
              return yield* Effect.die(new Error(`there are ${(yield* hub.stats).open} sessions, not ${count}`))
            }
            yield* Effect.sleep(5)
          }
        })
      return { hub, publish, client, ask, open, answer, sessions }
    })

  const many = (count: number) => Array.from({ length: count }, (_, i) => i)

  describe(`SessionSink.Transport: ${options.name}`, () => {
    it.scopedLive("sends the head and the opening at once, then the events of the topics", () =>
      Effect.gen(function*() {
        const { open, publish, sessions } = yield* start()
        const one = yield* open("?topic=a&topic=b")
        assert.strictEqual(one.status, 200)
        for (
          const line of [
            "content-type: text/event-stream",
            "cache-control: no-store, no-transform",
            "x-accel-buffering: no"
          ]
        ) {
          assert.include(one.head, line)
        }
        assert.match(
          one.body.toString(),
          /^: session sse-1\nretry: 2000\nevent: position\nid: 0\ndata: \{"id":0\}\n\n$/
        )
        yield* sessions(1)
        const texts = ["plain", "two\nlines", "ünïcödé 😀", "x".repeat(100_000), "last"]
        yield* Effect.forEach(texts, (text) => publish("a", text))
        yield* publish("c", "not for it")
        yield* publish("b", "b")
        yield* until("all events", () => one.texts.length >= 6)
        assert.deepStrictEqual(one.texts, [...texts, "b"])
        assert.deepStrictEqual(one.messages.map(({ id }) => id), ["1", "2", "3", "4", "5", "7"])
      }))

    it.scopedLive("answers HEAD with the head alone, and opens no session", () =>
      Effect.gen(function*() {
        const { answer, hub } = yield* start()
        const one = yield* answer("?topic=a", { connection: "close" }, { method: "HEAD" })
        assert.strictEqual(one.status, 200)
        assert.include(one.head, "text/event-stream")
        yield* until("the end", () => one.closed)
        assert.strictEqual(one.body.length, 0)
        assert.strictEqual((yield* hub.stats).opened, 0)
      }))

    it.scopedLive("answers HEAD with the status of GET, whatever refuses it, and counts nothing", () =>
      Effect.gen(function*() {
        const rows: ReadonlyArray<readonly [SseHub.Options<never>["limits"], drained: boolean, status: number]> = [
          [{ sessions: 0 }, false, 503],
          [{ perAddress: 0 }, false, 429],
          [{ perPrincipal: 0 }, false, 429],
          [{ perPrincipal: 0, onPrincipalLimit: "replace" }, false, 200],
          [{}, true, 503],
          [{}, false, 200]
        ]
        for (const [limits, drained, status] of rows) {
          const { answer, hub } = yield* start({ limits })
          if (drained) {
            yield* hub.drain()
          }
          const head = yield* answer("?topic=a", { connection: "close" }, { method: "HEAD" })
          assert.strictEqual(head.status, status, JSON.stringify(limits))
          yield* until("the end", () => head.closed)
          assert.strictEqual(head.body.length, 0)
          assert.deepInclude(yield* hub.stats, { opened: 0, refused: 0 })
          const get = yield* answer("?topic=a")
          assert.strictEqual(get.status, status, JSON.stringify(limits))
          assert.strictEqual(head.head.includes("retry-after"), get.head.includes("retry-after"))
        }
      }))

    it.scopedLive("serves HTTP/1.0 without chunks, and ends with the connection", () =>
      Effect.gen(function*() {
        const { hub, open, publish, sessions } = yield* start()
        const one = yield* open("?topic=a", {}, { version: "1.0" })
        assert.notInclude(one.head, "transfer-encoding")
        yield* sessions(1)
        yield* publish("a", "hello")
        yield* until("the event", () => one.texts.length === 1)
        yield* hub.drain()
        yield* until("the end", () => one.closed)
        assert.deepStrictEqual(one.texts, ["hello", "farewell"])
      }))

    it.scopedLive("refuses what it cannot serve, with CORS headers where they are due", () =>
      Effect.gen(function*() {
        const { answer, hub } = yield* start({}, {
          cors: { origins: ["https://a.test"], credentials: true },
          topics: {
            max: 2,
            authorize: (topic) =>
              topic === "secret" ? HttpErrors.make("Forbidden", "not for you", { field: "topic" }) : Effect.void
          }
        })
        const status = (...args: Parameters<typeof answer>) => Effect.map(answer(...args), (one) => one.status)
        assert.strictEqual(yield* status("?topic=a", { accept: "application/json" }), 406)
        assert.strictEqual(yield* status("?topic=a", { accept: "text/event-stream;q=0" }), 406)
        assert.strictEqual(yield* status("?topic=a", { accept: "text/html, */*;q=0.1" }), 200)
        assert.strictEqual(yield* status(""), 400)
        assert.strictEqual(yield* status("?topic=a&topic=b&topic=c"), 400)
        assert.strictEqual(yield* status("?topic=a", {}, { method: "DELETE" }), 405)
        const forbidden = yield* answer("?topic=secret", { origin: "https://a.test" })
        assert.strictEqual(forbidden.status, 403)
        assert.include(forbidden.head, "access-control-allow-origin: https://a.test")
        assert.notInclude((yield* answer("?topic=a", { origin: "https://b.test" })).head, "access-control-allow-origin")
        const preflight = yield* answer("?topic=a", {
          origin: "https://a.test",
          "access-control-request-method": "GET"
        }, { method: "OPTIONS" })
        assert.strictEqual(preflight.status, 204)
        assert.include(preflight.head, "access-control-allow-methods: get, head")
        assert.include(preflight.head, "access-control-allow-credentials: true")
        assert.strictEqual((yield* hub.stats).open, 2)
      }))

    it.scopedLive("puts what middleware adds on the head of the stream", () =>
      Effect.gen(function*() {
        const { open, publish } = yield* start({}, {}, (app) =>
          app.pipe(
            HttpMiddleware.cors({ allowedOrigins: ["https://a.test"], credentials: true }),
            Effect.map(HttpServerResponse.setHeader("x-frame-options", "DENY")),
            (app) =>
              Effect.zipRight(
                HttpApp.appendPreResponseHandler((_request, response) =>
                  Effect.succeed(HttpServerResponse.unsafeSetCookie(response, "sid", "abc"))
                ),
                app
              )
          ))
        const one = yield* open("?topic=a", { origin: "https://a.test" })
        for (
          const line of [
            "access-control-allow-origin: https://a.test",
            "access-control-allow-credentials: true",
            "x-frame-options: deny",
            "set-cookie: sid=abc",
            "content-type: text/event-stream"
          ]
        ) {
          assert.include(one.head, line)
        }
        yield* publish("a", "hello")
        yield* until("the event", () => one.texts.length === 1)
      }))

    it.scopedLive("loses no session to an application that answers something else in the end", () =>
      Effect.gen(function*() {
        const { answer, hub, sessions } = yield* start(
          {},
          {},
          (app) => Effect.as(app, HttpServerResponse.text("no", { status: 418 }))
        )
        const one = yield* answer()
        assert.strictEqual(one.status, 418)
        yield* sessions(0)
        assert.strictEqual((yield* hub.stats).opened, 1)
      }))

    const times = (one: Client, name: string) => one.head.split("\r\n").filter((line) => line.startsWith(`${name}:`))

    it.scopedLive("takes headers of its own in any case, each once", () =>
      Effect.gen(function*() {
        const { open } = yield* start({}, {
          cors: { origins: ["https://a.test"], exposedHeaders: ["x-page"] },
          headers: {
            "Cache-Control": "no-cache",
            "Content-Type": "text/event-stream; charset=utf-8",
            "X-Accel-Buffering": "yes",
            Vary: "Cookie"
          }
        })
        const one = yield* open("?topic=a", { origin: "https://a.test" })
        assert.deepStrictEqual(times(one, "content-type"), ["content-type: text/event-stream; charset=utf-8"])
        assert.deepStrictEqual(times(one, "cache-control"), ["cache-control: no-cache"])
        assert.deepStrictEqual(times(one, "x-accel-buffering"), ["x-accel-buffering: yes"])
        assert.deepStrictEqual(times(one, "vary"), ["vary: cookie, origin"])
        assert.deepStrictEqual(times(one, "access-control-expose-headers"), ["access-control-expose-headers: x-page"])
      }))

    it.scopedLive("has CORS headers on every answer, and sends no content where there is none", () =>
      Effect.gen(function*() {
        const { answer } = yield* start({}, {
          cors: { origins: ["https://a.test"], allowedHeaders: ["x-token"] },
          authorize: ({ query }) =>
            query.get("who") === "nobody"
              ? Effect.die(new Error("on purpose"))
              : query.get("who") === "kicked"
              ? HttpErrors.make("NoContent", "no more", {}, { status: 204 })
              : Effect.succeed({})
        }, (app) => Logger.withMinimumLogLevel(app, LogLevel.None))
        const origin = { origin: "https://a.test" }
        for (
          const [status, query, method, headers] of [
            [200, "?topic=a", "GET", {}],
            [200, "?topic=a", "HEAD", {}],
            [204, "?topic=a&who=kicked", "GET", {}],
            [400, "", "GET", {}],
            [405, "?topic=a", "PUT", {}],
            [406, "?topic=a", "GET", { accept: "image/png" }],
            [500, "?topic=a&who=nobody", "GET", {}]
          ] as const
        ) {
          const one = yield* answer(query, { ...origin, ...headers }, { method })
          assert.strictEqual(one.status, status)
          assert.deepStrictEqual(
            times(one, "access-control-allow-origin"),
            ["access-control-allow-origin: https://a.test"],
            String(status)
          )
          assert.deepStrictEqual(times(one, "vary"), ["vary: origin"], String(status))
          if (status === 204) {
            assert.deepStrictEqual([times(one, "content-length"), times(one, "transfer-encoding"), one.body.length], [
              [],
              [],
              0
            ])
          }
        }
        const preflight = yield* answer("?topic=a", { ...origin, "access-control-request-method": "GET" }, {
          method: "OPTIONS"
        })
        assert.deepStrictEqual(times(preflight, "access-control-allow-headers"), [
          "access-control-allow-headers: x-token"
        ])
        assert.deepStrictEqual(times(preflight, "vary"), ["vary: origin"])
      }))

    it.scopedLive("refuses beyond its limits, and says when to come back", () =>
      Effect.gen(function*() {
        const { answer, hub, open } = yield* start(
          { limits: { sessions: 3, perPrincipal: 1, perAddress: 2, retryAfter: "7 seconds" } },
          {
            authorize: ({ query }) => Effect.succeed({ principal: query.get("who") ?? undefined }),
            address: (request) => request.headers["x-address"]
          }
        )
        yield* open("?topic=a&who=x", { "x-address": "1" })
        const principal = yield* answer("?topic=a&who=x", { "x-address": "2" })
        assert.strictEqual(principal.status, 429)
        assert.include(principal.head, "retry-after: 7")
        yield* open("?topic=a", { "x-address": "1" })
        assert.strictEqual((yield* answer("?topic=a", { "x-address": "1" })).status, 429)
        yield* open("?topic=a", { "x-address": "2" })
        assert.strictEqual((yield* answer("?topic=a", { "x-address": "3" })).status, 503)
        yield* hub.drain()
        const late = yield* answer("?topic=a")
        assert.strictEqual(late.status, 503)
        assert.include(late.body.toString(), "ShuttingDown")
      }))

    it.scopedLive("resumes by the header, else by the query, and says what is gone", () =>
      Effect.gen(function*() {
        const { open, publish } = yield* start({ recent: 4 })
        yield* Effect.forEach(many(10), (i) => publish("a", String(i + 1)))
        yield* Effect.sleep(50)
        const header = yield* open("?topic=a&lastEventId=1", { "last-event-id": "8" })
        yield* until("the rest", () => header.texts.length >= 2)
        assert.deepStrictEqual(header.texts, ["9", "10"])
        const query = yield* open("?topic=a&lastEventId=9")
        yield* until("the rest", () => query.texts.length >= 1)
        assert.deepStrictEqual(query.texts, ["10"])
        const old = yield* open("?topic=a&lastEventId=1")
        yield* until("the gap", () => old.texts.length >= 1)
        assert.strictEqual(old.texts[0], "gap")
        const alien = yield* open("?topic=a&lastEventId=not-ours")
        yield* until("the gap", () => alien.texts.length >= 1)
        assert.strictEqual(JSON.parse(alien.messages[0].data).reason, "reset")
      }))

    it.scopedLive("ends a session whose permission has expired, and says so", () =>
      Effect.gen(function*() {
        const { hub, open } = yield* start({}, {
          topics: { authorize: (topic) => Effect.succeed(topic === "a" ? { expiresAt: Date.now() + 300 } : {}) }
        })
        const one = yield* open("?topic=a&topic=b", { connection: "close" })
        yield* until("the farewell", () => one.texts.length === 1)
        assert.deepStrictEqual(JSON.parse(one.messages[0].data), { reason: "expired" })
        yield* until("the end", () => one.closed)
        assert.deepStrictEqual((yield* hub.ended).map(({ reason }) => reason), ["expired"])
      }))

    it.scopedLive("loses no slot to clients that leave, whenever they do", () =>
      Effect.gen(function*() {
        const closed: Array<string> = []
        const { ask, client, hub, open, sessions } = yield* start({
          limits: { sessions: 1000 },
          onClose: { run: ({ id }) => Effect.sync(() => closed.push(id)) }
        }, { authorize: () => Effect.as(Effect.yieldNow(), {}) })
        yield* Effect.forEach(many(60), (i) =>
          Effect.scoped(Effect.gen(function*() {
            if (i % 4 === 0) {
              yield* client
            } else if (i % 4 === 1) {
              yield* ask()
            } else if (i % 4 === 2) {
              yield* Effect.tap(ask(), () => Effect.sleep(i % 7))
            } else {
              yield* open()
            }
          })), { concurrency: 20, discard: true })
        yield* sessions(0)
        const { ended, opened } = yield* hub.stats
        yield* until("every hook ran", () => closed.length === opened)
        assert.deepStrictEqual(ended, { "client-left": opened })
        assert.isAtLeast(opened, 15)
      }))

    it.scopedLive("releases what the authorisation acquired when the client leaves in the middle of it", () =>
      Effect.gen(function*() {
        let held = 0
        const { ask, hub } = yield* start({}, {
          authorize: () =>
            Effect.zipRight(
              Effect.acquireRelease(Effect.sync(() => ++held), () => Effect.sync(() => --held)) as Effect.Effect<
                number
              >,
              Effect.never
            )
        })
        yield* Effect.scoped(Effect.zipRight(ask(), until("it asks", () => held === 1)))
        yield* until("it was released", () => held === 0)
        assert.strictEqual((yield* hub.stats).opened, 0)
      }))

    it.scopedLive("cuts off a reader that stalls, while the others get everything", () =>
      Effect.gen(function*() {
        const { hub, open, publish, sessions } = yield* start({ sendTimeout: "500 millis", capacity: 64 * 1024 * 1024 })
        const slow = yield* open()
        const others = yield* Effect.forEach(many(2), () => open())
        yield* sessions(3)
        slow.socket.pause()
        const big = "x".repeat(256 * 1024)
        for (let i = 0; i < 40; i++) {
          yield* publish("a", `${i} ${big}`)
          yield* Effect.sleep(1)
        }
        yield* sessions(2)
        assert.deepStrictEqual((yield* hub.stats).ended, { slow: 1 })
        for (const one of others) {
          yield* until("everything", () => one.length > 40 * big.length && one.texts.length === 40)
          assert.deepStrictEqual(one.texts.map((text) => Number.parseInt(text)), many(40))
        }
        if (options.destroysStalled !== false) {
          slow.socket.resume()
          yield* until("the connection went", () => slow.closed)
        }
      }), 20_000)

    it.scopedLive("gives a reader that is slow, but reads, every byte in order", () =>
      Effect.gen(function*() {
        const { open, publish, sessions } = yield* start({ capacity: 64 * 1024 * 1024 })
        const one = yield* open()
        yield* sessions(1)
        one.socket.pause()
        const big = "y".repeat(100 * 1024)
        for (let i = 0; i < 60; i++) {
          yield* publish("a", `${i} ${big}`)
          yield* Effect.sleep(1)
          if (i % 10 === 9) {
            one.socket.resume()
            yield* Effect.sleep(3)
            one.socket.pause()
          }
        }
        one.socket.resume()
        yield* until("everything", () => one.length > 60 * big.length && one.texts.length === 60)
        assert.deepStrictEqual(one.texts.map((text) => Number.parseInt(text)), many(60))
      }), 20_000)

    for (
      const [what, version, headers, body] of [
        ["over HTTP/1.0, as a proxy asks by default", "1.0", { connection: "close" }, ""],
        [
          "while a body that nobody reads fills its connection",
          "1.1",
          { "content-length": "300000" },
          "x".repeat(300_000)
        ]
      ] as const
    ) {
      if (body !== "" && options.discardsBody === false) {
        continue
      }
      it.scopedLive(`gives the slot back at once of a client that leaves ${what}`, () =>
        Effect.gen(function*() {
          const { open, publish, sessions } = yield* start({ heartbeat: "1 hour" })
          const one = yield* open("?topic=a", headers, { version })
          one.socket.write(body)
          yield* publish("a", "hello")
          yield* until("the event", () => one.texts.length === 1)
          const left = performance.now()
          one.socket.destroy()
          yield* sessions(0)
          // the time for a peer that only sends no more is 5 seconds
          assert.isBelow(performance.now() - left, 4000)
        }))
    }

    it.scopedLive("says farewell to everybody when it drains", () =>
      Effect.gen(function*() {
        const { hub, open, sessions } = yield* start()
        const all = yield* Effect.forEach(many(40), () => open("?topic=a", { connection: "close" }), {
          concurrency: 10
        })
        yield* sessions(40)
        yield* hub.drain({ retry: "1 second", jitter: "4 seconds", perSecond: 400 })
        const retries = new Set<number>()
        for (const one of all) {
          yield* until("the end", () => one.closed)
          const { reason, retryMillis } = JSON.parse(one.messages[0].data)
          assert.strictEqual(reason, "drained")
          assert.include(one.body.toString(), `retry: ${retryMillis}\nevent: farewell\n`)
          assert.isTrue(retryMillis >= 1000 && retryMillis <= 5000)
          retries.add(retryMillis)
        }
        assert.isAtLeast(retries.size, 5)
        yield* sessions(0)
      }))
  })
}

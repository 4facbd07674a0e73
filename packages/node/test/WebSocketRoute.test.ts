import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseHub from "@holdfast/http/SseHub"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import { Context, Deferred, Effect, Layer, Logger, LogLevel, Schema } from "effect"
import type { Scope } from "effect"
import * as Http from "node:http"
import * as Ws from "ws"
import { makeBus } from "./support/bus.js"
import { connect } from "./support/rawSocket.js"
import { eventually, requests, serve } from "./support/serve.js"

const Command = Schema.Union(
  Schema.TaggedStruct("Say", { text: Schema.String.pipe(Schema.minLength(1)) }),
  Schema.TaggedStruct("Refuse", {}),
  Schema.TaggedStruct("Die", {}),
  Schema.TaggedStruct("Quiet", {}),
  Schema.TaggedStruct("Wait", {})
)

type Message = { readonly _tag: string; readonly [key: string]: unknown }

interface Client {
  readonly ws: Ws.WebSocket
  readonly messages: Array<Message>
  readonly send: (value: unknown) => void
  readonly closed: () => { readonly code: number; readonly reason: string } | undefined
  readonly pings: () => number
  readonly until: (tag: string, count?: number) => Effect.Effect<ReadonlyArray<Message>>
}

const dial = (
  url: string,
  options?: Ws.ClientOptions & { readonly protocols?: Array<string> }
): Effect.Effect<Client, { readonly status: number; readonly body: Record<string, unknown> }, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<Client, { readonly status: number; readonly body: Record<string, unknown> }>((resume) => {
      const ws = new Ws.WebSocket(url, options?.protocols ?? [], options)
      const messages: Array<Message> = []
      let closed: { code: number; reason: string } | undefined
      let pings = 0
      ws.on("message", (data) => {
        messages.push(JSON.parse(String(data)))
      })
      ws.on("ping", () => {
        pings++
      })
      ws.on("close", (code, reason) => {
        closed = { code, reason: String(reason) }
      })
      ws.on("error", () => {})
      ws.on("unexpected-response", (_request, response) => {
        let body = ""
        response.on("data", (data) => {
          body += String(data)
        })
        response.on("end", () => resume(Effect.fail({ status: response.statusCode ?? 0, body: JSON.parse(body) })))
      })
      ws.on("open", () =>
        resume(Effect.succeed({
          ws,
          messages,
          send: (value) => ws.send(typeof value === "string" || Buffer.isBuffer(value) ? value : JSON.stringify(value)),
          closed: () => closed,
          pings: () => pings,
          until: (tag, count = 1) =>
            eventually(Effect.sync(() => messages.filter((one) => one._tag === tag)), (found) => found.length >= count)
        })))
    }),
    ({ ws }) => Effect.sync(() => ws.terminate())
  )

interface Setup {
  readonly url: string
  readonly port: number
  readonly hub: SseHub.Service
  readonly bus: ReturnType<typeof makeBus>
  readonly interrupted: () => number
}

const setup = (
  route: Partial<WebSocketRoute.Options> = {},
  hubOptions: Partial<SseHub.Options<never>> = {},
  using: "holdfast" | "platform" = "holdfast"
) =>
  Effect.gen(function*() {
    const bus = makeBus()
    let interrupted = 0
    const hub = yield* SseHub.make({ source: bus.source, ...hubOptions as object })
    const router = HttpRouter.empty.pipe(
      HttpRouter.get("/", HttpServerResponse.text("hello")),
      WebSocketRoute.mount("/ws", {
        hub,
        authorize: ({ query }) =>
          query.get("who") === "nobody"
            ? HttpErrors.make("Unauthorized", "who are you?")
            : Effect.succeed({ principal: query.get("who") ?? "ann", following: [{ topic: "hall" }] }),
        commands: {
          schema: Command,
          handle: (command, session) => {
            switch (command._tag) {
              case "Say":
                return Effect.map(bus.publish("hall", `${session.principal}: ${command.text}`), ({ id }) => ({ id }))
              case "Refuse":
                return HttpErrors.make("Conflict", "not now", { field: "text" })
              case "Die":
                return Effect.die(new Error("inside"))
              case "Quiet":
                return Effect.void
              case "Wait":
                return Effect.onInterrupt(Effect.never, () =>
                  Effect.sync(() => {
                    interrupted++
                  }))
            }
          }
        },
        ...route as object
      })
    )
    const app = HttpErrors.handled(router)
    if (using === "holdfast") {
      const { port } = yield* serve(app)
      return { url: `ws://127.0.0.1:${port}/ws`, port, hub, bus, interrupted: () => interrupted } satisfies Setup
    }
    const context = yield* Layer.build(
      HttpServer.serve(app).pipe(
        Layer.provideMerge(NodeHttpServer.layerServer(() => Http.createServer(), { port: 0, host: "127.0.0.1" })),
        Layer.provide(Logger.minimumLogLevel(LogLevel.None))
      )
    )
    const { port } = Context.get(context, HttpServer.HttpServer).address as HttpServer.TcpAddress
    return { url: `ws://127.0.0.1:${port}/ws`, port, hub, bus, interrupted: () => interrupted } satisfies Setup
  })

const leftNothing = ({ hub }: Setup) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* eventually(hub.sessions, (sessions) => sessions.length === 0), [])
    assert.deepStrictEqual(yield* eventually(requests, (found) => found.length === 0), [])
  })

for (const using of ["holdfast", "platform"] as const) {
  describe(`WebSocketRoute on the server of ${using}`, () => {
    it.scopedLive("gives events, and resumes where the client left", () =>
      Effect.gen(function*() {
        const it = yield* setup({}, {}, using)
        const client = yield* dial(it.url)
        assert.deepInclude((yield* client.until("open"))[0], { _tag: "open" })
        yield* it.bus.publish("hall", "one")
        yield* it.bus.publish("attic", "unheard")
        yield* it.bus.publish("hall", "two")
        assert.deepStrictEqual((yield* client.until("event", 2)).map((one) => [one.id, one.topic, one.event]), [
          [1, "hall", { _tag: "Said", text: "one" }],
          [3, "hall", { _tag: "Said", text: "two" }]
        ])
        client.ws.close(1000)
        yield* leftNothing(it)
        yield* it.bus.publish("hall", "three")
        const again = yield* dial(`${it.url}?lastEventId=1`)
        assert.deepStrictEqual((yield* again.until("event", 2)).map((one) => one.id), [3, 4])
        again.ws.close()
        yield* leftNothing(it)
      }))

    it.scopedLive("validates commands, answers them, and is kept by what is wrong", () =>
      Effect.gen(function*() {
        const it = yield* setup({}, {}, using)
        const client = yield* dial(it.url)
        client.send({ _tag: "Say", text: "hello", ref: 7 })
        assert.deepStrictEqual((yield* client.until("reply"))[0], { _tag: "reply", ref: 7, value: { id: 1 } })
        assert.strictEqual(
          ((yield* client.until("event"))[0].event as { readonly text: string }).text,
          "ann: hello"
        )
        client.send({ _tag: "Say", text: "", ref: "x" })
        client.send("{\"_tag\":")
        client.send({ _tag: "Refuse", ref: 8 })
        client.send({ _tag: "Die" })
        client.send(Buffer.from([1, 2, 3]))
        client.send({ _tag: "Say", text: "a", ref: {} })
        client.send({ _tag: "Quiet" })
        client.send({ _tag: "Quiet", ref: 9 })
        const errors = yield* client.until("error", 6)
        assert.deepStrictEqual(errors.map((one) => [one.ref, (one.error as Message)._tag]), [
          ["x", "InvalidRequest"],
          [undefined, "InvalidJson"],
          [8, "Conflict"],
          [undefined, "InternalError"],
          [undefined, "UnsupportedMediaType"],
          [undefined, "InvalidRequest"]
        ])
        assert.deepInclude(errors[0].error, { field: "text", expected: "a string at least 1 character(s) long" })
        assert.deepStrictEqual((yield* client.until("reply", 2))[1], { _tag: "reply", ref: 9, value: null })
        assert.isUndefined(client.closed())
      }))

    it.scopedLive("refuses before the upgrade, with a status and a body", () =>
      Effect.gen(function*() {
        const it = yield* setup({}, { limits: { perPrincipal: 1 } }, using)
        assert.deepInclude(yield* Effect.flip(dial(`${it.url}?who=nobody`)), {
          status: 401,
          body: { _tag: "Unauthorized", message: "who are you?" }
        })
        const first = yield* dial(it.url)
        const second = yield* Effect.flip(dial(it.url))
        assert.strictEqual(second.status, 429)
        assert.strictEqual(second.body._tag, "TooManyRequests")
        const foreign = yield* Effect.flip(dial(`${it.url}?who=eve`, { origin: "https://elsewhere.example" }))
        assert.strictEqual(foreign.status, 403)
        yield* dial(`${it.url}?who=bob`, { origin: `http://127.0.0.1:${it.port}` })
        const plain = yield* connect(it.port)
        plain.write("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert.isTrue(yield* plain.closed())
        assert.strictEqual(plain.replies()[0].status, 426)
        assert.isUndefined(first.closed())
      }))

    it.scopedLive("says farewell and closes with the code of the reason", () =>
      Effect.gen(function*() {
        const it = yield* setup({}, {}, using)
        const kicked = yield* dial(`${it.url}?who=kim`)
        yield* kicked.until("open")
        yield* it.hub.kick("kim")
        yield* eventually(Effect.sync(() => kicked.closed()), (closed) => closed !== undefined)
        assert.deepStrictEqual(kicked.closed(), { code: 4403, reason: "kicked" })
        const drained = yield* dial(it.url)
        yield* drained.until("open")
        yield* it.hub.drain()
        yield* eventually(Effect.sync(() => drained.closed()), (closed) => closed !== undefined)
        assert.deepStrictEqual(drained.closed(), { code: 1001, reason: "drained" })
        assert.deepInclude((yield* drained.until("farewell"))[0], { reason: "drained" })
        assert.strictEqual((yield* Effect.flip(dial(it.url))).status, 503)
        yield* leftNothing(it)
      }))

    it.scopedLive("closes for a reason of any length, cut at the border of a character", () =>
      Effect.gen(function*() {
        const it = yield* setup({}, {}, using)
        for (
          const [reason, told] of [["x".repeat(124), "x".repeat(123)], ["é".repeat(200), "é".repeat(61)], [
            "🎉".repeat(40),
            "🎉".repeat(30)
          ]]
        ) {
          const client = yield* dial(it.url)
          yield* client.until("open")
          yield* it.hub.kick("ann", reason)
          yield* eventually(Effect.sync(() => client.closed()), (closed) => closed !== undefined)
          assert.deepStrictEqual(client.closed(), { code: 1000, reason: told })
          assert.deepInclude((yield* client.until("farewell"))[0], { reason })
        }
        yield* leftNothing(it)
      }))

    it.scopedLive("says where a connection begins, so that who loses it before the first event misses nothing", () =>
      Effect.gen(function*() {
        const it = yield* setup({}, {}, using)
        yield* it.bus.publish("hall", "before")
        const client = yield* eventually(it.hub.stats, ({ position }) => position === 1).pipe(
          Effect.zipRight(dial(it.url))
        )
        const [open] = yield* client.until("open")
        assert.strictEqual(open.id, 1)
        client.ws.terminate()
        yield* leftNothing(it)
        yield* it.bus.publish("hall", "missed")
        const again = yield* dial(`${it.url}?lastEventId=${String(open.id)}`)
        assert.deepStrictEqual((yield* again.until("event")).map((one) => one.id), [2])
      }))

    it.scopedLive("a command in progress ends with its connection, which is in the census", () =>
      Effect.gen(function*() {
        const it = yield* setup({}, {}, using)
        const registry = yield* FiberRegistry.FiberRegistry
        const client = yield* dial(it.url)
        client.send({ _tag: "Wait" })
        yield* client.until("open")
        const sessions = Effect.map(registry.census, (all) => all.filter((entry) => entry.kind === "session"))
        const working = (entry: { readonly name: string }) => entry.name.endsWith("commands")
        assert.isTrue((yield* eventually(sessions, (found) => found.some(working))).some(working))
        yield* Effect.sleep("20 millis")
        client.ws.terminate()
        assert.strictEqual(yield* eventually(Effect.sync(it.interrupted), (count) => count === 1), 1)
        yield* leftNothing(it)
        assert.deepStrictEqual(yield* eventually(sessions, (found) => found.length === 0), [])
      }))

    it.scopedLive("a message over the limit closes with 1009", () =>
      Effect.gen(function*() {
        const it = yield* setup({ maxMessageBytes: 1000 }, {}, using)
        const client = yield* dial(it.url)
        client.send({ _tag: "Say", text: "x".repeat(2000) })
        yield* eventually(Effect.sync(() => client.closed()), (closed) => closed !== undefined)
        assert.strictEqual(client.closed()?.code, 1009)
        yield* leftNothing(it)
      }))
  })
}

describe("WebSocketRoute on NodeServer", () => {
  it.scopedLive("pings, and lets go of a peer that gives no sign", () =>
    Effect.gen(function*() {
      const it = yield* setup({ pingInterval: "100 millis" })
      const alive = yield* dial(it.url)
      const dead = yield* dial(it.url, { autoPong: false } as Ws.ClientOptions)
      yield* eventually(Effect.sync(() => dead.closed()), (closed) => closed !== undefined)
      assert.strictEqual(dead.closed()?.code, 1006)
      assert.isUndefined(alive.closed())
      assert.isAbove(alive.pings(), 1)
    }))

  it.scopedLive("takes a part of a long message for a sign", () =>
    Effect.gen(function*() {
      const it = yield* setup({ pingInterval: "500 millis" })
      const raw = yield* connect(it.port)
      raw.write(
        "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n" +
          "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
      )
      yield* raw.until((received) => received.includes("101"))
      // a masked text frame of 60,000 bytes, behind which no pong can come before it is whole
      raw.write(Uint8Array.of(0x81, 0xfe, 0xea, 0x60, 0, 0, 0, 0))
      const slowly = setInterval(() => raw.write("x"), 10)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(slowly)))
      assert.isFalse(yield* raw.closed(1_800))
      clearInterval(slowly)
      assert.isTrue(yield* raw.closed())
    }))

  it.scopedLive("does not take for dead whom it has stopped reading itself", () =>
    Effect.gen(function*() {
      const it = yield* setup({
        pingInterval: "100 millis",
        queue: 2,
        commands: {
          schema: Schema.Struct({ n: Schema.Number }),
          handle: ({ n }: { readonly n: number }) => Effect.as(Effect.sleep("500 millis"), n)
        } as never
      })
      const client = yield* dial(it.url)
      for (let n = 1; n <= 5; n++) {
        client.send({ n, ref: n })
      }
      const replies = yield* client.until("reply", 5)
      assert.deepStrictEqual(replies.map((one) => one.ref), [1, 2, 3, 4, 5])
      assert.isUndefined(client.closed())
      // and it is still listened to afterwards
      yield* eventually(Effect.sync(() => client.pings()), (pings) => pings > 3)
      assert.isUndefined(client.closed())
    }))

  it.scopedLive("stops reading while commands wait, and loses none", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const seen: Array<number> = []
      const it = yield* setup({
        queue: 4,
        commands: {
          schema: Schema.Struct({ n: Schema.Number }),
          handle: ({ n }: { readonly n: number }) =>
            Effect.zipRight(Deferred.await(gate), Effect.sync(() => void seen.push(n)))
        } as never
      })
      const client = yield* dial(it.url)
      for (let n = 0; n < 2000; n++) {
        client.send({ n, padding: "x".repeat(1000) })
      }
      yield* Effect.sleep("100 millis")
      assert.isUndefined(client.closed())
      yield* Deferred.succeed(gate, void 0)
      yield* eventually(Effect.sync(() => seen.length), (length) => length === 2000, 10_000)
      assert.deepStrictEqual(seen, Array.from({ length: 2000 }, (_, n) => n))
    }))

  it.scopedLive("a reader that stalls is cut off, the others go on", () =>
    Effect.gen(function*() {
      const it = yield* setup({}, { sendTimeout: "500 millis", capacity: 64 * 1024 })
      const stalled = yield* dial(`${it.url}?who=slow`)
      const reading = yield* dial(`${it.url}?who=quick`)
      yield* reading.until("open")
      stalled.ws.pause()
      for (let n = 0; n < 200; n++) {
        yield* it.bus.publish("hall", "x".repeat(100_000))
        yield* Effect.sleep("2 millis")
      }
      assert.strictEqual((yield* reading.until("event", 200)).length, 200)
      const ended = yield* eventually(it.hub.ended, (ended) => ended.some((one) => one.reason === "slow"))
      assert.deepStrictEqual(ended.map((one) => one.reason), ["slow"])
    }))

  it.scopedLive("chooses the subprotocol that it prefers", () =>
    Effect.gen(function*() {
      const it = yield* setup({ protocols: ["v2", "v1"] })
      const client = yield* dial(it.url, { protocols: ["v1", "v2"] })
      assert.strictEqual(client.ws.protocol, "v2")
    }))

  it.scopedLive("events of every size arrive whole", () =>
    Effect.gen(function*() {
      const it = yield* setup()
      const client = yield* dial(it.url)
      yield* client.until("open")
      const sizes = [0, 10, 40, 50, 60, 125, 126, 127, 65_450, 65_500, 65_536, 200_000]
      for (const size of sizes) {
        yield* it.bus.publish("hall", "é".repeat(size))
      }
      const texts = (yield* client.until("event", sizes.length)).map((one) => (one.event as { text: string }).text)
      assert.deepStrictEqual(texts.map((text) => text.length), sizes)
      assert.isTrue(texts.every((text) => /^é*$/.test(text)))
    }))

  it.scopedLive("the platform's own socket works, too", () =>
    Effect.gen(function*() {
      const { port } = yield* serve(HttpRouter.empty.pipe(HttpRouter.get(
        "/echo",
        Effect.gen(function*() {
          const socket = yield* HttpServerRequest.upgrade
          const write = yield* socket.writer
          yield* Effect.orDie(socket.runRaw((data) => write(String(data))))
          return HttpServerResponse.empty()
        })
      )))
      const client = yield* dial(`ws://127.0.0.1:${port}/echo`)
      client.send({ _tag: "hello" })
      assert.strictEqual((yield* client.until("hello")).length, 1)
      client.ws.close()
      assert.deepStrictEqual(yield* eventually(requests, (found) => found.length === 0), [])
    }))
})

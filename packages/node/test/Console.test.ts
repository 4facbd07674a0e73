import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpLayerRouter,
  HttpServer,
  HttpServerResponse
} from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Cleanup, EventBus, FiberRegistry, Supervision, Ticker, TickerStore } from "@holdfast/core"
import { Console, ConsoleFeed, ConsoleLog, ConsoleSection } from "@holdfast/http"
import { NodeServer } from "@holdfast/node"
import {
  type Clock,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Layer,
  Logger,
  Option,
  Redacted,
  Schema,
  Scope
} from "effect"
import * as Net from "node:net"
import { eventually } from "./support/serve.js"

const Said = Schema.TaggedStruct("Said", { text: Schema.String })
class Chat extends EventBus.Tag("test/Console/Chat")<Chat, typeof Said.Type>() {}

const Api = HttpApi.make("app").add(
  HttpApiGroup.make("chat").add(HttpApiEndpoint.get("greet", "/greet").addSuccess(Schema.String))
)
const Greet = HttpApiBuilder.group(Api, "chat", (handlers) => handlers.handle("greet", () => Effect.succeed("hello")))

const token = "a-token-for-the-operator"
const viewerToken = "a-token-for-the-viewer"
const pressed: Array<string> = []

const options: Console.Options = {
  path: "/ops/console",
  access: { token: Redacted.make(token), viewerToken: Redacted.make(viewerToken) },
  interval: "100 millis",
  sections: [
    ConsoleSection.table({
      id: "carts",
      columns: { owner: "text" },
      rows: Effect.succeed([{ key: "1", cells: { owner: "Ada" } }])
    }),
    ConsoleSection.facts({ id: "broken", facts: Effect.fail("the shelf is empty") }),
    ConsoleSection.action({
      name: "empty",
      on: "carts",
      input: Schema.Struct({ cart: Schema.String }),
      run: ({ cart }) => Effect.sync(() => pressed.push(cart))
    })
  ]
}

const quiet = Logger.replace(Logger.defaultLogger, Logger.none)

const viaRouter = HttpLayerRouter.serve(
  Layer.mergeAll(
    HttpLayerRouter.addHttpApi(Api).pipe(Layer.provide(Greet)),
    HttpLayerRouter.add("GET", "/busy", HttpServerResponse.empty({ status: 429 })),
    Console.layer(options)
  ),
  { disableListenLog: true, disableLogger: true }
)

const viaApi = HttpApiBuilder.serve().pipe(
  Layer.provide(Console.layerApi(options)),
  Layer.provide(HttpApiBuilder.api(Api)),
  Layer.provide(Greet)
)

const Snapshot = Schema.Struct({ hello: ConsoleFeed.Hello, frame: ConsoleFeed.Frame })

const open = (app: typeof viaRouter | typeof viaApi) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      (app as typeof viaRouter).pipe(
        Layer.provideMerge(NodeServer.layer({ port: 0 })),
        Layer.provideMerge(Chat.layer({ schema: Said })),
        Layer.provide(ConsoleLog.layer()),
        Layer.provideMerge(FiberRegistry.layer),
        Layer.provide(quiet)
      )
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    const base = `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}`
    const request = (path: string, init: RequestInit = {}, secret = token) =>
      Effect.promise(async () => {
        const response = await fetch(`${base}${path}`, {
          redirect: "manual",
          ...init,
          headers: { ...(secret === "" ? {} : { authorization: `Bearer ${secret}` }), ...init.headers }
        })
        return { status: response.status, headers: response.headers, text: await response.text() }
      })
    const act = (name: string, input: object, secret = token, headers: Record<string, string> = {}) =>
      request(`/ops/console/act/${name}`, {
        method: "POST",
        body: JSON.stringify(input),
        headers: { "content-type": "application/json", "x-operator-act": "1", origin: base, ...headers }
      }, secret)
    const snapshot = Effect.flatMap(
      request("/ops/console/snapshot"),
      ({ text }) => Schema.decodeUnknown(Schema.parseJson(Snapshot))(text)
    )
    return { base, context, request, act, snapshot }
  })

/** A viewer's feed, of which nothing has been read. */
const openFeed = (base: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const socket = Net.connect(Number(new URL(base).port), "127.0.0.1").on("error", () => {})
      socket.write(
        `GET /ops/console/feed HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${viewerToken}\r\n\r\n`
      )
      return socket
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Whoever sleeps by it is woken too late. */
const sluggish = (clock: Clock.Clock): Clock.Clock => ({
  ...clock,
  unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis(),
  unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
  sleep: (duration) => clock.sleep(Duration.sum(duration, "700 millis"))
})

/** Keeps nothing, and says so. */
const fullDisk: TickerStore.Service = {
  load: () => Effect.succeed(Option.none()),
  save: (ticker) =>
    new TickerStore.StoreError({ ticker, operation: "save", reason: "the disk is full", cause: undefined })
}

const named = (title: string, subject: string) => (snapshot: typeof Snapshot.Type): boolean =>
  snapshot.frame.alerts?.some((alert) => alert.title === title && alert.subject?.startsWith(subject) === true) === true

describe("Console", () => {
  for (const [name, app] of [["HttpLayerRouter", viaRouter], ["HttpApiBuilder.serve", viaApi]] as const) {
    it.scopedLive(`is in an app of ${name}, beside its routes, and open to nobody`, () =>
      Effect.gen(function*() {
        const { act, request, snapshot } = yield* open(app)
        assert.strictEqual((yield* request("/greet", {}, "")).status, 200)
        const moved = yield* request("/ops/console", {}, "")
        assert.deepStrictEqual([moved.status, moved.headers.get("location")], [307, "console/"])
        for (const file of ["", "console.js", "rows.js", "style.css"]) {
          const { headers, status } = yield* request(`/ops/console/${file}`, {}, "")
          assert.strictEqual(status, 200, file)
          assert.include(headers.get("content-security-policy"), "script-src 'self'")
          const again = yield* request(`/ops/console/${file}`, { headers: { "if-none-match": headers.get("etag")! } })
          assert.strictEqual(again.status, 304, file)
        }
        for (const path of ["feed", "snapshot"]) {
          assert.strictEqual((yield* request(`/ops/console/${path}`, {}, "")).status, 401)
        }
        assert.strictEqual((yield* act("empty", { cart: "1" }, "")).status, 401)
        assert.strictEqual((yield* act("empty", { cart: "1" }, viewerToken)).status, 403)
        assert.strictEqual((yield* act("empty", { cart: "1" }, token, { origin: "https://evil.example" })).status, 403)
        assert.strictEqual((yield* act("empty", {})).status, 400)
        assert.strictEqual((yield* act("nothing", {})).status, 404)
        assert.deepStrictEqual(pressed, [])
        assert.strictEqual((yield* act("empty", { cart: "1" })).status, 200)
        assert.deepStrictEqual(pressed.splice(0), ["1"])
        for (const path of ["/wp-login.php", "/.env", "/admin"]) {
          assert.strictEqual((yield* request(path)).status, 404)
        }
        const { frame, hello } = yield* snapshot
        const routes = frame.sections["routes"]?.set ?? []
        const route = (key: string) => routes.find((row) => row.key === key)?.cells
        assert.deepInclude(route("GET /greet"), { route: "/greet", ok: 1, refused: null, failed: null })
        assert.isAbove(route("GET /greet")?.["p99"] as number, 0)
        // Whoever asks for names at random makes no rows.
        assert.strictEqual(route("GET what nobody serves")?.["refused"], 3)
        assert.strictEqual(route("POST /ops/console/act/empty")?.["refused"], 4)
        assert.strictEqual(hello.epoch, frame.epoch)
        assert.deepStrictEqual(frame.sections["carts"]?.set, [{ key: "1", cells: { owner: "Ada" } }])
        assert.include(frame.sections["broken"]?.unavailable, "the shelf is empty")
        assert.strictEqual(frame.sections["buses"]?.set?.[0]?.key, "test/Console/Chat")
        assert.include(JSON.stringify(frame.sections["acts"]?.set), "refused")
        assert.deepStrictEqual(hello.actions.find(({ name }) => name === "empty")?.fields.map(({ type }) => type), [
          "text"
        ])
      }))
  }

  it.scopedLive("names a leak, a hanging finalizer, a crash loop and a subscriber that loses events, and ends the leak (daily)", () =>
    Effect.gen(function*() {
      const { act, context, snapshot } = yield* open(viaRouter)
      const gate = yield* Deferred.make<void>()
      yield* Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.extend(
          Cleanup.addFinalizer(
            { label: "finalizer that hangs", budget: "50 millis" },
            () => Effect.uninterruptible(Deferred.await(gate))
          ),
          scope
        )
        yield* Scope.close(scope, Exit.void)
        yield* Supervision.make({
          name: "feeds",
          intensity: 5,
          children: [{ name: "prices", start: Effect.fail("no prices") }]
        })
        const chat = yield* Chat
        yield* chat.subscribe({ name: "slow reader", capacity: 1, policy: "sliding" })
        for (let index = 0; index < 5; index++) yield* chat.publish({ _tag: "Said", text: "hello" })
        yield* Effect.forkDaemon(Effect.withSpan(Effect.never, "planted-leak"))
      }).pipe(Effect.provide(context), Effect.provide(quiet))
      const seen = yield* eventually(
        snapshot,
        (found) =>
          named("Hanging finalizer", "finalizer that hangs")(found) && named("Lost events", "slow reader")(found) &&
          named("Crash loop", "prices")(found) && named("Leaked fiber", "planted-leak")(found),
        20_000
      )
      assert.isTrue(named("Hanging finalizer", "finalizer that hangs")(seen))
      assert.isTrue(named("Lost events", "slow reader")(seen))
      assert.isTrue(named("Crash loop", "prices")(seen))
      assert.isTrue(named("Leaked fiber", "planted-leak")(seen))
      assert.deepInclude(seen.frame.sections["topics"]?.set?.[0]?.cells, { topic: "Said", count: 5 })
      const leak = seen.frame.alerts!.find(({ subject }) => subject?.startsWith("planted-leak") === true)!
      assert.strictEqual(leak.link?.section, "fibers")
      const row = seen.frame.sections["fibers"]?.set?.find(({ key }) => key === leak.link!.key)
      assert.include(row?.detail?.["span made at"], "Console.test.ts:")
      assert.strictEqual((yield* act("interrupt", { fiber: leak.link!.key! })).status, 200)
      yield* Deferred.succeed(gate, undefined)
      const after = yield* eventually(snapshot, (found) => !named("Leaked fiber", "planted-leak")(found))
      assert.isFalse(named("Leaked fiber", "planted-leak")(after))
    }))

  it.scopedLive(
    "names a ticker that is late and one that is not saved, a handler that fails and one that overruns at each tick, " +
      "storms of 401 and 429, and who guesses the token",
    () =>
      Effect.gen(function*() {
        const { context, request, snapshot } = yield* open(viaRouter)
        yield* Effect.gen(function*() {
          const ticker = yield* Ticker.make({ name: "sun", interval: "100 millis" })
          yield* ticker.onTick({ name: "rise" }, () => Effect.fail("clouds"))
          yield* ticker.onTick({ name: "shine", budget: "1 millis" }, () => Effect.sleep("30 millis"))
          yield* Ticker.make({ name: "tide", interval: "100 millis", store: fullDisk })
          const clock = sluggish(yield* Effect.clock)
          yield* Effect.withClock(Ticker.make({ name: "moon", interval: "1 second" }), clock)
        }).pipe(Effect.provide(context), Effect.provide(quiet))
        // What was before somebody looked is no storm.
        yield* snapshot
        for (let index = 0; index < 80; index++) {
          yield* request("/ops/console/snapshot", {}, "")
          yield* request("/busy")
        }
        for (let index = 0; index < 4; index++) yield* request("/ops/console/snapshot", {}, "a-token-that-is-wrong")
        // A storm is over soon, and may be before the slowest of them is seen.
        const seen = new Set<string>()
        const look = Effect.map(snapshot, ({ frame }) => {
          for (const { subject = "", title } of frame.alerts ?? []) seen.add(`${title} ${subject}`.trim())
          return seen
        })
        const wanted = [
          "Failing handler rise",
          "Overrun shine",
          "Late ticker moon",
          "Ticker is not saved tide",
          "Storm of 401",
          "Storm of 429",
          "Wrong tokens"
        ]
        yield* eventually(look, () => wanted.every((title) => seen.has(title)), 30_000)
        for (const title of wanted) assert.isTrue(seen.has(title), `${title} is not among ${[...seen].join(", ")}`)
        for (const title of ["Ticker is not saved sun", "Storm of 503", "Storm of 500"]) {
          assert.isFalse(seen.has(title), title)
        }
      }),
    60_000
  )

  it.scopedLive(
    "looks seldom at what costs something and nobody has open: at once when somebody opens it, and after an act",
    () =>
      Effect.gen(function*() {
        const { act, base, context, request } = yield* open(viaRouter)
        const looks = { dear: 0, cheap: 0 }
        const dear = ConsoleSection.text({
          id: "dear",
          text: Effect.sync(() => {
            const since = performance.now()
            while (performance.now() - since < 25) { /* it costs something */ }
            return String(++looks.dear)
          })
        })
        const cheap = ConsoleSection.text({ id: "cheap", text: Effect.sync(() => String(++looks.cheap)) })
        yield* Effect.provide(Console.register(dear, cheap), context)
        const seen = (count: number) => eventually(Effect.sync(() => looks.dear), (seen) => seen >= count)
        const watch = (section: string, secret?: string) =>
          request(`/ops/console/watch/${section}`, { method: "POST" }, secret)
        const viewer = yield* openFeed(base)
        viewer.resume()
        yield* seen(1)
        // The first look of all may find both dear; what is cheap is looked at with each frame.
        yield* eventually(Effect.sync(() => looks.cheap), (seen) => seen > 3)
        assert.strictEqual(looks.dear, 1)
        assert.strictEqual((yield* watch("dear", "")).status, 401)
        assert.strictEqual((yield* watch("nothing")).status, 404)
        // a rule for alerts, an action
        assert.strictEqual((yield* watch("audit")).status, 404)
        assert.strictEqual((yield* watch("empty")).status, 404)
        assert.strictEqual(looks.dear, 1)
        assert.strictEqual((yield* watch("dear", viewerToken)).status, 204)
        yield* seen(2)
        // by itself it would be eight seconds now
        assert.strictEqual((yield* act("empty", { cart: "1" })).status, 200)
        yield* seen(3)
        assert.strictEqual(looks.dear, 3)
      }),
    30_000
  )

  it.scopedLive("lets a viewer who reads nothing miss frames, and nobody else anything", () =>
    Effect.gen(function*() {
      // A megabyte each time, and an act before each: a look that took long by chance would make the next one wait.
      const texts = ["a", "b"].map((letter) => Buffer.alloc(1_000_000, letter).toString("latin1"))
      let looks = 0
      const big = ConsoleSection.text({ id: "big", text: Effect.sync(() => texts[looks++ % 2]!) })
      const { act, base, context } = yield* open(viaRouter)
      yield* Effect.provide(Console.register(big), context)
      const connect = Effect.map(openFeed(base), (socket) => {
        const found: Array<string> = []
        const received = { bytes: 0 }
        let rest = ""
        socket.setEncoding("utf8").on("data", (text: string) => {
          received.bytes += text.length
          const parts = (rest + text).split("\n\n")
          rest = parts.pop()!
          for (const part of parts) {
            const numbers = /"whole":(\w+).*?"missed":(\d+)/.exec(part)
            if (part.includes("event: frame")) found.push(numbers === null ? "delta" : `${numbers[1]} ${numbers[2]}`)
          }
        })
        return { socket, found, received }
      })
      const slow = yield* connect
      yield* eventually(Effect.sync(() => slow.found.length), (count) => count > 0)
      slow.socket.pause()
      const other = yield* connect
      const chat = Context.get(context, Chat)
      const subscription = yield* chat.subscribe({ capacity: 16 })
      const said = Array.from({ length: 40 }, (_, index) => String(index))
      const taken: Array<string> = []
      yield* Effect.forEach(said, (text) =>
        Effect.gen(function*() {
          yield* chat.publish({ _tag: "Said", text })
          for (const item of yield* subscription.takeBatch()) if ("event" in item) taken.push(item.event.text)
          yield* Effect.sleep("50 millis")
        }), { discard: true })
      assert.deepStrictEqual(taken, said)
      // More than two sockets hold, by far.
      const received = Effect.map(act("empty", { cart: "1" }), () => other.received.bytes)
      yield* eventually(received, (bytes) => bytes > 24_000_000, 60_000)
      assert.isAbove(other.received.bytes, 24_000_000)
      const before = slow.found.length
      slow.socket.resume()
      // It gets a whole picture again, and is told how many it has missed.
      const missed = (found: string) => /^true [1-9]/.test(found)
      yield* eventually(Effect.sync(() => slow.found.slice(before)), (found) => found.some(missed), 30_000)
      assert.isTrue(slow.found.slice(before).some(missed), slow.found.join())
    }), 120_000)
})

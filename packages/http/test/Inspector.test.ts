import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Inspector from "@holdfast/http/Inspector"
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import * as Sse from "@holdfast/http/Sse"
import { Context, Duration, Effect, Layer, Option, Redacted, Scope } from "effect"

const token = Redacted.make("0123456789abcdef-secret")

/** Without the test's own scope, which would take the place of the request's. */
const services = Effect.map(
  Effect.context<never>(),
  (context) => Context.omit(Scope.Scope)(context as Context.Context<Scope.Scope>) as Context.Context<never>
)

/** Whoever has the token looks, unless the request says otherwise. */
const guard = OperatorGuard.layer({ token, firstDelay: 0 })

interface Ask {
  readonly headers?: Record<string, string>
  readonly peer?: string
  readonly options?: Inspector.Options
}

/** The routes, asked from an address. */
const respond = (path: string, { headers = {}, options = {}, peer = "127.0.0.1" }: Ask = {}) =>
  Effect.gen(function*() {
    const context = yield* services
    const app = HttpErrors.handled(Inspector.routes(options)).pipe(
      Effect.provide(guard),
      Effect.provide(context),
      Effect.updateService(HttpServerRequest.HttpServerRequest, (request) => request.modify({ remoteAddress: peer }))
    )
    const handler = HttpApp.toWebHandler(app)
    const request = new Request(`http://localhost:3000/inspector${path}`, {
      headers: { host: "localhost:3000", authorization: `Bearer ${Redacted.value(token)}`, ...headers }
    })
    return yield* Effect.promise(() => handler(request))
  })

const ask = (path: string, from?: Ask) =>
  Effect.flatMap(respond(path, from), (response) =>
    Effect.promise(async () => {
      const text = await response.text()
      return { status: response.status, text, body: text.startsWith("{") ? JSON.parse(text) : undefined }
    }))

describe("Inspector", () => {
  it.scoped("is open to who has a token of the guard, and to nobody else, whatever the address", () =>
    Effect.gen(function*() {
      const paths = ["", "/fibers", "/fibers.txt", "/cleanups", "/nonsense", "/feed"]
      for (const path of paths) {
        for (const peer of ["127.0.0.1", "::1", "10.0.0.1"]) {
          assert.strictEqual((yield* ask(path, { peer, headers: { authorization: "" } })).status, 401, path)
        }
      }
      assert.strictEqual((yield* ask("/nonsense")).status, 404)
      assert.strictEqual((yield* ask("", { peer: "10.0.0.1" })).status, 200)
    }))

  it.scoped("shows fibers, cleanups and what was registered", () =>
    Effect.gen(function*() {
      yield* FiberRegistry.forkScoped(Effect.never, { name: "watchman", kind: "service" })
      yield* Cleanup.run({ label: "put the lamp out" }, Effect.fail("no lamp"))
      yield* Inspector.register("bus", "world", Effect.succeed({ published: 7n, lag: Duration.millis(5) }))
      yield* Inspector.register("bus", "broken", Effect.fail("gone"))
      yield* Inspector.register("bus", "stuck", Effect.never)
      const cyclic: Record<string, unknown> = { key: Redacted.make("hidden"), none: Option.none() }
      cyclic["self"] = cyclic
      yield* Inspector.register("custom", "odd", Effect.succeed(cyclic))
      const { body, text } = yield* ask("")
      assert.include(text, "watchman")
      assert.include(text, "put the lamp out")
      assert.include(text, "no lamp")
      assert.notInclude(text, "hidden")
      assert.deepStrictEqual(body.bus.world, { published: "7", lag: "5ms" })
      assert.include(body.bus.broken.unavailable, "gone")
      assert.include(body.bus.stuck.unavailable, "timeout")
      assert.deepStrictEqual(body.custom.odd, { key: "<redacted>", none: null, self: "…" })
      assert.deepStrictEqual((yield* ask("/custom")).body, body.custom)
      assert.strictEqual((yield* ask("/nothing")).status, 404)
      assert.include((yield* ask("/fibers.txt")).text, "watchman")
      assert.isAbove((yield* ask("/fibers")).body.counts.live, 0)
      assert.isAbove((yield* ask("/cleanups")).body.counts.failed, 0)
    }))

  it.scopedLive("feeds snapshots and changes, and ends with the application", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const response = yield* respond("/feed", { options: { interval: "20 millis" } })
      assert.strictEqual(response.headers.get("content-type"), "text/event-stream")
      const decoder = Sse.unsafeMakeDecoder()
      const events: Array<string> = []
      const reader = response.body!.getReader()
      const read = Effect.promise(async () => {
        const { done, value } = await reader.read()
        if (!done) {
          for (const one of decoder.unsafeFeed(value)) {
            if (one._tag === "Message") {
              events.push(one.event)
            }
          }
        }
        return done
      })
      yield* Effect.repeat(read, { until: () => events.includes("snapshot") && events.includes("phase") })
      yield* Effect.scoped(FiberRegistry.forkScoped(Effect.never, { name: "passer-by" }))
      yield* Cleanup.run({ label: "bad" }, Effect.fail("no"))
      yield* Effect.repeat(read, { until: () => events.includes("fiber") && events.includes("cleanup") })
      yield* Effect.fork(lifecycle.shutdown({ _tag: "Requested", by: "test" }))
      yield* Effect.repeat(read, { until: (done) => done })
      assert.strictEqual(events.at(-1), "phase")
    }).pipe(Effect.provide(Lifecycle.layer({ log: false }).pipe(Layer.orDie))))

  it.scopedLive("bounds how many feeds there are", () =>
    Effect.gen(function*() {
      const context = yield* services
      const handler = HttpApp.toWebHandler(
        HttpErrors.handled(Inspector.routes({ maxFeeds: 1 })).pipe(Effect.provide(guard), Effect.provide(context))
      )
      const feed = () =>
        Effect.promise(() => handler(new Request(`http://localhost/inspector/feed?token=${Redacted.value(token)}`)))
      const first = yield* feed()
      assert.strictEqual((yield* feed()).status, 429)
      const readAndLeave = (response: Response) =>
        Effect.promise(async () => {
          const reader = response.body!.getReader()
          await reader.read()
          await reader.cancel()
        })
      yield* readAndLeave(first)
      const again = yield* Effect.repeat(Effect.zipLeft(feed(), Effect.sleep("10 millis")), {
        until: (response) => response.status === 200
      })
      yield* readAndLeave(again)
    }))
})

import * as HttpApp from "@effect/platform/HttpApp"
import { assert, describe, it } from "@effect/vitest"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Health from "@holdfast/http/Health"
import { Context, Effect, Layer, Logger, LogLevel, Ref } from "effect"

const ask = (path: string) =>
  Effect.gen(function*() {
    const context = yield* Effect.context<Health.Health>()
    const handler = HttpApp.toWebHandler(Effect.orDie(Effect.provide(Health.routes(), context)))
    return yield* Effect.promise(async () => {
      const response = await handler(new Request(`http://localhost/health/${path}`))
      return { status: response.status, body: await response.json() as Record<string, unknown> }
    })
  })

describe("Health", () => {
  it.scoped("starts, is ready, and tells why it is not", () =>
    Effect.gen(function*() {
      const health = yield* Health.Health
      assert.strictEqual((yield* ask("live")).status, 200)
      assert.deepStrictEqual(yield* ask("started"), { status: 503, body: { status: "starting" } })
      assert.deepInclude(yield* ask("ready"), { status: 503 })
      yield* health.markStarted
      assert.deepStrictEqual(yield* ask("started"), { status: 200, body: { status: "started" } })
      const failing = yield* Ref.make(false)
      yield* Effect.scoped(
        Effect.gen(function*() {
          yield* health.check({
            name: "store",
            run: Effect.flatMap(Ref.get(failing), (it) => it ? Effect.fail("disk is full") : Effect.void)
          })
          assert.deepStrictEqual(yield* ask("ready"), {
            status: 200,
            body: { status: "ready", checks: { store: "ok" } }
          })
          yield* Ref.set(failing, true)
          const response = yield* ask("ready")
          assert.strictEqual(response.status, 503)
          assert.strictEqual(response.body.status, "failing")
          assert.include((response.body.checks as { readonly store: string }).store, "disk is full")
          yield* health.check({
            name: "slow",
            run: Effect.never,
            timeout: "20 millis"
          })
          assert.strictEqual((yield* health.report).checks.slow, "took more than 20 ms")
          assert.strictEqual((yield* ask("live")).status, 200)
        }).pipe(Effect.disconnect)
      )
      assert.deepStrictEqual((yield* ask("ready")).status, 200)
    }).pipe(Effect.provide(Health.layer({ started: false }))))

  it.scoped("is not ready from the moment the application drains", () =>
    Effect.gen(function*() {
      const context = yield* Layer.build(
        Health.layer().pipe(Layer.provideMerge(Lifecycle.layer({ log: false })))
      )
      const lifecycle = Context.get(context, Lifecycle.Lifecycle)
      const seen: Array<unknown> = []
      yield* lifecycle.onPhase(
        "draining",
        { label: "look" },
        Effect.map(Effect.provide(ask("ready"), context), (answer) => seen.push(answer))
      )
      assert.deepInclude(yield* Effect.provide(ask("ready"), context), { status: 200 })
      yield* lifecycle.shutdown({ _tag: "Requested", by: "test" })
      assert.deepStrictEqual(seen, [{ status: 503, body: { status: "draining", phase: "draining", checks: {} } }])
    }).pipe(Effect.provide(Logger.minimumLogLevel(LogLevel.None))))
})

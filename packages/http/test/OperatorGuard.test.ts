import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import { assert, describe, it } from "@effect/vitest"
import type * as HttpErrors from "@holdfast/http/HttpErrors"
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import { Context, Effect, Exit, Fiber, HashMap, Layer, Logger, Option, Redacted, Schema, TestClock } from "effect"

const token = "an-operators-token-0123"
const viewerToken = "a-viewers-token-4567890"

interface Ask {
  readonly headers?: Record<string, string>
  readonly body?: string
  readonly peer?: string
  readonly query?: string
}

/** The headers of the page's own script. */
const own = {
  host: "localhost:7070",
  origin: "http://localhost:7070",
  "content-type": "application/json",
  [OperatorGuard.actHeader]: "1"
}

const request = ({ body = "{}", headers = {}, peer = "127.0.0.1", query = "" }: Ask) =>
  HttpServerRequest.fromWeb(new Request(`http://localhost:7070/act${query}`, { method: "POST", body, headers }))
    .modify({ remoteAddress: peer })

const as = (ask: Ask) => Effect.provideService(HttpServerRequest.HttpServerRequest, request(ask))

const Kick = Schema.Struct({ player: Schema.String })

const kick = (
  guard: OperatorGuard.Service,
  ask: Ask,
  run: Effect.Effect<string, HttpErrors.HttpError> = Effect.succeed("kicked")
) => guard.act("kick", Kick, () => run).pipe(as({ body: `{"player":"mallory"}`, ...ask }), Effect.exit)

const statusOf = (exit: Exit.Exit<unknown, HttpErrors.HttpError>) =>
  Exit.match(exit, {
    onSuccess: () => 200,
    onFailure: (cause) => (cause as { readonly error?: HttpErrors.HttpError }).error?.problem.status ?? 500
  })

const make = (options: OperatorGuard.Options = {}) =>
  OperatorGuard.make({
    token: Redacted.make(token),
    viewerToken: Redacted.make(viewerToken),
    firstDelay: 0,
    ...options
  })

const bearer = (value: string) => ({ authorization: `Bearer ${value}` })

describe("OperatorGuard", () => {
  it.scoped("makes a token for this run where none is configured, and says so in a link that no server sees", () =>
    Effect.gen(function*() {
      const guard = yield* OperatorGuard.make()
      const link = Option.getOrThrow(guard.link("http://localhost:7070/operator"))
      const made = /^http:\/\/localhost:7070\/operator#token=([\w-]{43})$/.exec(link)?.[1]
      assert.isDefined(made)
      const looked = yield* guard.visitor.pipe(as({ headers: bearer(made!) }))
      assert.deepInclude(looked, { role: "operator", address: "127.0.0.1" })
      const other = yield* OperatorGuard.make()
      assert.notStrictEqual(Option.getOrThrow(other.link("x")), Option.getOrThrow(guard.link("x")))
      assert.isTrue(Option.isNone((yield* make()).link("x")))
    }))

  it.scoped("keeps a record of every act: who, from where, what, with which result", () =>
    Effect.gen(function*() {
      const guard = yield* make()
      const from = { peer: "10.1.2.3", headers: { ...own, ...bearer(token), "x-forwarded-for": "203.0.113.9" } }
      assert.deepStrictEqual(yield* kick(guard, from), Exit.succeed("kicked"))
      assert.strictEqual(statusOf(yield* kick(guard, from, Effect.die(new Error("the store is gone")))), 500)
      assert.strictEqual(statusOf(yield* kick(guard, { ...from, body: "{}" })), 400)
      assert.strictEqual(statusOf(yield* kick(guard, { headers: { ...own, ...bearer(viewerToken) } })), 403)
      assert.strictEqual(statusOf(yield* kick(guard, { headers: { ...own, ...bearer("no-such-token-at-all") } })), 401)
      assert.deepStrictEqual(
        (yield* guard.acts).map(({ address, input, name, problem, result, role }) => [
          name,
          role,
          address,
          JSON.stringify(input),
          result,
          problem?.slice(0, 18)
        ]),
        [
          ["kick", "operator", "10.1.2.3", `{"player":"mallory"}`, "done", undefined],
          ["kick", "operator", "10.1.2.3", `{"player":"mallory"}`, "failed", "the store is gone"],
          ["kick", "operator", "10.1.2.3", undefined, "refused", "player: is missing"],
          ["kick", "viewer", "127.0.0.1", undefined, "refused", "The viewer's token"]
        ] as never
      )
      assert.strictEqual((yield* guard.acts)[0].forwardedFor, "x-forwarded-for: 203.0.113.9")
      assert.deepStrictEqual(yield* guard.stats, { anonymous: 0, wrong: 1, acts: 4 })
    }))

  it.scoped("keeps the last acts only", () =>
    Effect.gen(function*() {
      const guard = yield* make({ maxActs: 3 })
      yield* Effect.forEach([1, 2, 3, 4, 5], (n) =>
        kick(guard, { headers: { ...own, ...bearer(token) }, body: `{"player":"${n}"}` }))
      assert.deepStrictEqual(
        (yield* guard.acts).map(({ input }) =>
          input
        ),
        ["3", "4", "5"].map((player) => ({ player }))
      )
    }))

  it.scoped("answers wrong tokens of an address ever later, and the right one at once", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const guard = yield* make({ firstDelay: "100 millis", maxDelay: "1 second", maxDelayed: 2 })
      const guess = (peer: string) =>
        Effect.fork(
          guard.visitor.pipe(
            as({ peer, headers: bearer("not-the-right-token") }),
            Effect.provide(Logger.replace(
              Logger.defaultLogger,
              Logger.make(({ annotations, message }) => {
                const address = Option.getOrUndefined(HashMap.get(annotations, "address"))
                lines.push(`${String(message)} ${String(address)}`)
              })
            ))
          )
        )
      const waits = (peer: string, milliseconds: number) =>
        Effect.gen(function*() {
          const fiber = yield* guess(peer)
          // The comparison of digests is not the clock's.
          yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve))).pipe(
            Effect.repeat({ until: () => Effect.map(TestClock.sleeps(), (sleeps) => Array.from(sleeps).length > 0) })
          )
          yield* TestClock.adjust(milliseconds - 1)
          assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)), `${peer} waits ${milliseconds}`)
          yield* TestClock.adjust(1)
          assert.strictEqual(statusOf(yield* Fiber.await(fiber)), 401)
        })
      for (const milliseconds of [100, 200, 400, 800, 1000, 1000]) yield* waits("10.0.0.1", milliseconds)
      yield* waits("10.0.0.2", 100)
      assert.deepStrictEqual(
        lines,
        [1, 2, 4, 1].map((n, i) => `${n} wrong tokens for the operator's page ${i < 3 ? "10.0.0.1" : "10.0.0.2"}`)
      )
      // Two wait; the third is told to go, and the right token is not made to wait.
      const first = yield* guess("10.0.0.3")
      const second = yield* guess("10.0.0.3")
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve))).pipe(
        Effect.repeat({ until: () => Effect.map(TestClock.sleeps(), (sleeps) => Array.from(sleeps).length > 1) })
      )
      assert.strictEqual(statusOf(yield* Fiber.await(yield* guess("10.0.0.4"))), 429)
      assert.deepInclude(yield* guard.visitor.pipe(as({ peer: "10.0.0.3", headers: bearer(token) })), {
        role: "operator"
      })
      yield* TestClock.adjust("1 second")
      for (const fiber of [first, second]) assert.strictEqual(statusOf(yield* Fiber.await(fiber)), 401)
      // Forgotten after a while without a wrong one.
      yield* TestClock.adjust("16 minutes")
      yield* waits("10.0.0.1", 100)
    }))

  it.scoped("reads its tokens from files, and refuses what is none, without showing it", () =>
    Effect.gen(function*() {
      const files = FileSystem.layerNoop({
        readFileString: (path) =>
          path === "/none"
            ? Effect.fail(
              { _tag: "SystemError", message: "NotFound: /none" } as never
            )
            : Effect.succeed(path === "/short" ? "hunter2\n" : `  ${token}\n`)
      })
      const context = yield* Layer.build(
        Layer.provide(OperatorGuard.layerFiles({ tokenFile: "/run/secrets/operator" }), files)
      )
      const guard = Context.get(context, OperatorGuard.OperatorGuard)
      assert.deepInclude(yield* guard.visitor.pipe(as({ headers: bearer(token) })), { role: "operator" })
      for (
        const [options, option] of [
          [{ tokenFile: "/none" }, "OperatorGuard.tokenFile"],
          [{ tokenFile: "/short" }, "OperatorGuard.tokenFile"],
          [{ viewerTokenFile: "/short" }, "OperatorGuard.viewerTokenFile"]
        ] as const
      ) {
        const error = yield* Effect.flip(Layer.build(Layer.provide(OperatorGuard.layerFiles(options), files)))
        assert.strictEqual(error.option, option)
        assert.notInclude(error.message, "hunter2")
      }
    }))

  it.scoped("refuses options that make no sense, by name", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [OperatorGuard.Options, string]> = [
        [{ token: Redacted.make("short") }, "token"],
        [{ viewerToken: Redacted.make("123456789012345") }, "viewerToken"],
        [{ origins: ["ops.example"] }, "origins"],
        [{ origins: ["https://ops.example/"] }, "origins"],
        [{ maxActs: NaN }, "maxActs"],
        [{ maxActs: -1 }, "maxActs"],
        [{ firstDelay: -1 }, "firstDelay"],
        [{ maxDelay: NaN }, "maxDelay"],
        [{ maxDelayed: 0.5 }, "maxDelayed"],
        [{ forgetAfter: 0 }, "forgetAfter"]
      ]
      for (const [options, option] of cases) {
        assert.strictEqual((yield* Effect.flip(OperatorGuard.make(options))).option, `OperatorGuard.${option}`)
      }
    }))
})

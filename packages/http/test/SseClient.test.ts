import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import * as Sse from "@holdfast/http/Sse"
import * as SseClient from "@holdfast/http/SseClient"
import { Chunk, Duration, Effect, Fiber, Layer, Schedule, Schema, Stream, TestClock } from "effect"

interface Answer {
  readonly status?: number
  readonly headers?: Record<string, string>
  /** Chunks of the body; a promise that never resolves keeps the connection open. */
  readonly body?: ReadonlyArray<string | Error | "hang">
}

const events = (...ids: ReadonlyArray<number>) =>
  ids.map((id) => Sse.encode({ id: String(id), data: `d${id}` })).join("")

/** A server that answers the requests one after the other, and the last answer again and again. */
const serve = (answers: ReadonlyArray<Answer | "refuse" | "silent">) => {
  const requests: Array<HttpClientRequest.HttpClientRequest> = []
  let cancelled = 0
  const client = HttpClient.make((request) => {
    requests.push(request)
    const answer = answers[Math.min(requests.length, answers.length) - 1]
    if (answer === "silent") {
      return Effect.never
    }
    if (answer === "refuse") {
      return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(null, { status: 503 })))
    }
    const parts = Array.from(answer.body ?? [])
    const body = answer.status === 204 ? null : new ReadableStream({
      pull: (controller) => {
        const part = parts.shift()
        if (part === undefined) {
          controller.close()
        } else if (part === "hang") {
          return new Promise<void>(() => {})
        } else if (part instanceof Error) {
          controller.error(part)
        } else {
          controller.enqueue(new TextEncoder().encode(part))
        }
        return
      },
      cancel: () => {
        cancelled++
      }
    })
    return Effect.succeed(HttpClientResponse.fromWeb(
      request,
      new Response(body, {
        status: answer.status ?? 200,
        headers: { "content-type": "text/event-stream", ...answer.headers }
      })
    ))
  })
  return {
    requests,
    cancelled: () => cancelled,
    layer: SseClient.layer.pipe(Layer.provide(Layer.succeed(HttpClient.HttpClient, client)))
  }
}

const run = (server: ReturnType<typeof serve>, options?: SseClient.Options) =>
  SseClient.SseClient.pipe(
    Effect.flatMap((client) => Stream.runCollect(client.messages("http://server/events", options))),
    Effect.map((messages) => Chunk.toReadonlyArray(messages).map(({ data }) => data)),
    Effect.provide(server.layer)
  )

const spaced = Schedule.spaced("1 second")

describe("SseClient", () => {
  it.effect("goes on behind the last message, until 204", () =>
    Effect.gen(function*() {
      const server = serve([{ body: [events(1, 2)] }, { body: [events(3), new Error("reset")] }, { status: 204 }])
      const fiber = yield* Effect.fork(run(server, { lastEventId: "0", reconnect: spaced }))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["d1", "d2", "d3"])
      assert.deepStrictEqual(server.requests.map(({ headers }) => headers["last-event-id"]), ["0", "2", "3"])
      assert.strictEqual(server.requests[0].headers["accept"], "text/event-stream")
    }))

  it.effect("waits as long as the server asks, and by the schedule", () =>
    Effect.gen(function*() {
      const server = serve([
        { body: ["retry: 10000\n\n", events(1)] },
        { status: 503, headers: { "retry-after": "20" } },
        { status: 500 },
        { status: 204 }
      ])
      const delays: Array<readonly [string, number]> = []
      const fiber = yield* Effect.fork(run(server, {
        reconnect: Schedule.exponential("4 seconds"),
        onDisconnect: (why, delay) =>
          Effect.sync(() => delays.push([`${why.reason} ${why.status ?? ""}`.trim(), Duration.toMillis(delay)]))
      }))
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["d1"])
      assert.deepStrictEqual(delays, [["Ended", 10_000], ["Status 503", 20_000], ["Status 500", 16_000]])
    }))

  it.effect("starts the schedule anew after a message", () =>
    Effect.gen(function*() {
      const delays: Array<number> = []
      const server = serve([{ status: 500 }, { status: 500 }, { body: [events(1)] }, { status: 500 }, { status: 204 }])
      const fiber = yield* Effect.fork(run(server, {
        reconnect: Schedule.exponential("1 second"),
        onDisconnect: (_, delay) => Effect.sync(() => delays.push(Duration.toMillis(delay)))
      }))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(delays, [1000, 2000, 1000, 2000])
    }))

  it.effect("fails on what is no event stream, and when the schedule is done", () =>
    Effect.gen(function*() {
      const failure = (answers: Parameters<typeof serve>[0], options?: SseClient.Options) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.fork(run(serve(answers), options))
          yield* TestClock.adjust("10 minutes")
          const error = yield* Effect.flip(Fiber.join(fiber))
          return [error.reason, error.status]
        })
      assert.deepStrictEqual(yield* failure([{ status: 404 }]), ["Status", 404])
      assert.deepStrictEqual(yield* failure([{ headers: { "content-type": "text/html" } }]), ["ContentType", 200])
      assert.deepStrictEqual(yield* failure(["refuse"], { reconnect: Schedule.recurs(3) }), ["Exhausted", 503])
      assert.deepStrictEqual(
        yield* failure([{ body: [`data: ${"x".repeat(200)}\n\n`] }], { maxFrameLength: 100 }),
        ["FrameTooLarge", undefined]
      )
    }))

  it.effect("gives up a connection that is silent, and connects again", () =>
    Effect.gen(function*() {
      const server = serve(["silent", { body: [events(1), "hang"] }, { status: 204 }])
      const reasons: Array<string> = []
      const fiber = yield* Effect.fork(run(server, {
        reconnect: spaced,
        connectTimeout: "5 seconds",
        idleTimeout: "15 seconds",
        onDisconnect: (why) => Effect.sync(() => reasons.push(why.reason))
      }))
      for (let i = 0; i < 30; i++) {
        yield* TestClock.adjust("1 second")
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["d1"])
      assert.deepStrictEqual(reasons, ["Timeout", "Idle"])
    }))

  it.effect("closes the connection when nobody reads any more", () =>
    Effect.gen(function*() {
      const server = serve([{ body: [events(1), "hang"] }])
      const first = yield* SseClient.SseClient.pipe(
        Effect.flatMap((client) => Stream.runHead(client.messages("http://server/events"))),
        Effect.provide(server.layer)
      )
      assert.strictEqual(first._tag, "Some")
      assert.strictEqual(server.cancelled(), 1)
    }))

  it.effect("decodes the data of the events that are asked for", () =>
    Effect.gen(function*() {
      const schema = Schema.Struct({ n: Schema.Number })
      const body = [Sse.encode({ id: "1", event: "a", data: `{"n":1}` }), Sse.encode({ event: "b", data: "not json" })]
      const read = (events: ReadonlyArray<string>) =>
        SseClient.SseClient.pipe(
          Effect.flatMap((client) =>
            client.messages("http://server/events", { reconnect: spaced }).pipe(
              SseClient.decoded(schema, { events }),
              Stream.runCollect
            )
          ),
          Effect.provide(serve([{ body }, { status: 204 }]).layer),
          Effect.fork
        )
      const one = yield* read(["a"])
      const both = yield* read(["a", "b"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Fiber.join(one)), [{ id: "1", event: "a", value: { n: 1 } }])
      assert.strictEqual((yield* Effect.flip(Fiber.join(both)))._tag, "ParseError")
    }))

  it.effect("takes the id of a block without data, behind what came before it", () =>
    Effect.gen(function*() {
      const server = serve([
        { body: [": hello\nid: 5\n\n"] },
        { body: [`${events(6)}: beat\nid: 9\n\n`] },
        { status: 204 }
      ])
      const fiber = yield* Effect.fork(run(server, { reconnect: spaced }))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["d6"])
      assert.deepStrictEqual(server.requests.map(({ headers }) => headers["last-event-id"]), [undefined, "5", "9"])
    }))

  it.effect("sends an id as UTF-8, and passes over one that no header can carry", () =>
    Effect.gen(function*() {
      const ids = ["a-1", "é", "🎉", "x\fy", "日本", "\u007f", "a\tb"]
      const server = serve([...ids.map((id) => ({ body: [Sse.encode({ id, data: "x" })] })), { status: 204 }])
      const fiber = yield* Effect.fork(run(server, { reconnect: spaced }))
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).length, ids.length)
      const sent = server.requests.map(({ headers }) =>
        Buffer.from(headers["last-event-id"] ?? "", "latin1").toString()
      )
      assert.deepStrictEqual(sent, ["", "a-1", "é", "🎉", "🎉", "日本", "日本", "a\tb"])
    }))

  it.effect("gives the request up whose answer it does not read", () =>
    Effect.gen(function*() {
      const signals: Array<AbortSignal> = []
      const endless = () => new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(100)) })
      const answers = [
        new Response(endless(), { status: 503 }),
        new Response(endless(), { status: 429, headers: { "content-type": "text/event-stream" } }),
        new Response(endless(), { status: 200, headers: { "content-type": "text/html" } })
      ]
      const client = HttpClient.make((request, _url, signal) => {
        signals.push(signal)
        return Effect.succeed(HttpClientResponse.fromWeb(request, answers[signals.length - 1]))
      })
      const fiber = yield* SseClient.SseClient.pipe(
        Effect.flatMap((sse) => Stream.runDrain(sse.messages("http://server/", { reconnect: spaced }))),
        Effect.provide(SseClient.layer.pipe(Layer.provide(Layer.succeed(HttpClient.HttpClient, client)))),
        Effect.flip,
        Effect.fork
      )
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).reason, "ContentType")
      assert.deepStrictEqual(signals.map(({ aborted }) => aborted), [true, true, true])
    }))

  it.effect("follows what a server asks for, as far as its own limit, also when that is a date", () =>
    Effect.gen(function*() {
      const delays: Array<number> = []
      const at = (millis: number) => new Date(millis).toUTCString()
      const server = serve([
        { body: ["retry: 2147483648\n\n", events(1)] },
        { body: ["retry: 99999999999999999999\n\n", events(1)] },
        { body: ["retry: 0\n\n", events(1)] },
        { status: 503, headers: { "retry-after": "9".repeat(20) } },
        { status: 503, headers: { "retry-after": at(200_000), date: at(170_000) } },
        { status: 503, headers: { "retry-after": at(0) } },
        { status: 503, headers: { "retry-after": "soon" } },
        { status: 204 }
      ])
      const fiber = yield* Effect.fork(run(server, {
        reconnect: spaced,
        maxDelay: "1 minute",
        onDisconnect: (_, delay) => Effect.sync(() => delays.push(Duration.toMillis(delay)))
      }))
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(delays, [60_000, 60_000, 1000, 60_000, 30_000, 1000, 1000])
    }))
})

import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Socket from "@effect/platform/Socket"
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Sse from "@holdfast/http/Sse"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as Explore from "@holdfast/testing/Explore"
import * as FaultyPorts from "@holdfast/testing/FaultyPorts"
import * as Harness from "@holdfast/testing/Harness"
import {
  Clock,
  Config,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Queue,
  Random,
  Schedule,
  Schema,
  Scope,
  Stream,
  TestClock
} from "effect"
import { sized } from "../../../scripts/sized.js"

class Greeting extends Context.Tag("test/Greeting")<Greeting, { readonly text: string }>() {}
class Mail extends Context.Tag("test/Mail")<Mail, { readonly send: (text: string) => Effect.Effect<string> }>() {}

const greetingFromConfig = Layer.effect(
  Greeting,
  Effect.map(Config.string("GREETING").pipe(Config.withDefault("hello")), (text) => ({ text }))
)

const realMail = Layer.succeed(Mail, { send: () => Effect.dieMessage("a test has sent real mail") })

const served = Metric.counter("test_served")

const router = HttpRouter.empty.pipe(
  HttpRouter.get(
    "/greet/:name",
    Effect.gen(function*() {
      const { name } = yield* HttpRouter.params
      const { text } = yield* Greeting
      yield* Effect.logInfo("greeted").pipe(Effect.annotateLogs("name", name))
      yield* Metric.increment(served)
      return yield* HttpServerResponse.json({ text: `${text}, ${name}`, at: yield* Clock.currentTimeMillis })
    })
  ),
  HttpRouter.post(
    "/echo",
    Effect.flatMap(
      HttpServerRequest.HttpServerRequest,
      (request) =>
        Effect.map(request.text, (text) => HttpServerResponse.text(text, { headers: { "x-method": request.method } }))
    )
  ),
  HttpRouter.post("/mail", Effect.flatMap(Mail, (mail) => Effect.map(mail.send("hi"), HttpServerResponse.text))),
  HttpRouter.get(
    "/events",
    Effect.succeed(HttpServerResponse.stream(
      Stream.fromSchedule(Schedule.spaced("1 second")).pipe(
        Stream.map((n) => Sse.encodeBytes({ id: String(n), event: "tick", data: `tick ${n}` }))
      ),
      { contentType: Sse.contentType }
    ))
  ),
  HttpRouter.get("/flood", Effect.flatMap(Flood(), (flood) => flood)),
  HttpRouter.get(
    "/ws",
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      if (request.headers.authorization === undefined) return HttpServerResponse.text("who are you?", { status: 401 })
      const socket = yield* request.upgrade
      const write = yield* socket.writer
      yield* socket.runRaw((message) =>
        message === "bye" ? write(new Socket.CloseEvent(1000)) : write(`echo ${String(message)}`)
      )
      return HttpServerResponse.empty()
    }).pipe(Effect.scoped)
  ),
  HttpRouter.get("/slow", Effect.as(Effect.interruptible(Effect.never), HttpServerResponse.empty()))
)

function Flood() {
  return Effect.succeed(Effect.succeed(HttpServerResponse.stream(
    Stream.repeatValue(new Uint8Array(8)).pipe(Stream.tap(() => Effect.sync(() => flooded++)))
  )))
}
let flooded = 0

const heartbeat = Layer.scopedDiscard(
  FiberRegistry.forkScoped(Effect.repeat(Effect.logDebug("beat"), Schedule.spaced("1 minute")), { name: "heartbeat" })
)

const app = Layer.merge(HttpServer.serve(router), heartbeat).pipe(
  Layer.provideMerge(Layer.merge(greetingFromConfig, realMail))
)

describe("Harness", () => {
  it.scoped("gives the whole app with one call", () =>
    Effect.gen(function*() {
      const { crashes, fibers, http, logs, metrics, openRequests } = yield* Harness.make(app, {
        config: { GREETING: "good day" }
      })
      yield* TestClock.adjust("3 seconds")
      const response = yield* http.get("/greet/ann")
      assert.strictEqual(response.status, 200)
      assert.deepStrictEqual(yield* response.json, { text: "good day, ann", at: 3_000 })
      const lines = yield* logs
      assert.isTrue(
        lines.some((line) => line.message === "greeted" && line.annotations.name === "ann" && line.at === 3_000)
      )
      assert.deepInclude(yield* metrics, { name: "test_served", tags: {}, value: 1 })
      assert.deepStrictEqual(yield* crashes, [])
      assert.include(yield* fibers, "heartbeat")
      assert.strictEqual(yield* openRequests, 0)
    }))

  it.scoped("carries bodies, statuses, headers and what the client does wrong", () =>
    Effect.gen(function*() {
      const { http } = yield* Harness.make(app)
      const echo = yield* http.execute(HttpClientRequest.post("/echo").pipe(HttpClientRequest.bodyText("ping")))
      assert.strictEqual(yield* echo.text, "ping")
      assert.strictEqual(echo.headers["x-method"], "POST")
      const streamed = yield* http.execute(
        HttpClientRequest.post("/echo").pipe(
          HttpClientRequest.bodyStream(Stream.make("a", "b").pipe(Stream.encodeText))
        )
      )
      assert.strictEqual(yield* streamed.text, "ab")
      assert.strictEqual((yield* http.get("/nowhere")).status, 404)
    }))

  it.scoped("exchanges one layer, wherever the app has closed over it", () =>
    Effect.gen(function*() {
      const sent: Array<string> = []
      const fakeMail = Layer.succeed(Mail, { send: (text) => Effect.sync(() => `kept ${sent.push(text)}`) })
      const { http } = yield* Harness.make(app, { swap: [Harness.replace(realMail, fakeMail)] })
      assert.strictEqual(yield* Effect.flatMap(http.execute(HttpClientRequest.post("/mail")), (r) => r.text), "kept 1")
      assert.deepStrictEqual(sent, ["hi"])
    }))

  it.scoped("refuses a swap for a layer that the app does not have", () =>
    Effect.gen(function*() {
      const another = () => Layer.succeed(Mail, { send: () => Effect.succeed("kept") })
      const swap = [Harness.replace(realMail, another()), Harness.replace(another(), another())]
      const error = yield* Effect.flip(Harness.make(app, { swap }))
      deepStrictEqual(error, new Harness.UnusedSwap({ index: 1 }))
      assert.include(error.message, "swap[1] has replaced nothing")
      yield* Harness.make(app, { swap: [Harness.replace(another(), another(), { optional: true })] })
    }))

  it.scoped("decorates a layer with itself", () =>
    Effect.gen(function*() {
      const louder = Layer.effect(Greeting, Effect.map(Greeting, ({ text }) => ({ text: text.toUpperCase() })))
      const { http } = yield* Harness.make(app, {
        swap: [Harness.replace(greetingFromConfig, louder.pipe(Layer.provide(greetingFromConfig)))]
      })
      const response = yield* Effect.flatMap(http.get("/greet/bob"), (r) => r.json)
      assert.deepInclude(response, { text: "HELLO, bob" })
    }))

  it.scoped("fills open ports with its own, with those of the test, and with faults", () =>
    Effect.gen(function*() {
      class Count extends Context.Tag("test/Count")<Count, number>() {}
      const counting = Layer.effect(
        Count,
        Effect.flatMap(EventLogStore.Store, (store) =>
          store.append([{ id: 1, at: 0, topic: "t", tag: "T", payload: "{}", meta: "{}" }]).pipe(
            Effect.zipRight(store.bounds),
            Effect.map(({ last }) =>
              last
            ),
            Effect.orElseSucceed(() => -1)
          ))
      )
      const plain = yield* Harness.make(counting)
      assert.strictEqual(yield* plain.run(Count), 1)
      const faulty = yield* Harness.make(counting, {
        provide: FaultyPorts.eventStore,
        faults: { only: true, points: { "store.append.fails": 1 } }
      })
      assert.strictEqual(yield* faulty.run(Count), -1)
      assert.strictEqual((yield* faulty.faults.report).find(({ point }) => point === "store.append.fails")?.fired, 1)
    }))

  it.scoped("seeds Random and keeps the environment out", () =>
    Effect.gen(function*() {
      const draw = (seed: number) =>
        Effect.scoped(Effect.flatMap(Harness.make(Layer.empty, { seed }), ({ run }) => run(Random.next)))
      assert.strictEqual(yield* draw(1), yield* draw(1))
      assert.notStrictEqual(yield* draw(1), yield* draw(2))
      const { run } = yield* Harness.make(Layer.empty)
      assert.isTrue(Exit.isFailure(yield* run(Effect.exit(Config.string("PATH")))))
    }))

  it.scoped("goes through the phases of a shutdown, with streams open", () =>
    Effect.gen(function*() {
      class Bus extends EventBus.Tag("test/HarnessBus")<Bus, { readonly _tag: "Said" }>() {}
      const streams = Layer.unwrapScoped(Effect.gen(function*() {
        const hub = yield* SseHub.make({ source: SseHub.fromBus(yield* Bus) })
        const authorize = () => Effect.succeed({ following: [{ prefix: "" }] })
        return HttpServer.serve(HttpRouter.empty.pipe(SseRoute.mount("/events", { hub, authorize })))
      })).pipe(Layer.provide(Bus.layer({ schema: Schema.TaggedStruct("Said", {}) })))
      const { shutdown, sse } = yield* Harness.make(streams)
      const events = yield* sse("/events")
      const stopping = yield* Effect.fork(shutdown)
      yield* TestClock.adjust("5 seconds")
      const report = yield* Fiber.join(stopping)
      assert.strictEqual(report.verdict, "clean")
      const messages = (yield* events.rest).filter((incoming) => incoming._tag === "Message")
      assert.deepStrictEqual(messages.map(({ event }) => event), ["position", "farewell"])
    }))

  it.scoped("finishes what is in flight, refuses what comes, and cuts off what stays", () =>
    Effect.gen(function*() {
      const { http, openRequests, shutdown } = yield* Harness.make(HttpServer.serve(HttpRouter.empty.pipe(
        HttpRouter.get("/half", Effect.delay(Effect.succeed(HttpServerResponse.text("done")), "500 millis")),
        HttpRouter.get("/never", Effect.never)
      )))
      const half = yield* Effect.fork(http.get("/half"))
      const never = yield* Effect.fork(Effect.exit(http.get("/never")))
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      const stopping = yield* Effect.fork(shutdown)
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      const refused = yield* Effect.flip(http.get("/half"))
      assert.include(refused.message, "the server drains")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Effect.flatMap(Fiber.join(half), ({ text }) => text), "done")
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(never)), "answered with 503, as one that is interrupted is")
      assert.strictEqual((yield* Fiber.join(stopping)).verdict, "clean")
      assert.strictEqual(yield* openRequests, 0)
    }))

  it.scoped("reports crashes with their owner", () =>
    Effect.gen(function*() {
      const crash = Layer.scopedDiscard(FiberRegistry.forkScoped(Effect.dieMessage("boom"), { name: "fragile" }))
      const { crashes, logs } = yield* Harness.make(crash)
      yield* Effect.yieldNow()
      assert.deepStrictEqual((yield* crashes).map(({ name, owner }) => [name, owner]), [["fragile", ["fragile"]]])
      assert.isTrue((yield* logs).some((line) => line.level === "ERROR"))
    }))
})

describe("clients of the harness", () => {
  it.scoped("reads server-sent events in virtual time", () =>
    Effect.gen(function*() {
      const { openRequests, sse } = yield* Harness.make(app)
      const events = yield* sse("/events")
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual((yield* events.take(3)).map(({ data, id }) => [id, data]), [
        ["0", "tick 0"],
        ["1", "tick 1"],
        ["2", "tick 2"]
      ])
      assert.strictEqual(yield* openRequests, 1)
      yield* events.leave
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* openRequests, 0)
      const refused = yield* Effect.flip(sse("/nowhere"))
      assert.strictEqual(refused._tag, "StreamRefused")
    }))

  it.scoped("stalls the server when it does not read", () =>
    Effect.gen(function*() {
      flooded = 0
      const { http } = yield* Harness.make(app, { transport: { capacity: 4 } })
      const response = yield* http.get("/flood")
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow()
      assert.isAtMost(flooded, 8)
      const some = yield* Stream.runCount(Stream.take(response.stream, 50))
      assert.strictEqual(some, 50)
    }))

  it.scoped("interrupts the request when the client goes away", () =>
    Effect.gen(function*() {
      const { http, openRequests } = yield* Harness.make(app)
      const fiber = yield* Effect.fork(http.get("/slow"))
      yield* Effect.repeat(Effect.yieldNow(), { times: 20 })
      assert.strictEqual(yield* openRequests, 1)
      yield* Fiber.interrupt(fiber)
      yield* Effect.repeat(Effect.yieldNow(), { times: 20 })
      assert.strictEqual(yield* openRequests, 0)
    }))

  it.scoped("talks over a WebSocket, and hears it close", () =>
    Effect.gen(function*() {
      const { openRequests, webSocket } = yield* Harness.make(app)
      const refused = yield* Effect.flip(webSocket("/ws"))
      assert.deepStrictEqual([refused._tag, "status" in refused && refused.status], ["UpgradeRefused", 401])
      const socket = yield* webSocket("/ws", { headers: { authorization: "me" } })
      const write = yield* socket.writer
      const heard = yield* Queue.unbounded<string>()
      const reading = yield* Effect.fork(socket.runRaw((message) => Queue.offer(heard, String(message))))
      yield* write("one")
      yield* write("two")
      assert.deepStrictEqual([yield* Queue.take(heard), yield* Queue.take(heard)], ["echo one", "echo two"])
      yield* write("bye")
      yield* Fiber.join(reading)
      yield* Effect.repeat(Effect.yieldNow(), { times: 20 })
      assert.strictEqual(yield* openRequests, 0)
    }))

  it.effect("ends everything with the scope", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { sse, webSocket } = yield* Scope.extend(Harness.make(app), scope)
      const client = yield* Scope.make()
      const events = yield* Scope.extend(sse("/events"), client)
      const socket = yield* Scope.extend(webSocket("/ws", { headers: { authorization: "me" } }), client)
      const closed = yield* Effect.fork(Effect.exit(socket.runRaw(() => Effect.void)))
      yield* TestClock.adjust("1 second")
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* events.rest).length, 1)
      yield* Fiber.join(closed)
      yield* Scope.close(client, Exit.void)
    }))

  it.effect("leaves no request behind, and calls none a crash, whenever a client goes away", () =>
    Explore.check(
      Effect.gen(function*() {
        const { crashes, openRequests, sse } = yield* Harness.make(app)
        const client = yield* Effect.fork(Effect.scoped(Effect.flatMap(sse("/events"), ({ next }) => next)))
        yield* Effect.repeatN(Effect.yieldNow(), yield* Random.nextIntBetween(0, 80))
        yield* Fiber.interrupt(client)
        yield* Effect.sleep("10 seconds")
        const left = yield* openRequests
        if (left > 0) return yield* Effect.dieMessage(`${left} requests are open`)
        if ((yield* crashes).length > 0) return yield* Effect.dieMessage("a request crashed")
      }),
      { seeds: sized(300, 3_000, 50), settle: "1 minute" }
    ), 600_000)

  it.effect("answers everybody when it shuts down, whenever they come", () =>
    Explore.check(
      Effect.gen(function*() {
        const { http, openRequests, shutdown } = yield* Harness.make(HttpServer.serve(HttpRouter.empty.pipe(
          HttpRouter.get("/half", Effect.delay(Effect.succeed(HttpServerResponse.empty()), "500 millis"))
        )))
        const come = Effect.flatMap(Random.nextIntBetween(0, 60), (turns) => Effect.repeatN(Effect.yieldNow(), turns))
        const clients = yield* Effect.forEach(
          [1, 2, 3],
          () => Effect.fork(Effect.exit(Effect.zipRight(come, http.get("/half"))))
        )
        yield* come
        const { verdict } = yield* shutdown
        const answers = yield* Effect.forEach(clients, Fiber.join)
        const served = answers.flatMap((answer) => Exit.isSuccess(answer) ? [answer.value.status] : [])
        if (verdict !== "clean") return yield* Effect.dieMessage(`the shutdown was ${verdict}`)
        if (served.some((status) => status !== 204)) return yield* Effect.dieMessage(`answered ${served.join()}`)
        if ((yield* openRequests) > 0) return yield* Effect.dieMessage("a request is open")
      }),
      { seeds: sized(300, 3_000, 50), settle: "1 minute" }
    ), 600_000)

  it.effect("is explored like any other program (daily)", () =>
    Effect.gen(function*() {
      // two buyers, one ticket: check, then act over two requests at once
      const program = (mended: boolean) =>
        Effect.gen(function*() {
          let tickets = 1
          const left = Effect.sync(() => tickets)
          const take = Effect.sync(() => tickets--)
          const buy = mended
            ? Effect.sync(() => tickets > 0 && tickets-- > 0)
            : Effect.flatMap(left, (n) => n > 0 ? Effect.as(take, true) : Effect.succeed(false))
          const shop = HttpServer.serve(HttpRouter.empty.pipe(
            HttpRouter.post("/buy", Effect.map(buy, (sold) => HttpServerResponse.empty({ status: sold ? 200 : 409 })))
          ))
          const { http } = yield* Harness.make(shop)
          const buyer = Effect.map(http.execute(HttpClientRequest.post("/buy")), ({ status }) => status)
          const statuses = yield* Effect.all([buyer, buyer], { concurrency: 2 })
          if (statuses.toSorted().join() !== "200,409") return yield* Effect.dieMessage(statuses.join())
        })
      const found = yield* Effect.flatten(Explore.find(program(false), { seeds: 1_000 }))
      assert.include(found.message, "200,200")
      const report = yield* Explore.check(program(true), { seeds: 100 })
      assert.deepStrictEqual(report.escapes, [])
    }), 60_000)
})

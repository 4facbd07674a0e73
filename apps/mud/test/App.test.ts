import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Race from "@holdfast/core/Race"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as Explore from "@holdfast/testing/Explore"
import * as Harness from "@holdfast/testing/Harness"
import { Cause, Effect, Either, Fiber, Layer, Random, Schema, TestClock } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { sized } from "../../../scripts/sized.js"
import * as App from "../src/App.js"
import * as Settings from "../src/Settings.js"

const timeout = sized(600_000, 7_200_000)

const operatorToken = "a-token-for-the-operator"

const settings = Effect.gen(function*() {
  const asked = Either.getOrThrow(
    Settings.parse(["--port", "0", "--log", "none", "--join-rate", "1000", "--operator-token", operatorToken], {})
  )
  return asked._tag === "Run" ? asked.settings : yield* Effect.dieMessage("expected settings")
})

/** The real files, read in one step: a simulation waits for nothing outside. */
const files = FileSystem.layerNoop({
  readDirectory: (path, options) =>
    Effect.sync(() => readdirSync(path, { recursive: options?.recursive === true, encoding: "utf8" })),
  readFile: (path) => Effect.sync(() => new Uint8Array(readFileSync(path))),
  readFileString: (path) => Effect.sync(() => readFileSync(path, "utf8"))
})

/** There is none in memory: what the operator's page shows of it stays zero. */
const server = Layer.succeed(NodeServer.NodeServer, {
  address: { _tag: "TcpAddress", hostname: "127.0.0.1", port: 80 },
  stats: Effect.succeed({
    connections: 0,
    inFlight: 0,
    draining: false,
    accepted: 0,
    requests: 0,
    refused: 0,
    aborted: 0,
    stalled: 0
  }),
  drain: Effect.succeed({ inFlight: 0, cut: [], abandoned: [], destroyed: 0, elapsedMillis: 0 })
})

const Joined = Schema.Struct({ token: Schema.String })
const Spoken = Schema.parseJson(Schema.Struct({ text: Schema.String }))

const open = Effect.gen(function*() {
  const world = yield* Harness.make(App.layer(yield* settings), { provide: Layer.merge(files, server) })
  const post = (path: string, body: object) =>
    HttpClientRequest.post(path).pipe(HttpClientRequest.bodyUnsafeJson(body), world.http.execute)
  const join = (name: string) =>
    Effect.gen(function*() {
      const response = yield* post("/api/join", { name })
      if (response.status !== 200) return yield* Effect.dieMessage(`join: ${response.status} ${yield* response.text}`)
      const { token } = yield* Schema.decodeUnknown(Joined)(yield* response.json)
      const events = (lastEventId?: string) =>
        world.sse("/events", {
          headers: { authorization: `Bearer ${token}` },
          ...(lastEventId === undefined ? {} : { lastEventId })
        })
      return { token, events, say: (text: string) => post("/api/say", { token, text }) }
    })
  return { ...world, join, post }
})

describe("the whole world in memory", () => {
  it.scoped("lets players meet, time pass and the server go, without a socket or a second of waiting", () =>
    Effect.gen(function*() {
      const { crashes, join, logs, openRequests, post, shutdown } = yield* open
      const ada = yield* join("Ada")
      const bo = yield* join("Bo")
      const heard = yield* ada.events()
      const next = (event: string) => Effect.repeat(heard.next, { until: (message) => message.event === event })
      yield* bo.say("good evening")
      assert.include((yield* next("Said")).data, "good evening")
      yield* TestClock.adjust("3 seconds")
      const minutes = yield* Effect.replicateEffect(
        Effect.map(next("Ticked"), ({ data }) => JSON.parse(data).minute),
        3
      )
      assert.deepStrictEqual(minutes, [minutes[0], minutes[0] + 1, minutes[0] + 2])

      const taken = yield* post("/api/join", { name: "Ada" })
      assert.strictEqual(taken.status, 409)

      const stopping = yield* Effect.fork(shutdown)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(stopping)).verdict, "clean")
      const last = (yield* heard.rest).filter((incoming) => incoming._tag === "Message").at(-1)
      assert.strictEqual(last?.event, "farewell")
      assert.strictEqual(yield* openRequests, 0)
      assert.deepStrictEqual(yield* crashes, [])
      assert.deepStrictEqual((yield* logs).filter(({ level }) => level === "ERROR"), [])
    }))

  it.scoped("tells the operator of a service that has crashed, and what becomes of it", () =>
    Effect.gen(function*() {
      const { http, run } = yield* open
      const snapshot = HttpClientRequest.get("/operator/snapshot").pipe(
        HttpClientRequest.bearerToken(operatorToken),
        http.execute,
        Effect.flatMap((response) => response.text)
      )
      assert.notInclude(yield* snapshot, "tides")
      const tides = FiberRegistry.forkScoped(Effect.dieMessage("the tide table is torn"), {
        name: "tides",
        kind: "service"
      })
      yield* run(Effect.flatMap(tides, Fiber.await))
      const told = yield* Effect.repeat(Effect.zipLeft(snapshot, Effect.yieldNow()), {
        until: (text) => text.includes("the tide table is torn"),
        times: 1_000
      })
      assert.include(told, "the tide table is torn")
      assert.include(told, "nobody starts it again")
    }))

  it.effect("loses no word of anybody whose page comes and goes", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const { crashes, join } = yield* open
        const ada = yield* join("Ada")
        const bo = yield* join("Bo")
        const said = ["one", "two", "three", "four"]
        const heard: Array<string> = []
        let lastEventId: string | undefined
        const page = (until: number) =>
          Effect.scoped(Effect.gen(function*() {
            const events = yield* ada.events(lastEventId)
            while (heard.length < until) {
              const { data, event, id } = yield* events.next
              if (event === "Said") heard.push((yield* Schema.decodeUnknown(Spoken)(data)).text)
              lastEventId = id ?? lastEventId
            }
          }))
        // from here on the page knows where it is
        yield* Effect.all([page(1), Effect.zipRight(Effect.sleep("1 second"), bo.say("zero"))], { concurrency: 2 })
        const cut = Effect.flatMap(Random.nextIntBetween(0, 500), (turns) => Effect.repeatN(Effect.yieldNow(), turns))
        const all = ["zero", ...said]
        const reading = Effect.repeat(Race.first(page(all.length), cut), { until: () => heard.length === all.length })
        yield* Effect.all([reading, Effect.forEach(said, bo.say)], { concurrency: 2 })
        if (heard.join() !== all.join()) return yield* Effect.dieMessage(`heard ${heard.join()}`)
        for (const { cause, name } of yield* crashes) {
          return yield* Effect.dieMessage(`${name} crashed: ${cause === undefined ? "" : Cause.pretty(cause)}`)
        }
      })
      const report = yield* Explore.check(program, {
        seeds: sized(25, 400, 5),
        maxOperations: 2_000_000,
        settle: "1 minute"
      })
      assert.deepStrictEqual(report.escapes, [])
    }), timeout)

  it.effect(
    "shuts down in the middle of what happens: everybody hears the farewell, and nothing is left",
    () =>
      Effect.gen(function*() {
        const program = Effect.gen(function*() {
          const { crashes, join, openRequests, shutdown } = yield* open
          const ada = yield* join("Ada")
          const bo = yield* join("Bo")
          const streams = [yield* ada.events(), yield* bo.events()]
          const talking = yield* Effect.fork(Effect.exit(Effect.forEach(["one", "two", "three"], bo.say)))
          const late = yield* Effect.fork(Effect.exit(join("Cy")))
          yield* Effect.repeatN(Effect.yieldNow(), yield* Random.nextIntBetween(0, 400))
          const report = yield* shutdown
          if (report.verdict !== "clean") return yield* Effect.dieMessage(ShutdownReport.render(report))
          for (const { rest } of streams) {
            const last = (yield* rest).filter((incoming) => incoming._tag === "Message").at(-1)
            if (last?.event !== "farewell") return yield* Effect.dieMessage(`the last message was ${last?.event}`)
          }
          // answered, refused or cut off, but not left waiting
          yield* Effect.all([Fiber.join(talking), Fiber.join(late)])
          if ((yield* openRequests) > 0) return yield* Effect.dieMessage("a request is still open")
          for (const { cause, name } of yield* crashes) {
            return yield* Effect.dieMessage(`${name} crashed: ${cause === undefined ? "" : Cause.pretty(cause)}`)
          }
        })
        yield* Explore.check(program, {
          seeds: sized(25, 400, 5),
          maxOperations: 2_000_000,
          settle: "1 minute"
        })
      }),
    timeout
  )
})

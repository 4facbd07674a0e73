import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as EventBus from "@holdfast/core/EventBus"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseClient from "@holdfast/http/SseClient"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import type { Scope } from "effect"
import { Effect, Layer, Schedule, Schema, Stream } from "effect"
import { EventSource } from "eventsource"
import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Ws from "ws"
import { sized } from "../../../scripts/sized.js"
import { cutter } from "./support/cutter.js"
import { eventually, serve } from "./support/serve.js"

const cuts = sized(200, 1000, 40)
/** For the cuts; a client has two minutes more to see the rest. */
const timeout = sized(240_000, 3_600_000)
const Counted = Schema.TaggedStruct("Counted", { n: Schema.Number })

type Reader = (
  origin: string,
  seen: Array<number>
) => Effect.Effect<void, never, Scope.Scope>

const lines = (command: string, args: ReadonlyArray<string>, onLine: (line: string) => void, onEnd: () => void) => {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] })
  let rest = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const all = (rest + text).split("\n")
    rest = all.pop()!
    all.forEach(onLine)
  })
  child.once("close", onEnd)
  return child
}

const eventSource: Reader = (origin, seen) =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
      const source = new EventSource(`${origin}/events`)
      source.addEventListener("Counted", ({ data }) => seen.push(JSON.parse(data).n))
      return source
    }),
    (source) => Effect.sync(() => source.close())
  ))

const sseClient: Reader = (origin, seen) =>
  SseClient.SseClient.pipe(
    Effect.flatMap((client) =>
      Stream.runForEach(
        client.messages(`${origin}/events`, { reconnect: Schedule.spaced("5 millis") }).pipe(
          SseClient.decoded(Counted)
        ),
        ({ value }) => Effect.sync(() => seen.push(value.n))
      )
    ),
    Effect.provide(SseClient.layer.pipe(Layer.provide(FetchHttpClient.layer))),
    Effect.forkScoped,
    Effect.asVoid
  )

const webSocket: Reader = (origin, seen) =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
      const state = { place: "", over: false, ws: undefined as Ws.WebSocket | undefined }
      const connect = () => {
        const ws = state.ws = new Ws.WebSocket(`${origin.replace("http", "ws")}/ws${state.place}`)
        ws.on("error", () => {})
        ws.on("message", (text) => {
          const message = JSON.parse(String(text))
          if (typeof message.id === "number") state.place = `?lastEventId=${message.id}`
          if (message._tag === "event") seen.push(message.event.n)
        })
        ws.on("close", () => {
          if (!state.over) setTimeout(connect, 5)
        })
      }
      connect()
      return state
    }),
    (state) =>
      Effect.sync(() => {
        state.over = true
        state.ws?.terminate()
      })
  ))

/** `curl`, started again whenever it ends, with the id of the last whole block. */
const curl: Reader = (origin, seen) =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
      const state = { over: false, child: undefined as ReturnType<typeof lines> | undefined }
      let last = ""
      const connect = () => {
        let id = ""
        let data = ""
        const given = last === "" ? [] : ["-H", `last-event-id: ${last}`]
        state.child = lines("curl", ["-sN", ...given, `${origin}/events`], (line) => {
          if (line.startsWith("id: ")) id = line.slice(4)
          else if (line.startsWith("data: {\"_tag\"")) data = line.slice(6)
          else if (line === "") {
            last = id || last
            if (data !== "") seen.push(JSON.parse(data).n)
            id = data = ""
          }
        }, () => {
          if (!state.over) connect()
        })
      }
      connect()
      return state
    }),
    (state) =>
      Effect.sync(() => {
        state.over = true
        state.child?.kill("SIGKILL")
      })
  ))

const reader = fileURLToPath(new URL("../../test/fixtures/Reader.java", new URL("../.tsbuild/test/", import.meta.url)))

const java: Reader = (origin, seen) =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => lines("java", [reader, `${origin}/events`], (line) => seen.push(JSON.parse(line).n), () => {})),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  ))

const has = (command: string, ...args: ReadonlyArray<string>) => spawnSync(command, args).status === 0

const clients: ReadonlyArray<readonly [string, Reader, boolean]> = [
  ["eventsource", eventSource, true],
  ["SseClient", sseClient, true],
  ["a WebSocket", webSocket, true],
  ["curl", curl, has("curl", "--version")],
  ["Java's HttpClient", java, has("javac", "--version")]
]

/** Chromium, with its own pace of coming back, is in `BrowserCuts.test.ts`. */
describe("a client that is cut at any moment", () => {
  for (const [name, read, present] of clients) {
    if (!present) {
      it.effect.skip(`${name} misses nothing in ${cuts} cuts (skipped: it is not installed)`, () => Effect.void)
      continue
    }
    it.scopedLive(
      `${name} misses nothing in ${cuts} cuts${name === "SseClient" ? "" : " (daily)"}`,
      () =>
        Effect.gen(function*() {
          const bus = yield* EventBus.make({ name: "bus", schema: Counted, topic: () => "numbers" })
          const hub = yield* SseHub.make({ source: SseHub.fromBus(bus), retry: "5 millis" })
          const authorize = () => Effect.succeed({ following: [{ topic: "numbers" }] })
          const { port } = yield* serve(
            HttpErrors.handled(HttpRouter.empty.pipe(
              SseRoute.mount("/events", { hub, authorize }),
              WebSocketRoute.mount("/ws", { hub, authorize })
            )).pipe(Effect.provide(NodeSseSink.layer))
          )
          const between = yield* cutter(port)
          const seen: Array<number> = []
          yield* read(`http://127.0.0.1:${between.port}`, seen)

          // nothing has happened when the first connection goes: all that this client has is the opening
          assert.isAtLeast(yield* eventually(Effect.sync(between.cuts), (count) => count > 0, 60_000), 1)
          let last = 0
          const end = performance.now() + timeout
          while (between.cuts() < cuts && performance.now() < end) {
            // no further ahead than the log reaches back: what a client is told by a gap it has not missed unknowingly
            if (last - seen.length < 300) {
              yield* bus.publish({ _tag: "Counted", n: ++last })
            }
            yield* Effect.sleep(2)
          }
          between.stop()
          assert.isAtLeast(between.cuts(), cuts)
          yield* bus.publish({ _tag: "Counted", n: ++last })
          yield* eventually(Effect.sync(() => seen.length), () => seen.at(-1) === last, 60_000)
          const wrong = seen.findIndex((n, i) => n !== i + 1)
          assert.strictEqual(wrong, -1, `behind ${wrong} came ${seen[wrong]} of ${last}`)
          assert.strictEqual(seen.length, last)
        }),
      timeout + 160_000
    )
  }
})

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
import { Effect, Layer, Random, Schedule, Schema, Stream } from "effect"
import { EventSource } from "eventsource"
import { spawn, spawnSync } from "node:child_process"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import * as Ws from "ws"
import { eventually, serve } from "./support/serve.js"

const cuts = 200
const Counted = Schema.TaggedStruct("Counted", { n: Schema.Number })

/**
 * Leads to the server, and cuts each connection behind a number of bytes of what comes back: none, a piece of the head, the
 * head without the opening, a piece of an event. The first one is cut right behind the opening.
 */
const cutter = (target: number, opened: (received: string) => boolean) =>
  Effect.acquireRelease(
    Effect.async<
      {
        readonly port: number
        readonly cuts: () => number
        readonly stop: () => void
        readonly close: () => Promise<void>
      }
    >(
      (resume) => {
        const open = new Set<Net.Socket>()
        let count = 0
        let first = true
        let stopped = false
        // edge: a number before any effect runs
        const random = Effect.runSync(Random.next.pipe(Effect.withRandom(Random.make(target)))) // differs from run to run
        let seed = Math.floor(random * 2 ** 31) | 1
        const below = (n: number) => {
          seed = (seed * 1103515245 + 12345) & 0x7fffffff
          return seed % n
        }
        const server = Net.createServer((client) => {
          const upstream = Net.connect(target, "127.0.0.1")
          let left = below(4) === 0 ? below(400) : below(3000)
          let received = ""
          const end = (isCut: boolean) => {
            if (isCut && !client.destroyed) count++
            client.destroy()
            upstream.destroy()
          }
          for (const socket of [client, upstream]) {
            open.add(socket)
            socket.on("error", () => {})
            socket.on("close", () => {
              open.delete(socket)
              end(false)
            })
          }
          client.on("data", (data) => upstream.write(data))
          upstream.on("data", (data) => {
            if (first) {
              received += data.toString("latin1")
              client.write(data)
              // behind the opening, and once it has arrived
              if (opened(received)) {
                first = false
                setTimeout(() => end(true), 50)
              }
              return
            }
            if (stopped || data.length < left) {
              left -= data.length
              client.write(data)
              return
            }
            client.write(data.subarray(0, left), () => end(true))
            left = 0
            if (data.length === 0) end(true)
          })
        })
        server.listen(0, "127.0.0.1", () =>
          resume(Effect.succeed({
            port: (server.address() as Net.AddressInfo).port,
            cuts: () => count,
            stop: () => {
              stopped = true
            },
            close: () =>
              new Promise<void>((done) => {
                open.forEach((socket) => socket.destroy())
                server.close(() => done())
              })
          })))
      }
    ),
    (it) => Effect.promise(it.close)
  )

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
const opening = (received: string) => received.includes("event: position") && received.includes("\n\n")

const clients: ReadonlyArray<readonly [string, Reader, boolean, (received: string) => boolean]> = [
  ["eventsource", eventSource, true, opening],
  ["SseClient", sseClient, true, opening],
  ["a WebSocket", webSocket, true, (received) => received.includes("\"_tag\":\"open\"")],
  ["curl", curl, has("curl", "--version"), opening],
  ["Java's HttpClient", java, has("javac", "--version"), opening]
]

/** Chromium, with its own pace of coming back, is in `RealClients.test.ts`. */
describe("a client that is cut at any moment", () => {
  for (const [name, read, present, opened] of clients) {
    if (!present) {
      it.effect.skip(`${name} misses nothing in ${cuts} cuts (skipped: it is not installed)`, () => Effect.void)
      continue
    }
    it.scopedLive(`${name} misses nothing in ${cuts} cuts`, () =>
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
        const between = yield* cutter(port, opened)
        const seen: Array<number> = []
        yield* read(`http://127.0.0.1:${between.port}`, seen)

        // nothing has happened when the first connection goes: all that this client has is the opening
        assert.isAtLeast(yield* eventually(Effect.sync(between.cuts), (count) => count > 0, 60_000), 1)
        let last = 0
        const end = performance.now() + 240_000
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
      }), 400_000)
  }
})

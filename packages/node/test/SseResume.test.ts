import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseClient from "@holdfast/http/SseClient"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Context, Effect, Exit, Fiber, Layer, Logger, LogLevel, Schedule, Schema, Scope, Stream } from "effect"
import { EventSource } from "eventsource"
import { mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { sized } from "../../../scripts/sized.js"

const total = sized(1000, 10_000, 300)
const disconnects = 20
const restarts = 3

const Counted = Schema.TaggedStruct("Counted", { n: Schema.Number })
class Bus extends EventBus.Tag("test/Bus")<Bus, typeof Counted.Type>() {}

/** A server over the durable bus; with `NodeSseSink`, or portable. */
const serve = (path: string, fast: boolean) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      Bus.layerDurable({ schema: Counted, topic: () => "numbers", log: { maxCount: 50 } }).pipe(
        Layer.provide(SqliteStore.layer({ path }))
      )
    )
    const bus = Context.get(context, Bus)
    const server = yield* Layer.build(
      HttpServer.serve(HttpErrors.handled(Effect.flatten(Effect.sync(() => route)))).pipe(
        Layer.provide([fast ? NodeSseSink.layer : Layer.empty, Logger.minimumLogLevel(LogLevel.None)]),
        Layer.provideMerge(NodeServer.layerServer({ port: 0 }))
      )
    )
    // built behind the server, so that it says farewell before the server goes
    const hub = yield* SseHub.make({ source: SseHub.fromBus(bus), recent: 20, retry: "20 millis" })
    const route = SseRoute.mount("/events", { hub, topics: { authorize: () => Effect.void } })(HttpRouter.empty)
    const { address } = Context.get(server, HttpServer.HttpServer)
    return { bus, port: address._tag === "TcpAddress" ? address.port : 0 }
  })

/** The address that clients know. It cuts connections, and leads to whichever server is there. */
const makeProxy = Effect.acquireRelease(
  Effect.async<
    { readonly server: Net.Server; readonly sockets: Set<Net.Socket>; backend: number; readonly port: number }
  >(
    (resume) => {
      const sockets = new Set<Net.Socket>()
      const server = Net.createServer((down) => {
        const up = Net.connect({ port: proxy.backend, host: "127.0.0.1" })
        for (const [socket, other] of [[down, up], [up, down]]) {
          sockets.add(socket)
          socket.on("error", () => {})
          socket.on("close", () => {
            sockets.delete(socket)
            other.destroy()
          })
          socket.pipe(other)
        }
      })
      const proxy = { server, sockets, backend: 0, port: 0 }
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        proxy.port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed(proxy))
      })
    }
  ),
  ({ server, sockets }) =>
    Effect.async<void>((resume) => {
      sockets.forEach((socket) => socket.destroy())
      server.close(() => resume(Effect.void))
    })
)

describe("resuming over cut connections and restarts of the server", () => {
  for (const fast of [true, false]) {
    it.scopedLive(
      `every client sees every number once and in order (${fast ? "NodeSseSink" : "portable"})`,
      () =>
        Effect.gen(function*() {
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-sse-"))),
            (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
          )
          const path = join(folder, "log.db")
          const proxy = yield* makeProxy
          const url = `http://127.0.0.1:${proxy.port}/events?topic=numbers&lastEventId=0`

          let scope = yield* Scope.make()
          yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
          let running = yield* Scope.extend(serve(path, fast), scope)
          proxy.backend = running.port

          const seen: Array<Array<number>> = [[], [], []]
          const gaps: Array<string> = []
          for (const i of [0, 1]) {
            const source = yield* Effect.acquireRelease(
              Effect.sync(() => new EventSource(url)),
              (source) => Effect.sync(() => source.close())
            )
            source.addEventListener("Counted", (event) => seen[i].push(JSON.parse(event.data).n))
            source.addEventListener("gap", (event) => gaps.push(event.data))
          }
          const reader = yield* SseClient.SseClient.pipe(
            Effect.flatMap((client) =>
              Stream.runForEach(
                client.messages(url, { reconnect: Schedule.spaced("20 millis") }).pipe(
                  SseClient.decoded(Counted, { events: ["Counted"] })
                ),
                ({ value }) => Effect.sync(() => seen[2].push(value.n))
              )
            ),
            Effect.provide(SseClient.layer.pipe(Layer.provide(FetchHttpClient.layer))),
            Effect.forkScoped
          )

          for (let n = 1; n <= total; n++) {
            yield* running.bus.publish({ _tag: "Counted", n })
            if (n % 20 === 0) {
              yield* Effect.sleep(1)
            }
            if (n % Math.floor(total / disconnects) === 7) {
              const victims = Array.from(proxy.sockets)
              victims[n % victims.length]?.destroy()
            }
            if (n % Math.floor(total / (restarts + 1)) === 0 && n < total) {
              yield* Scope.close(scope, Exit.void)
              scope = yield* Scope.make()
              running = yield* Scope.extend(serve(path, fast), scope)
              proxy.backend = running.port
            }
          }
          const deadline = performance.now() + 15_000
          while (seen.some((one) => one.length < total) && performance.now() < deadline) {
            yield* Effect.sleep(20)
          }
          yield* Fiber.interrupt(reader)
          const expected = Array.from({ length: total }, (_, i) => i + 1)
          seen.forEach((one) => assert.deepStrictEqual(one, expected))
          assert.deepStrictEqual(gaps, [])
        }),
      60_000
    )
  }
})

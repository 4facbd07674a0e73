import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { Context, Effect, Layer, Logger, LogLevel, Schema } from "effect"
import * as Net from "node:net"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { sized } from "../../../scripts/sized.js"

const cycles = sized(1200, 20_000, 400)

const Ping = Schema.TaggedStruct("Ping", { n: Schema.Number })
class Bus extends EventBus.Tag("test/Churn")<Bus, typeof Ping.Type>() {}

/** Comes, and goes in one of five ways: at once, after asking, after the head, after an event, with a reset. */
const visit = (port: number, i: number) =>
  Effect.async<void>((resume) => {
    const socket = Net.connect({ port, host: "127.0.0.1" }, () => {
      if (i % 5 === 0) {
        socket.destroy()
        return
      }
      socket.write("GET /events?topic=Ping&lastEventId=1 HTTP/1.1\r\nhost: test\r\n\r\n")
      if (i % 5 === 1) {
        socket.end()
      }
    })
    let seen = ""
    socket.on("data", (data) => {
      seen += data.toString("latin1")
      if (i % 5 === 2 || seen.includes("event: Ping")) {
        if (i % 5 === 4) {
          socket.resetAndDestroy()
        } else {
          socket.destroy()
        }
      }
    })
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.void))
    return Effect.sync(() => socket.destroy())
  })

const heap = Effect.gen(function*() {
  setFlagsFromString("--expose-gc")
  const gc = runInNewContext("gc") as () => void
  for (let i = 0; i < 4; i++) {
    gc()
    yield* Effect.sleep(20)
  }
  return process.memoryUsage().heapUsed
})

describe("connections that come and go", () => {
  it.scopedLive(`leave nothing behind after ${cycles} of them`, () =>
    Effect.gen(function*() {
      const registry = yield* FiberRegistry.FiberRegistry
      const bus = Context.get(yield* Layer.build(Bus.layer({ schema: Ping })), Bus)
      yield* bus.publish({ _tag: "Ping", n: 1 })
      yield* bus.publish({ _tag: "Ping", n: 2 })
      let opened = 0
      let closed = 0
      const hub = yield* SseHub.make({
        source: SseHub.fromBus(bus),
        onOpen: () => Effect.sync(() => opened++),
        onClose: { run: () => Effect.sync(() => closed++) }
      })
      const context = yield* Layer.build(
        HttpServer.serve(
          SseRoute.mount("/events", { hub, topics: { authorize: () => Effect.void } })(HttpRouter.empty)
        ).pipe(
          Layer.provide([NodeSseSink.layer, Logger.minimumLogLevel(LogLevel.None)]),
          Layer.provideMerge(NodeServer.layerServer({ port: 0, halfOpenTimeout: "200 millis" }))
        )
      )
      const server = Context.get(context, NodeServer.NodeServer)
      const port = server.address._tag === "TcpAddress" ? server.address.port : 0
      const come = (from: number, count: number) =>
        Effect.forEach(Array.from({ length: count }, (_, i) => from + i), (i) => visit(port, i), {
          concurrency: 40,
          discard: true
        })
      const quiet = Effect.gen(function*() {
        for (let i = 0; i < 400; i++) {
          const [{ open }, { connections }] = yield* Effect.all([hub.stats, server.stats])
          if (open === 0 && connections === 0 && opened === closed) {
            return
          }
          yield* Effect.sleep(20)
        }
        return yield* Effect.die(
          new Error(`left: ${JSON.stringify([yield* hub.stats, yield* server.stats, opened, closed])}`)
        )
      })
      yield* come(0, 500)
      yield* quiet
      const fibers = registry.unsafeCounts().live
      const before = yield* heap
      yield* come(500, cycles)
      yield* quiet
      yield* Effect.sleep(50)
      assert.strictEqual(registry.unsafeCounts().live, fibers)
      assert.isAtLeast(opened, cycles / 2)
      const { ended } = yield* hub.stats
      assert.deepStrictEqual(ended, { "client-left": opened })
      // bounded rings (ended sessions, ended fibers, cleanups) may still fill; a session that stayed would be 15 KiB
      assert.isBelow((yield* heap) - before, 8 * 1024 * 1024)
    }), 300_000)
})

import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLog from "@holdfast/core/EventLog"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import { Context, Effect, Exit, Layer, Schema, Scope } from "effect"
import { settle, TestSink } from "./support/hub.js"

const Said = Schema.TaggedStruct("Said", { room: Schema.String, text: Schema.String })
class Bus extends EventBus.Tag("test/Bus")<Bus, typeof Said.Type>() {}
const options = { schema: Said, topic: (event: typeof Said.Type) => `room.${event.room}` }
const format = SseFormat.make({ schema: Said }) as never

const say = (bus: Bus["Type"], room: string, text: string) => bus.publish({ _tag: "Said", room, text })

const openIn = (hub: SseHub.Service, scope: Scope.Scope, given: Partial<SseHub.OpenOptions> = {}) =>
  Effect.gen(function*() {
    const sink = new TestSink()
    const session = yield* Scope.extend(hub.open({ sink, format, following: [{ prefix: "room." }], ...given }), scope)
    return { sink, session }
  })

describe("SseHub on an EventBus", () => {
  it.scoped("fans out and resumes from the log, over a restart with a durable one", () =>
    Effect.gen(function*() {
      const store = yield* Layer.build(EventLog.layerStoreMemory)
      const run = <A, E>(f: (bus: Bus["Type"], hub: SseHub.Service, scope: Scope.Scope) => Effect.Effect<A, E>) =>
        Effect.scoped(Effect.gen(function*() {
          const context = yield* Layer.build(Bus.layerDurable(options).pipe(Layer.provide(Layer.succeedContext(store))))
          const bus = Context.get(context, Bus)
          const hub = yield* SseHub.make({ source: SseHub.fromBus(bus), recent: 4 })
          return yield* f(bus, hub, yield* Effect.scope)
        }))
      const first = yield* run((bus, hub, scope) =>
        Effect.gen(function*() {
          const { sink } = yield* openIn(hub, scope)
          for (let i = 1; i <= 10; i++) {
            yield* say(bus, i % 2 === 0 ? "a" : "b", String(i))
          }
          yield* settle
          return sink
        })
      )
      assert.deepStrictEqual(first.ids, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      const second = yield* run((bus, hub, scope) =>
        Effect.gen(function*() {
          const resumed = yield* openIn(hub, scope, { lastEventId: 3, following: [{ topic: "room.a" }] })
          yield* say(bus, "a", "11")
          yield* settle
          return resumed.sink
        })
      )
      assert.deepStrictEqual(second.ids, [4, 6, 8, 10, 11])
    }))

  it.scoped("says farewell when the bus is drained", () =>
    Effect.gen(function*() {
      const bus = Context.get(yield* Layer.build(Bus.layer(options)), Bus)
      const hub = yield* SseHub.make({ source: SseHub.fromBus(bus) })
      const { session, sink } = yield* openIn(hub, yield* Effect.scope)
      yield* bus.drain("1 second")
      assert.strictEqual((yield* session.awaitEnd).reason, "drained")
      assert.include(sink.seen.at(-1), `!farewell {"reason":"drained"`)
    }))

  it.scopedLive(
    "says farewell in the draining phase, and the report names a finalizer that hangs",
    () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const lifecycle = yield* Lifecycle.make({ scope, gracefulShutdownTimeout: "4 seconds", log: false })
        const closed: Array<string> = []
        const { sessions, sinks } = yield* Effect.gen(function*() {
          const bus = Context.get(yield* Layer.build(Bus.layer(options)), Bus)
          const hub = yield* SseHub.make({
            source: SseHub.fromBus(bus),
            onOpen: (session) => Effect.sync(() => closed.push(`open ${session.id}`)),
            onClose: {
              label: "leave the room",
              budget: "100 millis",
              run: (ended) => ended.id === "sse-1" ? Effect.never : Effect.sync(() => closed.push(ended.reason)),
              fallbacks: [{
                label: "strike off",
                budget: "1 second",
                run: () => Effect.sync(() => closed.push("fallback"))
              }]
            }
          })
          const sessions = [yield* Scope.make(), yield* Scope.make()]
          const sinks = yield* Effect.forEach(sessions, (scope) => openIn(hub, scope))
          return { sessions, sinks }
        }).pipe(Scope.extend(scope), Effect.provideService(Lifecycle.Lifecycle, lifecycle))
        assert.deepStrictEqual(closed, ["open sse-1", "open sse-2"])
        const report = yield* lifecycle.shutdown({ _tag: "Requested", by: "test" })
        for (const { sink } of sinks) {
          assert.include(sink.seen.at(-1), `!farewell {"reason":"drained"`)
        }
        assert.include(JSON.stringify(report), "farewell to the sessions of sse")
        yield* Effect.forEach(sessions, (scope) => Scope.close(scope, Exit.void))
        assert.deepStrictEqual(closed.slice(2), ["fallback", "drained"])
        const monitor = yield* Cleanup.CleanupMonitor
        assert.include(JSON.stringify(yield* monitor.recent), "sse: leave the room")
      }),
    15_000
  )
})

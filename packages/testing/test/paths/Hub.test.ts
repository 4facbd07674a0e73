import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import type { Format, Payload, Sink, SinkHandlers } from "@holdfast/http/SessionSink"
import type { Envelope } from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Exit, Fiber, Random, Schema, Scope } from "effect"

const seeds = Explore.sized(1_000, 100_000)
const timeout = Explore.sized(180_000, 7_200_000)

const Said = Schema.TaggedStruct("Said", { room: Schema.String })
type Said = typeof Said.Type

const ensure = (condition: boolean, message: () => string) =>
  condition ? Effect.void : Effect.suspend(() => Effect.dieMessage(message()))

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const line = (value: unknown) => encoder.encode(`${JSON.stringify(value)}\n`)

type Heard =
  | { readonly is: "event"; readonly id: number; readonly at: number; readonly topic: string }
  | { readonly is: "gap"; readonly firstId: number; readonly lastId: number }
  | { readonly is: "opening" | "farewell" | "heartbeat" }

const format: Format<Envelope<unknown>> = {
  name: "test",
  event: ({ id, topic }, at) => line({ is: "event", id, at, topic }),
  opening: () => line({ is: "opening" }),
  gap: ({ firstId, lastId }) => line({ is: "gap", firstId, lastId }),
  farewell: () => line({ is: "farewell" }),
  heartbeat: () => undefined
}

/** A connection in memory. `slow` ones take one payload at a time, and have room again when `take` is called. */
class MemorySink implements Sink {
  readonly heard: Array<Heard> = []
  state: "new" | "open" | "ended" | "destroyed" = "new"
  starts = 0
  ends = 0
  private held: Array<Payload> = []
  private handlers: SinkHandlers | undefined
  constructor(readonly slow: boolean) {}
  start(handlers: SinkHandlers) {
    this.starts++
    this.state = "open"
    this.handlers = handlers
  }
  write(payload: Payload) {
    if (this.state === "new") throw new Error("written before it began")
    if (this.state !== "open") return true
    this.held.push(payload)
    if (!this.slow) this.flush()
    return !this.slow
  }
  buffered() {
    return this.held.reduce((n, { byteLength }) => n + byteLength, 0)
  }
  end() {
    this.ends++
    if (this.state === "new") throw new Error("ended before it began")
    this.flush()
    if (this.state === "open") this.state = "ended"
  }
  destroy() {
    this.held = []
    if (this.state === "open") this.state = "destroyed"
  }
  private flush() {
    for (const { bytes } of this.held) {
      for (const text of decoder.decode(bytes).trim().split("\n")) this.heard.push(JSON.parse(text))
    }
    this.held = []
  }
  take() {
    this.flush()
    if (this.state === "open") this.handlers?.onReady()
  }
  leave() {
    this.handlers?.onClose("client-left")
  }
  get ids() {
    return this.heard.flatMap((heard) => heard.is === "event" ? [heard.id] : [])
  }
}

const make = Effect.gen(function*() {
  const bus = yield* EventBus.make({ name: "bus", schema: Said, topic: ({ room }) => room })
  const hub = yield* SseHub.make({
    source: {
      subscribe: bus.subscribe({ name: "hub" }),
      lastId: bus.lastId,
      history: { after: (id, options) => bus.log.after(id, options) }
    },
    recent: 2
  })
  const publish = (room: string) => Effect.map(bus.publish({ _tag: "Said", room }), ({ id }) => id)
  /** waits until the hub has fanned out all that was published */
  const settled = Effect.gen(function*() {
    const last = yield* bus.lastId
    while ((yield* hub.stats).position < last) yield* Effect.sleep("1 millis")
    yield* Effect.sleep("10 millis")
  })
  return { bus, hub, publish, settled }
})

describe("the hub under every interleaving", () => {
  it.effect("resume and live: each event of its topic once, in order", () =>
    Explore.check(
      Effect.gen(function*() {
        const { hub, publish, settled } = yield* make
        for (const room of ["a", "b", "a", "a"]) yield* publish(room)
        const lastEventId = yield* Random.nextIntBetween(0, 5)
        const fast = new MemorySink(false)
        const slow = new MemorySink(true)
        const open = (sink: MemorySink) => hub.open({ sink, format, following: [{ topic: "a" }], lastEventId })
        const reader = yield* Effect.fork(Effect.forever(Effect.zipRight(
          Effect.sleep("1 millis"),
          Effect.sync(() => slow.take())
        )))
        const [, , ids] = yield* Effect.all([
          open(fast),
          open(slow),
          Effect.forEach(["a", "b", "a"], (room) => Effect.map(publish(room), (id) => [room, id] as const))
        ], { concurrency: "unbounded" })
        yield* settled
        yield* Fiber.interrupt(reader)
        slow.take()
        const expected = [1, 3, 4, ...ids.filter(([room]) => room === "a").map(([, id]) => id)]
          .filter((id) => id > lastEventId)
        for (const [name, sink] of [["fast", fast], ["slow", slow]] as const) {
          yield* ensure(
            sink.ids.join() === expected.join(),
            () => `after ${lastEventId} the ${name} one heard ${JSON.stringify(sink.heard)}, not ${expected.join()}`
          )
        }
      }),
      { seeds }
    ), timeout)

  it.effect("follow and unfollow, exactly to the event", () =>
    Explore.check(
      Effect.gen(function*() {
        const { bus, hub, publish, settled } = yield* make
        const sink = new MemorySink(false)
        yield* hub.open({ sink, format, following: [{ topic: "a" }], principal: "ann" })
        // the player walks from a to b between two events, while others talk in both rooms
        const walk = Effect.gen(function*() {
          const left = yield* publish("a")
          yield* hub.unfollow("ann", { topic: "a", upTo: left })
          // what was said in a until now may have been heard already
          const told = yield* bus.lastId
          yield* hub.follow("ann", { topic: "b", after: left })
          return { left, told }
        })
        const talk = (room: string) =>
          Effect.forEach([1, 2, 3], () => Effect.map(publish(room), (id) => [room, id] as const))
        const [{ left, told }, inA, inB] = yield* Effect.all([walk, talk("a"), talk("b")], { concurrency: "unbounded" })
        yield* settled
        const expected = [
          left,
          ...inA.filter(([, id]) => id <= left).map(([, id]) => id),
          ...inB.filter(([, id]) => id > left).map(([, id]) => id)
        ].sort((a, b) => a - b)
        const early = new Set(inA.filter(([, id]) => id > left && id <= told).map(([, id]) => id))
        const heard = sink.ids.toSorted((a, b) => a - b).filter((id) => !early.has(id))
        yield* ensure(
          heard.join() === expected.join(),
          () => `left at ${left}: heard ${JSON.stringify(sink.heard)}, expected ${expected.join()}`
        )
      }),
      { seeds }
    ), timeout)

  it.effect(
    "opening, leaving, kicking and draining: every slot comes back, every end is told once",
    () =>
      Explore.check(
        Effect.gen(function*() {
          const { hub, publish } = yield* make
          const sinks = [0, 1, 2, 3].map((n) => new MemorySink(n % 2 === 1))
          const clients = yield* Effect.forEach(sinks, (sink, n) =>
            Effect.fork(Effect.exit(Effect.scoped(Effect.flatMap(
              hub.open({ sink, format, following: [{ topic: "a" }], principal: `p${n % 2}`, lastEventId: 0 }),
              (session) => session.awaitEnd
            )))))
          yield* Effect.all([
            Effect.forEach(["a", "a"], publish),
            Effect.zipRight(Effect.sleep(yield* Random.nextIntBetween(0, 2)), Effect.sync(() => sinks[0]!.leave())),
            hub.kick("p1"),
            Fiber.interrupt(clients[2]!)
          ], { concurrency: "unbounded" })
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 3))
          yield* Effect.all([hub.drain(), hub.drain()], { concurrency: 2 })
          const ends = yield* Effect.forEach(clients, Fiber.await)
          yield* ensure(ends.length === 4, () => "a client waits for ever")
          const stats = yield* hub.stats
          const ended = Object.values(stats.ended).reduce((n, count) => n + count, 0)
          yield* ensure(stats.open === 0, () => `${stats.open} sessions are still open`)
          yield* ensure(stats.opened === ended, () => `${stats.opened} sessions began, ${ended} ended`)
          yield* ensure((yield* hub.sessions).length === 0, () => "a session is still listed")
          yield* ensure(sinks.every(({ starts }) => starts <= 1), () => "a sink was started twice")
          yield* ensure(sinks.every(({ state }) => state !== "open"), () => "a connection is still open")
          const late = yield* Effect.exit(
            Effect.scoped(hub.open({ sink: new MemorySink(false), format, following: [] }))
          )
          yield* ensure(Exit.isFailure(late), () => "a session was opened after the drain")
        }),
        { seeds }
      ),
    timeout
  )

  it.effect("the end of the hub's scope ends everything", () =>
    Explore.check(
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { hub, publish } = yield* Scope.extend(make, scope)
        const sink = new MemorySink(false)
        const client = yield* Effect.fork(Effect.exit(Effect.scoped(Effect.flatMap(
          hub.open({ sink, format, following: [{ topic: "*" }] }),
          (session) => session.awaitEnd
        ))))
        yield* Effect.all([Effect.exit(publish("a")), Scope.close(scope, Exit.void)], { concurrency: 2 })
        yield* Fiber.join(client)
        yield* ensure(sink.state !== "open", () => "the connection is still open")
      }),
      { seeds }
    ), timeout)

  it.effect("is deterministic", () =>
    Effect.gen(function*() {
      const report = yield* Explore.checkDeterminism(Effect.gen(function*() {
        const { hub, publish, settled } = yield* make
        yield* hub.open({ sink: new MemorySink(false), format, following: [{ topic: "*" }] })
        yield* publish("a")
        yield* settled
      }))
      assert.deepStrictEqual(report.escapes, [])
    }))
})

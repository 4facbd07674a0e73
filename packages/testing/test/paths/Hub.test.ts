import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Exit, Fiber, Random, Scope } from "effect"
import { ensure, fewer, seeds, soon, timeout } from "./support/explore.js"
import { format, make, makeBus, makeHub, MemorySink } from "./support/hub.js"

/** Takes what there is while it is being written, and again while what was waiting for room goes on. */
const reading = (sink: MemorySink) => {
  const take = Effect.sync(() => sink.take())
  return Effect.zipRight(
    Effect.repeatN(Effect.zipRight(soon(15), take), 10),
    Effect.forever(Effect.zipRight(Effect.sleep("1 millis"), Effect.all([take, soon(10), take, soon(10), take])))
  )
}

describe("the hub under every interleaving", () => {
  it.effect("resume and live: each event of its topic once, in order", () =>
    Explore.check(
      Effect.gen(function*() {
        const { hub, publish, settled } = yield* make((yield* Random.nextIntBetween(0, 2)) === 0)
        const before = yield* Effect.forEach(["a", "b", "a", "a", "b", "a"], (room) =>
          Effect.map(publish(room), (id) => [room, id] as const))
        const lastEventId = yield* Random.nextIntBetween(0, 7)
        const sinks = {
          resumed: new MemorySink(false),
          // its window begins before what the client has seen
          slow: new MemorySink(true),
          // it has seen nothing: the window says where it begins
          windowed: new MemorySink(false)
        }
        const reader = yield* Effect.fork(reading(sinks.slow))
        const [, , , ids] = yield* Effect.all([
          hub.open({ sink: sinks.resumed, format, following: [{ topic: "a" }], lastEventId }),
          hub.open({ sink: sinks.slow, format, following: [{ topic: "a", after: 0 }], lastEventId }),
          hub.open({ sink: sinks.windowed, format, following: [{ topic: "a", after: lastEventId }] }),
          Effect.forEach(["a", "a", "b", "a"], (room) =>
            Effect.zipRight(
              soon(5),
              Effect.map(publish(room), (id) =>
                [room, id] as const)
            ))
        ], { concurrency: "unbounded" })
        yield* settled
        yield* Fiber.interrupt(reader)
        sinks.slow.take()
        const expected = [...before, ...ids].filter(([room, id]) => room === "a" && id > lastEventId).map(([, id]) =>
          id
        )
        for (const [name, sink] of Object.entries(sinks)) {
          yield* ensure(
            sink.ids.join() === expected.join(),
            () => `after ${lastEventId} the ${name} one heard ${JSON.stringify(sink.heard)}, not ${expected.join()}`
          )
        }
      }),
      { seeds }
    ), timeout)

  it.effect("a hub that begins while others publish misses nothing", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* makeBus
        const publish = Effect.zipRight(soon(5), bus.publish({ _tag: "Said", room: "a" }))
        const begin = Effect.gen(function*() {
          yield* soon()
          const hub = yield* makeHub(bus, yield* Random.nextBoolean)
          const fresh = new MemorySink(false)
          yield* hub.open({ sink: fresh, format, following: [{ topic: "a" }], lastEventId: 0 })
          yield* soon()
          const resumed = new MemorySink(false)
          const seen = yield* bus.lastId
          yield* hub.open({ sink: resumed, format, following: [{ topic: "a" }], lastEventId: seen })
          return { fresh, resumed, seen }
        })
        const [{ fresh, resumed, seen }] = yield* Effect.all([begin, Effect.replicateEffect(publish, 6)], {
          concurrency: 2
        })
        yield* Effect.sleep("10 millis")
        yield* ensure(fresh.ids.join() === "1,2,3,4,5,6", () => `the first one heard ${fresh.ids.join()}`)
        const rest = [1, 2, 3, 4, 5, 6].filter((id) => id > seen)
        yield* ensure(resumed.ids.join() === rest.join(), () => `after ${seen} it heard ${resumed.ids.join()}`)
      }),
      { seeds }
    ), timeout)

  it.effect("follow while it catches up: each event of either topic once", () =>
    Explore.check(
      Effect.gen(function*() {
        const { hub, publish, settled } = yield* make((yield* Random.nextIntBetween(0, 2)) === 0)
        for (const room of ["a", "b", "a", "b", "a"]) yield* publish(room)
        const after = yield* Random.nextIntBetween(0, 5)
        const sinks = [new MemorySink(false), new MemorySink(true)]
        const reader = yield* Effect.fork(reading(sinks[1]!))
        const join = (sink: MemorySink) =>
          Effect.gen(function*() {
            const session = yield* hub.open({ sink, format, following: [{ topic: "a" }], lastEventId: 0 })
            yield* soon()
            yield* session.follow({ topic: "b", after })
          })
        const [, , ids] = yield* Effect.all([
          join(sinks[0]!),
          join(sinks[1]!),
          Effect.forEach(["b", "a"], (room) => Effect.zipRight(soon(), publish(room)))
        ], { concurrency: "unbounded" })
        yield* settled
        yield* Fiber.interrupt(reader)
        sinks[1]!.take()
        const expected = [1, 3, 5, ...[2, 4].filter((id) => id > after), ...ids].sort((a, b) => a - b)
        for (const sink of sinks) {
          yield* ensure(
            sink.ids.toSorted((a, b) => a - b).join() === expected.join(),
            () => `b after ${after}: heard ${JSON.stringify(sink.heard)}, not ${expected.join()}`
          )
        }
      }),
      { seeds }
    ), timeout)

  it.effect("who is interrupted in follow or unfollow keeps nobody from it, nor from events", () =>
    Explore.check(
      Effect.gen(function*() {
        const { hub, publish, settled } = yield* make(false)
        yield* publish("a")
        const sink = new MemorySink(false)
        const session = yield* hub.open({ sink, format, following: [{ topic: "a" }], lastEventId: 0 })
        const victims = yield* Effect.forEach(["b", "c", "b"], (topic) =>
          Effect.fork(Effect.zipRight(
            session.follow({ topic }),
            session.unfollow({ topic })
          )))
        const publishing = yield* Effect.fork(Effect.zipRight(soon(10), publish("a")))
        yield* soon(25)
        yield* Fiber.interruptAll(victims)
        yield* session.follow({ topic: "d" })
        yield* Fiber.join(publishing)
        const id = yield* publish("d")
        yield* settled
        yield* ensure(sink.ids.join() === `1,2,${id}`, () => `it heard ${sink.ids.join()}, not 1,2,${id}`)
      }),
      { seeds: fewer }
    ), timeout)

  it.effect("follow and unfollow, exactly to the event", () =>
    Explore.check(
      Effect.gen(function*() {
        const { bus, hub, publish, settled } = yield* make()
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
          const { hub, publish } = yield* make()
          const sinks = [0, 1, 2, 3].map((n) => new MemorySink(n % 2 === 1))
          const clients = yield* Effect.forEach(sinks, (sink, n) =>
            Effect.fork(Effect.exit(Effect.scoped(Effect.flatMap(
              hub.open({ sink, format, following: [{ topic: "a" }], principal: `p${n % 2}`, lastEventId: 0 }),
              (session) => session.awaitEnd
            )))))
          yield* Effect.all([
            Effect.forEach(["a", "a"], publish),
            Effect.zipRight(soon(), Effect.sync(() => sinks[0]!.leave())),
            Effect.zipRight(soon(), hub.kick("p1")),
            Effect.zipRight(soon(), Fiber.interrupt(clients[2]!)),
            Effect.zipRight(soon(40), Effect.all([hub.drain(), hub.drain()], { concurrency: 2 }))
          ], { concurrency: "unbounded" })
          const ends = yield* Effect.forEach(clients, Fiber.await)
          yield* ensure(ends.length === 4, () => "a client waits for ever")
          const stats = yield* hub.stats
          const ended = Object.values(stats.ended).reduce((n, count) => n + count, 0)
          yield* ensure(stats.open === 0, () => `${stats.open} sessions are still open`)
          yield* ensure(stats.opened === ended, () => `${stats.opened} sessions began, ${ended} ended`)
          yield* ensure((yield* hub.sessions).length === 0, () => "a session is still listed")
          yield* ensure(
            (yield* hub.kick("p0")) + (yield* hub.kick("p1")) === 0,
            () => "a principal still has a session"
          )
          yield* ensure(sinks.every(({ starts }) => starts <= 1), () => "a sink was started twice")
          const touched = sinks.filter(({ state }) => state !== "new").length
          yield* ensure(touched === stats.opened, () => `${stats.opened} sessions, ${touched} connections that ended`)
          for (const { heard, state } of sinks) {
            const told = heard.flatMap(({ is }, at) => is === "farewell" ? [at] : [])
            yield* ensure(
              state === "ended"
                ? told.join() === `${heard.length - 1}` && heard[0]!.is === "opening"
                : told.length === 0,
              () => `an ${state} connection heard ${JSON.stringify(heard)}`
            )
          }
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

  it.effect("a drain that is interrupted: whoever else waits for it ends every session", () =>
    Explore.check(
      Effect.gen(function*() {
        const { hub } = yield* make()
        const sinks = [0, 1, 2].map(() => new MemorySink(false))
        yield* Effect.forEach(sinks, (sink) => hub.open({ sink, format, following: [{ topic: "a" }] }))
        // one farewell at a time
        const drains = yield* Effect.forEach([1, 2], () => Effect.fork(hub.drain({ perSecond: 20 })))
        yield* Effect.sleep((yield* Random.nextIntBetween(0, 3)) * 50)
        yield* soon()
        yield* Fiber.interrupt(drains[0]!)
        const exit = yield* Fiber.await(drains[1]!)
        yield* ensure(Exit.isSuccess(exit), () => `the other drain: ${exit}`)
        yield* ensure(sinks.every(({ state }) => state === "ended"), () => "a session has not ended")
      }),
      { seeds }
    ), timeout)

  it.effect("the end of the hub's scope ends everything", () =>
    Explore.check(
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { hub, publish } = yield* Scope.extend(make(), scope)
        const sink = new MemorySink(false)
        const client = yield* Effect.fork(Effect.exit(Effect.scoped(Effect.flatMap(
          hub.open({ sink, format, following: [{ prefix: "" }] }),
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
        const { hub, publish, settled } = yield* make()
        yield* hub.open({ sink: new MemorySink(false), format, following: [{ prefix: "" }] })
        yield* publish("a")
        yield* settled
      }))
      assert.deepStrictEqual(report.escapes, [])
    }))
})

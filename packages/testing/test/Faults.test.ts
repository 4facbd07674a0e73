import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as Explore from "@holdfast/testing/Explore"
import * as Faults from "@holdfast/testing/Faults"
import * as FaultyPorts from "@holdfast/testing/FaultyPorts"
import * as Harness from "@holdfast/testing/Harness"
import * as Link from "@holdfast/testing/Link"
import { Cause, Clock, Effect, Exit, Layer, Option, Schedule, Schema, TestClock } from "effect"

const row = (id: number): EventLogStore.Stored => ({ id, at: 0, topic: "t", tag: "T", payload: "{}", meta: "{}" })

const pattern = (seed: number) => {
  const faults = Faults.unsafeMake({ seed, activation: 1 })
  return Array.from({ length: 64 }, (_, i) => faults.decide(i % 2 === 0 ? "a" : "b") ? 1 : 0).join("")
}

describe("Faults", () => {
  it.effect("is silent without its layer", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 100; i++) assert.isFalse(yield* Faults.buggify("anything"))
    }))

  it.effect("fires at the same evaluations for the same seed, and at others for another", () =>
    Effect.sync(() => {
      assert.strictEqual(pattern(7), pattern(7))
      assert.notStrictEqual(pattern(7), pattern(8))
      assert.include(pattern(7), "1")
    }))

  it.effect("activates a share of the points in each run", () =>
    Effect.sync(() => {
      let active = 0
      for (let seed = 0; seed < 400; seed++) {
        const faults = Faults.unsafeMake({ seed, activation: 0.5, probability: 1 })
        if (faults.decide("point")) active++
      }
      assert.isAbove(active, 140)
      assert.isBelow(active, 260)
    }))

  it.effect("names points, silences the rest, and is disabled", () =>
    Effect.gen(function*() {
      const faults = yield* Faults.Faults
      assert.isTrue(faults.decide("store.append.fails"))
      assert.isFalse(faults.decide("link.partitions"))
      yield* faults.disable
      assert.isFalse(faults.decide("store.append.fails"))
      assert.deepStrictEqual(yield* faults.report, [
        { point: "store.append.fails", active: true, evaluated: 2, fired: 1 },
        { point: "link.partitions", active: false, evaluated: 1, fired: 0 }
      ])
    }).pipe(Effect.provide(Faults.layer({ seed: 1, only: true, points: { "store.*": 1 } }))))

  it.effect("lists the points that are named and that nothing evaluates", () =>
    Effect.gen(function*() {
      const faults = yield* Faults.make({ seed: 1, only: true, points: { "store.*": 1, "link.prats": 1, "kv.*": 0 } })
      faults.decide("store.append.fails")
      assert.deepStrictEqual(yield* faults.report, [
        { point: "store.append.fails", active: true, evaluated: 1, fired: 1 },
        { point: "link.prats", active: true, evaluated: 0, fired: 0 },
        { point: "kv.*", active: false, evaluated: 0, fired: 0 }
      ])
    }))

  it.effect("refuses what is no probability", () =>
    Effect.gen(function*() {
      const refusal = (options: Faults.Options) =>
        Effect.map(Effect.flip(Effect.scoped(Layer.build(Faults.layer(options)))), (error) => error.message)
      assert.strictEqual(
        yield* refusal({ points: { "kv.set.fails": 20 } }),
        "Faults.points[\"kv.set.fails\"] is 20: expected a probability from 0 to 1"
      )
      assert.strictEqual(
        yield* refusal({ activation: -1 }),
        "Faults.activation is -1: expected a probability from 0 to 1"
      )
      assert.strictEqual(yield* refusal({ seed: Number.NaN }), "Faults.seed is NaN: expected a whole number")
    }))

  it.effect("fails before, fails after, crashes and stalls", () =>
    Effect.gen(function*() {
      let ran = 0
      const work = Effect.sync(() => ++ran)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(work.pipe(Faults.fail("p", () => "no")))))
      assert.strictEqual(ran, 0)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(work.pipe(Faults.failAfter("p", () => "no")))))
      assert.strictEqual(ran, 1)
      const crashed = yield* Effect.exit(work.pipe(Faults.crash("handler")))
      assert.isTrue(Exit.isFailure(crashed) && Cause.squash(crashed.cause) instanceof Faults.FaultInjected)
      const stalled = yield* Effect.fork(work.pipe(Faults.stall("p", "1 minute")))
      assert.isTrue(Option.isNone(yield* stalled.poll))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* stalled, 2)
    }).pipe(Effect.provide(Faults.layer({ seed: 1, points: { "*": 1 } }))))

  // daily: what hangs is there until its process ends, and a shutdown in the same process would name it
  it.effect("hangs (daily)", () =>
    Effect.gen(function*() {
      let ran = 0
      yield* Effect.forkDaemon(Effect.sync(() => ++ran).pipe(Faults.hang("p")))
      yield* Effect.yieldNow()
      assert.strictEqual(ran, 0)
    }).pipe(Effect.provide(Faults.layer({ seed: 1, points: { "*": 1 } }))))

  it.effect("is driven by the seed of the exploration", () =>
    Effect.gen(function*() {
      // two writes; the bug is that the second is not undone when the first failed
      const program = (mended: boolean) =>
        Effect.gen(function*() {
          const store = yield* KeyValueStore.KeyValueStore
          const faults = yield* Faults.Faults
          const both = Effect.zipRight(store.set("a", "1"), store.set("b", "1"))
          yield* Effect.ignore(
            mended ? Effect.onError(both, () => Effect.ignore(Effect.zipRight(faults.disable, store.clear))) : both
          )
          yield* faults.disable
          if ((yield* store.has("a")) !== (yield* store.has("b"))) return yield* Effect.dieMessage("half a write")
        }).pipe(
          Effect.provide(FaultyPorts.keyValueStore.pipe(
            Layer.provide(KeyValueStore.layerMemory),
            Layer.provideMerge(Faults.layer({ only: true, points: { "kv.set.fails": 0.3 } }))
          ))
        )
      const found = Option.getOrThrow(yield* Explore.find(program(false), { seeds: 20 }))
      assert.include(found.message, "half a write")
      const again = yield* Explore.replay(program(false), found.run.seed)
      assert.strictEqual(again.fingerprint, found.run.fingerprint)
      yield* Explore.check(program(true), { seeds: 200 })
    }))
})

describe("FaultyPorts", () => {
  const eventStore = (points: { readonly [point: string]: number }) =>
    FaultyPorts.eventStore.pipe(
      Layer.provide(EventLogStore.layerStoreMemory),
      Layer.provide(Faults.layer({ seed: 3, only: true, points }))
    )

  it.effect("fails an append with nothing, some or all of it written", () =>
    Effect.gen(function*() {
      const written = (point: string) =>
        Effect.gen(function*() {
          const store = yield* EventLogStore.Store
          const error = yield* Effect.flip(store.append([row(1), row(2), row(3)]))
          assert.strictEqual(error.reason, "Io")
          return (yield* store.bounds).last
        }).pipe(Effect.provide(eventStore({ [point]: 1 })))
      assert.strictEqual(yield* written("store.append.fails"), 0)
      assert.strictEqual(yield* written("store.append.unsure"), 3)
      assert.include([1, 2], yield* written("store.append.tears"))
    }))

  it.effect("never tears an append by chance", () =>
    Effect.gen(function*() {
      const store = yield* EventLogStore.Store
      for (let id = 1; id < 100; id += 2) {
        const { last } = yield* store.bounds
        yield* Effect.ignore(store.append([row(last + 1), row(last + 2)]))
        assert.strictEqual((yield* store.bounds).last % 2, 0)
      }
    }).pipe(Effect.provide(
      FaultyPorts.eventStore.pipe(
        Layer.provide(EventLogStore.layerStoreMemory),
        Layer.provide(Faults.layer({ seed: 3, activation: 1, probability: 0.5, points: { "store.stalls": 0 } }))
      )
    )))

  it.effect("loses what a ticker saves", () =>
    Effect.gen(function*() {
      const store = yield* TickerStore.Store
      yield* store.save("t", { number: 1 } as never)
      assert.isTrue(Option.isNone(yield* store.load("t")))
    }).pipe(Effect.provide(
      FaultyPorts.tickerStore.pipe(
        Layer.provide(TickerStore.layerStoreMemory),
        Layer.provide(Faults.layer({ seed: 1, only: true, points: { "ticker.save.lost": 1 } }))
      )
    )))

  it.effect("makes the clock jump, and sleeps none the longer", () =>
    Effect.gen(function*() {
      const times = new Set<number>()
      for (let i = 0; i < 10; i++) times.add(yield* Clock.currentTimeMillis)
      assert.isAbove(times.size, 5)
      const fiber = yield* Effect.fork(Effect.sleep("1 second"))
      yield* TestClock.adjust("1 second")
      yield* fiber
    }).pipe(Effect.provide(
      FaultyPorts.clock.pipe(Layer.provide(Faults.layer({ seed: 1, only: true, points: { "clock.jumps": 1 } })))
    )))
})

const Said = Schema.TaggedStruct("Said", { n: Schema.Number })
class Bus extends EventBus.Tag("test/Bus")<Bus, typeof Said.Type>() {}

describe("a bus and clients that misbehave", () => {
  it.effect("keep the promises of the bus: all is handled or given up by name", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* Bus
        const handled: Array<number> = []
        yield* bus.handle({ name: "count" }, ({ id }) => Effect.sync(() => handled.push(id)))
        for (let n = 0; n < 10; n++) yield* bus.publish({ _tag: "Said", n })
        yield* bus.drain("1 hour")
        const letters = yield* bus.deadLetters
        if (handled.length + letters.length !== 10) return yield* Effect.dieMessage(`${handled.length} handled`)
      }).pipe(
        Effect.scoped,
        Effect.provide(
          FaultyPorts.eventBus(Bus).pipe(
            Layer.provide(Bus.layer({ schema: Said })),
            Layer.provideMerge(Faults.layer({ activation: 1 }))
          )
        )
      ),
      { seeds: 50 }
    ))

  it.scoped("cut off a client that stalls, and let one go that leaves (daily)", () =>
    Effect.gen(function*() {
      const reasons = (points: { readonly [point: string]: number }) =>
        Effect.scoped(Effect.gen(function*() {
          const app = Layer.unwrapScoped(Effect.gen(function*() {
            const bus = yield* Bus
            const hub = yield* SseHub.make({ source: SseHub.fromBus(bus), sendTimeout: "10 seconds" })
            yield* Effect.forkScoped(Effect.repeat(bus.publish({ _tag: "Said", n: 1 }), Schedule.spaced("1 second")))
            const router = HttpRouter.empty.pipe(
              SseRoute.mount("/events", { hub, authorize: () => Effect.succeed({ following: [{ prefix: "" }] }) })
            )
            return Layer.merge(
              HttpServer.serve(router),
              Layer.succeed(SseHub.SseHub, hub)
            )
          })).pipe(Layer.provide(Layer.merge(Bus.layer({ schema: Said }), FaultyPorts.clients)))
          const { run, sse } = yield* Harness.make(app, { faults: { only: true, points } })
          yield* sse("/events")
          yield* TestClock.adjust("2 minutes")
          const hub = yield* run(SseHub.SseHub)
          return (yield* hub.ended).map(({ reason }) => reason)
        }))
      assert.deepStrictEqual(yield* reasons({ "client.leaves": 1 }), ["client-left"])
      assert.deepStrictEqual(yield* reasons({ "client.stalls": 1 }), ["slow"])
      assert.deepStrictEqual(yield* reasons({}), [])
    }), 60_000)
})

describe("Link", () => {
  const chatter = (options: Partial<Link.Options>) =>
    Effect.gen(function*() {
      const link = yield* Link.make<number>({ name: "link", ...options })
      for (let i = 1; i <= 20; i++) yield* link.left.send(i)
      yield* Effect.sleep("1 minute")
      return yield* link.right.poll
    })

  it.effect("carries messages in order, under every seed", () =>
    Explore.check(
      Effect.gen(function*() {
        const got = yield* chatter({})
        if (got.join() !== Array.from({ length: 20 }, (_, i) => i + 1).join()) {
          return yield* Effect.dieMessage(got.join())
        }
      }),
      { seeds: 100 }
    ))

  it.effect("loses, doubles and reorders when told to", () =>
    Effect.gen(function*() {
      const got = (options: Partial<Link.Options>, points: { readonly [point: string]: number }) =>
        Explore.replay(Effect.provide(chatter(options), Faults.layer({ only: true, points })), 5).pipe(
          Effect.flatMap((run) => Option.getOrThrow(run.exit))
        )
      assert.isBelow((yield* got({}, { "link.lost": 0.5 })).length, 20)
      assert.isAbove((yield* got({}, { "link.duplicated": 0.5 })).length, 20)
      assert.isBelow((yield* got({}, { "link.partitions": 0.2 })).length, 20)
      const shuffled = yield* got({ reorder: true }, { "link.there": 1 })
      assert.deepStrictEqual(shuffled.toSorted((a, b) => a - b), Array.from({ length: 20 }, (_, i) => i + 1))
      assert.notDeepEqual(shuffled, shuffled.toSorted((a, b) => a - b))
    }))

  it.scoped("parts and heals by hand", () =>
    Effect.gen(function*() {
      const link = yield* Link.make<string>({ name: "link" })
      yield* link.partition
      yield* link.left.send("lost")
      yield* TestClock.adjust("1 second")
      yield* link.heal
      yield* link.left.send("kept")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* link.right.poll, ["kept"])
    }))
})

import { describe, it } from "@effect/vitest"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as Explore from "@holdfast/testing/Explore"
import * as Faults from "@holdfast/testing/Faults"
import * as FaultyPorts from "@holdfast/testing/FaultyPorts"
import { Effect, Exit, Fiber, Layer } from "effect"
import { drink, flatten, makeBus, publishers, range, said } from "./support/bus.js"
import { ensure, seeds, soon, timeout } from "./support/explore.js"

/** `exact`: the bus can find out what became of an append that failed, since it can read. */
const failing = (exact: boolean) =>
  Effect.gen(function*() {
    const store = yield* EventLogStore.Store
    const bus = yield* makeBus(store)
    const subscription = yield* bus.subscribe()
    const seen = yield* Effect.fork(drink(subscription, Effect.void))
    const results = yield* publishers(bus, 3, 2)
    yield* (yield* Faults.Faults).disable
    const last = yield* Effect.exit(bus.publish(said(9, 9)))
    yield* ensure(Exit.isSuccess(last), () => "it refuses an event although the store is well again")
    yield* bus.drain("1 minute")
    const accepted = [...results, last].filter(Exit.isSuccess).map(({ value }) => value.id).sort((a, b) => a - b)
    const rows = (yield* store.read({ after: 0, limit: 100 })).map(({ id }) => id)
    yield* ensure(rows.join() === range(1, rows.length).join(), () => `stored ${rows.join()}`)
    yield* ensure(
      exact ? accepted.join() === rows.join() : accepted.every((id) => rows.includes(id)),
      () => `accepted ${accepted.join()}, stored ${rows.join()}`
    )
    yield* ensure(new Set(accepted).size === accepted.length, () => `an id was given twice: ${accepted.join()}`)
    const got = flatten(yield* Fiber.join(seen))
    yield* ensure(got.join() === rows.join(), () => `stored ${rows.join()}, seen ${got.join()}`)
  }).pipe(
    Effect.provide(FaultyPorts.eventStore.pipe(
      Layer.provideMerge(EventLogStore.layerStoreMemory),
      Layer.provideMerge(Faults.layer({
        only: true,
        points: { "store.append.tears": 0, "store.append.*": 0.2, "store.read.fails": exact ? 0 : 0.5 }
      }))
    ))
  )

describe("the durable bus under every interleaving", () => {
  it.effect(
    "appends fail: what is accepted is what is stored, once, in order, and what is seen",
    () => Explore.check(failing(true), { seeds }),
    timeout
  )

  it.effect(
    "nor is anything lost or seen twice when what was stored cannot be read at once",
    () => Explore.check(failing(false), { seeds }),
    timeout
  )

  it.effect(
    "drained while it writes: what is accepted is stored and seen, the rest leaves no trace",
    () =>
      Explore.check(
        Effect.gen(function*() {
          const store = yield* EventLogStore.Store
          const slow = {
            ...store,
            append: (rows: Parameters<typeof store.append>[0]) => Effect.zipRight(soon(5), store.append(rows))
          }
          const bus = yield* makeBus(slow)
          const seen = yield* Effect.fork(drink(yield* bus.subscribe({ capacity: 1 }), Effect.yieldNow()))
          const publishing = yield* Effect.fork(publishers(bus, 3, 2, soon(5)))
          yield* soon(60)
          yield* bus.drain("1 minute")
          const results = yield* Fiber.join(publishing)
          const accepted = results.filter(Exit.isSuccess).map(({ value }) => value.id).sort((a, b) => a - b)
          const rows = (yield* store.read({ after: 0, limit: 100 })).map(({ id }) => id)
          yield* ensure(accepted.join() === rows.join(), () => `accepted ${accepted.join()}, stored ${rows.join()}`)
          const got = yield* Fiber.join(seen)
          yield* ensure(got.join() === rows.join(), () => `stored ${rows.join()}, seen ${JSON.stringify(got)}`)
        }).pipe(Effect.provide(EventLogStore.layerStoreMemory)),
        { seeds }
      ),
    timeout
  )
})

import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import type { Subscription } from "@holdfast/core/EventSubscription"
import * as Explore from "@holdfast/testing/Explore"
import * as Faults from "@holdfast/testing/Faults"
import * as FaultyPorts from "@holdfast/testing/FaultyPorts"
import { Deferred, Effect, Exit, Fiber, Layer, Random, Schema, Scope } from "effect"

const seeds = Explore.sized(1_000, 100_000)
const timeout = Explore.sized(180_000, 7_200_000)

const Said = Schema.TaggedStruct("Said", { by: Schema.Number, n: Schema.Number })
type Said = typeof Said.Type

const said = (by: number, n: number): Said => ({ _tag: "Said", by, n })

const ensure = (condition: boolean, message: () => string) =>
  condition ? Effect.void : Effect.suspend(() => Effect.dieMessage(message()))

const makeBus = (store?: EventLogStore.Store["Type"]) =>
  EventBus.make({
    name: "bus",
    schema: Said,
    topic: ({ by }) => `room.${by}`,
    ...(store === undefined ? {} : { store })
  })

/** Everything until the subscription closes: ids, and gaps as pairs. */
const drink = (subscription: Subscription<Said>, sip: Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const got: Array<number | readonly [number, number]> = []
    yield* subscription.takeBatch().pipe(
      Effect.tap((batch) =>
        Effect.sync(() => {
          for (const item of batch) {
            got.push("_tag" in item && item._tag === "Gap" ? [item.firstId, item.lastId] : (item as { id: number }).id)
          }
        })
      ),
      Effect.zipRight(sip),
      Effect.forever,
      Effect.catchTag("Closed", () => Effect.void)
    )
    return got
  })

/** Ids with their gaps filled: must be `first..last` without a hole or a repetition. */
const flatten = (got: ReadonlyArray<number | readonly [number, number]>): ReadonlyArray<number> =>
  got.flatMap((item) =>
    typeof item === "number" ? [item] : Array.from({ length: item[1] - item[0] + 1 }, (_, i) => item[0] + i)
  )

const range = (first: number, last: number) =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i)

const publishers = (bus: EventBus.EventBus<Said>, count: number, each: number) =>
  Effect.forEach(
    range(1, count),
    (by) => Effect.forEach(range(1, each), (n) => Effect.exit(bus.publish(said(by, n)))),
    { concurrency: "unbounded" }
  ).pipe(Effect.map((all) => all.flat()))

describe("the bus under every interleaving", () => {
  it.effect("ids have no gap, a lossless subscriber misses nothing, a lossy one knows what", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* makeBus()
        const scope = yield* Scope.make()
        const lossless = yield* Scope.extend(bus.subscribe({ name: "lossless", capacity: 2 }), scope)
        const sliding = yield* Scope.extend(
          bus.subscribe({ name: "sliding", capacity: 2, policy: { _tag: "sliding" } }),
          scope
        )
        const dropping = yield* Scope.extend(
          bus.subscribe({ name: "dropping", capacity: 1, policy: { _tag: "dropping" } }),
          scope
        )
        const drinkers = yield* Effect.forEach([
          drink(lossless, Effect.yieldNow()),
          drink(sliding, Effect.sleep("1 second")),
          drink(dropping, Effect.sleep("1 second"))
        ], Effect.fork)
        // somebody comes and goes meanwhile
        const passer = yield* Effect.fork(
          Effect.scoped(
            Effect.flatMap(bus.subscribe({ capacity: 1 }), (subscription) => drink(subscription, Effect.void))
          )
        )
        const published = yield* Effect.fork(publishers(bus, 3, 3))
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 2))
        yield* Fiber.interrupt(passer)
        const results = yield* Fiber.join(published)
        yield* bus.drain("1 minute")
        const ids = results.filter(Exit.isSuccess).map(({ value }) => value.id).sort((a, b) => a - b)
        yield* ensure(ids.join() === range(1, 9).join(), () => `ids ${ids.join()}`)
        const [all, slid, dropped] = yield* Effect.forEach(drinkers, Fiber.join)
        yield* ensure(all!.join() === range(1, 9).join(), () => `the lossless one got ${all!.join()}`)
        for (const [name, got] of [["sliding", slid!], ["dropping", dropped!]] as const) {
          const flat = flatten(got)
          yield* ensure(flat.join() === range(1, 9).join(), () => `the ${name} one got ${JSON.stringify(got)}`)
        }
        yield* Scope.close(scope, Exit.void)
      }),
      { seeds }
    ), timeout)

  it.effect("history, then live: each event once", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* makeBus()
        yield* publishers(bus, 1, 3)
        const after = yield* Random.nextIntBetween(0, 4)
        const resumed = yield* Deferred.make<void>()
        const resume = Effect.scoped(
          bus.log.subscribeAfter(after, { capacity: 2 }).pipe(
            Effect.zipLeft(Deferred.succeed(resumed, undefined)),
            Effect.flatMap((subscription) => drink(subscription, Effect.void))
          )
        )
        const publish = publishers(bus, 2, 3).pipe(
          Effect.zipRight(Deferred.await(resumed)),
          Effect.zipRight(bus.drain("1 minute"))
        )
        const [got] = yield* Effect.all([resume, publish], { concurrency: 2 })
        yield* ensure(got.join() === range(after + 1, 9).join(), () => `after ${after} it got ${JSON.stringify(got)}`)
      }),
      { seeds }
    ), timeout)

  it.effect("every accepted event is handled, or given up by name", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* makeBus()
        const handled: Array<number> = []
        yield* bus.handle({ name: "first", concurrency: 2, key: ({ topic }) => topic }, ({ id }) =>
          Effect.zipRight(
            Effect.yieldNow(),
            Effect.sync(() => handled.push(id))
          ).pipe(Faults.crash("handler")))
        const other: Array<number> = []
        yield* bus.handle({ name: "second" }, ({ id }) => Effect.sync(() => other.push(id)))
        const publishing = yield* Effect.fork(publishers(bus, 2, 3))
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 2))
        const report = yield* bus.drain("1 minute")
        const results = yield* Fiber.join(publishing)
        const accepted = results.filter(Exit.isSuccess).map(({ value }) => value.id).sort((a, b) => a - b)
        yield* ensure(other.join() === accepted.join(), () => `accepted ${accepted.join()}, handled ${other.join()}`)
        const letters = (yield* bus.deadLetters).filter(({ handler }) => handler === "first").map(({ envelope }) =>
          envelope.id
        )
        const both = [...handled, ...letters].sort((a, b) => a - b)
        yield* ensure(both.join() === accepted.join(), () =>
          `accepted ${accepted.join()}, handled or given up ${both.join()}`)
        void report
        const late = yield* Effect.exit(bus.publish(said(1, 1)))
        yield* ensure(Exit.isFailure(late), () =>
          "it accepted an event after it was drained")
      }).pipe(Effect.provide(Faults.layer({ only: true, points: { handler: 0.3 } }))),
      { seeds }
    ), timeout)

  it.effect("with a store that fails: what is accepted is stored once, in order, and seen so", () =>
    Explore.check(
      Effect.gen(function*() {
        const store = yield* EventLogStore.Store
        const bus = yield* makeBus(store)
        const subscription = yield* bus.subscribe()
        const seen = yield* Effect.fork(drink(subscription, Effect.void))
        const results = yield* publishers(bus, 3, 2)
        yield* (yield* Faults.Faults).calm
        // the bus goes on when the store does
        const last = yield* Effect.exit(Effect.retry(bus.publish(said(9, 9)), { times: 3 }))
        yield* ensure(Exit.isSuccess(last), () => "it accepts nothing although the store is well again")
        yield* bus.drain("1 minute")
        const accepted = [...results, last].filter(Exit.isSuccess).map(({ value }) => value.id).sort((a, b) => a - b)
        const rows = (yield* store.read({ after: 0, limit: 100 })).map(({ id }) => id)
        yield* ensure(rows.join() === range(1, rows.length).join(), () => `stored ${rows.join()}`)
        yield* ensure(accepted.every((id) => rows.includes(id)), () =>
          `accepted ${accepted.join()}, stored ${rows.join()}`)
        yield* ensure(new Set(accepted).size === accepted.length, () =>
          `an id was given twice: ${accepted.join()}`)
        const got = flatten(yield* Fiber.join(seen))
        yield* ensure(accepted.every((id) => got.includes(id)), () => `accepted ${accepted.join()}, seen ${got.join()}`)
        yield* ensure(got.join() === got.toSorted((a, b) => a - b).join(), () => `seen in the order ${got.join()}`)
      }).pipe(
        Effect.provide(FaultyPorts.eventStore.pipe(
          Layer.provideMerge(EventLogStore.layerStoreMemory),
          Layer.provideMerge(Faults.layer({ only: true, points: { "store.append.*": 0.2, "store.append.tears": 0 } }))
        ))
      ),
      { seeds }
    ), timeout)

  it.effect("is deterministic", () =>
    Effect.gen(function*() {
      const report = yield* Explore.checkDeterminism(Effect.gen(function*() {
        const bus = yield* makeBus()
        yield* bus.handle({ name: "h" }, () => Effect.yieldNow())
        yield* publishers(bus, 2, 2)
        yield* bus.drain("1 second")
      }))
      assert.deepStrictEqual(report.escapes, [])
    }))
})

import { assert, describe } from "@effect/vitest"
import type { Envelope, Gap } from "@holdfast/core/Envelope"
import { isEnvelope } from "@holdfast/core/Envelope"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLog from "@holdfast/core/EventLog"
import { it } from "@holdfast/testing/Vitest"
import { Effect, Fiber, Schema, Stream } from "effect"

const Counted = Schema.TaggedStruct("Counted", { by: Schema.Number, index: Schema.Number })
type Counted = typeof Counted.Type

const ids = (items: Iterable<Envelope<Counted> | Gap>) =>
  [...items].flatMap((item) => isEnvelope(item) ? [item.id] : range(item.firstId, item.lastId))
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index)

/** Publishers, subscribers of every kind and interrupts at once; afterwards everything must add up. */
const program = (durable: boolean) =>
  Effect.gen(function*() {
    const store = yield* EventLog.Store
    const bus = yield* EventBus.make<Counted, Counted>({
      name: "explored",
      schema: Counted,
      log: { maxCount: 64 },
      ...(durable ? { store } : {})
    })
    const all = (subscription: { readonly stream: Stream.Stream<Envelope<Counted> | Gap, unknown> }) =>
      Effect.fork(Stream.runCollect(subscription.stream))
    const lossless = yield* all(yield* bus.subscribe({ capacity: 2, policy: { _tag: "suspend" } }))
    const sliding = yield* all(yield* bus.subscribe({ capacity: 1, policy: { _tag: "sliding" } }))
    const dropping = yield* all(yield* bus.subscribe({ capacity: 1, policy: { _tag: "dropping" } }))
    const handled: Array<number> = []
    yield* bus.handle({ name: "handler", concurrency: 2, capacity: 2 }, ({ id }) =>
      Effect.zipRight(Effect.yieldNow(), Effect.sync(() => handled.push(id))))
    const publishers = yield* Effect.forEach([1, 2, 3], (by) =>
      Effect.fork(Effect.forEach(range(1, 4), (index) =>
        bus.publish({ _tag: "Counted", by, index }))))
    const late = yield* Effect.fork(Effect.gen(function*() {
      yield* Effect.yieldNow()
      const after = yield* bus.lastId
      const subscription = yield* bus.log.subscribeAfter(after, { capacity: 2 })
      return [after, ids(yield* Stream.runCollect(subscription.stream))] as const
    }))
    const victim = yield* Effect.fork(bus.publishAll([1, 2].map((index) => ({ _tag: "Counted", by: 4, index }))))
    yield* Effect.yieldNow()
    yield* Fiber.interrupt(victim)
    for (const publisher of publishers) {
      yield* Fiber.join(publisher)
    }
    const report = yield* bus.drain("1 minute")
    assert.deepStrictEqual(report.undelivered, [])
    assert.include([12, 14], report.lastId, "a batch is accepted as a whole or not at all")
    const expected = range(1, report.lastId)
    assert.deepStrictEqual(ids(yield* Fiber.join(lossless)), expected)
    assert.deepStrictEqual(ids(yield* Fiber.join(sliding)), expected)
    assert.deepStrictEqual(ids(yield* Fiber.join(dropping)), expected)
    assert.deepStrictEqual(
      handled.toSorted((a, b) =>
        a - b
      ),
      expected
    )
    const [after, lateIds] = yield* Fiber.join(late)
    assert.deepStrictEqual(lateIds, range(after + 1, report.lastId))
  }).pipe(Effect.provide(EventLog.layerStoreMemory), Effect.scoped)

const seeds = process.env.HOLDFAST_NIGHTLY === "1" ? 5000 : 75

describe("EventBus under a seeded scheduler", () => {
  it.explore("in memory", { seeds }, () => program(false), 120_000)
  it.explore("with a store", { seeds }, () => program(true), 120_000)
})

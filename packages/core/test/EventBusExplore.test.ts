import { assert, describe } from "@effect/vitest"
import type { Envelope, Gap } from "@holdfast/core/Envelope"
import { isEnvelope } from "@holdfast/core/Envelope"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventJournal from "@holdfast/core/EventJournal"
import * as EventLog from "@holdfast/core/EventLog"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { it } from "@holdfast/testing/Vitest"
import { Effect, Exit, Fiber, Schema, Scope, Stream } from "effect"
import { sized } from "../../../scripts/sized.js"

const Counted = Schema.TaggedStruct("Counted", { by: Schema.Number, index: Schema.Number })
type Counted = typeof Counted.Type

const ids = (items: Iterable<Envelope<Counted> | Gap>) =>
  [...items].flatMap((item) => isEnvelope(item) ? [item.id] : range(item.firstId, item.lastId))
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index)

/** Publishers, subscribers of every kind and interrupts at once; afterwards everything must add up. */
const program = (medium: "memory" | "store" | "journal") =>
  Effect.gen(function*() {
    const store = yield* EventLog.Store
    const journal = yield* EventJournal.makeMemory()
    const bus = yield* EventBus.make<Counted, Counted>({
      name: "explored",
      schema: Counted,
      log: { maxCount: 64 },
      ...(medium === "store" ? { store } : medium === "journal" ? { journal } : {})
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

/** Nothing is handled after the closing, nothing is left, and nobody waits for the handler that is gone. */
const selfClosing = (concurrency: number) =>
  Effect.gen(function*() {
    const bus = yield* EventBus.make({ name: "explored", schema: Counted })
    const scope = yield* Scope.make()
    const late: Array<number> = []
    let closed = false
    yield* Scope.extend(
      bus.handle({ name: "once", concurrency, capacity: 2 }, ({ id }) =>
        Effect.gen(function*() {
          if (closed) late.push(id)
          if (id !== 2) return
          yield* Scope.close(scope, Exit.void)
          closed = true
        })),
      scope
    )
    yield* Effect.forEach(range(1, 6), (index) => bus.publish({ _tag: "Counted", by: 1, index }))
    const report = yield* bus.drain("1 minute")
    assert.deepStrictEqual([late, report.undelivered], [[], []])
    assert.deepStrictEqual((yield* bus.stats).subscribers, [])
  }).pipe(Effect.scoped)

/** Somebody interrupts a fiber of a handler, as an operator may: no publisher waits for the handler that is gone. */
const interrupted = (concurrency: number, victim: string) =>
  Effect.gen(function*() {
    const bus = yield* EventBus.make({ name: "explored", schema: Counted })
    const key = ({ event }: Envelope<Counted>) => String(event.index % 2)
    yield* bus.handle({ name: "once", concurrency, capacity: 2, key }, () => Effect.yieldNow())
    const publisher = yield* Effect.fork(
      Effect.forEach(range(1, 6), (index) => bus.publish({ _tag: "Counted", by: 1, index }))
    )
    const registry = yield* FiberRegistry.FiberRegistry
    const fiber = (yield* registry.census).find(({ name }) => name === victim)?.fiber
    assert.isDefined(fiber, "the victim lives when it is looked for")
    yield* Fiber.interrupt(fiber!)
    yield* Fiber.join(publisher)
    yield* bus.publish({ _tag: "Counted", by: 2, index: 1 })
    assert.deepStrictEqual((yield* bus.stats).subscribers, [])
    yield* bus.drain("1 minute")
    for (const { fiber, kind } of yield* registry.census) if (kind === "handler") yield* Fiber.await(fiber!)
  }).pipe(Effect.scoped, Effect.provide(FiberRegistry.layer))

/**
 * Each node adds one to what it has seen, only if nothing came between: no addition is lost, whoever was overtaken. It
 * decides again at once, with a queue that its own subscription may have left full, and loops for ever if it is told
 * before its node has seen what came between.
 */
const deciding = Effect.gen(function*() {
  const journal = yield* EventJournal.makeMemory()
  let tries = 0
  const node = Effect.gen(function*() {
    const bus = yield* EventBus.make({ name: "explored", schema: Counted, journal })
    let sum = 0
    let seen = 0
    const subscription = yield* bus.log.subscribeAfter(0, { capacity: 2 })
    const fold = Effect.map(subscription.poll(), (items) => {
      for (const item of items) {
        if (!isEnvelope(item)) continue
        sum = item.event.index
        seen = item.id
      }
    })
    const add = (by: number): Effect.Effect<void, unknown> =>
      Effect.zipRight(
        fold,
        Effect.suspend(() =>
          Effect.catchTag(
            Effect.asVoid(bus.publish({ _tag: "Counted", by, index: sum + 1 }, { ifLast: seen })),
            "Overtaken",
            ({ ifLast, lastId }) =>
              Effect.flatMap(bus.lastId, (seenNow) => {
                assert.isAtLeast(seenNow, lastId, "it has seen what it is told of")
                assert.isAbove(lastId, ifLast)
                assert.isBelow(++tries, 50, "each try has something new to decide on")
                return add(by)
              })
          )
        )
      )
    return add
  })
  const nodes = [yield* node, yield* node, yield* node]
  yield* Effect.forEach(nodes, (add, by) => Effect.zipRight(add(by), add(by)), { concurrency: "unbounded" })
  const rows = yield* journal.read({ after: 0, limit: 100 })
  assert.deepStrictEqual(rows.map(({ payload }) => JSON.parse(payload).index), range(1, 6))
}).pipe(Effect.scoped)

const seeds = sized(75, 3_000, 25)

describe("EventBus under a seeded scheduler", () => {
  it.explore("in memory", { seeds }, () => program("memory"), 120_000)
  it.explore("with a store", { seeds }, () => program("store"), 120_000)
  it.explore("over a journal", { seeds }, () => program("journal"), 120_000)
  for (const concurrency of [1, 2]) {
    it.explore(
      `a handler that closes its own scope, concurrency ${concurrency}`,
      { seeds },
      () => selfClosing(concurrency),
      120_000
    )
  }
  for (const [concurrency, victim] of [[1, "once"], [2, "once"], [2, "once/1"]] as const) {
    it.explore(
      `an interrupt of fiber "${victim}" of a handler, concurrency ${concurrency}`,
      { seeds },
      () => interrupted(concurrency, victim),
      120_000
    )
  }
  it.explore("many nodes over one journal decide in turn", { seeds }, () => deciding, 120_000)
})

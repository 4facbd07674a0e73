import { assert, it } from "@effect/vitest"
import type { Envelope } from "@holdfast/core/Envelope"
import type * as EventBus from "@holdfast/core/EventBus"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Scope from "effect/Scope"
import type { Options, Test, TestEvent } from "./eventBusFixture.js"
import { collect, defaultConfig, moved, numbered, range, said, show, until } from "./eventBusFixture.js"

type Bus = EventBus.EventBus<TestEvent>

/** Who comes first, and who may know. */
export const orderCases = (test: Test, options: Options): void => {
  test("a subscriber that publishes while it is delivered to sees and causes ids in order", (bus) =>
    Effect.gen(function*() {
      const before = yield* bus.subscribe({ name: "before" })
      const echo = yield* bus.subscribe({ name: "echo", tags: ["Said"] })
      const after = yield* bus.subscribe({ name: "after" })
      const echoing = yield* Effect.fork(
        Effect.forever(
          Effect.flatMap(
            echo.takeBatch(1),
            ([item]) => bus.publish(moved("echo"), { causation: item as Envelope<TestEvent> })
          )
        )
      )
      const readers = yield* Effect.forEach([before, after], (subscription) => Effect.fork(collect(subscription, 40)))
      yield* Effect.yieldNow()
      for (const event of numbered(20)) yield* bus.publish(event)
      for (const reader of readers) {
        const items = yield* Fiber.join(reader)
        assert.deepStrictEqual(show(items), range(1, 40))
        for (const item of items as ReadonlyArray<Envelope<TestEvent>>) {
          if (item.causationId !== undefined) assert.isBelow(item.causationId, item.id)
        }
      }
      yield* Fiber.interrupt(echoing)
    }))

  if (!options.durable) {
    test("a woken subscriber never runs inside of the publish that wakes it", (bus) =>
      Effect.gen(function*() {
        const subscriptions = yield* Effect.replicateEffect(bus.subscribe(), 3)
        let ran = 0
        const takers = yield* Effect.forEach(
          subscriptions,
          (subscription) => Effect.fork(Effect.tap(subscription.takeBatch(), () => Effect.sync(() => ran++)))
        )
        yield* Effect.yieldNow()
        const ranInside = yield* Effect.sync(() => {
          // edge: nothing but the publish itself may run in this step
          Effect.runSync(bus.publish(said("anna")))
          return ran
        })
        assert.strictEqual(ranInside, 0)
        yield* Fiber.joinAll(takers)
        assert.strictEqual(ran, 3)
      }))
  }

  test("accepts with ifLast what was decided after the last event, and nothing else", (bus) =>
    Effect.gen(function*() {
      const subscription = yield* bus.subscribe()
      assert.strictEqual((yield* bus.publish(said("anna"), { ifLast: 0 })).id, 1)
      const late = yield* Effect.flip(bus.publish(said("anna"), { ifLast: 0 }))
      assert.deepStrictEqual([late._tag, "lastId" in late ? late.lastId : undefined], ["Overtaken", 1])
      assert.strictEqual((yield* Effect.flip(bus.publishAll(numbered(3), { ifLast: 7 })))._tag, "Overtaken")
      assert.deepStrictEqual((yield* bus.publishAll(numbered(2), { ifLast: 1 })).map(({ id }) => id), [2, 3])
      assert.strictEqual(yield* bus.head, 3)
      assert.deepStrictEqual(show(yield* collect(subscription, 3)), range(1, 3))
      assert.deepStrictEqual(yield* subscription.poll(), [])
    }))

  test("of many who decide after the same event, one is accepted", (bus) =>
    Effect.gen(function*() {
      const subscription = yield* bus.subscribe()
      for (let round = 0; round < 3; round++) {
        const exits = yield* Effect.forEach(
          range(1, 40),
          (n) => Effect.exit(bus.publish(said("anna", `${n}`), { ifLast: round })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        const refusals = exits.flatMap((exit) => Exit.isFailure(exit) ? [exit.cause] : [])
        for (const cause of refusals) {
          assert.isTrue(cause._tag === "Fail" && cause.error._tag === "Overtaken", String(cause))
        }
      }
      assert.deepStrictEqual(show(yield* collect(subscription, 3)), [1, 2, 3])
      assert.strictEqual(yield* bus.lastId, 3)
    }))

  test("refuses options that make no sense, and names them", (bus) =>
    Effect.gen(function*() {
      for (const capacity of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        const refused = yield* Effect.flip(Effect.scoped(bus.subscribe({ capacity })))
        assert.deepStrictEqual([refused._tag, refused.option], ["InvalidOption", "EventSubscription.capacity"])
        const handler = yield* Effect.flip(Effect.scoped(bus.handle({ name: "x", capacity }, () => Effect.void)))
        assert.strictEqual(handler.option, "EventSubscription.capacity")
      }
      for (const limit of [0, -5, Number.NaN]) {
        const refused = yield* Effect.flip(Effect.scoped(bus.subscribe({ policy: { _tag: "suspend", limit } })))
        assert.strictEqual(refused.option, "EventSubscription.policy.limit")
      }
      const policy = yield* Effect.flip(Effect.scoped(bus.subscribe({ policy: "slidding" as never })))
      assert.strictEqual(policy.option, "EventSubscription.policy")
      for (const concurrency of [0, -1, 0.5, Number.NaN]) {
        const refused = yield* Effect.flip(Effect.scoped(bus.handle({ name: "x", concurrency }, () => Effect.void)))
        assert.strictEqual(refused.option, "EventHandler.concurrency")
      }
      for (const timeout of [0, -1, Number.NaN]) {
        const refused = yield* Effect.flip(Effect.scoped(bus.handle({ name: "x", timeout }, () => Effect.void)))
        assert.strictEqual(refused.option, "EventHandler.timeout")
      }
      for (const limit of [0, -1, 1.5, Number.NaN]) {
        const refused = yield* Effect.flip(bus.log.after(0, { limit }))
        assert.strictEqual(refused._tag, "InvalidOption")
      }
      assert.deepStrictEqual((yield* bus.stats).subscribers, [], "what was refused left something behind")
    }))

  test("a policy may be written as its name", (bus) =>
    Effect.gen(function*() {
      const lossy = yield* bus.subscribe({ capacity: 1, policy: "sliding" })
      const never = yield* bus.subscribe({ capacity: 9, policy: "suspend" })
      yield* bus.publishAll(numbered(2))
      assert.deepStrictEqual(show(yield* collect(lossy, 2)), [[1, 1, 1], 2])
      assert.deepStrictEqual(show(yield* collect(never, 2)), [1, 2])
    }))
}

/** Handlers that end themselves. */
export const handlerCases = (test: Test): void => {
  for (const concurrency of [1, 3]) {
    test(`a handler that closes its own scope handles nothing more, concurrency ${concurrency}`, (bus) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const seen: Array<number> = []
        let closed = false
        yield* Scope.extend(
          bus.handle({ name: "once", concurrency, key: () => "one" }, ({ id }) =>
            Effect.gen(function*() {
              seen.push(id)
              yield* Scope.close(scope, Exit.void)
              closed = true
              // what it does after that is its own: a failure is neither tried again nor handled by the next attempt
            })),
          scope
        )
        yield* bus.publishAll(numbered(3))
        yield* until(Effect.sync(() => closed))
        yield* bus.publish(said("anna"))
        const report = yield* bus.drain("1 minute")
        assert.deepStrictEqual([seen, report.undelivered], [[1], []])
        assert.deepStrictEqual((yield* bus.stats).subscribers, [])
      }))
  }
}

/** Several buses over one medium. */
export const sharedCases = (options: Options): void => {
  const test = (name: string, body: (a: Bus, b: Bus) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
    it.scoped(`on two nodes: ${name}`, () =>
      Effect.gen(function*() {
        const open = yield* options.medium
        return yield* body(yield* open(defaultConfig), yield* open(defaultConfig))
      }).pipe(Logger.withMinimumLogLevel(LogLevel.None)))

  test("all see all events, in one order", (a, b) =>
    Effect.gen(function*() {
      const subscriptions = [yield* a.subscribe(), yield* b.subscribe()]
      yield* Effect.forEach(
        range(1, 60),
        (n) => (n % 2 === 0 ? a : b).publish(said(n % 2 === 0 ? "anna" : "bert", `${n}`)),
        { concurrency: 10, discard: true }
      )
      const [seenByA, seenByB] = yield* Effect.forEach(subscriptions, (subscription) => collect(subscription, 60))
      assert.deepStrictEqual(show(seenByA), range(1, 60))
      assert.deepStrictEqual(
        (seenByA as ReadonlyArray<Envelope<TestEvent>>).map(({ event, id, topic }) => [id, topic, event]),
        (seenByB as ReadonlyArray<Envelope<TestEvent>>).map(({ event, id, topic }) => [id, topic, event])
      )
    }))

  test("who published reads what it wrote", (a, b) =>
    Effect.gen(function*() {
      for (let n = 1; n <= 20; n++) {
        const bus = n % 3 === 0 ? a : b
        const { id } = yield* bus.publish(said("anna", `${n}`))
        assert.isAtLeast(yield* bus.lastId, id)
        const page = yield* bus.log.after(id - 1)
        assert.deepStrictEqual(show(page.items)[0], id)
      }
    }))

  test("of many who decide after the same event, one is accepted", (a, b) =>
    Effect.gen(function*() {
      for (let round = 0; round < 5; round++) {
        const exits = yield* Effect.forEach(
          range(1, 40),
          (n) => Effect.exit((n % 2 === 0 ? a : b).publish(said("anna", `${n}`), { ifLast: round })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        yield* until(Effect.map(Effect.all([a.lastId, b.lastId]), (ids) => ids.every((id) => id === round + 1)))
      }
    }))

  test(
    "an id that the other one has given is waited for, one that nobody gave is refused",
    (a, b) =>
      Effect.gen(function*() {
        const { id } = yield* a.publish(said("anna"))
        assert.strictEqual(yield* b.head, id)
        const subscription = yield* b.log.subscribeAfter(id)
        yield* b.publish(said("bert"))
        assert.deepStrictEqual(show(yield* collect(subscription, 1)), [id + 1])
        assert.strictEqual((yield* Effect.flip(Effect.scoped(b.log.subscribeAfter(id + 9))))._tag, "UnknownPosition")
      })
  )

  test("events of the other one keep their cause and their depth", (a, b) =>
    Effect.gen(function*() {
      yield* b.handle({ name: "answer", tags: ["Said"] }, () => Effect.orDie(b.publish(moved("bert"))))
      const subscription = yield* a.subscribe({ tags: ["Moved"] })
      const cause = yield* a.publish(said("anna"))
      const [item] = yield* subscription.takeBatch()
      const { causationId, depth } = item as Envelope<TestEvent>
      assert.deepStrictEqual([causationId, depth], [cause.id, 1])
    }))

  test("a full lossless subscriber holds nobody up elsewhere, and misses nothing", (a, b) =>
    Effect.gen(function*() {
      const stalled = yield* b.subscribe({ name: "stalled", capacity: 4, policy: "suspend" })
      const live = yield* b.subscribe({ name: "live", capacity: 1000 })
      yield* Effect.forEach(numbered(150), (event) => a.publish(event), { discard: true })
      assert.deepStrictEqual(show(yield* collect(live, 150)), range(1, 150))
      assert.deepStrictEqual(show(yield* collect(stalled, 150)), range(1, 150))
      // and it is live again
      const own = yield* Effect.fork(collect(stalled, 2))
      yield* a.publish(said("anna"))
      yield* b.publish(said("bert"))
      assert.deepStrictEqual(show(yield* Fiber.join(own)), [151, 152])
    }))

  test("one ends, the other goes on", (a, b) =>
    Effect.gen(function*() {
      yield* a.publish(said("anna"))
      assert.deepStrictEqual((yield* a.drain("1 second")).undelivered, [])
      // From the beginning: whether the other node has seen the first event yet is left open.
      const subscription = yield* b.log.subscribeAfter(0)
      yield* b.publish(said("bert"))
      assert.deepStrictEqual(show(yield* collect(subscription, 2)), [1, 2])
      assert.strictEqual((yield* Effect.flip(a.publish(said("anna"))))._tag, "BusClosed")
    }))
}

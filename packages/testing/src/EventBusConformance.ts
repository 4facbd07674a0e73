/**
 * What every implementation of `EventBus` has to do, as a vitest suite.
 *
 * ```ts no-run
 * import * as EventBus from "@holdfast/core/EventBus"
 * import * as EventBusConformance from "@holdfast/testing/EventBusConformance"
 * import { Effect } from "effect"
 *
 * EventBusConformance.suite({
 *   name: "memory",
 *   durable: false,
 *   medium: Effect.succeed((config) => EventBus.make({ name: "memory", ...config }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import type { Envelope } from "@holdfast/core/Envelope"
import { isEnvelope } from "@holdfast/core/Envelope"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { handlerCases, orderCases, sharedCases } from "./internal/eventBusCases.js"
import type { Item, Options, Test, TestEvent } from "./internal/eventBusFixture.js"
import {
  collect,
  defaultConfig,
  moved,
  numbered,
  range,
  said,
  show,
  until,
  waiting
} from "./internal/eventBusFixture.js"

export {
  /**
   * The events of the suite.
   *
   * @since 0.1.0
   * @category models
   */
  TestEvent
} from "./internal/eventBusFixture.js"
export type {
  /**
   * What the bus under test is built with.
   *
   * @since 0.1.0
   * @category options
   */
  Config,
  /**
   * @since 0.1.0
   * @category options
   */
  Options
} from "./internal/eventBusFixture.js"

/**
 * Registers the suite, under `describe`.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = (options: Options): void => {
  const test: Test = (name, body, config = {}) =>
    it.scoped(
      name,
      () =>
        Effect.flatMap(options.medium, (open) => Effect.flatMap(open({ ...defaultConfig, ...config }), body)).pipe(
          Logger.withMinimumLogLevel(LogLevel.None)
        )
    )

  describe(`EventBus conformance: ${options.name}`, () => {
    test("numbers events from 1, without a gap, whoever publishes", (bus) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* bus.lastId, 0)
        const subscription = yield* bus.subscribe()
        const published = yield* Effect.forEach(
          numbered(50),
          (event) => bus.publish(event),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(published.map(({ id }) => id).toSorted((a, b) => a - b), range(1, 50))
        const items = yield* collect(subscription, 50)
        assert.deepStrictEqual(show(items), range(1, 50))
        for (const envelope of published) {
          const item = items[envelope.id - 1] as Envelope<TestEvent>
          assert.deepStrictEqual(item.event, envelope.event)
          assert.deepStrictEqual([item.topic, item.depth, item.causationId], ["person.anna", 0, undefined])
        }
        assert.strictEqual(yield* bus.lastId, 50)
      }))

    test("gives every subscriber the same order, and its own copy of the queue", (bus) =>
      Effect.gen(function*() {
        const subscriptions = yield* Effect.replicateEffect(bus.subscribe(), 5)
        yield* Effect.forEach(numbered(30), (event) => bus.publish(event), { concurrency: 7, discard: true })
        for (const subscription of subscriptions) {
          assert.deepStrictEqual(show(yield* collect(subscription, 30)), range(1, 30))
        }
      }))

    test("selects by topic, by prefix and by tag", (bus) =>
      Effect.gen(function*() {
        const anna = yield* bus.subscribe({ topics: ["person.anna"] })
        const people = yield* bus.subscribe({ topics: ["person.*", "person.anna"] })
        const moves = yield* bus.subscribe({ tags: ["Moved"] })
        const bertMoves = yield* bus.subscribe({ topics: ["person.bert"], tags: ["Moved"] })
        const nobody = yield* bus.subscribe({ topics: ["person", "person.ann", "erson.*"] })
        yield* bus.publish(said("anna"))
        yield* bus.publish(moved("bert"))
        yield* bus.publish(moved("anna"))
        yield* bus.publish(said("bert"), { topic: "elsewhere" })
        assert.deepStrictEqual(show(yield* collect(anna, 2)), [1, 3])
        assert.deepStrictEqual(show(yield* collect(people, 3)), [1, 2, 3])
        assert.deepStrictEqual(show(yield* collect(moves, 2)), [2, 3])
        assert.deepStrictEqual(show(yield* collect(bertMoves, 1)), [2])
        assert.deepStrictEqual(yield* nobody.poll(), [])
        assert.deepStrictEqual(yield* people.poll(), [])
      }))

    test("accepts publishAll as one", (bus) =>
      Effect.gen(function*() {
        const subscription = yield* bus.subscribe()
        const batches = yield* Effect.forEach([10, 20, 5], (count) => bus.publishAll(numbered(count)), {
          concurrency: "unbounded"
        })
        for (const batch of batches) {
          assert.deepStrictEqual(batch.map(({ id }) => id), range(batch[0].id, batch[0].id + batch.length - 1))
        }
        assert.deepStrictEqual(yield* bus.publishAll([]), [])
        assert.deepStrictEqual(show(yield* collect(subscription, 35)), range(1, 35))
      }))

    test("refuses what does not fit the schema, and nothing is published", (bus) =>
      Effect.gen(function*() {
        const subscription = yield* bus.subscribe()
        const wrong = yield* Effect.flip(bus.publish(moved("anna", 1.5)))
        assert.strictEqual(wrong._tag, "InvalidEvent")
        assert.include(wrong.message, "steps")
        assert.strictEqual(
          (yield* Effect.flip(bus.publishAll([said("anna"), moved("anna", 0.5)])))._tag,
          "InvalidEvent"
        )
        for (const input of [null, 7, "Said", {}, { _tag: "Sung" }, { _tag: "Said", who: "anna" }]) {
          assert.strictEqual((yield* Effect.flip(bus.publishUnknown(input)))._tag, "InvalidEvent")
        }
        const { id } = yield* bus.publishUnknown({ _tag: "Moved", who: "anna", steps: 2 })
        assert.strictEqual(id, 1)
        assert.deepStrictEqual(show(yield* collect(subscription, 1)), [1])
      }))

    test("suspend: the publisher waits for room, others do not", (bus) =>
      Effect.gen(function*() {
        const slow = yield* bus.subscribe({ topics: ["person.anna"], capacity: 2, policy: { _tag: "suspend" } })
        yield* bus.publishAll(numbered(2))
        const blocked = yield* Effect.fork(bus.publish(said("anna", "3")))
        yield* waiting(bus, 1)
        const other = yield* bus.subscribe({ topics: ["person.bert"] })
        yield* bus.publish(said("bert"))
        assert.deepStrictEqual(show(yield* collect(other, 1)), [3])
        assert.deepStrictEqual(show(yield* slow.takeBatch(1)), [1])
        assert.strictEqual((yield* Fiber.join(blocked)).id, 4)
        assert.deepStrictEqual(show(yield* collect(slow, 2)), [2, 4])
      }))

    test("suspend: an interrupted publisher has not published", (bus) =>
      Effect.gen(function*() {
        const slow = yield* bus.subscribe({ capacity: 1, policy: { _tag: "suspend" } })
        yield* bus.publish(said("anna", "1"))
        const blocked = yield* Effect.fork(bus.publish(said("anna", "2")))
        const next = yield* Effect.fork(bus.publish(said("anna", "3")))
        yield* waiting(bus, 2)
        yield* Fiber.interrupt(blocked)
        assert.deepStrictEqual(show(yield* slow.takeBatch()), [1])
        assert.strictEqual((yield* Fiber.join(next)).id, 2)
        const [item] = yield* collect(slow, 1)
        assert.deepStrictEqual((item as Envelope<TestEvent>).event, said("anna", "3"))
      }))

    test("suspend: who takes nothing within the limit is cut off, and told so after what is queued", (bus) =>
      Effect.gen(function*() {
        const stalled = yield* bus.subscribe({ capacity: 1, policy: { _tag: "suspend", limit: "10 seconds" } })
        yield* bus.publish(said("anna", "1"))
        const blocked = yield* Effect.fork(bus.publish(said("anna", "2")))
        yield* waiting(bus, 1)
        yield* TestClock.adjust("9 seconds")
        assert.isNull(blocked.unsafePoll())
        yield* TestClock.adjust("1 seconds")
        assert.strictEqual((yield* Fiber.join(blocked)).id, 2)
        assert.deepStrictEqual(show(yield* stalled.takeBatch()), [1])
        const closed = yield* Effect.flip(stalled.takeBatch())
        assert.deepStrictEqual([closed.reason, closed.lastId], ["cut-off", 1])
      }))

    test("sliding: the oldest are lost, and a gap says which", (bus) =>
      Effect.gen(function*() {
        const lossy = yield* bus.subscribe({ tags: ["Said"], capacity: 3, policy: { _tag: "sliding" } })
        for (const [index, event] of numbered(8).entries()) {
          yield* bus.publish(event)
          if (index === 1) yield* bus.publish(moved("anna"))
        }
        yield* until(Effect.map(lossy.stats, ({ dropped, queued }) => dropped + queued === 8))
        assert.deepStrictEqual(show(yield* collect(lossy, 4)), [[1, 6, 5], 7, 8, 9])
        yield* bus.publish(said("anna"))
        assert.deepStrictEqual(show(yield* collect(lossy, 1)), [10])
      }))

    test("dropping: the newest are lost, and a gap says which", (bus) =>
      Effect.gen(function*() {
        const lossy = yield* bus.subscribe({ tags: ["Said"], capacity: 3, policy: { _tag: "dropping" } })
        yield* bus.publishAll(numbered(4))
        yield* bus.publish(moved("anna"))
        yield* bus.publishAll(numbered(2))
        yield* until(Effect.map(lossy.stats, ({ dropped, queued }) => dropped + queued === 6))
        assert.deepStrictEqual(show(yield* lossy.takeBatch(1)), [1])
        yield* bus.publish(said("anna"))
        yield* until(Effect.map(lossy.stats, ({ queued }) => queued === 3))
        assert.deepStrictEqual(show(yield* collect(lossy, 4)), [2, 3, [4, 7, 3], 8])
      }))

    test("disconnect: who is too slow gets what is queued, then the end", (bus) =>
      Effect.gen(function*() {
        const slow = yield* bus.subscribe({ capacity: 2, policy: { _tag: "disconnect" } })
        const other = yield* bus.subscribe()
        for (const event of numbered(4)) yield* bus.publish(event)
        assert.deepStrictEqual(show(yield* collect(other, 4)), [1, 2, 3, 4])
        assert.deepStrictEqual(show(yield* collect(slow, 2)), [1, 2])
        const closed = yield* Effect.flip(slow.takeBatch())
        assert.deepStrictEqual([closed.reason, closed.lastId], ["overflow", 2])
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Stream.runDrain(slow.stream))))
      }))

    test("ends with its scope, and lets go of who waits", (bus) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const subscription = yield* Scope.extend(bus.subscribe({ capacity: 1, policy: { _tag: "suspend" } }), scope)
        yield* bus.publish(said("anna"))
        const blocked = yield* Effect.fork(bus.publish(said("anna")))
        yield* waiting(bus, 1)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(blocked)).id, 2)
        assert.strictEqual((yield* Effect.flip(subscription.takeBatch())).reason, "unsubscribed")
        assert.strictEqual((yield* bus.stats).subscribers.length, 0)
        yield* Stream.runDrain(subscription.stream)
      }))

    test("an interrupted taker takes nothing with it", (bus) =>
      Effect.gen(function*() {
        const subscription = yield* bus.subscribe()
        const takers = yield* Effect.replicateEffect(Effect.fork(subscription.takeBatch(1)), 3)
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(takers[0])
        yield* bus.publish(said("anna"))
        yield* Fiber.interrupt(takers[1])
        const second = yield* Effect.fork(bus.publish(said("anna")))
        const taken = yield* Fiber.await(takers[2])
        yield* Fiber.join(second)
        const early = yield* Fiber.await(takers[1])
        const known = [early, taken].flatMap((exit) => Exit.isSuccess(exit) ? show(exit.value) : [])
        const rest = yield* collect(subscription, 2 - known.length)
        assert.deepStrictEqual([...known, ...show(rest)].sort(), [1, 2])
      }))

    test("streams", (bus) =>
      Effect.gen(function*() {
        const subscription = yield* bus.subscribe()
        const running = yield* Effect.fork(
          subscription.stream.pipe(Stream.take(5), Stream.runCollect, Effect.map((items) => show([...items])))
        )
        yield* bus.publishAll(numbered(6))
        assert.deepStrictEqual(yield* Fiber.join(running), range(1, 5))
      }))

    test("handles each event once, in order, and a failing handler touches no other", (bus) =>
      Effect.gen(function*() {
        const good: Array<number> = []
        const bad: Array<number> = []
        yield* bus.handle({ name: "good" }, ({ id }) => Effect.sync(() => good.push(id)))
        yield* bus.handle({ name: "bad" }, ({ id }) =>
          Effect.suspend(() => {
            bad.push(id)
            if (id === 2) return Effect.fail("two")
            if (id === 3) return Effect.die("three")
            if (id === 4) return Effect.interrupt
            if (id === 5) throw new Error("five")
            return Effect.void
          }))
        yield* bus.publishAll(numbered(6))
        yield* until(Effect.sync(() => good.length === 6 && bad.length === 6))
        assert.deepStrictEqual([good, bad], [range(1, 6), range(1, 6)])
        yield* until(Effect.map(bus.deadLetters, (letters) => letters.length === 4))
        const letters = yield* bus.deadLetters
        assert.deepStrictEqual(
          letters.map(({ attempts, envelope, handler }) => [handler, envelope.id, attempts]),
          [["bad", 2, 1], ["bad", 3, 1], ["bad", 4, 1], ["bad", 5, 1]]
        )
        assert.deepStrictEqual(Option.getOrNull(Cause.failureOption(letters[0].cause)), "two")
      }))

    test("tries again by schedule, and limits the time of each attempt", (bus) =>
      Effect.gen(function*() {
        const attempts: Array<string> = []
        yield* bus.handle(
          { name: "flaky", tags: ["Moved"], retry: Schedule.spaced("1 second").pipe(Schedule.upTo("10 seconds")) },
          ({ event }) =>
            Effect.suspend(() => {
              attempts.push("flaky")
              return attempts.length < event.steps ? Effect.fail("again") : Effect.void
            })
        )
        const slow: Array<string> = []
        yield* bus.handle(
          {
            name: "slow",
            tags: ["Said"],
            timeout: "5 seconds",
            retry: Schedule.recurs(1),
            deadLetter: ({ cause }) => Effect.sync(() => slow.push((Cause.squash(cause) as { _tag: string })._tag))
          },
          () =>
            Effect.zipRight(Effect.sync(() => slow.push("started")), Effect.never).pipe(
              Effect.onInterrupt(() => Effect.sync(() => slow.push("interrupted")))
            )
        )
        yield* bus.publish(moved("anna", 3))
        yield* bus.publish(said("anna"))
        yield* until(Effect.sync(() => attempts.length === 1 && slow.length === 1))
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(attempts.length, 3)
        yield* TestClock.adjust("20 seconds")
        yield* until(Effect.sync(() => slow.length === 5))
        assert.deepStrictEqual(slow, ["started", "interrupted", "started", "interrupted", "HandlerTimeout"])
        assert.strictEqual(attempts.length, 3)
      }))

    test("runs different keys at once, one key in order, and no more than it may", (bus) =>
      Effect.gen(function*() {
        const done: Record<string, Array<number>> = {}
        let running = 0
        let most = 0
        yield* bus.handle(
          { name: "keyed", concurrency: 3, key: ({ event }) => event.who },
          ({ event, id }) =>
            Effect.gen(function*() {
              most = Math.max(most, ++running)
              for (let index = 0; index < id % 4; index++) yield* Effect.yieldNow()
              if (!(event.who in done)) done[event.who] = []
              done[event.who].push(id)
              running--
            })
        )
        const people = ["anna", "bert", "cleo", "dora", "emil"]
        yield* bus.publishAll(range(0, 99).map((index) => said(people[index % people.length])))
        yield* until(Effect.sync(() => Object.values(done).flat().length === 100))
        for (const ids of Object.values(done)) assert.deepStrictEqual(ids, ids.toSorted((a, b) => a - b))
        assert.strictEqual(most, 3)
      }))

    test("handlers may publish and subscribe while their own queue is full", (bus) =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const handler = (name: string) =>
          bus.handle(
            { name, tags: ["Moved"], capacity: 1, policy: { _tag: "suspend" } },
            ({ event, id }) =>
              Effect.scoped(Effect.gen(function*() {
                seen.push(id)
                const own = yield* bus.subscribe()
                if (event.steps > 0) yield* bus.publish(moved(event.who, event.steps - 1))
                if (event.steps > 0) assert.isAtLeast((yield* own.takeBatch()).length, 1)
              }))
          )
        yield* handler("one")
        yield* handler("two")
        yield* bus.publish(moved("anna", 2))
        // 1 event, then 2 follow, then 4; each seen by both
        yield* until(Effect.sync(() => seen.length === 14))
        assert.strictEqual(yield* bus.lastId, 7)
        assert.deepStrictEqual(yield* bus.deadLetters, [])
      }))

    test("knows causes, and stops a cycle by its depth", (bus) =>
      Effect.gen(function*() {
        const all = yield* bus.subscribe()
        const errors: Array<string> = []
        yield* bus.handle({ name: "ping", tags: ["Said"] }, ({ event }) =>
          Effect.catchTag(bus.publish(moved(event.who)), "CycleDetected", (error) =>
            Effect.sync(() =>
              errors.push(error.message)
            )))
        yield* bus.handle({ name: "pong", tags: ["Moved"] }, ({ event }) =>
          Effect.catchTag(bus.publish(said(event.who)), "CycleDetected", (error) =>
            Effect.sync(() =>
              errors.push(error.message)
            )))
        yield* bus.publish(said("anna"))
        const chain = yield* collect(all, 9)
        yield* until(Effect.sync(() =>
          errors.length === 1
        ))
        assert.deepStrictEqual(
          chain.map((item) =>
            isEnvelope(item) ? [item.depth, item.causationId] : []
          ),
          range(0, 8).map((depth) => [depth, depth === 0 ? undefined : depth])
        )
        assert.strictEqual(yield* bus.lastId, 9)
        const byHand = yield* bus.publish(said("bert"), { causation: chain[2] as Envelope<TestEvent> })
        assert.deepStrictEqual([byHand.causationId, byHand.depth], [3, 3])
      }))

    test("drains: refuses the new, finishes the accepted, closes", (bus) =>
      Effect.gen(function*() {
        const done: Array<number> = []
        const gate = yield* Effect.makeLatch(false)
        yield* bus.handle({ name: "worker" }, ({ event, id }) =>
          Effect.gen(function*() {
            yield* gate.await
            if (event._tag === "Said") yield* bus.publish(moved(event.who))
            done.push(id)
          }))
        yield* bus.publishAll(numbered(2))
        const draining = yield* Effect.fork(bus.drain("10 seconds"))
        yield* until(Effect.map(bus.stats, ({ state }) => state === "draining"))
        const refused = yield* Effect.flip(bus.publish(said("late")))
        assert.strictEqual(refused._tag, "BusClosed")
        yield* gate.open
        const report = yield* Fiber.join(draining)
        assert.deepStrictEqual([done, report.undelivered, report.lastId], [[1, 2, 3, 4], [], 4])
        assert.strictEqual((yield* bus.stats).state, "closed")
      }))

    test("drains within its budget, and reports what was left", (bus) =>
      Effect.gen(function*() {
        const idle = yield* bus.subscribe({ name: "idle" })
        yield* bus.handle({ name: "stuck" }, () => Effect.never)
        yield* bus.publishAll(numbered(3))
        yield* until(Effect.map(bus.stats, ({ subscribers }) => subscribers.some(({ inFlight }) => inFlight > 0)))
        yield* idle.takeBatch(1)
        const draining = yield* Effect.fork(bus.drain("10 seconds"))
        yield* until(Effect.map(bus.stats, ({ state }) => state === "draining"))
        yield* TestClock.adjust("10 seconds")
        const report = yield* Fiber.join(draining)
        assert.deepStrictEqual(report.undelivered, [
          { subscriber: "idle", count: 2, firstId: 2, lastId: 3 },
          { subscriber: "stuck", count: 3, firstId: 1, lastId: 3 }
        ])
        assert.strictEqual((yield* Effect.flip(idle.takeBatch())).reason, "drained")
      }))

    test("reads history by pages, with the gap where it begins", (bus) =>
      Effect.gen(function*() {
        yield* bus.publishAll(numbered(10))
        yield* bus.publish(moved("bert"))
        const items: Array<Item> = []
        for (let cursor = 0, done = false; !done;) {
          const page = yield* bus.log.after(cursor, { limit: 3 })
          assert.isAtMost(page.items.length, 3)
          items.push(...page.items)
          cursor = page.cursor
          done = page.done
        }
        assert.deepStrictEqual(show(items), options.durable ? range(1, 11) : [[1, 7, 7], ...range(8, 11)])
        const bert = yield* bus.log.after(9, { topics: ["person.bert"] })
        assert.deepStrictEqual([show(bert.items), bert.cursor, bert.done], [[11], 11, true])
        for (const id of [12, -1, 1.5, Number.NaN]) {
          assert.strictEqual((yield* Effect.flip(bus.log.after(id)))._tag, "UnknownPosition")
          assert.strictEqual((yield* Effect.flip(Effect.scoped(bus.log.subscribeAfter(id))))._tag, "UnknownPosition")
        }
      }), { log: { maxCount: 4 } })

    test(
      "continues from any id without a gap or a repeat, whatever is published meanwhile",
      (bus) =>
        Effect.gen(function*() {
          yield* bus.publishAll(numbered(20))
          const publishing = yield* Effect.fork(
            Effect.forEach(numbered(180), (event) => Effect.zipRight(bus.publish(event), Effect.yieldNow()))
          )
          const readers = yield* Effect.forEach(range(0, 19), (after) =>
            Effect.fork(Effect.gen(function*() {
              for (let index = 0; index < after; index++) yield* Effect.yieldNow()
              const subscription = yield* bus.log.subscribeAfter(after)
              assert.deepStrictEqual(show(yield* collect(subscription, 200 - after)), range(after + 1, 200))
            })))
          yield* Fiber.join(publishing)
          for (const reader of readers) yield* Fiber.join(reader)
        }),
      { log: { maxCount: options.durable ? 16 : 512 } }
    )

    orderCases(test, options)
    handlerCases(test)
    if (options.shared === true) sharedCases(options)

    if (options.durable) {
      it.scoped("is there again after a restart", () =>
        Effect.gen(function*() {
          const open = yield* options.medium
          const config = { ...defaultConfig, log: { maxCount: 4 } }
          const before = yield* Effect.scoped(Effect.gen(function*() {
            const bus = yield* open(config)
            yield* bus.publishAll(numbered(9))
            return yield* bus.publish(moved("bert"), { causation: yield* bus.publish(said("bert")) })
          }))
          assert.strictEqual(before.id, 11)
          const bus = yield* open(config)
          assert.strictEqual(yield* bus.lastId, 11)
          assert.deepStrictEqual(yield* bus.log.bounds, { first: 1, last: 11 })
          const subscription = yield* bus.log.subscribeAfter(0)
          yield* bus.publish(said("cleo"))
          const items = yield* collect(subscription, 12)
          assert.deepStrictEqual(show(items), range(1, 12))
          assert.deepStrictEqual({ ...items[10] }, { ...before })
        }))
    }
  })
}

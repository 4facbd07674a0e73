import { assert, describe, it } from "@effect/vitest"
import type { Envelope, Gap } from "@holdfast/core/Envelope"
import { isEnvelope } from "@holdfast/core/Envelope"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventJournal from "@holdfast/core/EventJournal"
import * as EventLog from "@holdfast/core/EventLog"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { Deferred, Effect, Fiber, Logger, Schema, TestClock } from "effect"

const Said = Schema.TaggedStruct("Said", { text: Schema.String })
const said = (text: string) => ({ _tag: "Said" as const, text })
const ids = (items: ReadonlyArray<Envelope<unknown> | Gap>) =>
  items.map((item) => isEnvelope(item) ? item.id : [item.firstId, item.lastId, item.count])
const quiet = Logger.remove(Logger.defaultLogger)

const open = (journal: EventJournal.EventJournal["Type"]) => EventBus.make({ name: "shared", schema: Said, journal })

const fail = (operation: "append" | "follow", reason: EventJournal.JournalError["reason"]) =>
  new EventJournal.JournalError({ operation, reason, details: "as the test wants it" })

describe("a bus over a journal that fails", () => {
  for (const stored of [true, false]) {
    it.scoped(`settles by its attempt what nobody knew, ${stored ? "stored" : "not stored"}`, () =>
      Effect.gen(function*() {
        const journal = yield* EventJournal.makeMemory()
        let silent = true
        const bus = yield* open({
          ...journal,
          append: (rows, options) =>
            silent
              ? Effect.zipRight(stored ? journal.append(rows, options) : Effect.void, fail("append", "Unsure"))
              : journal.append(rows, options)
        })
        const subscription = yield* bus.subscribe()
        const events = [said("one"), said("two")]
        const unsure = yield* Effect.flip(bus.publishAll(events))
        assert.strictEqual(unsure._tag, "Unconfirmed")
        const { attempt, count } = unsure as EventBus.Unconfirmed
        assert.strictEqual(count, 2)
        silent = false
        const envelopes = yield* bus.publishAll(events, { attempt })
        assert.deepStrictEqual(envelopes.map(({ event, id }) => [id, event.text]), [[1, "one"], [2, "two"]])
        yield* bus.publish(said("three"))
        assert.deepStrictEqual(yield* journal.bounds, { first: 1, last: 3 })
        const seen: Array<unknown> = []
        while (seen.length < 3) seen.push(...ids(yield* subscription.takeBatch()))
        assert.deepStrictEqual(seen, [1, 2, 3])
        assert.deepStrictEqual((yield* bus.stats).journal, {
          state: "connected",
          pending: 0,
          unconfirmed: 1,
          holes: 0
        })
        assert.strictEqual((yield* bus.drain("1 second")).unconfirmed, 1)
      }))
  }

  it.scoped("gives each event its own place when an attempt is made again while its first events have come", () =>
    Effect.gen(function*() {
      const journal = yield* EventJournal.makeMemory()
      let isSilent = true
      const late: Array<EventJournal.Row | EventJournal.Lost> = []
      let deliver = (_: ReadonlyArray<EventJournal.Row | EventJournal.Lost>) => {}
      const bus = yield* open({
        ...journal,
        append: (rows, options) =>
          isSilent
            ? Effect.zipRight(journal.append(rows, options), fail("append", "Unsure"))
            : journal.append(rows, options),
        // One row comes, and the others when the test says so.
        follow: (after, onRows) => {
          deliver = onRows
          return journal.follow(after, (rows) => {
            const [first, ...others] = rows
            late.push(...others)
            onRows([first!])
          })
        }
      })
      const subscription = yield* bus.subscribe()
      const events = [said("one"), said("two"), said("three")]
      const unsure = yield* Effect.flip(bus.publishAll(events))
      assert.strictEqual(unsure._tag, "Unconfirmed")
      const taken = [...(yield* subscription.takeBatch())]
      isSilent = false
      const again = yield* Effect.fork(bus.publishAll(events, { attempt: (unsure as EventBus.Unconfirmed).attempt }))
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      for (const row of late.splice(0)) deliver([row])
      // The tail says so behind what it has brought: one more event, which comes as usual.
      yield* bus.publish(said("four"))
      const envelopes = yield* Fiber.join(again)
      const texts = (items: ReadonlyArray<Envelope<typeof Said.Type> | Gap>) =>
        items.map((item) => isEnvelope(item) ? [item.id, item.event.text] : item)
      while (taken.length < 4) taken.push(...(yield* subscription.takeBatch()))
      assert.deepStrictEqual(texts(taken), [[1, "one"], [2, "two"], [3, "three"], [4, "four"]])
      assert.deepStrictEqual(texts(envelopes), [[1, "one"], [2, "two"], [3, "three"]])
    }))

  it.scoped("says what the journal lost, and what it cannot read, to those whom it concerns", () =>
    Effect.gen(function*() {
      const journal = yield* EventJournal.makeMemory()
      const row = (topic: string, payload: string) => ({ at: 0, topic, tag: "Said", payload, meta: "{\"depth\":0}" })
      const bus = yield* open({
        ...journal,
        follow: (after, onRows) =>
          journal.follow(
            after,
            (rows) =>
              onRows(rows.flatMap((row): ReadonlyArray<EventJournal.Row | EventJournal.Lost> =>
                EventJournal.isLost(row) || row.id < 2 || row.id > 3
                  ? [row]
                  : row.id === 2
                  ? [{ _tag: "Lost", firstId: 2, lastId: 3 }]
                  : []
              ))
          )
      })
      const all = yield* bus.subscribe()
      const hall = yield* bus.subscribe({ topics: ["hall"] })
      yield* journal.append(
        [row("hall", JSON.stringify(said("x"))), row("hall", "lost"), row("hall", "lost"), row("attic", "nonsense")],
        { attempt: "elsewhere" }
      )
      yield* bus.publish(said("last"), { topic: "hall" })
      const seen: Array<unknown> = []
      while (seen.length < 4) seen.push(...ids(yield* all.takeBatch()))
      assert.deepStrictEqual(seen, [1, [2, 3, 2], [4, 4, 1], 5])
      assert.deepStrictEqual(ids(yield* hall.poll()), [1, [2, 3, 2], 5])
      assert.strictEqual((yield* bus.stats).journal?.holes, 2)
      const page = yield* bus.log.after(3, { topics: ["hall"] })
      assert.deepStrictEqual(ids(page.items), [5])
    }).pipe(Effect.provide(quiet)))

  it.scoped("ends when the journal has lost what it had acknowledged", () =>
    Effect.gen(function*() {
      const journal = yield* EventJournal.makeMemory()
      const diverged = yield* Deferred.make<never, EventJournal.JournalError>()
      const bus = yield* open({
        ...journal,
        follow: (after, onRows) => Effect.raceFirst(journal.follow(after, onRows), Deferred.await(diverged))
      })
      const subscription = yield* bus.subscribe()
      const taking = yield* Effect.fork(Effect.flip(subscription.takeBatch()))
      yield* Effect.yieldNow()
      yield* Deferred.fail(diverged, fail("follow", "Diverged"))
      assert.strictEqual((yield* Fiber.join(taking)).reason, "diverged")
      assert.strictEqual((yield* Effect.flip(bus.publish(said("x"))))._tag, "BusClosed")
    }).pipe(Effect.provide(quiet)))
})

describe("a publisher that tries again at once", () => {
  const add = (
    bus: EventBus.EventBus<typeof Said.Type>,
    tries: { count: number }
  ): Effect.Effect<void, EventBus.PublishError> =>
    Effect.flatMap(bus.lastId, (ifLast) => {
      assert.isBelow(++tries.count, 100, "it keeps the tail from bringing what came between")
      return Effect.asVoid(bus.publish(said("x"), { ifLast }))
    }).pipe(Effect.catchTag("Overtaken", () => add(bus, tries)))

  for (const knows of [true, false]) {
    it.scoped(`is told when its node has seen what came between, ${knows ? "told of its id" : "asking for it"}`, () =>
      Effect.gen(function*() {
        const memory = yield* EventJournal.makeMemory()
        const journal: typeof memory = knows ? memory : {
          ...memory,
          append: (rows, options) =>
            Effect.mapError(
              memory.append(rows, options),
              ({ details, operation, reason }) => new EventJournal.JournalError({ operation, reason, details })
            )
        }
        const tries = { count: 0 }
        const nodes = yield* Effect.all([open(journal), open(journal)])
        yield* Effect.forEach([0, 1, 0, 1], (node) => add(nodes[node], tries), { concurrency: "unbounded" })
        assert.deepStrictEqual(yield* journal.bounds, { first: 1, last: 4 })
      }))
  }

  it.scoped("is told, too, when the tail ends instead", () =>
    Effect.gen(function*() {
      const journal = yield* EventJournal.makeMemory()
      const bus = yield* open({ ...journal, follow: () => Effect.never })
      yield* journal.append([{ at: 0, topic: "Said", tag: "Said", payload: "{}", meta: "{}" }], {
        attempt: "elsewhere"
      })
      const told = yield* Effect.fork(Effect.flip(bus.publish(said("x"), { ifLast: 0 })))
      yield* Effect.yieldNow()
      yield* bus.drain("1 second").pipe(Effect.fork)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(told))._tag, "Overtaken")
    }).pipe(Effect.provide(quiet)))

  it.scoped("waits for no room in a queue that holds what it has not decided on", () =>
    Effect.gen(function*() {
      const journal = yield* EventJournal.makeMemory()
      for (const bus of [yield* open(journal), yield* EventBus.make({ name: "alone", schema: Said })]) {
        yield* bus.subscribe({ capacity: 1 })
        yield* bus.publish(said("x"))
        const error = yield* Effect.flip(bus.publish(said("y"), { ifLast: 0 }))
        assert.deepInclude(error, { _tag: "Overtaken", ifLast: 0, lastId: 1 })
      }
    }))

  it.scoped("lets others run, also beside a full queue that does not concern it", () =>
    Effect.gen(function*() {
      const bus = yield* EventBus.make({ name: "alone", schema: Said })
      yield* bus.subscribe({ capacity: 1, topics: ["full"] })
      yield* bus.publish(said("x"), { topic: "full" })
      let others = false
      yield* Effect.fork(Effect.sync(() => {
        others = true
      }))
      let published = 0
      yield* Effect.whileLoop({
        while: () => !others && published < 10_000,
        body: () => bus.publish(said("y"), { topic: "hall" }),
        step: () => {
          published++
        }
      })
      assert.isTrue(others, "10,000 publishes in one go")
    }))
})

describe("a publisher that cannot be interrupted, when the fiber that it waits for ends first", () => {
  /** What `stopping-workers` does with one of the services of a bus. */
  const stop = (name: string) =>
    Effect.gen(function*() {
      const registry = yield* FiberRegistry.FiberRegistry
      const { fiber } = (yield* registry.census).find((entry) => entry.name === name)!
      yield* Fiber.interrupt(fiber!)
    })

  for (const begun of [true, false]) {
    it.scoped(`is refused, with a store, ${begun ? "in the middle of its append" : "before the first step"}`, () =>
      Effect.gen(function*() {
        const store = yield* EventLog.Store
        const bus = yield* EventBus.make({
          name: "shared",
          schema: Said,
          store: { ...store, append: () => Effect.never }
        })
        const publish = Effect.flip(Effect.uninterruptible(bus.publish(said("x"))))
        const first = yield* Effect.fork(publish)
        if (begun) yield* Effect.repeatN(Effect.yieldNow(), 8)
        yield* stop("shared/writer")
        assert.strictEqual((yield* Fiber.join(first))._tag, "BusClosed")
        assert.strictEqual((yield* publish)._tag, "BusClosed", "and so is who comes later")
      }).pipe(Effect.provide([EventLog.layerStoreMemory, FiberRegistry.layer])))

    it.scoped(`has its event, with a journal, ${begun ? "that has it" : "whose tail never began"}`, () =>
      Effect.gen(function*() {
        const journal = yield* EventJournal.makeMemory()
        const bus = yield* open({ ...journal, follow: () => Effect.never })
        const publish = Effect.uninterruptible(bus.publish(said("x")))
        const first = yield* Effect.fork(publish)
        if (begun) yield* Effect.repeatN(Effect.yieldNow(), 8)
        yield* stop("shared/tail")
        assert.strictEqual((yield* Fiber.join(first)).id, 1)
        assert.strictEqual((yield* publish).id, 2)
      }).pipe(Effect.provide(FiberRegistry.layer)))
  }

  it.scoped("is told when the tail has a defect", () =>
    Effect.gen(function*() {
      const journal = yield* EventJournal.makeMemory()
      const defect = yield* Deferred.make<never>()
      const bus = yield* open({ ...journal, follow: () => Deferred.await(defect) })
      const first = yield* Effect.fork(Effect.uninterruptible(bus.publish(said("x"))))
      yield* Effect.repeatN(Effect.yieldNow(), 8)
      yield* Deferred.die(defect, new Error("as the test wants it"))
      assert.strictEqual((yield* Fiber.join(first)).id, 1)
      assert.strictEqual((yield* Effect.flip(bus.publish(said("y"))))._tag, "BusClosed")
    }).pipe(Effect.provide([quiet, FiberRegistry.layer])))
})

describe("what nobody confirmed", () => {
  for (const reason of ["Unreachable", "Full", "Io"] as const) {
    it.scoped(`is still unknown to who asks again and hears ${reason}`, () =>
      Effect.gen(function*() {
        const journal = yield* EventJournal.makeMemory()
        const answers = [fail("append", "Unsure"), fail("append", reason)]
        const bus = yield* open({
          ...journal,
          append: (rows, options) => answers.shift() ?? journal.append(rows, options)
        })
        const first = yield* Effect.flip(bus.publish(said("one")))
        const { attempt } = first as EventBus.Unconfirmed
        const again = yield* Effect.flip(bus.publish(said("one"), { attempt }))
        assert.strictEqual(again._tag, "Unconfirmed")
        assert.strictEqual((again as EventBus.Unconfirmed).attempt, attempt)
        assert.strictEqual((yield* bus.publish(said("one"), { attempt })).id, 1)
        // who never asked before was never sent
        answers.push(fail("append", reason))
        assert.strictEqual((yield* Effect.flip(bus.publish(said("two"))))._tag, "StoreError")
        assert.deepStrictEqual((yield* bus.drain("1 second")).unsettled, [])
      }))
  }

  it.scoped("is in the report of the shutdown, also when it has no answer yet, and not when it was settled", () =>
    Effect.gen(function*() {
      const journal = yield* EventJournal.makeMemory()
      let answer: Effect.Effect<number, EventJournal.JournalError> | undefined
      const bus = yield* open({
        ...journal,
        append: (rows, options) => answer ?? journal.append(rows, options)
      })
      answer = fail("append", "Unsure")
      const settled = yield* Effect.flip(bus.publish(said("settled")))
      yield* Effect.flip(bus.publish(said("long ago")))
      yield* TestClock.adjust("61 seconds")
      yield* Effect.flip(bus.publishAll([said("a"), said("b")], { topic: "room.1" }))
      const brought = yield* Effect.flip(bus.publish(said("brought")))
      yield* journal.append([{
        at: 1,
        topic: "Said",
        tag: "Said",
        meta: "{}",
        payload: JSON.stringify(said("brought"))
      }], {
        attempt: (brought as EventBus.Unconfirmed).attempt
      })
      answer = undefined
      yield* bus.publish(said("settled"), { attempt: (settled as EventBus.Unconfirmed).attempt })
      const late = yield* Deferred.make<number, EventJournal.JournalError>()
      answer = Deferred.await(late)
      const waiting = yield* Effect.fork(Effect.uninterruptible(bus.publish(said("c"), { topic: "room.2" })))
      yield* Effect.yieldNow()
      const lifecycle = yield* Lifecycle.Lifecycle
      const report = yield* lifecycle.shutdown({ _tag: "Signal", signal: "SIGTERM" })
      const found = report.items("failed")
      assert.deepStrictEqual(found.map(({ kind, label }) => [kind, label]), [["events", "shared"]])
      assert.deepStrictEqual(found[0].unconfirmed?.map(({ events, topics }) => [events, topics]), [
        [2, ["room.1"]],
        [1, ["room.2"]]
      ])
      yield* Deferred.fail(late, fail("append", "Unsure"))
      yield* Fiber.await(waiting)
      const parsed = ShutdownReport.fromJson(ShutdownReport.toJson(report))
      assert.deepStrictEqual(parsed, report)
      assert.include(
        ShutdownReport.render(report),
        "events shared (3 unconfirmed, of room.1, room.2: they may be in the log or not; look there before they are " +
          "published again)"
      )
    }).pipe(
      Effect.provide(Lifecycle.layer({ log: false, gracefulShutdownTimeout: "200 millis" })),
      Effect.provide(quiet)
    ))
})

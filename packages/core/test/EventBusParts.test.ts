import { assert, describe, it } from "@effect/vitest"
import type { Envelope, Gap } from "@holdfast/core/Envelope"
import { isEnvelope, schema as envelopeSchema, spanOf } from "@holdfast/core/Envelope"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLog from "@holdfast/core/EventLog"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import {
  Cause,
  Clock,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Metric,
  Option,
  Schema,
  Scope,
  Stream,
  TestClock
} from "effect"

const Said = Schema.TaggedStruct("Said", { text: Schema.String })
type Said = typeof Said.Type
const said = (text: string): Said => ({ _tag: "Said", text })

const make = (name: string, options: Partial<EventBus.Options<Said, Said>> = {}) =>
  EventBus.make<Said, Said>({ name, schema: Said, ...options })

const ids = (items: ReadonlyArray<Envelope<Said> | Gap>) =>
  items.map((item) => isEnvelope(item) ? item.id : [item.firstId, item.lastId, item.count])
const quiet = Logger.withMinimumLogLevel(LogLevel.None)
const until = (what: Effect.Effect<boolean>) =>
  Effect.iterate(false, { while: (is) => !is, body: () => Effect.zipRight(Effect.yieldNow(), what) })

describe("the history", () => {
  it.scoped("is bounded by bytes", () =>
    Effect.gen(function*() {
      const bus = yield* make("bytes", { log: { maxBytes: 100, sizeOf: ({ event }) => event.text.length } })
      for (const length of [40, 40, 40]) yield* bus.publish(said("x".repeat(length)))
      assert.deepStrictEqual(yield* bus.log.bounds, { first: 2, last: 3 })
      yield* bus.publish(said("x".repeat(101)))
      assert.deepStrictEqual(yield* bus.log.bounds, { first: 5, last: 4 })
      assert.deepStrictEqual(ids((yield* bus.log.after(1)).items), [[2, 4, 3]])
      yield* bus.publish(said("x"))
      assert.deepStrictEqual(yield* bus.log.bounds, { first: 5, last: 5 })
    }))

  it.scoped("counts the bytes of the event in UTF-8 unless told otherwise", () =>
    Effect.gen(function*() {
      // topic and JSON: 4 + 30 bytes and the text
      const size = 4 + JSON.stringify(said("")).length + 4 + 2
      const fits = yield* make("utf8", { log: { maxBytes: size } })
      yield* fits.publish(said("😀é"))
      assert.deepStrictEqual(yield* fits.log.bounds, { first: 1, last: 1 })
      const tooMuch = yield* make("utf8 less", { log: { maxBytes: size - 1 } })
      yield* tooMuch.publish(said("😀é"))
      assert.deepStrictEqual(yield* tooMuch.log.bounds, { first: 2, last: 1 })
    }))

  it.scoped("is bounded by age, also when nothing is published", () =>
    Effect.gen(function*() {
      const bus = yield* make("age", { log: { maxAge: "10 seconds" } })
      yield* bus.publish(said("a"))
      yield* TestClock.adjust("6 seconds")
      yield* bus.publish(said("b"))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* bus.log.bounds, { first: 2, last: 2 })
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(ids((yield* bus.log.after(0)).items), [[1, 2, 2]])
      const subscription = yield* bus.log.subscribeAfter(2)
      yield* bus.publish(said("c"))
      assert.deepStrictEqual(ids(yield* subscription.takeBatch()), [3])
    }))

  it.scoped("can be switched off", () =>
    Effect.gen(function*() {
      const bus = yield* make("none", { log: { maxCount: 0 } })
      yield* bus.publishAll([said("a"), said("b")])
      assert.deepStrictEqual(yield* bus.log.bounds, { first: 3, last: 2 })
      const subscription = yield* bus.log.subscribeAfter(2)
      yield* bus.publish(said("c"))
      assert.deepStrictEqual(ids(yield* subscription.takeBatch()), [3])
    }))
})

const memoryStore = Effect.map(
  Layer.build(Layer.fresh(EventLog.layerStoreMemory)),
  (context) => context.unsafeMap.get(EventLog.Store.key) as EventLog.Store["Type"]
)

describe("a durable bus", () => {
  it.scoped("publishes nothing by halves when the store fails", () =>
    Effect.gen(function*() {
      const memory = yield* memoryStore
      let reason: "Full" | "TooBig" | undefined = undefined as "Full" | "TooBig" | undefined
      const bus = yield* EventBus.make<Said, Said>({
        name: "failing",
        schema: Said,
        store: {
          ...memory,
          append: (rows) =>
            reason !== undefined && rows.some(({ payload }) => payload.includes("bad"))
              ? new EventLog.StoreError({ operation: "append", reason, details: "told to" })
              : memory.append(rows)
        }
      })
      const subscription = yield* bus.subscribe()
      yield* bus.publish(said("1"))
      reason = "Full"
      const error = yield* Effect.flip(bus.publishAll([said("good"), said("bad")]))
      assert.strictEqual(error._tag, "StoreError")
      assert.deepStrictEqual((yield* bus.stats).store, {
        state: "failing",
        failures: 1,
        lastFailure: "The event store cannot append: Full, told to"
      })
      reason = "TooBig"
      const exits = yield* Effect.forEach(["2", "bad", "3"], (text) => Effect.exit(bus.publish(said(text))), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true], "one that is too big fails alone")
      assert.deepStrictEqual(ids(yield* subscription.takeBatch()), [1, 2, 3])
      assert.deepStrictEqual(yield* memory.bounds, { first: 1, last: 3 })
      assert.strictEqual((yield* bus.stats).store?.state, "writing")
    }).pipe(quiet))

  it.scoped("finds out what a failed append did after all", () =>
    Effect.gen(function*() {
      const memory = yield* memoryStore
      let mode: "works" | "writes and fails" | "is gone" = "works"
      const gone = (operation: "append" | "bounds") =>
        new EventLog.StoreError({ operation, reason: "Io", details: "told to" })
      const bus = yield* EventBus.make<Said, Said>({
        name: "doubtful",
        schema: Said,
        store: {
          ...memory,
          bounds: Effect.suspend(() => mode === "is gone" ? gone("bounds") : memory.bounds),
          append: (rows) =>
            Effect.suspend(() =>
              mode === "works" ? memory.append(rows) : Effect.zipRight(memory.append(rows), gone("append"))
            )
        }
      })
      const subscription = yield* bus.subscribe()
      mode = "writes and fails"
      assert.strictEqual((yield* bus.publish(said("1"))).id, 1, "it is in the store, so it is published")
      mode = "is gone"
      assert.strictEqual((yield* Effect.flip(bus.publish(said("2"))))._tag, "StoreError")
      assert.strictEqual(yield* bus.lastId, 1)
      mode = "works"
      assert.strictEqual((yield* bus.publish(said("3"))).id, 3, "the one that nobody could tell of comes first")
      const items = yield* subscription.takeBatch()
      assert.deepStrictEqual(items.map((item) => isEnvelope(item) ? item.event.text : ""), ["1", "2", "3"])
    }).pipe(quiet))

  it.scoped("survives a store that dies, and one that hangs", () =>
    Effect.gen(function*() {
      const memory = yield* memoryStore
      let mode: "dies" | "hangs" | "works" = "dies"
      const scope = yield* Scope.make()
      const bus = yield* Scope.extend(
        EventBus.make<Said, Said>({
          name: "broken",
          schema: Said,
          store: {
            ...memory,
            append: (rows) =>
              mode === "dies" ? Effect.die("told to") : mode === "hangs" ? Effect.never : memory.append(rows)
          }
        }),
        scope
      )
      assert.strictEqual((yield* Effect.flip(bus.publish(said("1"))))._tag, "StoreError")
      mode = "works"
      yield* bus.publish(said("1"))
      mode = "hangs"
      const hanging = yield* Effect.fork(bus.publish(said("2")))
      const behind = yield* Effect.fork(bus.publish(said("3")))
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      const impatient = yield* Effect.fork(bus.publish(said("4")))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(impatient)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(Fiber.join(hanging)))._tag, "BusClosed")
      assert.strictEqual((yield* Effect.flip(Fiber.join(behind)))._tag, "BusClosed")
      assert.deepStrictEqual(yield* memory.bounds, { first: 1, last: 1 })
    }).pipe(quiet))

  it.scoped("gives a gap for what it cannot read back", () =>
    Effect.gen(function*() {
      const store = yield* memoryStore
      const row = (id: number, payload: string, meta = "{\"depth\":0}") => ({
        id,
        at: 0,
        topic: "t",
        tag: "Said",
        payload,
        meta
      })
      yield* store.append([
        row(1, "{\"_tag\":\"Said\",\"text\":\"1\"}"),
        row(2, "{\"_tag\":\"Sung\"}"),
        row(3, "{\"_tag\":\"Said\",\"text\":\"3\"}", "not json"),
        row(4, "{\"_tag\":\"Said\",\"text\":\"4\"}")
      ])
      for (const maxCount of [1, 100]) {
        const bus = yield* EventBus.make<Said, Said>({ name: "foreign", schema: Said, store, log: { maxCount } })
        const subscription = yield* bus.log.subscribeAfter(0)
        const items = yield* Stream.runCollect(Stream.take(subscription.stream, 4))
        assert.deepStrictEqual(ids([...items]), [1, [2, 2, 1], [3, 3, 1], 4])
      }
    }).pipe(quiet))

  it.scoped("trims the store", () =>
    Effect.gen(function*() {
      const store = yield* memoryStore
      const bus = yield* EventBus.make<Said, Said>({
        name: "trimmed",
        schema: Said,
        store,
        log: { maxStored: 20, maxCount: 4 }
      })
      for (let index = 0; index < 100; index++) yield* bus.publish(said(`${index}`))
      yield* Effect.yieldNow()
      const { first, last } = yield* bus.log.bounds
      assert.strictEqual(last, 100)
      assert.isAtLeast(first, 76)
      assert.deepStrictEqual(yield* store.bounds, { first, last })
      assert.deepStrictEqual(ids((yield* bus.log.after(0)).items), [[1, first - 1, first - 1]])
    }))

  it.scoped("trims the store by bytes, what an earlier life has left included", () =>
    Effect.gen(function*() {
      const store = yield* memoryStore
      const options = { name: "heavy", schema: Said, store } as const
      yield* Effect.scoped(Effect.gen(function*() {
        const bus = yield* EventBus.make<Said, Said>(options)
        for (let index = 0; index < 50; index++) yield* bus.publish(said("x".repeat(100)))
      }))
      const bytes = Effect.map(store.read({ after: 0, limit: 1000 }), (rows) =>
        rows.reduce((sum, row) => sum + EventLogStore.sizeOf(row), 0))
      assert.isAbove(yield* bytes, 5000)
      const bus = yield* EventBus.make<Said, Said>({ ...options, log: { maxStoredBytes: 2000, maxCount: 4 } })
      yield* bus.publish(said("first"))
      yield* Effect.yieldNow()
      assert.isAtMost(yield* bytes, 2000)
      for (let index = 0; index < 100; index++) {
        yield* bus.publish(said("x".repeat(index)))
        yield* Effect.yieldNow()
        assert.isAtMost(yield* bytes, 2500 + 250)
      }
      assert.isAbove(yield* bytes, 1000)
      yield* bus.publish(said("x".repeat(3000)))
      yield* Effect.yieldNow()
      assert.deepStrictEqual(yield* store.bounds, { first: 151 + 1, last: 152 }, "the newest stays")
      assert.strictEqual((yield* bus.log.bounds).last, 152)
    }))

  it.scoped("trims the store by age", () =>
    Effect.gen(function*() {
      const store = yield* memoryStore
      const options = { name: "old", schema: Said, store } as const
      yield* Effect.scoped(Effect.flatMap(EventBus.make<Said, Said>(options), (bus) => bus.publish(said("1"))))
      yield* TestClock.adjust("2 days")
      const bus = yield* EventBus.make<Said, Said>({ ...options, log: { maxStoredAge: "1 day", maxCount: 1 } })
      yield* bus.publish(said("2"))
      yield* Effect.yieldNow()
      assert.deepStrictEqual(yield* store.bounds, { first: 2, last: 2 }, "at the first write")
      for (let hour = 0; hour < 72; hour++) {
        yield* TestClock.adjust("1 hour")
        yield* bus.publish(said(`${hour}`))
        yield* Effect.yieldNow()
        const { first, last } = yield* store.bounds
        assert.isAtMost(last - first, 24 + 6 + 1)
        if (hour > 24) assert.isAtLeast(last - first, 23)
      }
      const { first } = yield* store.bounds
      const page = yield* bus.log.after(0)
      assert.deepStrictEqual(ids(page.items)[0], [1, first - 1, first - 1])
    }))
})

describe("handlers", () => {
  it.scoped("are fibers in the census, named and with their owner", () =>
    Effect.gen(function*() {
      const bus = yield* make("census")
      yield* bus.handle({ name: "greeter", concurrency: 2 }, () => Effect.never).pipe(FiberRegistry.withOwner("app"))
      const registry = yield* FiberRegistry.FiberRegistry
      const fibers = (yield* registry.census).filter(({ kind }) => kind === "handler").map(({ owner }) =>
        owner.join("/")
      )
      assert.includeMembers([...fibers], ["app/greeter", "app/greeter/1", "app/greeter/2"])
    }))

  it.scoped("crash loudly when they are cut off", () =>
    Effect.gen(function*() {
      const registry = yield* FiberRegistry.FiberRegistry
      const crash = yield* Effect.fork(Stream.runHead(registry.crashes))
      yield* Effect.yieldNow()
      const bus = yield* make("cut")
      yield* bus.handle(
        { name: "stuck", capacity: 1, policy: { _tag: "suspend", limit: "5 seconds" } },
        ({ id }) => id === 1 ? Effect.sleep("1 hour") : Effect.void
      )
      yield* bus.publish(said("1"))
      yield* Effect.repeatN(Effect.yieldNow(), 5)
      yield* bus.publish(said("2"))
      const blocked = yield* Effect.fork(bus.publish(said("3")))
      yield* until(Effect.map(bus.stats, ({ waiting }) => waiting === 1))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(blocked)).id, 3)
      yield* TestClock.adjust("1 hour")
      const report = Option.getOrThrow(yield* Fiber.join(crash))
      assert.strictEqual(report.name, "stuck")
      assert.include(Cause.pretty(report.cause), "cut-off")
    }).pipe(quiet))

  it.scoped("are refused, not blocked, when they publish far beyond a full queue", () =>
    Effect.gen(function*() {
      const bus = yield* make("flood")
      yield* bus.subscribe({ name: "stalled", capacity: 2, policy: { _tag: "suspend" }, topics: ["out"] })
      yield* bus.handle({ name: "flooder", topics: ["in"] }, () =>
        Effect.forever(bus.publish(said("more"), { topic: "out" })))
      yield* bus.publish(said("go"), { topic: "in" })
      yield* until(Effect.map(bus.deadLetters, (letters) =>
        letters.length === 1))
      const [letter] = yield* bus.deadLetters
      assert.include(Cause.pretty(letter.cause), "wait for \"stalled\"")
      assert.strictEqual((yield* bus.stats).queued, 18)
    }).pipe(quiet))

  it.scoped("tell of gaps, dead letters and broken functions", () =>
    Effect.gen(function*() {
      const bus = yield* make("telling")
      const letters = yield* Effect.fork(Stream.runCollect(bus.deadLetterStream))
      yield* Effect.repeatN(Effect.yieldNow(), 5)
      const gaps: Array<unknown> = []
      const done: Array<number> = []
      yield* bus.handle(
        {
          name: "lossy",
          capacity: 1,
          policy: { _tag: "dropping" },
          onGap: (gap) => Effect.zipRight(Effect.sync(() => gaps.push([gap.firstId, gap.lastId])), Effect.die("gap"))
        },
        ({ id }) => Effect.sync(() => done.push(id))
      )
      yield* bus.handle({
        name: "keyless",
        concurrency: 2,
        key: () => {
          throw new Error("no key")
        },
        deadLetter: () => Effect.die("letter")
      }, () => Effect.void)
      yield* bus.publishAll([said("1"), said("2"), said("3")])
      yield* until(Effect.sync(() => gaps.length === 1))
      yield* bus.publish(said("4"))
      yield* bus.drain("1 second")
      assert.deepStrictEqual([gaps, done], [[[2, 3]], [1, 4]])
      assert.deepStrictEqual((yield* bus.deadLetters).map(({ envelope }) => envelope.id), [1, 2, 3, 4])
      assert.strictEqual((yield* bus.stats).deadLetters, 4)
      yield* Fiber.interrupt(letters)
    }).pipe(quiet))

  it.scoped("stream their dead letters until the bus is closed", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const bus = yield* Scope.extend(make("closing"), scope)
      const collecting = yield* Effect.fork(Stream.runCollect(bus.deadLetterStream))
      yield* Effect.repeatN(Effect.yieldNow(), 5)
      yield* Scope.extend(bus.handle({ name: "fails" }, () => Effect.fail("x")), scope)
      yield* bus.publishAll([said("1"), said("2")])
      yield* until(Effect.map(bus.deadLetters, (letters) => letters.length === 2))
      yield* Effect.repeatN(Effect.yieldNow(), 5)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual([...yield* Fiber.join(collecting)].map(({ envelope }) => envelope.id), [1, 2])
      yield* Stream.runDrain(bus.deadLetterStream)
    }).pipe(quiet))

  it.scoped("that outlive the bus still report what they give up", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const bus = yield* Scope.extend(make("short"), scope)
      const gate = yield* Effect.makeLatch(false)
      const letters: Array<number> = []
      yield* bus.handle(
        { name: "late", deadLetter: ({ envelope }) => Effect.sync(() => letters.push(envelope.id)) },
        () => Effect.zipRight(gate.await, Effect.fail("late"))
      )
      yield* bus.publish(said("1"))
      yield* Effect.repeatN(Effect.yieldNow(), 5)
      yield* Scope.close(scope, Exit.void)
      yield* gate.open
      yield* until(Effect.sync(() => letters.length === 1))
      assert.strictEqual((yield* bus.deadLetters).length, 1)
    }).pipe(quiet))

  it.scoped("count the length of a chain across buses, and give causes of their own bus only", () =>
    Effect.gen(function*() {
      const left = yield* make("left", { maxDepth: 6 })
      const right = yield* make("right", { maxDepth: 6 })
      const errors: Array<EventBus.PublishError> = []
      const pass = (from: typeof left, to: typeof left) =>
        from.handle(
          { name: "pass" },
          () => Effect.catchAll(to.publish(said("x")), (error) => Effect.sync(() => errors.push(error)))
        )
      yield* pass(left, right)
      yield* pass(right, left)
      const seen = yield* left.subscribe()
      yield* left.publish(said("go"))
      yield* until(Effect.sync(() => errors.length === 1))
      assert.strictEqual(errors[0]._tag, "CycleDetected")
      const items = (yield* seen.takeBatch()) as ReadonlyArray<Envelope<Said>>
      assert.deepStrictEqual(items.map(({ depth }) => depth), [0, 2, 4, 6])
      assert.deepStrictEqual(items.map(({ causationId }) => causationId), [undefined, undefined, undefined, undefined])
    }).pipe(quiet))
})

describe("observation", () => {
  it.scoped("follows an event from the span of its publisher to the span of its handler", () =>
    Effect.gen(function*() {
      const bus = yield* make("traced")
      const spans: Array<string | undefined> = []
      yield* bus.handle({ name: "outer" }, ({ event }) =>
        Effect.gen(function*() {
          const span = yield* Effect.option(Effect.currentSpan)
          if (Option.isSome(span)) {
            const parent = Option.getOrThrow(span.value.parent)
            spans.push(span.value.traceId, parent.spanId)
            assert.strictEqual(span.value.name, "EventBus.handle")
          } else spans.push(undefined)
          if (event.text === "traced") yield* bus.publish(said("follow"))
        }))
      const untraced = yield* bus.publish(said("untraced"))
      const [traced, root] = yield* Effect.zip(bus.publish(said("traced")), Effect.currentSpan).pipe(
        Effect.withSpan("root")
      )
      yield* until(Effect.sync(() => spans.length === 5))
      const all = yield* bus.log.subscribeAfter(0)
      assert.strictEqual(untraced.trace, undefined)
      assert.strictEqual(traced.trace, `00-${root.traceId}-${root.spanId}-01`)
      const follow = (yield* all.takeBatch())[2] as Envelope<Said>
      assert.strictEqual(spanOf(follow.trace!)?.traceId, root.traceId)
      assert.deepStrictEqual(spans, [undefined, root.traceId, root.spanId, root.traceId, spans[4]])
      assert.notStrictEqual(spans[4], root.spanId)
      assert.strictEqual(spanOf("nonsense"), undefined)
    }))

  it.scoped("counts in metrics", () =>
    Effect.gen(function*() {
      const bus = yield* make("measured")
      const sub = yield* bus.subscribe()
      yield* bus.subscribe({ capacity: 1, policy: { _tag: "dropping" } })
      yield* bus.handle({ name: "fails" }, () => Effect.fail("x"))
      yield* bus.publishAll([said("1"), said("2")])
      yield* sub.takeBatch()
      yield* Effect.ignore(bus.publish({ _tag: "Said" } as unknown as Said))
      yield* until(Effect.map(bus.deadLetters, (letters) => letters.length === 2))
      const found: Record<string, unknown> = {}
      for (const { metricKey, metricState } of yield* Metric.snapshot) {
        if (metricKey.tags.some(({ value }) => value === "measured")) found[metricKey.name] = metricState
      }
      const count = (name: string) => (found[name] as { readonly count: number }).count
      assert.strictEqual(count("holdfast_bus_published_total"), 2)
      assert.strictEqual(count("holdfast_bus_delivered_total"), 4)
      assert.strictEqual(count("holdfast_bus_dropped_total"), 1)
      assert.strictEqual(count("holdfast_bus_refused_total"), 1)
      assert.strictEqual(count("holdfast_bus_dead_letters_total"), 2)
      assert.strictEqual(count("holdfast_bus_handler_duration_seconds"), 2)
      assert.strictEqual(count("holdfast_bus_lag_seconds"), 2)
      assert.strictEqual((found.holdfast_bus_queued as { readonly value: number }).value, 1)
    }).pipe(quiet))

  it.effect("encodes envelopes", () =>
    Effect.gen(function*() {
      const envelope = { id: 1, at: 5, topic: "t", event: said("x"), depth: 0 }
      const json = yield* Schema.encode(Schema.parseJson(envelopeSchema(Said)))(envelope)
      assert.deepStrictEqual(yield* Schema.decode(Schema.parseJson(envelopeSchema(Said)))(json), envelope)
    }))
})

describe("the bus in an application", () => {
  class AppBus extends EventBus.Tag("test/AppBus")<AppBus, Said>() {}

  it.effect("drains by itself when the lifecycle ends", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const lifecycle = yield* Lifecycle.make({ scope, log: false })
      const context = yield* Layer.buildWithScope(AppBus.layer({ schema: Said }), scope).pipe(
        Effect.provideService(Lifecycle.Lifecycle, lifecycle)
      )
      const done: Array<string> = []
      yield* Effect.gen(function*() {
        const bus = yield* AppBus
        yield* bus.handle({ name: "worker" }, ({ event }) =>
          Effect.zipRight(Effect.yieldNow(), Effect.sync(() => done.push(event.text))))
        yield* bus.publishAll([said("1"), said("2"), said("3")])
      }).pipe(Effect.provide(context), Scope.extend(scope))
      const report = yield* lifecycle.shutdown({ _tag: "Requested", by: "test" })
      assert.deepStrictEqual(done, ["1", "2", "3"])
      assert.include(JSON.stringify(report), "drain test/AppBus")
    }).pipe(quiet))

  it.scoped("can be read back when it is closed", () =>
    Effect.gen(function*() {
      for (const store of [undefined, yield* memoryStore]) {
        const bus = yield* EventBus.make<Said, Said>({
          name: "over",
          schema: Said,
          log: { maxCount: store === undefined ? 10 : 1 },
          ...(store === undefined ? {} : { store })
        })
        yield* bus.publishAll([said("1"), said("2"), said("3")])
        yield* bus.drain("1 second")
        const subscription = yield* bus.log.subscribeAfter(1)
        assert.deepStrictEqual(ids([...yield* Stream.runCollect(subscription.stream)]), [2, 3])
        assert.strictEqual((yield* Effect.flip((yield* bus.subscribe()).takeBatch())).reason, "closed")
      }
    }))

  it.scoped("refuses a capacity that is none", () =>
    Effect.gen(function*() {
      const bus = yield* make("capacity")
      for (const capacity of [0, -1, 1.5, Number.NaN]) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.scoped(bus.subscribe({ capacity })))))
      }
      assert.strictEqual((yield* bus.stats).subscribers.length, 0)
    }))

  it.effect("warns once when there are two of one tag at a time", () =>
    Effect.gen(function*() {
      const TwinEvent = Schema.TaggedStruct("Twin", {})
      class Twins extends EventBus.Tag("test/Twins")<Twins, typeof TwinEvent.Type>() {}
      const makeLayer = () => Twins.layer({ schema: TwinEvent })
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => lines.push(String(message)))
      const build = (layers: ReadonlyArray<Layer.Layer<Twins, unknown>>) =>
        Effect.forEach(layers, (layer) => Layer.build(layer)).pipe(
          Effect.scoped,
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
      const one = makeLayer()
      // one after the other, or one value provided twice in one build
      yield* build([makeLayer()])
      yield* build([makeLayer()])
      yield* build([Layer.merge(one, one)])
      assert.deepStrictEqual(lines, [])
      yield* build([makeLayer(), makeLayer()])
      yield* build([makeLayer(), makeLayer(), makeLayer()])
      assert.strictEqual(lines.length, 1)
      assert.include(lines[0], "test/Twins")
      assert.include(lines[0], "made once")
    }))

  it.scoped("names what is wrong with an option", () =>
    Effect.gen(function*() {
      const Counted = Schema.TaggedStruct("Counted", {})
      const refused = (options: Partial<EventBus.Options<typeof Counted.Type, typeof Counted.Encoded>>) =>
        Effect.map(
          Effect.flip(EventBus.make({ name: "refused", schema: Counted, ...options })),
          (error) => error._tag === "InvalidOption" ? error.option : error._tag
        )
      for (const wrong of [Number.NaN, -1, 1.5]) {
        assert.strictEqual(yield* refused({ maxDepth: wrong }), "EventBus.maxDepth")
        assert.strictEqual(yield* refused({ deadLetters: wrong }), "EventBus.deadLetters")
        assert.strictEqual(yield* refused({ log: { maxCount: wrong } }), "EventLog.maxCount")
        assert.strictEqual(yield* refused({ log: { maxStored: wrong } }), "EventLog.maxStored")
      }
      for (const wrong of [Number.NaN, -1]) {
        assert.strictEqual(yield* refused({ drainBudget: wrong }), "EventBus.drainBudget")
        assert.strictEqual(yield* refused({ log: { maxBytes: wrong } }), "EventLog.maxBytes")
        assert.strictEqual(yield* refused({ log: { maxAge: wrong } }), "EventLog.maxAge")
        assert.strictEqual(yield* refused({ log: { maxStoredBytes: wrong } }), "EventLog.maxStoredBytes")
        assert.strictEqual(yield* refused({ log: { maxStoredAge: wrong } }), "EventLog.maxStoredAge")
      }
    }))

  it.scoped("keeps its ages by a clock that nobody sets", () =>
    Effect.gen(function*() {
      const Counted = Schema.TaggedStruct("Counted", {})
      let wall = 1_700_000_000_000
      let monotonic = 0n
      const clock: Clock.Clock = {
        ...Clock.make(),
        unsafeCurrentTimeMillis: () => wall,
        unsafeCurrentTimeNanos: () => monotonic,
        currentTimeMillis: Effect.sync(() => wall),
        currentTimeNanos: Effect.sync(() => monotonic)
      }
      yield* Effect.gen(function*() {
        const bus = yield* EventBus.make({ name: "aged", schema: Counted, log: { maxAge: "10 seconds" } })
        yield* bus.publish({ _tag: "Counted" })
        wall += 3_600_000
        assert.deepStrictEqual(yield* bus.log.bounds, { first: 1, last: 1 }, "set forward by an hour")
        wall -= 7_200_000
        monotonic += 11_000_000_000n
        assert.deepStrictEqual(yield* bus.log.bounds, { first: 2, last: 1 }, "set back by an hour")
      }).pipe(Effect.withClock(clock))
    }))

  it.scoped("decodes no stored event of a topic that nobody asked for", () =>
    Effect.gen(function*() {
      const store = yield* memoryStore
      let decoded = 0
      const Counted = Schema.transform(Schema.TaggedStruct("Counted", {}), Schema.TaggedStruct("Counted", {}), {
        decode: (event) => {
          decoded++
          return event
        },
        encode: (event) => event
      })
      const bus = yield* EventBus.make<typeof Counted.Type, typeof Counted.Encoded>({
        name: "counted",
        schema: Counted,
        store,
        log: { maxCount: 0 }
      })
      for (let index = 0; index < 100; index++) {
        yield* bus.publish({ _tag: "Counted" }, { topic: `room.${index % 10}` })
      }
      decoded = 0
      const page = yield* bus.log.after(0, { topics: ["room.3"] })
      assert.deepStrictEqual(
        page.items.map((item) => isEnvelope(item) ? item.id : item),
        [4, 14, 24, 34, 44, 54, 64, 74, 84, 94]
      )
      assert.deepStrictEqual([decoded, page.cursor, page.done], [10, 100, true])
    }))

  it.scoped("gives gaps for unreadable rows to those whom they concern, and logs each once", () =>
    Effect.gen(function*() {
      const store = yield* EventLog.Store
      const row = (id: number, topic: string, tag: string, payload: string) => ({
        id,
        at: 0,
        topic,
        tag,
        payload,
        meta: "{\"depth\":0}"
      })
      yield* store.append([
        row(1, "room.hall", "Counted", "{\"_tag\":\"Counted\"}"),
        row(2, "room.attic", "Forgotten", "{}"),
        row(3, "room.hall", "Counted", "{\"_tag\":\"Counted\"}")
      ])
      const Counted = Schema.TaggedStruct("Counted", {})
      const problems: Array<string> = []
      const logger = Logger.make(({ message }) => problems.push(String(message)))
      yield* Effect.gen(function*() {
        for (const maxCount of [0, 10]) {
          const bus = yield* EventBus.make({ name: "reader", schema: Counted, store, log: { maxCount } })
          const read = (options: EventLog.ReadOptions<"Counted">) =>
            Effect.map(bus.log.after(0, options), ({ cursor, done, items }) => [
              items.map((item) => isEnvelope(item) ? item.id : [item.firstId, item.lastId]),
              cursor,
              done
            ])
          for (let again = 0; again < 3; again++) {
            assert.deepStrictEqual(yield* read({ topics: ["room.hall"] }), [[1, 3], 3, true])
            assert.deepStrictEqual(yield* read({ tags: ["Counted"] }), [[1, 3], 3, true])
            assert.deepStrictEqual(yield* read({ topics: ["room.*"] }), [[1, [2, 2], 3], 3, true])
          }
          assert.strictEqual(problems.splice(0).length, 1)
        }
      }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
    }).pipe(Effect.provide(EventLog.layerStoreMemory)))
})

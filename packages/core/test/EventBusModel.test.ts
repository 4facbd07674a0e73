import { assert, describe, it } from "@effect/vitest"
import type { Envelope } from "@holdfast/core/Envelope"
import { Gap, isEnvelope } from "@holdfast/core/Envelope"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLog from "@holdfast/core/EventLog"
import type * as EventSubscription from "@holdfast/core/EventSubscription"
import {
  Effect,
  Exit,
  FastCheck,
  Fiber,
  Logger,
  LogLevel,
  Option,
  Runtime,
  Schema,
  Scope,
  TestClock,
  TestContext
} from "effect"
import { sized } from "../../../scripts/sized.js"

// The reference: what each subscriber must get follows from the order in which events were accepted and the moments at
// which it took. The bus decides the order; the reference decides all else.

const runs = sized(500, 3_000, 100)

const TestEvent = Schema.Union(
  Schema.TaggedStruct("Said", { text: Schema.String }),
  Schema.TaggedStruct("Moved", { steps: Schema.Int })
)
type TestEvent = typeof TestEvent.Type

const topics = ["a", "room.1", "room.2"]
const interests = [undefined, ["a"], ["room.1"], ["room.*"], ["room.*", "room.1", "a"], ["*"], []] as const
const tagLists = [undefined, undefined, ["Said"], ["Moved"], ["Said", "Moved"]] as const

interface Interest {
  readonly topics: number
  readonly tags: number
  readonly capacity: number
  readonly policy: Exclude<EventSubscription.Policy, string>
}

type Command =
  | { readonly _tag: "Publish"; readonly topic: number; readonly event: TestEvent }
  | { readonly _tag: "PublishAll"; readonly topic: number; readonly events: ReadonlyArray<TestEvent> }
  | { readonly _tag: "Subscribe"; readonly interest: Interest; readonly after: number | undefined }
  | { readonly _tag: "Handle"; readonly interest: Interest; readonly concurrency: number; readonly keyed: boolean }
  | { readonly _tag: "Take"; readonly of: number; readonly max: number | undefined }
  | { readonly _tag: "Park"; readonly of: number }
  | { readonly _tag: "InterruptTaker"; readonly of: number }
  | { readonly _tag: "InterruptPublisher"; readonly of: number }
  | { readonly _tag: "Unsubscribe"; readonly of: number }
  | { readonly _tag: "FailStore" }
  | { readonly _tag: "Advance"; readonly seconds: number }
  | { readonly _tag: "Drain" }
  | { readonly _tag: "Shutdown" }

const event: FastCheck.Arbitrary<TestEvent> = FastCheck.oneof(
  FastCheck.record({
    _tag: FastCheck.constant("Said" as const),
    text: FastCheck.constantFrom("x", "x", "fail", "die")
  }),
  FastCheck.record({ _tag: FastCheck.constant("Moved" as const), steps: FastCheck.nat(2) })
)
const policy: FastCheck.Arbitrary<Exclude<EventSubscription.Policy, string>> = FastCheck.oneof(
  FastCheck.constant({ _tag: "suspend" as const }),
  FastCheck.constant({ _tag: "suspend" as const, limit: "10 seconds" as const }),
  FastCheck.constantFrom({ _tag: "sliding" as const }, { _tag: "dropping" as const }, { _tag: "disconnect" as const })
)
const interest: FastCheck.Arbitrary<Interest> = FastCheck.record({
  topics: FastCheck.nat(interests.length - 1),
  tags: FastCheck.nat(tagLists.length - 1),
  capacity: FastCheck.integer({ min: 1, max: 4 }),
  policy
})
const tagged = <const T extends string, R extends Record<string, FastCheck.Arbitrary<unknown>>>(_tag: T, rest: R) =>
  FastCheck.record({ _tag: FastCheck.constant(_tag), ...rest }) as FastCheck.Arbitrary<
    { readonly _tag: T } & { readonly [K in keyof R]: R[K] extends FastCheck.Arbitrary<infer A> ? A : never }
  >
const topic = FastCheck.nat(topics.length - 1)
const of = FastCheck.nat(20)

const commands = (durable: boolean): FastCheck.Arbitrary<ReadonlyArray<Command>> =>
  FastCheck.array(
    FastCheck.oneof(
      { weight: 9, arbitrary: tagged("Publish", { topic, event }) },
      { weight: 3, arbitrary: tagged("PublishAll", { topic, events: FastCheck.array(event, { maxLength: 5 }) }) },
      {
        weight: 5,
        arbitrary: tagged("Subscribe", { interest, after: FastCheck.option(FastCheck.nat(100), { nil: undefined }) })
      },
      {
        weight: 1,
        arbitrary: tagged("Handle", {
          interest,
          concurrency: FastCheck.integer({ min: 1, max: 3 }),
          keyed: FastCheck.boolean()
        })
      },
      {
        weight: 8,
        arbitrary: tagged("Take", {
          of,
          max: FastCheck.option(FastCheck.integer({ min: 1, max: 3 }), { nil: undefined })
        })
      },
      { weight: 2, arbitrary: tagged("Park", { of }) },
      { weight: 1, arbitrary: tagged("InterruptTaker", { of }) },
      { weight: 2, arbitrary: tagged("InterruptPublisher", { of }) },
      { weight: 2, arbitrary: tagged("Unsubscribe", { of }) },
      { weight: durable ? 2 : 0, arbitrary: tagged("FailStore", {}) },
      { weight: 2, arbitrary: tagged("Advance", { seconds: FastCheck.integer({ min: 1, max: 25 }) }) },
      {
        weight: 1,
        arbitrary: FastCheck.constantFrom({ _tag: "Drain" as const }, { _tag: "Shutdown" as const })
      }
    ),
    { maxLength: 40, size: "max" }
  )

type Item = number | readonly [first: number, last: number, count: number]

const show = (items: ReadonlyArray<Envelope<TestEvent> | Gap>): ReadonlyArray<Item> =>
  items.map((item) => isEnvelope(item) ? item.id : [item.firstId, item.lastId, item.count])

const eventsIn = (items: ReadonlyArray<Item>) => items.filter((item) => typeof item === "number").length

/** What a subscriber should have. */
class Reference {
  backlog: Array<Item> = []
  queue: Array<Item> = []
  dropped = 0
  fedTo: number
  closed: string | undefined = undefined

  constructor(readonly interest: Interest, start: number, readonly history: boolean) {
    this.fedTo = start
  }

  wants(envelope: Envelope<TestEvent>): boolean {
    const tags: ReadonlyArray<string> | undefined = tagLists[this.interest.tags]
    const wanted: ReadonlyArray<string> | undefined = interests[this.interest.topics]
    return (tags === undefined || tags.includes(envelope.event._tag)) && (wanted === undefined ||
      wanted.some((topic) =>
        topic.endsWith("*") ? envelope.topic.startsWith(topic.slice(0, -1)) : topic === envelope.topic
      ))
  }

  get lossless() {
    return this.interest.policy._tag === "suspend"
  }

  get full() {
    return this.closed === undefined && this.lossless && eventsIn(this.queue) >= this.interest.capacity
  }

  feed(envelope: Envelope<TestEvent>) {
    if (envelope.id <= this.fedTo || this.closed !== undefined) return
    this.fedTo = envelope.id
    if (!this.wants(envelope)) return
    if (this.lossless || eventsIn(this.queue) < this.interest.capacity) {
      this.queue.push(envelope.id)
      return
    }
    this.dropped++
    if (this.interest.policy._tag === "disconnect") this.closed = "overflow"
    else if (this.interest.policy._tag === "sliding") {
      const gap = typeof this.queue[0] === "number"
        ? undefined
        : this.queue.shift() as readonly [number, number, number]
      const lost = this.queue.shift() as number
      this.queue.unshift(gap === undefined ? [lost, lost, 1] : [gap[0], lost, gap[2] + 1])
      this.queue.push(envelope.id)
    } else {
      const last = this.queue[this.queue.length - 1]
      if (typeof last === "number") this.queue.push([envelope.id, envelope.id, 1])
      else this.queue[this.queue.length - 1] = [last[0], envelope.id, last[2] + 1]
    }
  }

  take(max: number): ReadonlyArray<Item> {
    const from = this.backlog.length > 0 ? this.backlog : this.queue
    return from.splice(0, max)
  }
}

interface Subscriber {
  readonly subscription: EventSubscription.Subscription<TestEvent>
  readonly scope: Scope.CloseableScope
  readonly reference: Reference
  takers: Array<Fiber.RuntimeFiber<ReadonlyArray<Envelope<TestEvent> | Gap>, EventSubscription.SubscriptionClosed>>
}

interface Handler {
  readonly reference: Reference
  readonly concurrency: number
  readonly keyed: boolean
  readonly done: Array<Envelope<TestEvent>>
  readonly running: Set<Envelope<TestEvent>>
}

interface Publisher {
  readonly fiber: Fiber.RuntimeFiber<ReadonlyArray<Envelope<TestEvent>>, EventBus.PublishError>
  readonly topic: string
  readonly events: ReadonlyArray<TestEvent>
  interrupted: boolean
  checked: boolean
}

const ringSize = 8

const agrees = (durable: boolean, sequence: ReadonlyArray<Command>) =>
  Effect.gen(function*() {
    let failNext = false
    const memory = yield* EventLog.Store
    const store: EventLog.Store["Type"] = {
      ...memory,
      append: (rows) =>
        Effect.zipRight(
          Effect.yieldNow(),
          Effect.suspend(() => {
            if (!failNext) return memory.append(rows)
            failNext = false
            return new EventLog.StoreError({ operation: "append", reason: "Full", details: "told to" })
          })
        )
    }
    const busScope = yield* Scope.make()
    const bus = yield* EventBus.make<TestEvent, TestEvent>({
      name: "model",
      schema: TestEvent,
      log: { maxCount: ringSize },
      ...(durable ? { store } : {})
    }).pipe(Scope.extend(busScope))
    const tap = yield* bus.subscribe({ name: "tap", capacity: 1_000_000 }).pipe(Scope.extend(busScope))

    const accepted: Array<Envelope<TestEvent>> = []
    const subscribers: Array<Subscriber> = []
    const handlers: Array<Handler> = []
    const publishers: Array<Publisher> = []
    const saturated: Array<number> = []
    let failures = 0
    let ended = false

    const settle = Effect.gen(function*() {
      for (let quiet = 0, rounds = 0; quiet < 2 && rounds < 400; rounds++) {
        for (let index = 0; index < 8; index++) yield* Effect.yieldNow()
        const { subscribers } = yield* bus.stats
        const busy = subscribers.some(({ inFlight, name, queued }) =>
          inFlight > 0 || (name === "handler" && queued > 0)
        )
        quiet = busy ? 0 : quiet + 1
      }
    })

    /** Everything that must hold when nothing moves. */
    const check = Effect.gen(function*() {
      yield* settle
      if (!ended) {
        for (const item of yield* tap.poll()) {
          assert.isTrue(isEnvelope(item))
          if (!isEnvelope(item)) continue
          assert.strictEqual(item.id, accepted.length + 1, "ids are gap-free and ordered")
          if (item.causationId !== undefined) {
            assert.isBelow(item.causationId, item.id)
            assert.strictEqual(item.depth, accepted[item.causationId - 1].depth + 1)
          }
          accepted.push(item)
        }
        assert.strictEqual(yield* bus.lastId, accepted.length)
      }
      const stats = yield* bus.stats
      assert.strictEqual(stats.published, accepted.length)
      for (const { reference, subscription, takers } of subscribers) {
        const real = yield* subscription.stats
        if (real.closed === "cut-off" && reference.closed === undefined) {
          // how much of what was accepted meanwhile came before the cut, the queue tells, and what was waited for
          const taken = takers.flatMap((taker) => {
            const exit = taker.unsafePoll()
            return exit !== null && Exit.isSuccess(exit) ? show(exit.value) : []
          })
          while (eventsIn(reference.backlog.concat(reference.queue)) < real.queued + eventsIn(taken)) {
            assert.isBelow(reference.fedTo, accepted.length)
            reference.feed(accepted[reference.fedTo])
          }
          assert.isTrue(reference.full, "only a full lossless subscriber is cut off")
          assert.isTrue("limit" in reference.interest.policy)
          reference.closed = "cut-off"
        }
        if (!ended) { for (const envelope of accepted) reference.feed(envelope) }
        for (const taker of takers.splice(0)) {
          const exit = yield* taker.unsafePoll() === null ? Effect.succeedNone : Effect.asSome(Fiber.await(taker))
          if (Option.isNone(exit)) takers.push(taker)
          else if (Exit.isSuccess(exit.value)) {
            assert.deepStrictEqual(show(exit.value.value), reference.take(exit.value.value.length))
          }
        }
        if (!ended) {
          const events = eventsIn(reference.backlog) + eventsIn(reference.queue)
          if (!reference.history) assert.strictEqual(real.queued, events, "queued")
          assert.strictEqual(real.dropped, reference.dropped, "dropped")
          assert.strictEqual(real.closed, reference.closed, "closed")
        }
      }
      for (const { concurrency, done, keyed, reference, running } of handlers) {
        assert.strictEqual(running.size, 0)
        const wanted = accepted.filter((envelope) => envelope.id > reference.fedTo && reference.wants(envelope))
        const ids = done.map(({ id }) => id)
        if (reference.closed === undefined) {
          assert.deepStrictEqual(ids.toSorted((a, b) => a - b), wanted.map(({ id }) => id), "handled once each")
        }
        if (concurrency === 1) assert.deepStrictEqual(ids, ids.toSorted((a, b) => a - b))
        if (!keyed) continue
        for (const topic of topics) {
          const ofTopic = done.filter((envelope) => envelope.topic === topic).map(({ id }) => id)
          assert.deepStrictEqual(ofTopic, ofTopic.toSorted((a, b) => a - b), "in order for each key")
        }
      }
      for (const publisher of publishers) {
        if (publisher.checked) continue
        const exit = publisher.fiber.unsafePoll()
        if (exit === null) {
          assert.isFalse(ended, "nobody waits for a bus that is closed")
          const wanted = publisher.events.map((event) => ({ topic: publisher.topic, event }) as Envelope<TestEvent>)
          assert.isTrue(
            subscribers.some(({ reference }) => reference.full && wanted.some((event) => reference.wants(event))),
            "who waits, waits for a full subscriber"
          )
          continue
        }
        publisher.checked = true
        if (Exit.isSuccess(exit)) {
          for (const [index, envelope] of exit.value.entries()) {
            assert.strictEqual(envelope, accepted[envelope.id - 1])
            assert.strictEqual(envelope.id, exit.value[0].id + index, "a batch is accepted in one")
            assert.strictEqual(envelope.event, publisher.events[index])
            assert.strictEqual(envelope.topic, publisher.topic)
          }
          assert.strictEqual(exit.value.length, publisher.events.length)
        } else if (Exit.isInterrupted(exit)) assert.isTrue(publisher.interrupted)
        else {
          const error = Option.getOrThrow(Exit.causeOption(exit).pipe(Option.map((cause) => cause)))
          const failure = error._tag === "Fail" ? error.error._tag : error._tag
          if (ended) assert.strictEqual(failure, "BusClosed")
          else {
            assert.strictEqual(failure, "StoreError")
            failures++
          }
        }
      }
      assert.strictEqual(stats.waiting, publishers.filter(({ fiber }) => fiber.unsafePoll() === null).length)
    })

    const at = <X>(list: ReadonlyArray<X>, index: number): X | undefined => list[index % Math.max(1, list.length)]

    const publish = (topic: string, events: ReadonlyArray<TestEvent>, single: boolean) =>
      Effect.gen(function*() {
        const effect = single
          ? Effect.map(bus.publish(events[0], { topic }), (envelope) => [envelope])
          : bus.publishAll(events, { topic })
        publishers.push({ fiber: yield* Effect.fork(effect), topic, events, interrupted: false, checked: false })
      })

    const asOptions = ({ capacity, policy, tags, topics }: Interest): EventSubscription.Options<TestEvent["_tag"]> => ({
      capacity,
      policy,
      ...(tagLists[tags] === undefined ? {} : { tags: tagLists[tags] }),
      ...(interests[topics] === undefined ? {} : { topics: interests[topics] })
    })

    const subscribe = (interest: Interest, after: number | undefined) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const last = accepted.length
        if (after === undefined) {
          const subscription = yield* bus.subscribe(asOptions(interest)).pipe(Scope.extend(scope))
          const reference = new Reference(interest, last, false)
          subscribers.push({ subscription, scope, reference, takers: [] })
          return
        }
        const id = Math.floor(last * after / 100)
        // one that reads a store is not live yet, so nothing waits for it: a policy would have no say
        const wanted: Interest = durable ? { ...interest, capacity: 10_000, policy: { _tag: "suspend" } } : interest
        const subscription = yield* bus.log.subscribeAfter(id, asOptions(wanted)).pipe(Scope.extend(scope))
        const reference = new Reference(wanted, last, durable)
        const first = durable ? 1 : Math.max(1, last - ringSize + 1)
        if (id + 1 < first) reference.backlog.push([id + 1, first - 1, first - 1 - id])
        for (const envelope of accepted.slice(Math.max(id, first - 1))) {
          if (reference.wants(envelope)) reference.backlog.push(envelope.id)
        }
        if (durable) reference.queue = reference.backlog.splice(0)
        subscribers.push({ subscription, scope, reference, takers: [] })
      })

    const handle = (interest: Interest, concurrency: number, keyed: boolean) =>
      Effect.gen(function*() {
        const handler: Handler = {
          reference: new Reference(interest, accepted.length, false),
          concurrency,
          keyed: keyed || concurrency === 1,
          done: [],
          running: new Set()
        }
        handlers.push(handler)
        const { capacity: _, policy: __, ...rest } = asOptions(interest)
        const options = { ...rest, name: "handler", concurrency, capacity: 10_000 }
        yield* bus.handle(
          keyed ? { ...options, key: (envelope) => envelope.topic } : options,
          (envelope) =>
            Effect.gen(function*() {
              handler.running.add(envelope)
              assert.isAtMost(handler.running.size, concurrency)
              yield* Effect.yieldNow()
              if (envelope.event._tag === "Moved" && envelope.event.steps > 0) {
                yield* Effect.catchTag(
                  bus.publish({ _tag: "Moved", steps: envelope.event.steps - 1 }),
                  "SubscriberSaturated",
                  () => Effect.sync(() => saturated.push(envelope.id))
                )
              }
              if (envelope.event._tag === "Said" && envelope.event.text === "fail") return yield* Effect.fail("told to")
              if (envelope.event._tag === "Said" && envelope.event.text === "die") return yield* Effect.die("told to")
            }).pipe(Effect.ensuring(Effect.sync(() => {
              handler.running.delete(envelope)
              handler.done.push(envelope)
            })))
        ).pipe(Scope.extend(busScope))
      })

    const take = (subscriber: Subscriber, max: number | undefined) =>
      Effect.gen(function*() {
        const { reference, subscription, takers } = subscriber
        if (takers.length > 0) return
        const exit = yield* Effect.exit(subscription.poll(max))
        if (Exit.isSuccess(exit)) {
          // how much of a history is read at a time is its own affair
          const count = reference.history ? exit.value.length : max ?? Number.POSITIVE_INFINITY
          if (max !== undefined) assert.isAtMost(exit.value.length, max)
          assert.deepStrictEqual(show(exit.value), reference.take(count))
          if (reference.history && exit.value.length === 0) assert.strictEqual(reference.queue.length, 0)
        } else assert.strictEqual(reference.take(1).length, 0, "what is queued can be taken before the end is told")
      })

    const end = (how: "Drain" | "Shutdown") =>
      Effect.gen(function*() {
        const waiting = publishers.filter(({ fiber }) => fiber.unsafePoll() === null).length
        if (how === "Drain") {
          for (const { takers } of subscribers) for (const taker of takers.splice(0)) yield* Fiber.interrupt(taker)
          const draining = yield* Effect.fork(bus.drain("5 seconds"))
          yield* settle
          yield* TestClock.adjust("5 seconds")
          const report = yield* Fiber.join(draining)
          assert.strictEqual(report.rejected, waiting)
          const left = subscribers.map(({ reference }) =>
            [...reference.backlog, ...reference.queue].filter((item) => typeof item === "number")
          )
          // of what is only in the store, nobody knows yet what is of interest
          if (subscribers.every(({ reference }) => !reference.history)) {
            assert.deepStrictEqual(
              report.undelivered.map(({ count, firstId, lastId }) => [count, firstId, lastId]),
              left.flatMap((ids) => ids.length === 0 ? [] : [[ids.length, ids[0], ids[ids.length - 1]]])
            )
          } else assert.isAtLeast(report.undelivered.length, left.filter((ids) => ids.length > 0).length)
          const again = yield* bus.drain("1 second")
          assert.strictEqual(again, report)
        } else yield* Scope.close(busScope, Exit.void)
        ended = true
        yield* settle
        for (const { subscription, takers } of subscribers) {
          const closed = yield* Effect.flip(subscription.poll())
          assert.strictEqual(closed._tag, "SubscriptionClosed")
          for (const taker of takers.splice(0)) assert.isTrue(Exit.isFailure(yield* Fiber.await(taker)))
        }
        assert.strictEqual((yield* Effect.flip(bus.publish({ _tag: "Said", text: "late" })))._tag, "BusClosed")
      })

    for (const command of sequence) {
      if (ended) break
      switch (command._tag) {
        case "Publish": {
          yield* publish(topics[command.topic], [command.event], true)
          break
        }
        case "PublishAll": {
          yield* publish(topics[command.topic], command.events, false)
          break
        }
        case "Subscribe": {
          yield* subscribe(command.interest, command.after)
          break
        }
        case "Handle": {
          yield* handle(command.interest, command.concurrency, command.keyed)
          break
        }
        case "Take": {
          const subscriber = at(subscribers, command.of)
          if (subscriber !== undefined) yield* take(subscriber, command.max)
          break
        }
        case "Park": {
          const subscriber = at(subscribers, command.of)
          if (subscriber?.reference.lossless !== true) break
          subscriber.takers.push(yield* Effect.fork(subscriber.subscription.takeBatch()))
          break
        }
        case "InterruptTaker": {
          const taker = at(subscribers, command.of)?.takers.shift()
          if (taker !== undefined) yield* Fiber.interrupt(taker)
          break
        }
        case "InterruptPublisher": {
          const publisher = at(publishers.filter(({ fiber }) => fiber.unsafePoll() === null), command.of)
          if (publisher === undefined) break
          publisher.interrupted = true
          yield* Fiber.interrupt(publisher.fiber)
          break
        }
        case "Unsubscribe": {
          const subscriber = at(subscribers, command.of)
          if (subscriber === undefined) break
          subscribers.splice(subscribers.indexOf(subscriber), 1)
          yield* Scope.close(subscriber.scope, Exit.void)
          const { reason } = yield* Effect.flip(subscriber.subscription.poll())
          assert.strictEqual(reason, subscriber.reference.closed ?? "unsubscribed")
          for (const taker of subscriber.takers) assert.isTrue(Exit.isFailure(yield* Fiber.await(taker)))
          break
        }
        case "FailStore": {
          failNext = true
          break
        }
        case "Advance": {
          yield* TestClock.adjust(`${command.seconds} seconds`)
          break
        }
        default: {
          yield* end(command._tag)
        }
      }
      yield* check
      // a store that fails, fails one append
      if (command._tag === "Publish" || command._tag === "PublishAll") failNext = false
    }
    for (const { fiber } of publishers) yield* Fiber.interrupt(fiber)
    for (const { scope, takers } of subscribers) {
      for (const taker of takers) yield* Fiber.interrupt(taker)
      yield* Scope.close(scope, Exit.void)
    }
    yield* Scope.close(busScope, Exit.void)
    // one append fails for everybody whose events were in it
    if (sequence.every(({ _tag }) => _tag !== "FailStore")) assert.strictEqual(failures, 0)
  }).pipe(
    Effect.provide(EventLog.layerStoreMemory),
    Effect.scoped,
    Logger.withMinimumLogLevel(LogLevel.None)
  )

describe("EventBus against a reference model", () => {
  for (const durable of [false, true]) {
    it.effect(
      durable ? "with a store" : "in memory",
      () =>
        Effect.flatMap(Effect.runtime<never>(), (runtime) =>
          Effect.promise(() =>
            FastCheck.assert(
              // edge: fast-check runs the property
              FastCheck.asyncProperty(commands(durable), (sequence) =>
                // edge: fast-check awaits each run of a property
                Runtime.runPromise(runtime)(Effect.provide(agrees(durable, sequence), TestContext.TestContext))),
              { numRuns: durable ? Math.ceil(runs / 2) : runs }
            )
          )),
      runs * 100
    )
  }
})

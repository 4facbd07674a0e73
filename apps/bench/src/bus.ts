/**
 * What it costs to hand an event to subscribers: `EventBus` against a bare `PubSub` with `takeBetween`, `EventEmitter`,
 * mitt and an RxJS `Subject`, with 1, 10, 100 and 1000 subscribers; one topic with 10 of 10,000 subscribers against 10 alone;
 * and what 10,000,000 events leave behind.
 *
 * Method: in each round every contender hands out the same number of events, in turns, in one process; the first rounds
 * are warm-up. Figures are deliveries per microsecond of processor time, medians over the rounds; ratios are medians of
 * the ratios within a round. Bus and `PubSub` have one fiber that publishes and one per subscriber, which counts what it
 * takes; capacity 1024, and a full subscriber makes the publisher wait. The other three call their listeners at once:
 * they have no queue, no waiting and no isolation, and are there for scale.
 */
import * as EventBus from "@holdfast/core/EventBus"
import { Chunk, Effect, Exit, Fiber, PubSub, Queue, Schema, Scope } from "effect"
import mittModule from "mitt"
import { EventEmitter } from "node:events"
import { Subject } from "rxjs"
import { quick, reportRounds } from "./shared/measure.js"

const Moved = Schema.TaggedStruct("Moved", { who: Schema.String, steps: Schema.Number })
type Moved = typeof Moved.Type

// its types describe a default export that its module does not have
const mitt = mittModule as unknown as typeof mittModule.default
const rounds = quick ? 4 : 9
const warmup = quick ? 1 : 3
const capacity = 1024
const event: Moved = { _tag: "Moved", who: "anna", steps: 3 }

const print = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

/** Something that hands `events` events to all of its subscribers each time it is run. */
type Contender = (subscribers: number, events: number) => Effect.Effect<Effect.Effect<number>, never, Scope.Scope>

const times = <E>(count: number, body: Effect.Effect<unknown, E>): Effect.Effect<void> =>
  Effect.orDie(Effect.suspend(() => {
    let index = 0
    return Effect.whileLoop({ while: () => index < count, body: () => body, step: () => index++ })
  }))

/** One fiber for each subscriber and one that publishes; answers how many were delivered. */
const fibers = (consumers: ReadonlyArray<Effect.Effect<number>>, publisher: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const running = yield* Effect.forEach(consumers, Effect.fork)
    yield* Effect.yieldNow()
    yield* publisher
    let total = 0
    for (const fiber of running) total += yield* Fiber.join(fiber)
    return total
  })

const counted = <E>(events: number, take: Effect.Effect<number, E>): Effect.Effect<number> =>
  Effect.orDie(Effect.suspend(() => {
    let count = 0
    return Effect.as(
      Effect.whileLoop({
        while: () => count < events,
        body: () => take,
        step: (taken) => {
          count += taken
        }
      }),
      events
    )
  }))

const bus = (options: Omit<EventBus.Options<Moved, Moved>, "schema">): Contender => (subscribers, events) =>
  Effect.gen(function*() {
    const bus = yield* EventBus.make({ name: "bench", schema: Moved, ...options })
    const subscriptions = yield* Effect.replicateEffect(bus.subscribe({ capacity }), subscribers)
    const consumers = subscriptions.map((subscription) =>
      counted(events, Effect.map(subscription.takeBatch(), (batch) => batch.length))
    )
    return fibers(consumers, times(events, Effect.suspend(() => bus.publish(event))))
  }).pipe(Effect.orDie)

const pubsub: Contender = (subscribers, events) =>
  Effect.gen(function*() {
    const hub = yield* PubSub.bounded<Moved>(capacity)
    const dequeues = yield* Effect.replicateEffect(PubSub.subscribe(hub), subscribers)
    const consumers = dequeues.map((dequeue) =>
      counted(events, Effect.map(Queue.takeBetween(dequeue, 1, capacity), Chunk.size))
    )
    return fibers(consumers, times(events, Effect.suspend(() => PubSub.publish(hub, event))))
  })

const callbacks =
  (subscribe: (subscribers: number, listener: (event: Moved) => void) => (event: Moved) => void): Contender =>
  (subscribers, events) =>
    Effect.sync(() => {
      let count = 0
      const publish = subscribe(subscribers, (event) => {
        if (event._tag === "Moved") count++
      })
      return Effect.sync(() => {
        count = 0
        for (let index = 0; index < events; index++) publish(event)
        return count
      })
    })

const each = (count: number, f: () => void) => {
  for (let index = 0; index < count; index++) f()
}

const contenders: Record<string, Contender> = {
  "PubSub.bounded, takeBetween": pubsub,
  "EventBus": bus({}),
  "EventBus, no history, no validation": bus({ validate: false, log: { maxCount: 0 } }),
  "EventEmitter": callbacks((subscribers, listener) => {
    const emitter = new EventEmitter()
    emitter.setMaxListeners(0)
    each(subscribers, () => emitter.on("Moved", (event) => listener(event)))
    return (event) => emitter.emit("Moved", event)
  }),
  "mitt": callbacks((subscribers, listener) => {
    const emitter = mitt<{ Moved: Moved }>()
    each(subscribers, () => emitter.on("Moved", (event) => listener(event)))
    return (event) => emitter.emit("Moved", event)
  }),
  "RxJS Subject": callbacks((subscribers, listener) => {
    const subject = new Subject<Moved>()
    each(subscribers, () => subject.subscribe((event) => listener(event)))
    return (event) => subject.next(event)
  })
}

const perMicrosecond = (run: Effect.Effect<number>) =>
  Effect.map(
    Effect.zip(
      Effect.sync(() => process.cpuUsage()),
      run
    ),
    ([since, count]) => {
      const { system, user } = process.cpuUsage(since)
      return count / Math.max(1, system + user)
    }
  )

const compare = (title: string, runs: Record<string, Effect.Effect<number>>) =>
  Effect.gen(function*() {
    const names = Object.keys(runs)
    const figures = new Map(names.map((name) => [name, [] as Array<number>]))
    for (let round = 0; round < rounds; round++) {
      for (const name of names) {
        const figure = yield* perMicrosecond(runs[name]!)
        if (round >= warmup) figures.get(name)!.push(figure)
      }
    }
    reportRounds(title, figures, false)
  })

const fanOut = (subscribers: number) =>
  Effect.scoped(Effect.gen(function*() {
    const events = Math.max(1500, Math.min(50_000, (quick ? 200_000 : 1_000_000) / subscribers))
    const runs: Record<string, Effect.Effect<number>> = {}
    for (const [name, contender] of Object.entries(contenders)) runs[name] = yield* contender(subscribers, events)
    yield* compare(`${subscribers} subscriber${subscribers === 1 ? "" : "s"}: deliveries per us`, runs)
  }))

const topics = Effect.scoped(Effect.gen(function*() {
  const make = (strangers: number) =>
    Effect.gen(function*() {
      const bus = yield* EventBus.make({ name: "bench", schema: Moved })
      for (let index = 0; index < strangers; index++) yield* bus.subscribe({ topics: [`room.${index}`] })
      const interested = yield* Effect.replicateEffect(bus.subscribe({ topics: ["hall"], capacity }), 10)
      const consumers = interested.map((subscription) =>
        counted(20_000, Effect.map(subscription.takeBatch(), (batch) => batch.length))
      )
      return fibers(consumers, times(20_000, Effect.suspend(() => bus.publish(event, { topic: "hall" }))))
    })
  yield* compare("one topic: deliveries per us", {
    "10 subscribers": yield* Effect.orDie(make(0)),
    "10 of 10,000 subscribers": yield* Effect.orDie(make(9_990))
  })
}))

const heapUsed = Effect.sync(() => {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
})

const growth = Effect.gen(function*() {
  const scope = yield* Scope.make()
  const bus = yield* Effect.orDie(
    Scope.extend(EventBus.make({ name: "bench", schema: Moved, validate: false }), scope)
  )
  const live = yield* Scope.extend(bus.subscribe({ capacity }), scope)
  const sliding = yield* Scope.extend(bus.subscribe({ capacity, policy: { _tag: "sliding" } }), scope)
  const dropping = yield* Scope.extend(bus.subscribe({ capacity, policy: { _tag: "dropping" } }), scope)
  const million = fibers(
    [counted(1_000_000, Effect.map(live.takeBatch(), (batch) => batch.length))],
    times(1_000_000, Effect.suspend(() => bus.publish({ ...event })))
  )
  yield* million
  const before = yield* heapUsed
  yield* Effect.repeatN(million, 9)
  const after = yield* heapUsed
  const stats = yield* Effect.all([live.stats, sliding.stats, dropping.stats])
  yield* print(
    `\n10,000,000 events, one live and two stalled subscribers: heap ${(before / 1e6).toFixed(2)} MB -> ${
      (after / 1e6).toFixed(2)
    } MB; delivered ${stats[0].delivered}, dropped ${stats[1].dropped} and ${stats[2].dropped}`
  )
  yield* Scope.close(scope, Exit.void)
})

const program = Effect.gen(function*() {
  for (const subscribers of [1, 10, 100, 1000]) yield* fanOut(subscribers)
  yield* topics
  // ten million events, and no ratio: not for a look
  if (!quick) yield* growth
})

await Effect.runPromise(program)

/**
 * A bus for the events of one application: one union of events, declared once by a `Schema`; publishers, subscribers and
 * handlers that know nothing of one another.
 *
 * **For** telling what happened to all parts of one process, in one order. **Not for** questions and answers, for work
 * that must run exactly once across processes, or for bulk data.
 *
 * **Guarantees**
 * - Order: accepting an event gives it the next id and puts it into every queue of interest, in one synchronous step. Ids
 *   have no gap, and every subscriber sees them ascending, with and without a store.
 * - Delivery: each subscriber has a queue, a capacity and a policy of its own. A lossless one misses nothing that was
 *   accepted while it was subscribed; a lossy one gets a `Gap` in the place of what it missed. A subscriber that stalls
 *   takes nothing from the others.
 * - Acceptance: `publish` returns when the event is accepted. An interrupted or failed publish that waited was not
 *   accepted. With a store an event is durable first; interrupting the wait for the store leaves open whether it is.
 * - Handlers: named fibers in the scope of the caller. A failing one touches no other; what it gives up is logged at error
 *   level and kept as a dead letter. What a handler publishes has its event as cause, and never waits for room, so
 *   handlers cannot block one another.
 * - Cycles: a chain of more than `maxDepth` events, each the cause of the next, fails with `CycleDetected`.
 * - Shutdown: `drain` refuses new events with `BusClosed`, waits for what was accepted to be taken and handled, then closes
 *   every subscription and reports what was left. With a `Lifecycle` it runs by itself, in `stopping-sources`.
 *
 * **Limits**
 * - Delivery ends at the taking: what a subscriber does with a batch is not the concern of the bus. A handler counts as done when its
 *   function has ended.
 * - A publisher that is not a handler and waits for a subscriber that it serves itself waits for ever, or until the limit
 *   of the policy: publish from the loop of a `suspend` subscriber through a handler instead.
 * - An event costs one object per publish and one reference per queue. Subscribers share the event: it must be immutable.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Envelope, Event } from "./Envelope.js"
import type { DrainReport, Stats, Undelivered, Unsettled } from "./EventBusReport.js"
import type * as EventHandler from "./EventHandler.js"
import * as EventJournal from "./EventJournal.js"
import type * as EventLog from "./EventLog.js"
import * as EventLogStore from "./EventLogStore.js"
import type * as EventSubscription from "./EventSubscription.js"
import { Bus } from "./internal/bus/bus.js"
import type { InvalidOption } from "./InvalidOption.js"
import { check, unsafeDuration, unsafeWhole } from "./InvalidOption.js"
import * as Lifecycle from "./Lifecycle.js"
import type { PublishError, PublishOptions } from "./Publishing.js"
import * as Roster from "./Roster.js"
import * as ShutdownReport from "./ShutdownReport.js"

/**
 * What a bus carries and keeps.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<A extends Event, I = unknown> {
  /** The union of events. */
  readonly schema: Schema.Schema<A, I>
  /** The topic of an event whose publisher names none. Default: its tag. */
  readonly topic?: ((event: A) => string) | undefined
  /**
   * Whether `publish` checks each event against the schema. Without it the compiler vouches for events of the process
   * itself; `publishUnknown` always checks. Default true.
   */
  readonly validate?: boolean | undefined
  /** The longest chain of events, each the cause of the next. Default 32. */
  readonly maxDepth?: number | undefined
  /** How much history is kept for `log`. Default: 4096 events. */
  readonly log?: EventLog.Options<A> | undefined
  /** How long `drain` waits when a `Lifecycle` runs it. Default 3 seconds. */
  readonly drainBudget?: Duration.DurationInput | undefined
  /** Dead letters that are kept. Default 100. */
  readonly deadLetters?: number | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  validate: true,
  maxDepth: 32,
  drainBudget: Duration.seconds(3),
  deadLetters: 100
} as const

export {
  /** @since 0.1.0 */
  BusClosed,
  /** @since 0.1.0 */
  CycleDetected,
  /** @since 0.1.0 */
  InvalidEvent,
  /** @since 0.1.0 */
  Overtaken,
  /** @since 0.1.0 */
  SubscriberSaturated,
  /** @since 0.1.0 */
  Unconfirmed
} from "./Publishing.js"
export type {
  /** @since 0.1.0 */
  DrainReport,
  /** @since 0.1.0 */
  PublishError,
  /** @since 0.1.0 */
  PublishOptions,
  /** @since 0.1.0 */
  Stats,
  /** @since 0.1.0 */
  Undelivered,
  /** @since 0.1.0 */
  Unsettled
}

/**
 * A bus of typed events.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventBus<A extends Event> {
  readonly name: string
  /** Of its events: what a store, or a stream over the network, encodes them with. */
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly schema: Schema.Schema<A, any>
  /** Returns when the event is accepted. Waits while a subscriber of interest with the policy `suspend` is full. */
  readonly publish: (event: A, options?: PublishOptions) => Effect.Effect<Envelope<A>, PublishError>
  /** All of them with ids that follow one another, or none. */
  readonly publishAll: (
    events: ReadonlyArray<A>,
    options?: PublishOptions
  ) => Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError>
  /** For what comes from outside: decodes with the schema, then publishes. */
  readonly publishUnknown: (input: unknown, options?: PublishOptions) => Effect.Effect<Envelope<A>, PublishError>
  /** Everything of interest that is accepted from now on, until the scope is closed. */
  readonly subscribe: <const T extends A["_tag"] = A["_tag"]>(
    options?: EventSubscription.Options<T>
  ) => Effect.Effect<EventSubscription.Subscription<Extract<A, { readonly _tag: T }>>, InvalidOption, Scope.Scope>
  /** Runs a function for everything of interest that is accepted from now on, until the scope is closed. */
  readonly handle: EventHandler.Handle<A>
  readonly log: EventLog.EventLog<A>
  /** 0 before the first event. */
  readonly lastId: Effect.Effect<number>
  /** The last id of the whole log. Over an `EventJournal` it asks there, and may be ahead of `lastId`; else it is `lastId`. */
  readonly head: Effect.Effect<number, EventLogStore.StoreError>
  /** The life of the log, over an `EventJournal`: ids of another epoch mean nothing in this one. */
  readonly epoch: string | undefined
  /** The last events that handlers gave up, oldest first. */
  readonly deadLetters: Effect.Effect<ReadonlyArray<EventHandler.DeadLetter<A>>>
  /** Dead letters from now on, until the bus is closed. Who falls more than 100 behind loses the oldest. */
  readonly deadLetterStream: Stream.Stream<EventHandler.DeadLetter<A>>
  /**
   * Refuses new events, except those that handlers publish meanwhile; waits until all is taken and handled, `budget` at
   * most (by the `Clock` of the caller); then closes every subscription. Later calls wait for the same report.
   */
  readonly drain: (budget: Duration.DurationInput) => Effect.Effect<DrainReport>
  readonly stats: Effect.Effect<Stats>
}

/** Begins the names of what this bus appends to a journal: unlike those of every other node and of every other life. */
const nodeName = Effect.map(
  Effect.replicateEffect(Random.nextIntBetween(0, 2 ** 32), 3),
  (parts) => parts.map((part) => part.toString(36)).join("")
)

/**
 * Where the events of a bus are kept: in memory when it names neither; in a store that this bus alone writes; or in a journal
 * that other buses write, too.
 *
 * @since 0.1.0
 * @category options
 */
export interface Medium {
  readonly store?: EventLogStore.Store["Type"] | undefined
  readonly journal?: EventJournal.EventJournal["Type"] | undefined
}

/**
 * A bus that lasts as long as the scope. With a store or a journal, ids continue where that ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A extends Event, I>(
  options: Options<A, I> & Medium & { readonly name: string }
): Effect.Effect<EventBus<A>, EventLogStore.StoreError | InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const { journal, name, store } = options
    const clock = yield* Effect.clock
    const bus = yield* check(() => {
      unsafeDuration("EventBus.drainBudget", options.drainBudget ?? defaults.drainBudget, {
        zero: true,
        infinite: true
      })
      const settings = {
        name,
        schema: options.schema,
        topicOf: options.topic ?? ((event: A) => event._tag),
        validate: options.validate ?? defaults.validate,
        maxDepth: unsafeWhole("EventBus.maxDepth", options.maxDepth ?? defaults.maxDepth, { infinite: true }),
        log: options.log ?? {},
        deadLetters: unsafeWhole("EventBus.deadLetters", options.deadLetters ?? defaults.deadLetters)
      }
      return new Bus<A, I>(settings, clock)
    })
    if (store !== undefined) yield* bus.continueFrom(store)
    else if (journal !== undefined) yield* bus.share(journal, yield* nodeName)
    yield* Effect.addFinalizer(() => bus.close)
    yield* bus.start
    const lifecycle = Option.getOrUndefined(yield* Effect.serviceOption(Lifecycle.Lifecycle))
    if (lifecycle !== undefined) bus.onUnsettled = recordIn(lifecycle)
    // later than requests and sessions, which still publish; sooner than the end of the handlers
    yield* Lifecycle.onPhaseIfPresent(
      "stopping-sources",
      { label: `drain ${options.name}` },
      bus.drain(options.drainBudget ?? defaults.drainBudget)
    )
    // the bus itself knows nothing of the tags that a subscriber asked for in its type
    const service: EventBus<A> = {
      name: options.name,
      schema: options.schema,
      publish: bus.publish,
      publishAll: bus.publishAll,
      publishUnknown: bus.publishUnknown,
      subscribe: (options) => bus.subscribe(options) as Effect.Effect<never, never, Scope.Scope>,
      handle: (options, f) => bus.handle(options as never, f as never),
      log: {
        bounds: bus.bounds,
        after: (id, options) => bus.after(id, options) as Effect.Effect<never>,
        subscribeAfter: (id, options) => bus.subscribeAfter(id, options) as Effect.Effect<never, never, Scope.Scope>
      },
      lastId: Effect.sync(() => bus.lastId),
      head: bus.head,
      epoch: journal?.epoch,
      deadLetters: bus.letters.recent,
      deadLetterStream: bus.letters.stream,
      drain: bus.drain,
      stats: bus.stats
    }
    yield* Roster.add(present, service)
    return service
  })

/** What nobody knows of at the end of a drain is an item of the report, when it is the drain of a shutdown. */
const recordIn = (lifecycle: Lifecycle.Service) => (bus: string, unsettled: ReadonlyArray<Unsettled>): void => {
  const phase = lifecycle.unsafePhase()
  if (phase !== "accepting" && phase !== "unready") {
    lifecycle.unsafeRecord(ShutdownReport.unconfirmed(bus, unsettled))
  }
}

/**
 * The buses that are open, for who shows them.
 *
 * @since 0.1.0
 * @category models
 */
export const present = Roster.kind<
  Pick<EventBus<never>, "name" | "stats"> & {
    readonly deadLetters: Effect.Effect<ReadonlyArray<EventHandler.DeadLetter<unknown>>>
    readonly log: {
      readonly after: (
        id: number,
        options?: { readonly limit?: number | undefined }
      ) => Effect.Effect<EventLog.Page<Event>, unknown>
    }
  }
>("@holdfast/core/EventBus")

/**
 * The class of a bus, as a tag with its layers.
 *
 * @since 0.1.0
 * @category tags
 */
export interface TagClass<Self, Id extends string, A extends Event> extends Context.TagClass<Self, Id, EventBus<A>> {
  /** A bus whose history is in memory. */
  readonly layer: <I>(options: Options<A, I>) => Layer.Layer<Self, InvalidOption>
  /** A bus that writes each event to the store before anybody sees it, and continues from there after a restart. */
  readonly layerDurable: <I>(
    options: Options<A, I>
  ) => Layer.Layer<Self, EventLogStore.StoreError | InvalidOption, EventLogStore.Store>
  /** A bus over a journal: those of all nodes have the same events in the same order. */
  readonly layerShared: <I>(
    options: Options<A, I>
  ) => Layer.Layer<Self, EventLogStore.StoreError | InvalidOption, EventJournal.EventJournal>
}

/**
 * Declares the bus of an application.
 *
 * @example
 * ```ts
 * import { EventBus } from "@holdfast/core"
 * import { Effect, Schema } from "effect"
 *
 * const Said = Schema.TaggedStruct("Said", { room: Schema.String, text: Schema.String })
 * const Left = Schema.TaggedStruct("Left", { room: Schema.String })
 * const ChatEvent = Schema.Union(Said, Left)
 *
 * class ChatBus extends EventBus.Tag("chat/ChatBus")<ChatBus, typeof ChatEvent.Type>() {}
 *
 * const program = Effect.gen(function*() {
 *   const bus = yield* ChatBus
 *   const kitchen = yield* bus.subscribe({ topics: ["room.kitchen"] })
 *   yield* bus.publish({ _tag: "Said", room: "kitchen", text: "hello" })
 *   return yield* kitchen.takeBatch()
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(ChatBus.layer({ schema: ChatEvent, topic: (event) => `room.${event.room}` }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Id extends string>(id: Id) => <Self, A extends Event>(): TagClass<Self, Id, A> => {
  const tag = Context.Tag(id)<Self, EventBus<A>>()
  const single = noticeTwins(id)
  return Object.assign(tag, {
    layer: <I>(options: Options<A, I>): Layer.Layer<Self, InvalidOption> =>
      Layer.scoped(
        tag,
        // there is no store that could fail
        Effect.zipRight(single, Effect.catchTag(make({ ...options, name: id }), "StoreError", Effect.die))
      ),
    layerDurable: <I>(
      options: Options<A, I>
    ): Layer.Layer<Self, EventLogStore.StoreError | InvalidOption, EventLogStore.Store> =>
      Layer.scoped(
        tag,
        Effect.zipRight(
          single,
          Effect.flatMap(EventLogStore.Store, (store) => make({ ...options, name: id, store }))
        )
      ),
    layerShared: <I>(
      options: Options<A, I>
    ): Layer.Layer<Self, EventLogStore.StoreError | InvalidOption, EventJournal.EventJournal> =>
      Layer.scoped(tag, Effect.flatMap(EventJournal.EventJournal, (journal) => make({ ...options, name: id, journal })))
  })
}

/** Warns, once, when a bus is made while another one of the same tag is there: each has its own publishers and subscribers. */
const noticeTwins = (id: string): Effect.Effect<void, never, Scope.Scope> => {
  let live = 0
  let warned = false
  return Effect.acquireRelease(
    Effect.suspend(() => {
      live++
      if (live === 1 || warned) return Effect.void
      warned = true
      return Effect.logWarning(
        `There are ${live} buses of the tag "${id}": its layer was built more than once, and what is published on one is not ` +
          `seen on the other. Keep the layer in one constant, made once (const bus = MyBus.layer(options)), and provide that`
      )
    }),
    () =>
      Effect.sync(() => {
        live--
      })
  )
}

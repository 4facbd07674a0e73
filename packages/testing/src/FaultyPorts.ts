/**
 * Ports that misbehave: each layer here takes the real port from below and gives the same port, with fault points in it.
 * The faults are those of `Faults`, so the same seed makes the same write fail.
 *
 * | layer | points |
 * |---|---|
 * | `eventStore` | `store.append.fails` nothing was written · `store.append.unsure` written, reported as failed · `store.append.tears` the first rows were written (breaks the contract of the port: only when named in the options) · `store.read.fails` · `store.stalls` up to 5 s |
 * | `eventJournal` | `journal.append.lost` nobody knows, and nothing was appended · `journal.append.unsure` nobody knows, and all was appended · `journal.parts` unreachable for up to 5 s, and its tail silent · `journal.stalls` an answer is late by up to 5 s · `journal.tail.stalls` events come late by up to 5 s, and in parts · `journal.tail.loses` an event is missing (breaks the contract of the port: only when named in the options) |
 * | `tickerStore` | `ticker.load.fails` · `ticker.save.fails` · `ticker.save.lost` reported as saved · `ticker.stalls` |
 * | `keyValueStore` | `kv.get.fails` · `kv.set.fails` · `kv.set.tears` half of the value is kept, reported as failed · `kv.stalls` |
 * | `eventBus` | `bus.publish.stalls` · `bus.subscriber.stalls` · `bus.handler.stalls`, each up to 5 s · `bus.handler.crashes` |
 * | `clients` | `client.stalls` an event stream is not read for up to 60 s · `client.leaves` it is closed within 30 s |
 * | `clock` | `clock.jumps` the wall clock moves by up to one hour, either way; timers do not |
 *
 * @since 0.1.0
 */
import { SystemError } from "@effect/platform/Error"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import type { Event } from "@holdfast/core/Envelope"
import type * as EventBus from "@holdfast/core/EventBus"
import * as EventJournal from "@holdfast/core/EventJournal"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as Race from "@holdfast/core/Race"
import { Signal } from "@holdfast/core/Signal"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as SessionSink from "@holdfast/http/SessionSink"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Faults from "./Faults.js"

const longest = Duration.seconds(5)

/** The faults that are in force where the layer is built go on to be, whoever calls the port. */
const bind = Effect.map(
  Faults.Faults,
  (faults) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, Faults.Faults, faults)
)

/**
 * A journal as one node has it: its answers get lost, it is out of reach now and then, and its events come late. Give each
 * node a layer of its own over the journal that they share.
 *
 * @since 0.1.0
 * @category layers
 */
export const eventJournal: Layer.Layer<EventJournal.EventJournal, never, EventJournal.EventJournal> = Layer.effect(
  EventJournal.EventJournal,
  Effect.gen(function*() {
    const journal = yield* EventJournal.EventJournal
    const faults = yield* Faults.Faults
    const bound = yield* bind
    const error = (
      operation: EventJournal.JournalError["operation"],
      reason: EventJournal.JournalError["reason"],
      details: string
    ) => new EventJournal.JournalError({ operation, reason, details: `injected: ${details}` })
    let until = 0n
    /** Milliseconds for which the journal is out of reach; 0 when it is not. */
    const parted = Effect.map(Clock.currentTimeNanos, (now) => {
      if (now >= until && faults.decide("journal.parts")) {
        until = now + 1_000_000n * BigInt(faults.between("journal.parts", 1, Duration.toMillis(longest)))
      }
      return now >= until ? 0 : Number((until - now) / 1_000_000n) + 1
    })
    const reached = <A>(
      operation: EventJournal.JournalError["operation"],
      self: Effect.Effect<A, EventJournal.JournalError>
    ) =>
      Effect.flatMap(
        parted,
        (millis) =>
          millis > 0
            ? Effect.fail(error(operation, "Unreachable", "nothing was sent"))
            : Faults.stall("journal.stalls", longest)(self)
      ).pipe(bound)
    return {
      ...journal,
      append: (rows, options) =>
        reached(
          "append",
          journal.append(rows, options).pipe(
            Faults.failAfter("journal.append.unsure", () => error("append", "Unsure", "the rows were appended")),
            Faults.fail("journal.append.lost", () => error("append", "Unsure", "nothing was appended"))
          )
        ),
      read: (options) => reached("read", journal.read(options)),
      bounds: reached("bounds", journal.bounds),
      follow: (after, onRows) =>
        Effect.suspend(() => {
          const held: Array<EventJournal.Row | EventJournal.Lost> = []
          const arrived = new Signal()
          const deliver = Effect.sync(() => {
            const rows = held.splice(0, faults.between("journal.tail.stalls", 1, held.length))
            // out of contract, so never by chance alone
            if (faults.isNamed("journal.tail.loses") && faults.decide("journal.tail.loses")) rows.shift()
            if (rows.length > 0) onRows(rows)
          })
          const pump = Effect.forever(Effect.zipRight(
            arrived.wait(() => held.length > 0),
            Effect.flatMap(
              parted,
              (millis) => millis > 0 ? Effect.sleep(millis) : Faults.stall("journal.tail.stalls", longest)(deliver)
            )
          ))
          const tail = journal.follow(after, (rows) => {
            held.push(...rows)
            arrived.wake()
          })
          return Race.first(tail, pump)
        }).pipe(bound)
    }
  })
)

/**
 * An event store that fails now and then.
 *
 * @example
 * ```ts
 * import { EventLogStore } from "@holdfast/core"
 * import * as FaultyPorts from "@holdfast/testing/FaultyPorts"
 * import { Layer } from "effect"
 *
 * const Store = FaultyPorts.eventStore.pipe(Layer.provide(EventLogStore.layerStoreMemory))
 * console.log(Layer.isLayer(Store))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const eventStore: Layer.Layer<EventLogStore.Store, never, EventLogStore.Store> = Layer.effect(
  EventLogStore.Store,
  Effect.gen(function*() {
    const store = yield* EventLogStore.Store
    const bound = yield* bind
    const broken = (operation: EventLogStore.StoreError["operation"], details: string) => () =>
      new EventLogStore.StoreError({ operation, reason: "Io", details: `injected: ${details}` })
    // out of contract, so never by chance alone
    const faults = yield* Faults.Faults
    const torn = (rows: ReadonlyArray<EventLogStore.Stored>) =>
      rows.length > 1 && faults.isNamed("store.append.tears") && faults.decide("store.append.tears")
    return {
      append: (rows) =>
        Effect.suspend(() =>
          torn(rows)
            ? Effect.zipRight(
              store.append(rows.slice(0, faults.between("store.append.tears", 1, rows.length - 1))),
              Effect.suspend(() => broken("append", "the first rows were written")())
            )
            : store.append(rows)
        ).pipe(
          Faults.failAfter("store.append.unsure", broken("append", "the rows were written")),
          Faults.fail("store.append.fails", broken("append", "nothing was written")),
          Faults.stall("store.stalls", longest),
          bound
        ),
      read: (options) =>
        store.read(options).pipe(
          Faults.fail("store.read.fails", broken("read", "no rows")),
          Faults.stall("store.stalls", longest),
          bound
        ),
      bounds: store.bounds,
      trim: (beforeId, limits) => store.trim(beforeId, limits).pipe(Faults.stall("store.stalls", longest), bound)
    }
  })
)

/**
 * A ticker's store that fails now and then.
 *
 * @since 0.1.0
 * @category layers
 */
export const tickerStore: Layer.Layer<TickerStore.Store, never, TickerStore.Store> = Layer.effect(
  TickerStore.Store,
  Effect.gen(function*() {
    const store = yield* TickerStore.Store
    const bound = yield* bind
    const broken = (ticker: string, operation: TickerStore.StoreError["operation"]) => () =>
      new TickerStore.StoreError({ ticker, operation, reason: "injected", cause: undefined })
    return {
      load: (name) =>
        store.load(name).pipe(
          Faults.fail("ticker.load.fails", broken(name, "load")),
          Faults.stall("ticker.stalls", longest),
          bound
        ),
      save: (name, state) =>
        Faults.buggify("ticker.save.lost").pipe(
          Effect.flatMap((lost) => lost ? Effect.void : store.save(name, state)),
          Faults.fail("ticker.save.fails", broken(name, "save")),
          Faults.stall("ticker.stalls", longest),
          bound
        )
    }
  })
)

/**
 * A key-value store that fails now and then.
 *
 * @since 0.1.0
 * @category layers
 */
export const keyValueStore: Layer.Layer<KeyValueStore.KeyValueStore, never, KeyValueStore.KeyValueStore> = Layer.effect(
  KeyValueStore.KeyValueStore,
  Effect.gen(function*() {
    const store = yield* KeyValueStore.KeyValueStore
    const bound = yield* bind
    const broken = (method: string, pathOrDescriptor: string) => () =>
      new SystemError({
        reason: "Unknown",
        module: "KeyValueStore",
        method,
        pathOrDescriptor,
        description: "injected"
      })
    const set = (key: string, value: string | Uint8Array) =>
      Faults.buggify("kv.set.tears").pipe(
        Effect.flatMap((torn) =>
          torn
            ? Effect.zipRight(
              store.set(key, value.slice(0, Math.floor(value.length / 2))),
              Effect.suspend(() => broken("set", key)())
            )
            : store.set(key, value)
        ),
        Faults.fail("kv.set.fails", broken("set", key)),
        Faults.stall("kv.stalls", longest),
        bound
      )
    return KeyValueStore.make({
      ...store,
      get: (key) => store.get(key).pipe(Faults.fail("kv.get.fails", broken("get", key)), bound),
      getUint8Array: (key) => store.getUint8Array(key).pipe(Faults.fail("kv.get.fails", broken("get", key)), bound),
      set
    })
  })
)

/**
 * A bus whose publishers, subscribers and handlers are slow now and then, and whose handlers crash. What the bus
 * guarantees it still does.
 *
 * @since 0.1.0
 * @category layers
 */
export const eventBus = <Self, Id extends string, A extends Event>(
  tag: EventBus.TagClass<Self, Id, A>
): Layer.Layer<Self, never, Self> =>
  Layer.effect(
    tag,
    Effect.gen(function*() {
      const bus = yield* tag
      const bound = yield* bind
      const service: EventBus.EventBus<A> = {
        ...bus,
        publish: (event, options) =>
          bus.publish(event, options).pipe(Faults.stall("bus.publish.stalls", longest), bound),
        publishAll: (events, options) =>
          bus.publishAll(events, options).pipe(Faults.stall("bus.publish.stalls", longest), bound),
        subscribe: (options) =>
          Effect.map(bus.subscribe(options), (subscription) =>
            Object.assign(Object.create(subscription) as typeof subscription, {
              takeBatch: (max?: number) =>
                subscription.takeBatch(max).pipe(Faults.stall("bus.subscriber.stalls", longest), bound)
            })),
        handle: (options, f) =>
          bus.handle(options, (envelope) =>
            f(envelope).pipe(
              Faults.crash("bus.handler.crashes"),
              Faults.stall("bus.handler.stalls", longest),
              bound
            ))
      }
      return service
    })
  )

/**
 * Event streams whose readers stall or leave. Give it to the app together with the faults.
 *
 * @since 0.1.0
 * @category layers
 */
export const clients: Layer.Layer<never> = Layer.scopedContext(
  Effect.gen(function*() {
    const transport = yield* SessionSink.Transport
    const faults = yield* Faults.Faults
    const scope = yield* Effect.scope
    const runtime = yield* Effect.runtime<never>()
    const later = (millis: number, task: () => void) => {
      Runtime.runFork(runtime)(Effect.zipRight(Effect.sleep(millis), Effect.sync(task)), { scope, immediate: false })
    }
    const connect: SessionSink.TransportService["connect"] = (request, head) =>
      Effect.map(transport.connect(request, head), (connection) => ({
        ...connection,
        sink: new MoodySink(connection.sink, faults, later)
      }))
    return Context.make(SessionSink.Transport, { connect }) as Context.Context<never>
  })
)

/** Holds back what it is given while its reader stalls. */
class MoodySink implements SessionSink.Sink {
  private held: Array<SessionSink.Payload> = []
  private handlers: SessionSink.SinkHandlers | undefined
  private stalled = false
  private state: "open" | "ending" | "gone" = "open"

  constructor(
    readonly inner: SessionSink.Sink,
    readonly faults: Faults.Service,
    readonly later: (millis: number, task: () => void) => void
  ) {}

  start(handlers: SessionSink.SinkHandlers) {
    this.handlers = handlers
    this.inner.start({
      onReady: () => {
        if (!this.stalled) handlers.onReady()
      },
      onClose: (reason) => {
        this.state = "gone"
        handlers.onClose(reason)
      }
    })
    if (this.faults.decide("client.leaves")) {
      this.later(this.faults.between("client.leaves", 0, 30_000), () => {
        if (this.state === "gone") return
        this.destroy()
        handlers.onClose("client-left")
      })
    }
  }

  write(payload: SessionSink.Payload): boolean {
    if (!this.stalled && this.state === "open" && this.faults.decide("client.stalls")) {
      this.stalled = true
      this.later(this.faults.between("client.stalls", 1, 60_000), () => this.resume())
    }
    if (!this.stalled) return this.inner.write(payload)
    this.held.push(payload)
    return false
  }

  buffered(): number {
    return this.held.reduce((total, { byteLength }) => total + byteLength, this.inner.buffered())
  }

  end() {
    if (this.state !== "open") return
    this.state = "ending"
    if (!this.stalled) this.inner.end()
  }

  destroy() {
    this.state = "gone"
    this.held = []
    this.inner.destroy()
  }

  private resume() {
    this.stalled = false
    if (this.state === "gone") return
    let room = true
    for (const payload of this.held) room = this.inner.write(payload)
    this.held = []
    if (this.state === "ending") this.inner.end()
    else if (room) this.handlers?.onReady()
  }
}

/**
 * A clock that jumps now and then.
 *
 * @since 0.1.0
 * @category layers
 */
export const clock: Layer.Layer<never> = Layer.unwrapEffect(
  Effect.gen(function*() {
    const faults = yield* Faults.Faults
    const real = yield* Effect.clock
    let offset = 0
    const jump = () => {
      if (faults.decide("clock.jumps")) offset += faults.between("clock.jumps", -hour, hour)
    }
    // on top of the real one, which may be a TestClock with more methods than a Clock has
    const jumping: Clock.Clock = Object.assign(Object.create(real) as Clock.Clock, {
      unsafeCurrentTimeMillis: () => {
        jump()
        return real.unsafeCurrentTimeMillis() + offset
      },
      unsafeCurrentTimeNanos: () => {
        jump()
        return real.unsafeCurrentTimeNanos() + BigInt(offset) * 1_000_000n
      },
      currentTimeMillis: Effect.sync((): number => jumping.unsafeCurrentTimeMillis()),
      currentTimeNanos: Effect.sync((): bigint => jumping.unsafeCurrentTimeNanos()),
      sleep: (duration: Duration.Duration) => real.sleep(duration)
    })
    return Layer.setClock(jumping)
  })
)

const hour = 3_600_000

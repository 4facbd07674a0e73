/**
 * Named tickers: a world that advances at a fixed rate, and the handlers that advance it.
 *
 * A ticker numbers its slots 1, 2, 3, … and hands each one to its handlers. Every slot has one instant, computed from
 * the instant of the ticker's start and never from the moment at which a timer fired, so nothing adds up: after 10,000
 * ticks the clock is where multiplication says it is.
 *
 * **Guarantees**
 * - Isolation: every handler runs in its own named fiber. A handler that is slow, fails, dies or never ends delays
 *   neither the ticker nor another handler. One handler never runs twice at the same time.
 * - Order: a handler sees increasing tick numbers. What it did not get is counted in `Tick.missed`, once.
 * - Overrun: a slot that comes due while its handler is still busy (or while the whole process was stopped) is skipped,
 *   coalesced or caught up, as the policy says. Buffers are bounded by the policy: 1, 1 and `max` slots.
 * - Restart: with a store, tick number and world clock continue where they were. Time spent paused or not running does
 *   not count as world time.
 * - Shutdown: the ticker is a fiber of kind `"ticker"`, its handlers are fibers of kind `"handler"`. Closing the scope
 *   stops the ticker, then saves its last state, within a budget.
 *
 * **Limits**
 * - Instants come from the monotonic reading of the Effect `Clock` (its nanoseconds), whose origin is the wall clock at
 *   the start of the process. A wall clock that is set back or forth moves no tick.
 * - A timer of the platform has a resolution of about a millisecond: `Tick.late` is rarely 0 outside of tests. Rates
 *   over 1000 per second are refused.
 * - With `save: "behind"` a process killed at once (not a shutdown) may hand out the last unsaved tick numbers again.
 *   `save: "ahead"` never does, and pays one write of the store before each tick.
 * - It is not a job scheduler: a tick missed while the process was down is not made up for.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as MetricLabel from "effect/MetricLabel"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Cleanup from "./Cleanup.js"
import * as FiberRegistry from "./FiberRegistry.js"
import {
  counter,
  fixedPlan,
  handlerLoop,
  type HandlerStats,
  histogram,
  noTags,
  nowOf,
  type Overrun,
  type Plan,
  schedulePlan,
  show,
  Slots,
  type State,
  type Tick
} from "./internal/ticker/slots.js"

export type {
  /** @since 0.1.0 */
  HandlerStats,
  /** @since 0.1.0 */
  Overrun,
  /** @since 0.1.0 */
  State,
  /** @since 0.1.0 */
  Tick
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly name: string
  readonly phase: "running" | "paused" | "stopped"
  /** Slots per second; 0 when a schedule decides. */
  readonly rate: number
  readonly number: number
  readonly world: number
  readonly at: number
  /** Slots handed out since the start of this ticker. */
  readonly ticks: number
  /** How late the ticker itself was, last and worst, in milliseconds. */
  readonly late: number
  readonly maxLate: number
  readonly saves: number
  readonly saveFailures: number
  readonly handlers: ReadonlyArray<HandlerStats>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface HandlerOptions {
  /** Name of the handler: of its fiber, in its logs and metrics. */
  readonly name: string
  /** Runs on every n-th slot only. Default 1. */
  readonly every?: number
  /** Which of the n slots: it runs when `number % every === offset`. Default 0. */
  readonly offset?: number
  /** A run that takes longer is interrupted and counted; the handler goes on with the next slot. Default: none. */
  readonly budget?: Duration.DurationInput
  /** Default: the policy of the ticker. */
  readonly overrun?: Overrun
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly name: string
  /**
   * Runs `run` on the slots that `options` select, from the next one on, until the scope is closed. The fiber is of kind
   * `"handler"`.
   */
  readonly onTick: <E, R>(
    options: HandlerOptions,
    run: (tick: Tick) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<void, InvalidTicker, R | Scope.Scope>
  /** Stops the world clock. Runs in progress go on to their end. */
  readonly pause: Effect.Effect<void>
  /** The next tick comes one interval later. */
  readonly resume: Effect.Effect<void>
  /** Changes the rate, counted from the last slot: the next tick is due one new interval after it. */
  readonly setInterval: (interval: Duration.DurationInput) => Effect.Effect<void, InvalidTicker>
  /** As `setInterval`, with a schedule. */
  readonly setSchedule: (schedule: Schedule.Schedule<unknown, unknown>) => Effect.Effect<void>
  /** The last slot that was handed out. */
  readonly state: Effect.Effect<State>
  readonly stats: Effect.Effect<Stats>
}

/**
 * @since 0.1.0
 * @category models
 */
export type Options =
  & {
    /** Name of the ticker: of its fiber, in its metrics, and its key in the store. */
    readonly name: string
    /** Policy for handlers that name none. Default `"coalesce"`. */
    readonly overrun?: Overrun
    /** Start with the clock stopped. Default `false`. */
    readonly paused?: boolean
    /** Keeps tick number and world clock over a restart. */
    readonly store?: Store.Service
    /**
     * `"behind"`: the state is saved after the tick, without waiting; a slow store delays nothing.
     * `"ahead"`: a tick is handed out when its number has been saved; a number is never handed out twice, even when the
     * process is killed. A slot whose save fails is missed. Default `"behind"`.
     */
    readonly save?: "behind" | "ahead"
  }
  & (
    | {
      /** Time from slot to slot: 1 millisecond at least. The first slot comes one interval after the start. */
      readonly interval: Duration.DurationInput
      readonly schedule?: undefined
    }
    | {
      /**
       * Says when the next slot is, given the instant of the last. It is asked with the instant at which the last slot
       * was due, so `Schedule.spaced` ticks without drift too. When it ends, the ticker stops. Slots less than one
       * millisecond apart are moved to one millisecond.
       */
      readonly schedule: Schedule.Schedule<unknown, unknown>
      readonly interval?: undefined
    }
  )

/**
 * An interval, `every`, `offset`, `budget` or policy that cannot be.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidTicker extends Schema.TaggedError<InvalidTicker>("@holdfast/core/Ticker/InvalidTicker")(
  "InvalidTicker",
  { ticker: Schema.String, option: Schema.String, given: Schema.String, expected: Schema.String }
) {
  override get message(): string {
    return `Ticker "${this.ticker}": ${this.option} is ${this.given}, expected ${this.expected}`
  }
}

/**
 * A store of tickers that could not be read or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreError extends Schema.TaggedError<StoreError>("@holdfast/core/Ticker/StoreError")(
  "TickerStoreError",
  { ticker: Schema.String, operation: Schema.Literal("load", "save"), reason: Schema.String, cause: Schema.Defect }
) {
  override get message(): string {
    return `Ticker "${this.ticker}": cannot ${this.operation} its state: ${this.reason}`
  }
}

/**
 * Where tickers keep their state: one record per name, `save` is durable when it returns.
 *
 * @since 0.1.0
 * @category store
 */
export class Store extends Context.Tag("@holdfast/core/Ticker/Store")<Store, Store.Service>() {}

/**
 * @since 0.1.0
 */
export declare namespace Store {
  /**
   * @since 0.1.0
   * @category store
   */
  export interface Service {
    readonly load: (name: string) => Effect.Effect<Option.Option<State>, StoreError>
    readonly save: (name: string, state: State) => Effect.Effect<void, StoreError>
  }
}

/**
 * A store that lasts as long as the layer: for tests, and for tickers that are rebuilt within one process.
 *
 * @since 0.1.0
 * @category store
 */
export const layerStoreMemory: Layer.Layer<Store> = Layer.sync(Store, () => {
  const states = new Map<string, State>()
  return {
    load: (name) => Effect.sync(() => Option.fromNullable(states.get(name))),
    save: (name, state) => Effect.sync(() => void states.set(name, state))
  }
})

/** Half of the longest time-out that JavaScript timers can do: longer waits are made of several. */
const longestSleep = 2 ** 30

const intervalMillis = (ticker: string, interval: unknown): Effect.Effect<number, InvalidTicker> =>
  Effect.suspend(() => {
    const millis = Option.match(decodeDuration(interval), { onNone: () => Number.NaN, onSome: Duration.toMillis })
    return millis >= 1 && Number.isFinite(millis)
      ? Effect.succeed(millis)
      : new InvalidTicker({
        ticker,
        option: "interval",
        given: show(interval),
        expected: "a finite duration of at least 1 millisecond"
      })
  })

const decodeDuration = (input: unknown): Option.Option<Duration.Duration> =>
  typeof input === "number" && Number.isNaN(input) ? Option.none() : Duration.decodeUnknown(input)

const checkOverrun = (ticker: string, overrun: Overrun): Effect.Effect<void, InvalidTicker> =>
  overrun === "skip" || overrun === "coalesce" ||
    (typeof overrun === "object" && Number.isInteger(overrun.catchUp) && overrun.catchUp >= 1 &&
      overrun.catchUp <= 65_536)
    ? Effect.void
    : new InvalidTicker({
      ticker,
      option: "overrun",
      given: typeof overrun === "object" ? `{ catchUp: ${overrun.catchUp} }` : show(overrun),
      expected: "\"skip\", \"coalesce\" or { catchUp: 1 to 65536 }"
    })

/**
 * Starts a ticker that lives as long as the scope.
 *
 * @example
 * ```ts
 * import * as Ticker from "@holdfast/core/Ticker"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const world = yield* Ticker.make({ name: "world", interval: "100 millis" })
 *   yield* world.onTick({ name: "weather", every: 10 }, (tick) => Effect.log(`a second has passed: ${tick.world} ms`))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Service, InvalidTicker | StoreError, Scope.Scope> =>
  Effect.gen(function*() {
    const { name, store } = options
    const defaultOverrun = options.overrun ?? "coalesce"
    yield* checkOverrun(name, defaultOverrun)
    if ((options.interval === undefined) === (options.schedule === undefined)) {
      return yield* new InvalidTicker({
        ticker: name,
        option: "interval",
        given: options.interval === undefined ? "missing" : "given beside a schedule",
        expected: "either an interval or a schedule"
      })
    }
    let pace: { interval: number } | { schedule: Schedule.Schedule<unknown, unknown> } = options.schedule === undefined
      ? { interval: yield* intervalMillis(name, options.interval) }
      : { schedule: options.schedule }

    const scope = yield* Effect.scope
    const clock = yield* Effect.clock
    // Whoever resumes the ticker, or changes its rate, does not become its owner.
    const owner = yield* FiberRef.get(FiberRegistry.currentOwner)
    const control = yield* Effect.makeSemaphore(1)
    const loaded = store === undefined ? Option.none<State>() : yield* store.load(name)

    const labels = [MetricLabel.make("ticker", name)]
    const ticksTotal = counter("holdfast_ticker_ticks_total", "Slots handed out", labels)
    const lag = histogram("holdfast_ticker_lag_ms", "Milliseconds from the instant of a slot to its tick", labels)

    const saved = Option.getOrElse(loaded, (): State => ({ number: 0, world: 0, at: 0 }))
    let { at, number, world } = saved
    let savedNumber = number
    let attemptedNumber = number
    /** The instant from which the next slot is counted: of the last slot, or of a start after it. */
    let base = 0
    let ticks = 0
    let late = 0
    let maxLate = 0
    let saves = 0
    let saveFailures = 0
    let saveBroken = false
    let phase: Stats["phase"] = "paused"
    let plan: Plan | undefined = undefined as Plan | undefined
    let driver: Fiber.RuntimeFiber<void> | undefined = undefined
    let wakeSaver: (() => void) | undefined = undefined
    let closed = false
    const handlers: Array<Slots> = []

    const save = (store: Store.Service, state: State): Effect.Effect<boolean> =>
      Effect.matchCauseEffect(store.save(name, state), {
        onSuccess: () =>
          Effect.sync(() => {
            savedNumber = state.number
            saves++
            saveBroken = false
            return true
          }),
        onFailure: (cause) =>
          Effect.suspend(() => {
            if (Cause.isInterruptedOnly(cause)) return Effect.interrupt
            saveFailures++
            if (saveBroken) return Effect.succeed(false)
            saveBroken = true
            return Effect.as(Effect.logError(`Ticker "${name}" cannot save its state and keeps trying`, cause), false)
          })
      })

    const handOut = (plan: Plan, last: number, now: number, kept: boolean): void => {
      const first = number + 1
      number = last
      base = at = plan.at(last)
      world = plan.world(last)
      late = Math.max(0, now - plan.at(first))
      if (late > maxLate) maxLate = late
      if (!kept) {
        for (const handler of handlers) handler.drop(first, last)
        return
      }
      ticks += last - first + 1
      ticksTotal.unsafeUpdate(last - first + 1, noTags)
      lag.unsafeUpdate(late, noTags)
      for (const handler of handlers) handler.offer(first, last, plan)
      if (wakeSaver !== undefined) wakeSaver()
    }

    const drive = (plan: Plan): Effect.Effect<void> =>
      Effect.suspend(() => {
        const now = nowOf(clock)
        const wait = plan.nextAt - now
        if (wait === Number.POSITIVE_INFINITY) return Effect.void
        if (wait > 0) {
          const sleep = clock.sleep(Duration.millis(Math.min(Math.ceil(wait), longestSleep)))
          return Effect.flatMap(sleep, () => drive(plan))
        }
        return Effect.flatMap(plan.advance(now), (last) => {
          if (options.save !== "ahead" || store === undefined) {
            handOut(plan, last, now, true)
            return drive(plan)
          }
          return Effect.flatMap(save(store, { number: last, world: plan.world(last), at: plan.at(last) }), (kept) => {
            handOut(plan, last, nowOf(clock), kept)
            return drive(plan)
          })
        })
      })

    const saver = (store: Store.Service): Effect.Effect<never> =>
      Effect.forever(Effect.suspend(() => {
        if (attemptedNumber === number) {
          return Effect.async<void>((resume) => {
            wakeSaver = () => {
              wakeSaver = undefined
              resume(Effect.void)
            }
            return Effect.sync(() => {
              wakeSaver = undefined
            })
          })
        }
        attemptedNumber = number
        return save(store, { number, world, at })
      }))

    /** The following three run under `control`. */
    const start = (from: number, earliest: number) =>
      Effect.gen(function*() {
        const anchor = { number, world, at: from }
        base = from
        const started = "interval" in pace
          ? fixedPlan(pace.interval, anchor)
          : yield* schedulePlan(pace.schedule, anchor, earliest)
        plan = started
        phase = "running"
        // A fiber inherits the interruptibility of the place that forks it.
        driver = yield* Effect.locally(
          FiberRegistry.forkIn(
            Effect.onExit(Effect.interruptible(drive(started)), () =>
              Effect.sync(() => {
                if (plan === started) phase = "stopped"
              })),
            scope,
            { name, kind: "ticker" }
          ),
          FiberRegistry.currentOwner,
          owner
        )
      })

    const startNow = Effect.suspend(() => {
      const now = Math.ceil(nowOf(clock))
      return start(now, now)
    })

    const halt = Effect.suspend(() => {
      plan = undefined
      phase = "paused"
      return driver === undefined ? Effect.void : Fiber.interrupt(driver)
    })

    const repace = (next: typeof pace) =>
      Effect.suspend(() => {
        pace = next
        if (phase !== "running") return Effect.void
        return Effect.zipRight(
          halt,
          Effect.suspend(() => {
            const now = Math.ceil(nowOf(clock))
            return start("interval" in next ? Math.max(base, now - next.interval) : base, now)
          })
        )
      }).pipe(control.withPermits(1), Effect.uninterruptible)

    if (store !== undefined) {
      yield* Cleanup.addFinalizer(
        { label: `ticker ${name}: save its last state` },
        () => Effect.suspend(() => savedNumber === number ? Effect.void : save(store, { number, world, at }))
      )
      if (options.save !== "ahead") {
        yield* FiberRegistry.forkIn(Effect.interruptible(saver(store)), scope, { name: `${name}.save`, kind: "worker" })
      }
    }
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        closed = true
        phase = "stopped"
        for (const handler of handlers) handler.close()
      })
    )
    if (options.paused !== true) yield* startNow

    const onTick: Service["onTick"] = (handler, run) =>
      Effect.gen(function*() {
        const slots = yield* makeSlots(name, handler, defaultOverrun)
        if (closed) return
        const work = yield* handlerLoop(name, clock, slots, handler.budget, run)
        yield* Effect.acquireRelease(
          Effect.sync(() => handlers.push(slots)),
          () => Effect.sync(() => handlers.splice(handlers.indexOf(slots), 1))
        )
        yield* FiberRegistry.forkScoped(Effect.interruptible(work), { name: handler.name, kind: "handler" })
      })

    return {
      name,
      onTick,
      pause: Effect.suspend(() => phase === "running" ? halt : Effect.void).pipe(
        control.withPermits(1),
        Effect.uninterruptible
      ),
      resume: Effect.suspend(() => phase === "paused" ? startNow : Effect.void).pipe(
        control.withPermits(1),
        Effect.uninterruptible
      ),
      setInterval: (interval) => Effect.flatMap(intervalMillis(name, interval), (interval) => repace({ interval })),
      setSchedule: (schedule) => repace({ schedule }),
      state: Effect.sync(() => ({ number, world, at })),
      stats: Effect.sync(() => ({
        name,
        phase,
        rate: plan === undefined ? 0 : plan.rate,
        number,
        world,
        at,
        ticks,
        late,
        maxLate,
        saves,
        saveFailures,
        handlers: handlers.map((handler) => handler.stats())
      }))
    }
  })

const makeSlots = (ticker: string, options: HandlerOptions, overrun: Overrun): Effect.Effect<Slots, InvalidTicker> =>
  Effect.gen(function*() {
    const every = options.every ?? 1
    const offset = options.offset ?? 0
    const policy = options.overrun ?? overrun
    const invalid = (option: string, given: unknown, expected: string) =>
      new InvalidTicker({ ticker, option: `${option} of handler "${options.name}"`, given: show(given), expected })
    if (!Number.isSafeInteger(every) || every < 1) {
      return yield* invalid("every", every, "a whole number of at least 1")
    }
    if (!Number.isSafeInteger(offset) || offset < 0 || offset >= every) {
      return yield* invalid("offset", offset, `a whole number from 0 to ${every - 1}`)
    }
    if (
      options.budget !== undefined &&
      !Option.exists(decodeDuration(options.budget), (budget) => Duration.toMillis(budget) > 0)
    ) {
      return yield* invalid("budget", options.budget, "a duration longer than 0")
    }
    yield* checkOverrun(ticker, policy)
    return new Slots(options.name, every, offset, policy)
  })

/**
 * @since 0.1.0
 * @category models
 */
export type TagClass<Self, Id extends string> = Context.TagClass<Self, Id, Service> & {
  /** As `make`, for this tag. */
  readonly layer: (options: Options) => Layer.Layer<Self, InvalidTicker | StoreError>
  /** As `layer`, with the store from the context. */
  readonly layerStored: (options: Options) => Layer.Layer<Self, InvalidTicker | StoreError, Store>
}

/**
 * The tag of one ticker, for applications with several.
 *
 * @example
 * ```ts
 * import * as Ticker from "@holdfast/core/Ticker"
 *
 * class WorldTicker extends Ticker.Tag("mud/WorldTicker")<WorldTicker>() {}
 *
 * const layer = WorldTicker.layer({ name: "world", interval: "100 millis" })
 * ```
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Id extends string>(id: Id) => <Self>(): TagClass<Self, Id> => {
  const tag = Context.Tag(id)<Self, Service>()
  return Object.assign(tag, {
    layer: (options: Options) => Layer.scoped(tag, make(options)),
    layerStored: (options: Options) => Layer.scoped(tag, Effect.flatMap(Store, (store) => make({ ...options, store })))
  })
}

/**
 * The tag of the ticker, for applications with one.
 *
 * @since 0.1.0
 * @category tags
 */
export class Ticker extends Tag("@holdfast/core/Ticker")<Ticker>() {}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: (options: Options) => Layer.Layer<Ticker, InvalidTicker | StoreError> = Ticker.layer

/**
 * As `layer`, with the store from the context.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStored: (options: Options) => Layer.Layer<Ticker, InvalidTicker | StoreError, Store> =
  Ticker.layerStored

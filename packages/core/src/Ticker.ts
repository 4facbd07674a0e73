/**
 * Named tickers: slots at a fixed rate, and the handlers that run on them.
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
 * - Restart: with a `TickerStore`, tick number and elapsed time continue where they were. Time spent paused or not
 *   running does not count as elapsed.
 * - A handler whose scope is closed handles nothing more. When it is its own run that closes the scope, that run is the last,
 *   and goes on to its end.
 * - Shutdown: the ticker is a fiber of kind `"ticker"`, its handlers are fibers of kind `"handler"`. Closing the scope
 *   stops the ticker, then saves its last state, within a budget.
 *
 * **Limits**
 * - Instants come from the monotonic reading of the Effect `Clock` (its nanoseconds), whose origin is the wall clock at
 *   the start of the process. A wall clock that is set back or forth moves no tick of an interval.
 * - A schedule that names instants of the wall clock, as `Schedule.cron` does, follows the wall clock: it is never early,
 *   and late by half a minute at most after the clock was set or the machine slept. A union of such a schedule with one
 *   that counts from the last slot is taken for the latter: make two tickers.
 * - A timer of the platform has a resolution of about a millisecond: `Tick.lateMillis` is rarely 0 outside of tests. Rates
 *   over 1000 per second are refused.
 * - With `save: "behind"` a process killed at once (not a shutdown) may hand out the last unsaved tick numbers again.
 *   `save: "ahead"` never does, and pays one write of the store before each tick.
 * - It is not a job scheduler: a tick missed while the process was down is not made up for.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Cleanup from "./Cleanup.js"
import * as FiberRegistry from "./FiberRegistry.js"
import { isWithin } from "./internal/fibers/fiberState.js"
import { Driver, type Pace } from "./internal/ticker/driver.js"
import { handlerLoop } from "./internal/ticker/handler.js"
import * as Check from "./internal/ticker/options.js"
import { namesInstants } from "./internal/ticker/plan.js"
import { type HandlerStats, type Overrun, Slots, type Tick } from "./internal/ticker/slots.js"
import * as InvalidOption from "./InvalidOption.js"
import * as Roster from "./Roster.js"
import * as TickerStore from "./TickerStore.js"

export type {
  /** @since 0.1.0 */
  HandlerStats,
  /** @since 0.1.0 */
  Overrun,
  /** @since 0.1.0 */
  Tick
}

/**
 * The numbers of a ticker, counted since its start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly name: string
  readonly phase: "running" | "paused" | "stopped"
  /** Slots per second; 0 when a schedule decides. */
  readonly rate: number
  /** As in `state`. */
  readonly number: number
  readonly elapsedMillis: number
  readonly at: number
  /** Slots handed out since the start of this ticker. */
  readonly ticks: number
  /** How late the ticker itself was, at the last slot and at worst. */
  readonly lateMillis: number
  readonly maxLateMillis: number
  readonly saves: number
  readonly saveFailures: number
  readonly handlers: ReadonlyArray<HandlerStats>
}

/**
 * The name of a handler, which ticks it takes, and how long each run may be.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlerOptions {
  /** Name of the handler: of its fiber, in its logs and metrics. */
  readonly name: string
  /** Runs on every n-th slot only. Default 1. */
  readonly every?: number | undefined
  /** Which of the n slots: it runs when `number % every === offset`. Default 0. */
  readonly offset?: number | undefined
  /** A run that takes longer is interrupted and counted; the handler goes on with the next slot. Default: none. */
  readonly budget?: Duration.DurationInput | undefined
  /** Default: the policy of the ticker. */
  readonly overrun?: Overrun | undefined
}

/**
 * A clock that ticks at a fixed rate without drift.
 *
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
  ) => Effect.Effect<void, InvalidOption.InvalidOption, R | Scope.Scope>
  /** No more slots come, and no time elapses. Runs in progress go on to their end. */
  readonly pause: Effect.Effect<void>
  /** The next tick comes one interval later. */
  readonly resume: Effect.Effect<void>
  /**
   * The next tick comes one interval after `last`, a reading of `Monotonic` in milliseconds, and at once when that is past: what
   * ticked until then goes on without a pause, as when another process did. With a schedule, as `resume`.
   */
  readonly resumeFrom: (last: number) => Effect.Effect<void, InvalidOption.InvalidOption>
  /** Changes the rate, counted from the last slot: the next tick is due one new interval after it. */
  readonly setInterval: (interval: Duration.DurationInput) => Effect.Effect<void, InvalidOption.InvalidOption>
  /** As `setInterval`, with a schedule. */
  readonly setSchedule: (
    schedule: Schedule.Schedule<unknown, unknown>
  ) => Effect.Effect<void, InvalidOption.InvalidOption>
  /** The last slot that was handed out. */
  readonly state: Effect.Effect<TickerStore.State>
  readonly stats: Effect.Effect<Stats>
}

/**
 * The rate of a ticker, and what happens to ticks that come late.
 *
 * @since 0.1.0
 * @category models
 */
export type Options =
  & {
    /** Name of the ticker: of its fiber, in its metrics, and its key in the store. */
    readonly name: string
    /** Policy for handlers that name none. Default `coalesce`. */
    readonly overrun?: Overrun | undefined
    /** Start with the clock stopped. Default `false`. */
    readonly paused?: boolean | undefined
    /** Keeps tick number and elapsed time over a restart. */
    readonly store?: TickerStore.Service | undefined
    /**
     * `"behind"`: the state is saved after the tick, without waiting; a slow store delays nothing.
     * `"ahead"`: a tick is handed out when its number has been saved; a number is never handed out twice, even when the
     * process is killed. A slot whose save fails is missed. Default `"behind"`.
     */
    readonly save?: "behind" | "ahead" | undefined
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
       * millisecond apart are moved to one millisecond. One that names instants of the wall clock is asked by that.
       */
      readonly schedule: Schedule.Schedule<unknown, unknown>
      readonly interval?: undefined
    }
  )

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  overrun: { _tag: "coalesce" },
  paused: false,
  save: "behind"
} as const satisfies Partial<Options>

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const handlerDefaults = { every: 1, offset: 0 } as const satisfies Partial<HandlerOptions>

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
 *   yield* world.onTick({ name: "weather", every: 10 }, (tick) => Effect.log(`a second has passed: ${tick.elapsedMillis} ms`))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Service, InvalidOption.InvalidOption | TickerStore.StoreError, Scope.Scope> =>
  Effect.gen(function*() {
    const { name, store } = options
    const { overrun = defaults.overrun, paused = defaults.paused, save = defaults.save } = options
    const ahead = save === "ahead"
    yield* InvalidOption.check(() => Check.unsafeTicker({ ...options, overrun, paused, save }))
    const pace = yield* options.schedule === undefined
      ? intervalPace(name, options.interval)
      : schedulePace(name, options.schedule)

    const scope = yield* Effect.scope
    const clock = yield* Effect.clock
    const owner = yield* FiberRef.get(FiberRegistry.currentOwner)
    const loaded = store === undefined ? Option.none<TickerStore.State>() : yield* store.load(name)
    const state = Option.getOrElse(loaded, () => ({ number: 0, elapsedMillis: 0, at: 0 }))

    const driver = new Driver({ name, clock, scope, owner, store, ahead }, state, pace)
    const { saver } = driver
    if (saver !== undefined) {
      yield* Cleanup.addFinalizer({ label: `ticker ${name}: save its last state` }, () => saver.last)
      if (!ahead) {
        yield* FiberRegistry.forkIn(Effect.interruptible(saver.behind), scope, { name: `${name}.save`, kind: "worker" })
      }
    }
    yield* Effect.addFinalizer(() => Effect.sync(() => driver.close()))
    if (!paused) yield* driver.resume

    const onTick: Service["onTick"] = (handler, run) =>
      Effect.gen(function*() {
        const { budget, every = handlerDefaults.every, name: whose, offset = handlerDefaults.offset } = handler
        const policy = handler.overrun === undefined ? overrun : handler.overrun
        yield* InvalidOption.check(() =>
          Check.unsafeHandler(name, { name: whose, every, offset, budget, overrun: policy })
        )
        if (driver.closed) return
        const slots = new Slots(whose, every, offset, policy)
        driver.handlers.push(slots)
        const room = yield* Scope.make()
        const work = Effect.interruptible(yield* handlerLoop(name, clock, slots, budget, run))
        const fiber = yield* FiberRegistry.forkIn(work, room, { name: whose, kind: "handler" })
        yield* Effect.addFinalizer((exit) =>
          Effect.withFiberRuntime((closer) => {
            slots.close()
            driver.handlers.splice(driver.handlers.indexOf(slots), 1)
            // A run that closes the scope of its handler cannot wait for its own end: it is the last one.
            return isWithin(closer, fiber) ? Effect.void : Scope.close(room, exit)
          })
        )
      }).pipe(Effect.uninterruptible)

    yield* Roster.add(present, { name, stats: Effect.sync(() => driver.stats()) })
    return {
      name,
      onTick,
      pause: driver.pause,
      resume: driver.resume,
      resumeFrom: (last) =>
        Effect.zipRight(InvalidOption.check(() => Check.unsafeReading(name, last)), driver.resumeFrom(last)),
      setInterval: (interval) => Effect.flatMap(intervalPace(name, interval), (pace) => driver.repace(pace)),
      setSchedule: (schedule) => Effect.flatMap(schedulePace(name, schedule), (pace) => driver.repace(pace)),
      state: Effect.sync(() => driver.state),
      stats: Effect.sync(() => driver.stats())
    }
  })

/**
 * The tickers that there are, for who shows them.
 *
 * @since 0.1.0
 * @category models
 */
export const present = Roster.kind<Pick<Service, "name" | "stats">>("@holdfast/core/Ticker")

const intervalPace = (ticker: string, given: unknown): Effect.Effect<Pace, InvalidOption.InvalidOption> =>
  InvalidOption.check(() => ({ interval: Check.unsafeInterval(ticker, given) }))

const schedulePace = (
  ticker: string,
  schedule: Schedule.Schedule<unknown, unknown>
): Effect.Effect<Pace, InvalidOption.InvalidOption> =>
  Effect.clockWith((clock) => namesInstants(schedule, clock.unsafeCurrentTimeMillis())).pipe(
    Effect.map((wall) => ({ schedule, wall })),
    // An expression of cron that cannot be parsed, or that no day fits.
    Effect.catchAllDefect((defect) =>
      new InvalidOption.InvalidOption({
        option: `Ticker(${ticker}).schedule`,
        given: defect instanceof Error ? defect.message : String(defect),
        expected: "a schedule that can say when its first slot is"
      })
    )
  )

/**
 * A tag of a ticker of one's own, with its layers.
 *
 * @since 0.1.0
 * @category models
 */
export type TagClass<Self, Id extends string> = Context.TagClass<Self, Id, Service> & {
  /** As `make`, for this tag. */
  readonly layer: (options: Options) => Layer.Layer<Self, InvalidOption.InvalidOption | TickerStore.StoreError>
  /** As `layer`, with the `TickerStore` of the context. */
  readonly layerDurable: (
    options: Options
  ) => Layer.Layer<Self, InvalidOption.InvalidOption | TickerStore.StoreError, TickerStore.Store>
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
    layerDurable: (options: Options) =>
      Layer.scoped(tag, Effect.flatMap(TickerStore.Store, (store) => make({ ...options, store })))
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
 * The ticker of the tag `Ticker`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: (options: Options) => Layer.Layer<Ticker, InvalidOption.InvalidOption | TickerStore.StoreError> =
  Ticker.layer

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<Ticker, InvalidOption.InvalidOption | TickerStore.StoreError | ConfigError.ConfigError> = InvalidOption
  .fromConfig(layer)

/**
 * As `layer`, with the `TickerStore` of the context.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerDurable: (
  options: Options
) => Layer.Layer<Ticker, InvalidOption.InvalidOption | TickerStore.StoreError, TickerStore.Store> = Ticker.layerDurable

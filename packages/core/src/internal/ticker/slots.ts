/**
 * The parts of a ticker: where its slots are, which of them a handler has yet to take, and the loop of one handler.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import * as Race from "../../Race.js"

/**
 * One slot of a ticker, as one handler gets it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tick {
  /** Name of the ticker. */
  readonly name: string
  /** Number of the slot, from 1. It goes up by one per slot, whether or not anybody ran. */
  readonly number: number
  /** The instant of the slot, in milliseconds since the epoch. */
  readonly at: number
  /** World clock at the slot, in milliseconds: the time this ticker has been running, over all restarts. */
  readonly world: number
  /** How long after `at` the handler was started, in milliseconds. */
  readonly late: number
  /** Slots of this handler since its previous run that it did not get. */
  readonly missed: number
}

/**
 * What happens to the slots that came due while their handler was busy.
 *
 * - `"skip"`: dropped. The handler continues with the next slot on the grid.
 * - `"coalesce"`: merged. The handler runs once, at once, with the newest of them.
 * - `{ catchUp: max }`: run one after the other, in order; only the newest `max` are kept.
 *
 * Slots that were dropped or merged are counted in `missed` of the next tick.
 *
 * @since 0.1.0
 * @category models
 */
export type Overrun = "skip" | "coalesce" | { readonly catchUp: number }

/**
 * @since 0.1.0
 * @category models
 */
export interface State {
  /** The last slot that was handed out. */
  readonly number: number
  /** World clock at that slot, in milliseconds. */
  readonly world: number
  /** The instant of that slot, in milliseconds since the epoch. */
  readonly at: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface HandlerStats {
  readonly name: string
  readonly every: number
  readonly running: boolean
  /** Runs that ended, in whatever way. */
  readonly runs: number
  readonly failures: number
  /** Runs that took longer than their budget and were interrupted. */
  readonly overBudget: number
  /** Slots that were skipped or merged. */
  readonly missed: number
  /** Number of the last tick that it was started with, 0 before the first. */
  readonly lastNumber: number
}

/** The monotonic reading of the clock, in milliseconds since the epoch. */
export const nowOf = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1e6

const milliseconds = MetricBoundaries.fromIterable([0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000])

/** A metric made from its whole key looks its hook up once; `Metric.tagged` would do so on every update. */
export const counter = (name: string, description: string, labels: ReadonlyArray<MetricLabel.MetricLabel>) =>
  Metric.fromMetricKey(
    MetricKey.counter(name, { description, incremental: true }).pipe(MetricKey.taggedWithLabels(labels))
  )

export const histogram = (name: string, description: string, labels: ReadonlyArray<MetricLabel.MetricLabel>) =>
  Metric.fromMetricKey(
    MetricKey.histogram(name, milliseconds, description).pipe(MetricKey.taggedWithLabels(labels))
  )

export const noTags: ReadonlyArray<MetricLabel.MetricLabel> = []

const keptSlots = (overrun: Overrun): number => typeof overrun === "object" ? overrun.catchUp : 1

const modulo = (value: number, by: number): number => ((value % by) + by) % by

/** The slots of one handler that are due and not yet taken: a ring that forgets the oldest. */
export class Slots {
  readonly numbers: Float64Array
  readonly ats: Float64Array
  readonly worlds: Float64Array
  readonly skip: boolean
  running = false
  closed = false
  size = 0
  /** Slots lost since the last tick that was taken. */
  lost = 0
  wake: (() => void) | undefined = undefined
  runs = 0
  failures = 0
  overBudget = 0
  missed = 0
  lastNumber = 0
  private head = 0

  constructor(readonly name: string, readonly every: number, readonly offset: number, overrun: Overrun) {
    const kept = keptSlots(overrun)
    this.skip = overrun === "skip"
    this.numbers = new Float64Array(kept)
    this.ats = new Float64Array(kept)
    this.worlds = new Float64Array(kept)
  }

  lose(count: number): void {
    this.lost += count
    this.missed += count
  }

  /** The slots `from` to `to` are due. */
  offer(from: number, to: number, plan: Plan): void {
    const newest = to - modulo(to - this.offset, this.every)
    const oldest = from + modulo(this.offset - from, this.every)
    if (newest < oldest) return
    const count = (newest - oldest) / this.every + 1
    if (this.skip && (this.running || this.size > 0)) {
      this.lose(count)
      return
    }
    const kept = Math.min(count, this.numbers.length)
    let dropped = count - kept
    for (let number = newest - (kept - 1) * this.every; number <= newest; number += this.every) {
      if (this.size === this.numbers.length) dropped++
      else this.size++
      this.numbers[this.head] = number
      this.ats[this.head] = plan.at(number)
      this.worlds[this.head] = plan.world(number)
      this.head = (this.head + 1) % this.numbers.length
    }
    if (dropped > 0) this.lose(dropped)
    if (this.wake !== undefined) {
      const wake = this.wake
      this.wake = undefined
      wake()
    }
  }

  /** The slots `from` to `to` will not be handed out. */
  drop(from: number, to: number): void {
    const newest = to - modulo(to - this.offset, this.every)
    const oldest = from + modulo(this.offset - from, this.every)
    if (newest >= oldest) this.lose((newest - oldest) / this.every + 1)
  }

  take(ticker: string, now: number): Tick | undefined {
    if (this.size === 0) return undefined
    const index = (this.head + this.numbers.length - this.size) % this.numbers.length
    this.size--
    const missed = this.lost
    this.lost = 0
    const number = this.numbers[index]
    const at = this.ats[index]
    this.lastNumber = number
    return { name: ticker, number, at, world: this.worlds[index], late: Math.max(0, now - at), missed }
  }

  close(): void {
    this.closed = true
    this.size = 0
    this.wake?.()
  }

  stats(): HandlerStats {
    return {
      name: this.name,
      every: this.every,
      running: this.running,
      runs: this.runs,
      failures: this.failures,
      overBudget: this.overBudget,
      missed: this.missed,
      lastNumber: this.lastNumber
    }
  }
}

/** Where the slots are. `next` is due at `nextAt`; `advance` moves past everything that is due. */
export interface Plan {
  readonly rate: number
  readonly nextAt: number
  /** Instant and world clock of a slot of the last `advance`. */
  readonly at: (number: number) => number
  readonly world: (number: number) => number
  /** Answers the newest slot due at `now`, and plans the next one. */
  readonly advance: (now: number) => Effect.Effect<number>
}

/** Instants by multiplication from an anchor: rounding does not add up, and a long stop costs no more than a short. */
export const fixedPlan = (interval: number, anchor: State): Plan => {
  let next = anchor.number + 1
  const at = (number: number) => anchor.at + (number - anchor.number) * interval
  return {
    rate: 1000 / interval,
    get nextAt() {
      return at(next)
    },
    at,
    world: (number) => anchor.world + (number - anchor.number) * interval,
    advance: (now) =>
      Effect.sync(() => {
        let last = Math.max(next, anchor.number + Math.floor((now - anchor.at) / interval))
        while (at(last + 1) <= now) last++
        while (last > next && at(last) > now) last--
        next = last + 1
        return last
      })
  }
}

/** Instants by stepping a schedule at the instants at which it was due. */
export const schedulePlan = (
  schedule: Schedule.Schedule<unknown, unknown>,
  anchor: State,
  earliest: number
): Effect.Effect<Plan> =>
  Effect.gen(function*() {
    let scheduleState = schedule.initial
    let last = anchor.number
    let first = last + 1
    let nextAt = Number.POSITIVE_INFINITY
    let due: Array<number> = []
    const step = (from: number, earliest: number) =>
      Effect.map(schedule.step(from, undefined, scheduleState), ([state, _, decision]) => {
        scheduleState = state
        nextAt = ScheduleDecision.isContinue(decision)
          ? Math.max(ScheduleIntervals.start(decision.intervals), earliest)
          : Number.POSITIVE_INFINITY
      })
    yield* step(anchor.at, earliest)
    const at = (number: number) => due[number - first]
    return {
      rate: 0,
      get nextAt() {
        return nextAt
      },
      at,
      world: (number) => anchor.world + at(number) - anchor.at,
      advance: (now) =>
        Effect.suspend(() => {
          first = last + 1
          due = []
          return Effect.as(
            Effect.whileLoop({
              while: () => nextAt <= now,
              body: () => {
                last++
                due.push(nextAt)
                return step(nextAt, nextAt + 1)
              },
              step: () => {}
            }),
            0
          )
        }).pipe(Effect.map(() => last))
    }
  })
export const show = (given: unknown): string => {
  try {
    return typeof given === "string"
      ? `"${given}"`
      : Duration.isDuration(given)
      ? Duration.format(given)
      : String(given)
  } catch {
    return typeof given
  }
}

/** Runs one handler for as long as its fiber lives: one run at a time, and no failure ends it. */
export const handlerLoop = <E, R>(
  ticker: string,
  clock: Clock.Clock,
  slots: Slots,
  budget: Duration.DurationInput | undefined,
  run: (tick: Tick) => Effect.Effect<unknown, E, R>
): Effect.Effect<Effect.Effect<void, never, R>> =>
  Effect.sync(() => {
    const labels = [MetricLabel.make("ticker", ticker), MetricLabel.make("handler", slots.name)]
    const duration = histogram("holdfast_ticker_handler_ms", "Milliseconds that a run of a handler took", labels)
    const failures = counter("holdfast_ticker_handler_failures_total", "Runs that failed or died", labels)
    const overBudget = counter("holdfast_ticker_handler_over_budget_total", "Runs that their budget ended", labels)
    const missed = counter("holdfast_ticker_handler_missed_total", "Slots that were skipped or merged", labels)

    const park = Effect.async<void>((resume) => {
      slots.wake = () => {
        slots.wake = undefined
        resume(Effect.void)
      }
      return Effect.sync(() => {
        slots.wake = undefined
      })
    })

    const bounded = (tick: Tick): Effect.Effect<boolean, E, R> => {
      const once = Effect.suspend(() => run(tick))
      return budget === undefined
        ? Effect.as(once, true)
        : Effect.map(Race.timeoutOption(once, budget), Option.isSome)
    }

    // A handler that fails a hundred times a second is reported at its 1st, 2nd, 4th, 8th … failure in a row, and when
    // it works again.
    let streak = 0
    const report = (tick: Tick, what: string, cause: Cause.Cause<unknown>, level: LogLevel.LogLevel) => {
      streak++
      if ((streak & (streak - 1)) !== 0) return Effect.void
      const times = streak === 1 ? "" : `, ${streak} times in a row`
      return Effect.logWithLevel(
        level,
        `Handler "${slots.name}" of ticker "${ticker}" ${what} at tick ${tick.number}${times}`,
        cause
      )
    }

    const ended = (tick: Tick, started: number, exit: Exit.Exit<boolean, E>): Effect.Effect<void> => {
      slots.running = false
      slots.runs++
      duration.unsafeUpdate(nowOf(clock) - started, noTags)
      if (Exit.isFailure(exit)) {
        slots.failures++
        failures.unsafeUpdate(1, noTags)
        return report(tick, "failed", exit.cause, LogLevel.Error)
      }
      if (!exit.value) {
        slots.overBudget++
        overBudget.unsafeUpdate(1, noTags)
        return report(tick, `ran over its budget of ${Duration.format(budget ?? 0)}`, Cause.empty, LogLevel.Warning)
      }
      if (streak === 0) return Effect.void
      const times = streak
      streak = 0
      return Effect.logInfo(
        `Handler "${slots.name}" of ticker "${ticker}" works again at tick ${tick.number}, after ${times} runs that did not`
      )
    }

    const loop: Effect.Effect<void, never, R> = Effect.suspend(() => {
      if (slots.closed) return Effect.void
      const started = nowOf(clock)
      const tick = slots.take(ticker, started)
      if (tick === undefined) return Effect.flatMap(park, () => loop)
      if (tick.missed > 0) missed.unsafeUpdate(tick.missed, noTags)
      slots.running = true
      return Effect.flatMap(Effect.exit(bounded(tick)), (exit) => Effect.zipRight(ended(tick, started, exit), loop))
    })
    return loop
  })

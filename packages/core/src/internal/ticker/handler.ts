/**
 * The loop of one handler of a ticker.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as LogLevel from "effect/LogLevel"
import * as MetricLabel from "effect/MetricLabel"
import * as Option from "effect/Option"
import * as Monotonic from "../../Monotonic.js"
import * as Race from "../../Race.js"
import { counter, histogram, noTags } from "./metrics.js"
import type { Slots, Tick } from "./slots.js"

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
    const duration = histogram(
      "holdfast_ticker_handler_duration_seconds",
      "Seconds that a run of a handler took",
      labels
    )
    const failures = counter("holdfast_ticker_handler_failures_total", "Runs that failed or died", labels)
    const overBudget = counter("holdfast_ticker_handler_over_budget_total", "Runs that their budget ended", labels)
    const missed = counter("holdfast_ticker_handler_missed_total", "Slots that were skipped or merged", labels)

    const park = slots.changed.wait(() => slots.size > 0 || slots.closed)

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
      duration.unsafeUpdate((Monotonic.unsafeNow(clock) - started) / 1000, noTags)
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
      const started = Monotonic.unsafeNow(clock)
      const tick = slots.take(ticker, started)
      if (tick === undefined) return Effect.flatMap(park, () => loop)
      if (tick.missed > 0) missed.unsafeUpdate(tick.missed, noTags)
      slots.running = true
      return Effect.flatMap(Effect.exit(bounded(tick)), (exit) => Effect.zipRight(ended(tick, started, exit), loop))
    })
    return loop
  })

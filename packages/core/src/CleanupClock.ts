/**
 * The clock that the budgets of clean-ups and shutdowns run on: real time, unless a layer says otherwise.
 *
 * Budgets do not follow Effect's own `Clock` by default: under `TestClock` a budget would never end, and a shutdown would hang
 * with whatever hangs in it.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Monotonic from "./Monotonic.js"

/**
 * Something that tells the time in milliseconds and calls back later.
 *
 * @since 0.1.0
 * @category models
 */
export interface Timer {
  /** Milliseconds, never going back. */
  readonly unsafeNow: () => number
  /** Runs the task once, later; the returned function cancels it. Never, when the delay is infinite. */
  readonly unsafeSchedule: (task: () => void, delay: Duration.Duration) => () => void
}

const fromClock = (clock: Clock.Clock, schedule: Timer["unsafeSchedule"]): Timer => ({
  unsafeNow: () => Monotonic.unsafeNow(clock),
  unsafeSchedule: schedule
})

/** What a timer of JavaScript can hold: 24.8 days. Beyond it, one would fire at once. */
const longestTimer = 2 ** 31 - 1

const realTime = (): Timer =>
  fromClock(Clock.make(), (task, delay) => {
    let left = Duration.toMillis(delay)
    if (left === Number.POSITIVE_INFINITY) return () => {}
    let handle: ReturnType<typeof setTimeout>
    const arm = () => {
      const piece = Math.min(left, longestTimer)
      left -= piece
      handle = setTimeout(left > 0 ? arm : task, piece)
    }
    arm()
    return () => clearTimeout(handle)
  })

/**
 * The clock in use for budgets.
 *
 * @since 0.1.0
 * @category tags
 */
export class BudgetClock extends Context.Reference<BudgetClock>()("@holdfast/core/Cleanup/BudgetClock", {
  defaultValue: realTime
}) {}

/**
 * Budgets run on Effect's own `Clock`. Under `TestClock` a budget then ends when the test says so, and never before.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEffectClock: Layer.Layer<never> = Layer.effectContext(
  Effect.map(Effect.all([Effect.clock, Effect.runtime<never>()]), ([clock, runtime]) => {
    const timer = fromClock(clock, (task, delay) => {
      const fiber = Runtime.runFork(runtime)(Effect.zipRight(clock.sleep(delay), Effect.sync(task)))
      return () => fiber.unsafeInterruptAsFork(FiberId.none)
    })
    return Context.make(BudgetClock, timer)
  })
) as Layer.Layer<never>

/**
 * Where the slots of a ticker are.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import type { State } from "../../TickerStore.js"

/** The monotonic reading of the clock, in milliseconds since the epoch. */
export const nowOf = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1e6

/** Where the slots are. `next` is due at `nextAt`; `advance` moves past everything that is due. */
export interface Plan {
  readonly rate: number
  readonly nextAt: number
  /** Instant of a slot of the last `advance`, and how long the ticker had been running at it. */
  readonly at: (number: number) => number
  readonly elapsed: (number: number) => number
  /** Returns the newest slot due at `now`, and plans the next one. */
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
    elapsed: (number) => anchor.elapsedMillis + (number - anchor.number) * interval,
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
      elapsed: (number) => anchor.elapsedMillis + at(number) - anchor.at,
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

/**
 * Where the slots of a ticker are.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import * as Monotonic from "../../Monotonic.js"
import type { State } from "../../TickerStore.js"

/** Where the slots are, as monotonic readings unless it says otherwise. */
export interface Plan {
  readonly rate: number
  /** Milliseconds until it is to be asked again: 0 or less when `advance` is due, infinite when it never will be. */
  readonly wait: (now: number) => number
  /** Of a slot of the last `advance`: the instant that it is named by, when it was due, how long the ticker had run. */
  readonly at: (number: number) => number
  readonly due: (number: number) => number
  readonly elapsed: (number: number) => number
  /** Moves past all that is due at `now`, plans the next one, and returns the newest slot, or the last one again. */
  readonly advance: (now: number) => Effect.Effect<number>
}

/** Instants by multiplication from an anchor: rounding does not add up, and a long stop costs no more than a short. */
export const fixedPlan = (interval: number, anchor: State): Plan => {
  let next = anchor.number + 1
  const at = (number: number) => anchor.at + (number - anchor.number) * interval
  return {
    rate: 1000 / interval,
    wait: (now) => at(next) - now,
    at,
    due: at,
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
        nextAt = startOf(decision, earliest)
      })
    yield* step(anchor.at, earliest)
    const at = (number: number) => due[number - first]
    return {
      rate: 0,
      wait: (now) => nextAt - now,
      at,
      due: at,
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

/** Longest wait for an instant of the wall clock, in milliseconds: a clock that is set is noticed after as long. */
const longestLook = 30_000

/** Most slots that are numbered one by one after the clock was set forth; what lies between them and now is passed over. */
const mostAtOnce = 65_536

/**
 * Instants of the wall clock. They are waited for in pieces, and never come early. When the clock goes back by more than
 * the time between the last slot and the next, the schedule is asked anew, from its beginning and from the new time; by
 * less, what has been handed out is not repeated. When it goes forth, what it passes over is due at once.
 */
export const wallPlan = (
  schedule: Schedule.Schedule<unknown, unknown>,
  clock: Clock.Clock,
  anchor: State
): Effect.Effect<Plan> =>
  Effect.suspend(() => {
    let scheduleState = schedule.initial
    let last = anchor.number
    let first = last + 1
    /** By the wall clock: what the next slot was planned from, and where it is. */
    let from = 0
    let next = Number.POSITIVE_INFINITY
    /** How far the wall clock was ahead of the monotonic one when the next slot was planned. */
    let ahead = 0
    let ats: Array<number> = []
    let dues: Array<number> = []
    let lastDue = anchor.at
    const wallNow = () => clock.unsafeCurrentTimeMillis()
    const step = (instant: number, earliest: number, now: number) =>
      Effect.map(schedule.step(instant, undefined, scheduleState), ([state, _, decision]) => {
        scheduleState = state
        from = instant
        next = startOf(decision, earliest)
        ahead = wallNow() - now
      })
    const startAnew = (now: number) => {
      scheduleState = schedule.initial
      const wall = wallNow()
      return step(wall, wall, now)
    }
    const wentBack = (now: number) => ahead - (wallNow() - now) > next - from
    const plan: Plan = {
      rate: 0,
      wait: (now) =>
        next === Number.POSITIVE_INFINITY ? next : wentBack(now) ? 0 : Math.min(next - wallNow(), longestLook),
      at: (number) => ats[number - first],
      due: (number) => dues[number - first],
      elapsed: (number) => anchor.elapsedMillis + dues[number - first] - anchor.at,
      advance: (now) => {
        if (wentBack(now)) return Effect.as(startAnew(now), last)
        const wall = wallNow()
        first = last + 1
        ats = []
        dues = []
        const pass = Effect.whileLoop({
          while: () => next <= wall && ats.length < mostAtOnce,
          body: () => {
            last++
            lastDue = Math.max(lastDue, now - (wall - next))
            ats.push(next)
            dues.push(lastDue)
            return step(next, next + 1, now)
          },
          step: () => {}
        })
        return Effect.flatMap(pass, () => Effect.as(next <= wall ? step(wall, wall + 1, now) : Effect.void, last))
      }
    }
    return Effect.as(startAnew(Monotonic.unsafeNow(clock)), plan)
  })

/**
 * Whether a schedule names instants of the wall clock, as `Schedule.cron` does. One that counts from the instant at which it
 * is asked moves with that instant.
 */
export const namesInstants = (schedule: Schedule.Schedule<unknown, unknown>, at: number): Effect.Effect<boolean> => {
  const start = (instant: number) =>
    Effect.suspend(() => schedule.step(instant, undefined, schedule.initial)).pipe(
      Effect.withRandom(Random.make("probe")),
      Effect.map(([, , decision]) => startOf(decision, Number.NEGATIVE_INFINITY))
    )
  return Effect.zipWith(
    start(at),
    start(at + 1),
    (left, right) => left !== right ? Math.abs(right - left - 1) > 0.01 : left !== Number.POSITIVE_INFINITY
  )
}

const startOf = (decision: ScheduleDecision.ScheduleDecision, earliest: number): number =>
  ScheduleDecision.isContinue(decision)
    ? Math.max(ScheduleIntervals.start(decision.intervals), earliest)
    : Number.POSITIVE_INFINITY

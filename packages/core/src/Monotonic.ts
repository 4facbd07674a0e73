/**
 * The clock that decides: nobody sets it, it never goes back.
 *
 * Whatever is decided by comparing two instants (limits, ages, time-outs, intensity, rates) belongs on it: the wall clock is
 * set back and forth by NTP, by an operator and by a machine that wakes up. The wall clock is for people, and for what speaks
 * of a time of day: an `Envelope.at`, an `expiresAt`, a cron schedule.
 *
 * **Guarantees.** Milliseconds, with fractions. `now` and `unsafeNow` read the `Clock` in use, so that `TestClock` moves them.
 *
 * **Limits.** Only differences mean something, and only within one process. Whether the time in which the machine was
 * suspended counts is up to the operating system: on Linux it does not.
 *
 * @example
 * ```ts
 * import { Monotonic } from "@holdfast/core"
 * import { Effect } from "effect"
 *
 * const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
 *   Effect.gen(function*() {
 *     const since = yield* Monotonic.now
 *     const result = yield* self
 *     return [result, (yield* Monotonic.now) - since] as const
 *   })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/**
 * The reading of a clock, in milliseconds.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeNow = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1e6

/**
 * The reading of the clock in use, in milliseconds.
 *
 * @since 0.1.0
 * @category accessors
 */
export const now: Effect.Effect<number> = Effect.clockWith((clock) => Effect.sync(() => unsafeNow(clock)))

/**
 * Milliseconds on the clock of the process, which no test moves: for facts of the process, as the age of a fiber is one.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeOfProcess = (): number => performance.now()

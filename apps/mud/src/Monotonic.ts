/**
 * The clock that decides: it is not set forward or back when somebody corrects the time of the machine. Wall-clock time is
 * for people.
 *
 * @since 0.1.0
 */
import { Clock, Effect } from "effect"

/**
 * Milliseconds since some moment that never changes while the process runs.
 *
 * @since 0.1.0
 * @category accessors
 */
export const now: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

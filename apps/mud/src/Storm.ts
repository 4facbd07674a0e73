/**
 * Says once what happens many times: the first of a storm is said at once, the others are counted and said together.
 *
 * @since 0.1.0
 */
import { Monotonic } from "@holdfast/core"
import { Duration, Effect } from "effect"

/**
 * @since 0.1.0
 * @category models
 */
export interface Storm {
  /** Says the line with the number of times since it was said last, unless that was just now. */
  readonly say: (line: (count: number) => Effect.Effect<void>) => Effect.Effect<void>
  /** Ends the storm: how often it happened since it began. The next one is said at once again. */
  readonly over: Effect.Effect<number>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (every: Duration.DurationInput): Storm => {
  const interval = Duration.toMillis(every)
  let saidAt = -Infinity
  let unsaid = 0
  let total = 0
  return {
    say: (line) =>
      Effect.flatMap(Monotonic.now, (now) => {
        unsaid += 1
        total += 1
        if (now - saidAt < interval) return Effect.void
        saidAt = now
        const count = unsaid
        unsaid = 0
        return line(count)
      }),
    over: Effect.sync(() => {
      const count = total
      saidAt = -Infinity
      unsaid = 0
      total = 0
      return count
    })
  }
}

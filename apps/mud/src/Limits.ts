/**
 * Flood limits: a bucket of tokens for each key, filled at a steady rate.
 *
 * Time is monotonic: setting the clock of the machine locks nobody out.
 *
 * Buckets that are full again are forgotten, and there are never more than `capacity`: the oldest goes first.
 *
 * @since 0.1.0
 */
import { Monotonic } from "@holdfast/core"
import { Effect } from "effect"

/**
 * @since 0.1.0
 * @category models
 */
export interface Limiter {
  /** Milliseconds until the next one is allowed; 0 when this one is, and is then counted. */
  readonly take: (key: string) => Effect.Effect<number>
  readonly size: Effect.Effect<number>
}

/**
 * At most `burst` at once and `perSecond` in the long run, for each key.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly burst: number
  readonly perSecond: number
  /** Keys that are remembered. Default 20,000. */
  readonly capacity?: number
}): Limiter => {
  const { burst, capacity = 20_000, perSecond } = options
  // For each key the instant at which its bucket is full again.
  const fullAt = new Map<string, number>()
  const interval = 1_000 / perSecond
  return {
    take: (key) =>
      Effect.map(Monotonic.now, (now) => {
        const full = Math.max(now, fullAt.get(key) ?? now) + interval
        const over = full - now - burst * interval
        if (over > 0.001) return Math.ceil(over)
        fullAt.delete(key)
        fullAt.set(key, full)
        for (const [oldest, at] of fullAt) {
          if (fullAt.size <= capacity && at > now) break
          fullAt.delete(oldest)
        }
        return 0
      }),
    size: Effect.sync(() => fullAt.size)
  }
}

import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Bounds, Store, Stored, StoreError } from "../../EventLogStore.js"
import { sizeOf } from "../../EventLogStore.js"
import * as Monotonic from "../../Monotonic.js"

/** Infinite where there is no limit; the age in milliseconds. */
export interface Limits {
  readonly stored: number
  readonly storedBytes: number
  readonly storedAge: number
}

/**
 * When a store is trimmed, and to what. Its rows are known by their number alone, so bytes and age are asked for each time
 * that a quarter of the limit has gone by, and once at the beginning, for what an earlier life has left.
 */
export class Retention {
  private bytesSince = Number.POSITIVE_INFINITY
  private trimmedAt = Number.NEGATIVE_INFINITY

  constructor(private readonly limits: Limits, private readonly clock: Clock.Clock) {}

  /** A row that is about to be written. */
  add(row: Stored) {
    if (this.limits.storedBytes < Number.POSITIVE_INFINITY) this.bytesSince += sizeOf(row)
  }

  /** Whether a store of so many rows may hold much more than it should. */
  exceeded(rows: number): boolean {
    const { stored, storedAge, storedBytes } = this.limits
    return rows > stored * 1.25
      || this.bytesSince > storedBytes / 4
      || (storedAge < Number.POSITIVE_INFINITY && Monotonic.unsafeNow(this.clock) - this.trimmedAt > storedAge / 4)
  }

  /** Returns what is left. */
  trim(store: Store["Type"], last: number): Effect.Effect<Bounds, StoreError> {
    return Effect.suspend(() => {
      const { stored, storedAge, storedBytes } = this.limits
      const now = Monotonic.unsafeNow(this.clock)
      const limits = { bytes: storedBytes, since: this.clock.unsafeCurrentTimeMillis() - storedAge }
      return Effect.zipRight(store.trim(Math.max(0, last - stored + 1), limits), store.bounds).pipe(
        Effect.tap(() => {
          this.bytesSince = 0
          this.trimmedAt = now
        })
      )
    })
  }
}

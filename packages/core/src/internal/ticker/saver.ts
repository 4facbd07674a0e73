/**
 * Keeps the state of a ticker in its store: ahead of a slot, behind it, and once more at the end.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Signal from "../../Signal.js"
import type * as TickerStore from "../../TickerStore.js"

export class Saver {
  saves = 0
  failures = 0
  private broken = false
  private attemptedNumber: number

  private readonly changed = new Signal.Signal()

  constructor(
    private readonly name: string,
    private readonly store: TickerStore.Service,
    /** What the store has; NaN while that is not known. */
    private savedNumber: number,
    private readonly current: () => TickerStore.State
  ) {
    this.attemptedNumber = savedNumber
  }

  /** Whether it was saved. A failure is logged once, until the next success. */
  save(state: TickerStore.State): Effect.Effect<boolean> {
    // Whoever is interrupted, or fails, may have written it or not.
    const store = Effect.suspend(() => {
      this.savedNumber = Number.NaN
      return this.store.save(this.name, state)
    })
    return Effect.matchCauseEffect(store, {
      onSuccess: () =>
        Effect.sync(() => {
          this.savedNumber = state.number
          this.saves++
          this.broken = false
          return true
        }),
      onFailure: (cause) =>
        Effect.suspend(() => {
          if (Cause.isInterruptedOnly(cause)) return Effect.interrupt
          this.failures++
          if (this.broken) return Effect.succeed(false)
          this.broken = true
          return Effect.as(
            Effect.logError(`Ticker "${this.name}" cannot save its state and keeps trying`, cause),
            false
          )
        })
    })
  }

  /** There is something new to save. */
  notify(): void {
    this.changed.wake()
  }

  /** Saves what is new, one save at a time, for as long as it is let. */
  readonly behind: Effect.Effect<never> = Effect.forever(Effect.suspend(() => {
    const state = this.current()
    if (this.attemptedNumber === state.number) {
      return this.changed.wait(() => this.attemptedNumber !== this.current().number)
    }
    this.attemptedNumber = state.number
    return this.save(state)
  }))

  /** Saves what has not been saved yet. */
  readonly last: Effect.Effect<unknown> = Effect.suspend(() => {
    const state = this.current()
    return this.savedNumber === state.number ? Effect.void : this.save(state)
  })
}

/**
 * Time as the machine tells it. What this package waits for happens on a server, whose time no virtual clock moves: its own
 * timers run on the monotonic clock of the machine, also in a test under `TestClock`.
 */
import * as EventLoop from "@holdfast/core/EventLoop"
import * as Race from "@holdfast/core/Race"
import * as Effect from "effect/Effect"

/** Milliseconds that never go back. */
export const now = (): number => performance.now()

export const sleep = (millis: number): Effect.Effect<void> =>
  Effect.async((resume) => {
    const timer = setTimeout(() => resume(Effect.void), millis)
    return Effect.sync(() => clearTimeout(timer))
  })

/** What had come by now has been read, whatever the clock of a test says. */
export const turn: Effect.Effect<void> = Effect.async((resume) => EventLoop.unsafeAfterTurn(() => resume(Effect.void)))

/** Whichever of two waits ends first. The other one ends too, also where the caller must not be interrupted. */
export const either = <A, E, B, E2>(
  one: Effect.Effect<A, E>,
  other: Effect.Effect<B, E2>
): Effect.Effect<A | B, E | E2> => Race.first(Effect.interruptible(one), Effect.interruptible(other))

/** Pauses that double from `least` to `most`, each between half of it and all of it. */
export const backoff = (least: number, most: number) => {
  let next = least
  return {
    reset: () => {
      next = least
    },
    next: (): number => {
      const pause = next * (0.5 + Math.random() / 2)
      next = Math.min(most, next * 2)
      return pause
    }
  }
}

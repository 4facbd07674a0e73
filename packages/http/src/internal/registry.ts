import * as EventLoop from "@holdfast/core/EventLoop"
import * as Race from "@holdfast/core/Race"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Things that are present for as long as the scope that added them. */
export interface Registry<A> {
  readonly add: (a: A) => Effect.Effect<void, never, Scope.Scope>
  readonly all: () => ReadonlyArray<A>
}

/** @internal */
export const unsafeMake = <A>(): Registry<A> => {
  const present = new Map<object, A>()
  return {
    add: (a) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => {
          const key = {}
          present.set(key, a)
          return key
        }),
        (key) => Effect.sync(() => present.delete(key))
      )),
    all: () => Array.from(present.values())
  }
}

/**
 * Ends within the time on the wall clock, whatever the effect does: a diagnosis must answer when nothing else does. What came in
 * that time counts, also when the process stood still meanwhile.
 */
export const bounded = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  milliseconds: number
): Effect.Effect<A, E | "timeout", R> =>
  Race.first(
    Effect.disconnect(Effect.interruptible(effect)),
    Effect.async<never, "timeout">((resume) => {
      const late = () => resume(Effect.fail("timeout" as const))
      const timer = setTimeout(() => EventLoop.unsafeAfterTurn(late), milliseconds)
      return Effect.sync(() => clearTimeout(timer))
    })
  )

import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as FiberRegistry from "../../FiberRegistry.js"

/**
 * Forks what others wait for. `onExit` runs however the fiber ends, also when it is interrupted before its first step, since
 * it begins uninterruptible: nobody waits for a fiber that is gone.
 */
export const forkAwaited = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  options: FiberRegistry.ForkOptions,
  onExit: (exit: Exit.Exit<A, E>) => void
): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R | Scope.Scope> =>
  Effect.uninterruptible(FiberRegistry.forkScoped(
    Effect.onExit(Effect.interruptible(self), (exit) => Effect.sync(() => onExit(exit))),
    options
  ))

/**
 * What effect 3.22 keeps private of a fiber. The tests of `FiberRegistry` fail when a release moves it.
 */
import { Effect, FiberId, FiberRef } from "effect"
import type { Fiber, FiberRefs, RuntimeFlags } from "effect"
import type { Entry, Status } from "../../FiberCensus.js"

interface Internals {
  readonly _children?: ReadonlySet<Fiber.RuntimeFiber<unknown, unknown>> | null
  readonly _observers?: ReadonlyArray<(exit: never) => void>
  readonly _running?: boolean
  readonly _asyncBlockingOn?: FiberId.FiberId | null
  readonly isInterrupted?: () => boolean
  readonly currentRuntimeFlags: RuntimeFlags.RuntimeFlags
  readonly setFiberRefs: (refs: FiberRefs.FiberRefs) => void
  readonly setFiberRef: <X>(ref: FiberRef.FiberRef<X>, value: X) => void
}

export const internals = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Internals => fiber as unknown as Internals

export const childrenOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => Array.from(internals(fiber)._children ?? [])

/** Whether a fiber is another one, or was forked by it as a child, or by one of its children. */
export const isWithin = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  outer: Fiber.RuntimeFiber<unknown, unknown>
): boolean => fiber === outer || childrenOf(outer).some((child) => isWithin(fiber, child))

/**
 * Whether only Effect itself watches a root fiber: the set of roots always does, and for what was forked by a fiber the
 * supervisor in use. A scope, a `FiberSet`, a join or a `runMain` adds an observer of its own.
 */
export const isDetached = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => {
  const observers = internals(fiber)._observers
  if (observers === undefined) return false
  const own = observers.length > 0 && String(observers[0]).includes("onEnd") ? 2 : 1
  return observers.length <= own
}

export const fiberName = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => `#${fiber.id().id}`

export const statusOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Status => {
  const { _running, isInterrupted } = internals(fiber)
  return isInterrupted?.call(fiber) === true ? "stopping" : _running === true ? "running" : "suspended"
}

export const waitingFor = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => {
  const on = internals(fiber)._asyncBlockingOn
  // `FiberId.isNone` of effect 3.22 does not end for the id of a running fiber.
  return on === undefined || on === null || on._tag === "None" ? undefined : FiberId.threadName(on)
}

export const spanOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Entry["span"] => {
  const span = fiber.currentSpan
  return span === undefined
    ? undefined
    : { name: span._tag === "Span" ? span.name : "(external)", traceId: span.traceId, spanId: span.spanId }
}

/**
 * Runs an effect in this fiber with other references than its own, which it has again afterwards. Whether the fiber is
 * interrupted is among its references, but a fact of its own: it neither comes with the others, nor goes with them.
 */
export const withRefs = <A, E>(refs: FiberRefs.FiberRefs | undefined, self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  refs === undefined ? self : Effect.withFiberRuntime((fiber) => {
    const own = fiber.getFiberRefs()
    const replace = (by: FiberRefs.FiberRefs) => {
      const interrupted = fiber.getFiberRef(FiberRef.interruptedCause)
      internals(fiber as Fiber.RuntimeFiber<unknown, unknown>).setFiberRefs(by)
      internals(fiber as Fiber.RuntimeFiber<unknown, unknown>).setFiberRef(FiberRef.interruptedCause, interrupted)
    }
    replace(refs)
    return Effect.onExit(self, () => Effect.sync(() => replace(own)))
  })

/**
 * What effect 3.22 keeps private of a fiber and a scope. The tests of `FiberRegistry` fail when a release moves it.
 */
import { FiberId } from "effect"
import type { Fiber, FiberRef, Scope } from "effect"
import type { Entry, Status } from "../../FiberCensus.js"

interface Internals {
  readonly _children?: ReadonlySet<Fiber.RuntimeFiber<unknown, unknown>> | null
  readonly _observers?: ReadonlyArray<(exit: never) => void>
  readonly _running?: boolean
  readonly _asyncBlockingOn?: FiberId.FiberId | null
  readonly isInterrupted?: () => boolean
  readonly setFiberRef: <X>(ref: FiberRef.FiberRef<X>, value: X) => void
}

export const internals = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Internals => fiber as unknown as Internals

export const childrenOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => Array.from(internals(fiber)._children ?? [])

export const isClosed = (scope: Scope.Scope) => (scope as { state?: { _tag: string } }).state?._tag === "Closed"

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

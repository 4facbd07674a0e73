/**
 * One child of a supervisor: how an incarnation of it starts, and how it is stopped.
 */
import { Cause, Clock, Effect, Exit, FiberId, Scope } from "effect"
import type { Context, Fiber } from "effect"
import * as Cleanup from "../../Cleanup.js"
import * as FiberRegistry from "../../FiberRegistry.js"
import * as Monotonic from "../../Monotonic.js"
import { defaults } from "../../SupervisorSpec.js"
import type { ChildInfo, ChildSpec, Shutdown } from "../../SupervisorSpec.js"

export interface Child<R> {
  readonly spec: ChildSpec<R>
  status: ChildInfo["status"]
  /** Goes up with every start and every stop, so that news of a former incarnation is known for what it is. */
  generation: number
  starts: number
  startedAt: number | undefined
  /** The same moment on the monotonic clock. */
  runsSince: number
  /** The same moment on the clock of the process. */
  bornAt: number
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  scope: Scope.CloseableScope | undefined
  lastFailure: Cause.Cause<unknown> | undefined
  /** The state of its back-off. */
  backoff: unknown
}

/** What a child needs of its supervisor. */
export interface Parent<R> {
  readonly owner: FiberRegistry.OwnerPath
  readonly context: Context.Context<R>
  readonly registry: FiberRegistry.Service
  readonly onExit: (child: Child<R>, generation: number) => void
}

export const make = <R>(spec: ChildSpec<R>, backoff: unknown): Child<R> => ({
  spec,
  status: "stopped",
  generation: 0,
  starts: 0,
  startedAt: undefined,
  runsSince: 0,
  bornAt: 0,
  fiber: undefined,
  scope: undefined,
  lastFailure: undefined,
  backoff
})

const shutdownOf = ({ kind, shutdown }: Pick<ChildSpec, "kind" | "shutdown">): Shutdown =>
  shutdown ?? (kind === "supervisor" ? "infinity" : defaults.shutdown)

export const pathOf = <R>(child: Child<R>, parent: Parent<R>): FiberRegistry.OwnerPath => [
  ...parent.owner,
  child.spec.name
]

export const isCrash = (exit: Exit.Exit<unknown, unknown>): exit is Exit.Failure<never, unknown> =>
  exit._tag === "Failure" && !Cause.isInterruptedOnly(exit.cause)

/** Marks it as stopped; what is heard of its incarnation from now on is old news. */
export const markStopped = <R>(child: Child<R>) => {
  child.generation++
  child.status = "stopped"
  child.fiber = undefined
  child.scope = undefined
}

export const start = <R>(child: Child<R>, parent: Parent<R>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { spec } = child
    const generation = ++child.generation
    const scope = yield* Scope.make()
    child.startedAt = yield* Clock.currentTimeMillis
    child.runsSince = yield* Monotonic.now
    child.bornAt = Monotonic.unsafeOfProcess()
    child.scope = scope
    child.status = "running"
    child.starts++
    const life = Effect.interruptible(Effect.scoped(spec.start)) as Effect.Effect<unknown, unknown, R>
    const fiber = yield* FiberRegistry.forkIn(Effect.provide(life, parent.context), scope, {
      name: spec.name,
      kind: spec.kind ?? defaults.kind,
      restarts: child.starts - 1,
      lastFailure: child.lastFailure,
      supervised: true,
      crash: "silent"
    })
    child.fiber = fiber
    fiber.addObserver(() => parent.onExit(child, generation))
  })

export const stop = <R>(child: Child<R>, parent: Parent<R>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { fiber, scope, spec } = child
    const shutdown = shutdownOf(spec)
    markStopped(child)
    if (fiber === undefined || scope === undefined) return Effect.void
    const close = Scope.close(scope, Exit.interrupt(FiberId.none))
    const closed = shutdown === "infinity"
      ? close
      : shutdown === "brutal_kill"
      // The scope is marked as closed and the fiber interrupted; this much patience costs no timer.
      ? Effect.zipRight(Effect.fork(Effect.interruptible(close)), Effect.repeatN(Effect.yieldNow(), 3))
      : Cleanup.run({
        label: `stop ${spec.name}`,
        budget: shutdown,
        subject: Cleanup.Subject.Child({ path: pathOf(child, parent) })
      }, close)
    return Effect.zipRight(
      closed,
      Effect.sync(() => {
        const exit = fiber.unsafePoll()
        if (exit === null || !isCrash(exit)) return
        child.lastFailure = exit.cause
        reportCrash(child, parent, fiber, exit.cause, "crashed while it was stopped")
      })
    )
  })

export const reportCrash = <R>(
  child: Child<R>,
  parent: Parent<R>,
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  cause: Cause.Cause<unknown>,
  action: string
) => {
  parent.registry.unsafeReport({
    id: `#${fiber.id().id}`,
    name: child.spec.name,
    kind: child.spec.kind ?? defaults.kind,
    owner: pathOf(child, parent),
    at: Date.now(),
    ageMillis: Math.round(Monotonic.unsafeOfProcess() - child.bornAt),
    restarts: child.starts - 1,
    cause,
    action
  }, fiber)
}

export const infoOf = <R>({ fiber, lastFailure, spec, startedAt, starts, status }: Child<R>): ChildInfo => ({
  name: spec.name,
  kind: spec.kind ?? defaults.kind,
  restart: spec.restart ?? defaults.restart,
  significant: spec.significant === true,
  shutdown: shutdownOf(spec),
  status,
  restarts: Math.max(0, starts - 1),
  startedAt: status === "running" ? startedAt : undefined,
  lastFailure,
  fiber
})

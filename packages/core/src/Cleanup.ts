/**
 * Finalizers with a name, a time budget and a chain of fallbacks.
 *
 * A plain finalizer that never returns blocks `Scope.close` for ever, and everything that was registered before it never
 * runs. Here a finalizer runs in a fiber of its own while the closing fiber waits, uninterruptibly, for its exit or for
 * the end of its budget, whichever comes first. On expiry the finalizer is interrupted, named, counted and left behind,
 * and the closing fiber goes on.
 *
 * Guarantees
 * - `run`, and with it every finalizer added here, ends within the sum of its budgets, whatever the finalizer does:
 *   never return, refuse interruption, fail, throw, die, or be interrupted a second time.
 * - It never fails, so the finalizers behind it run.
 * - A cleanup inside of another one ends before it: within four fifths of what is left of the outer budget, so that those
 *   behind it have their turn too.
 * - What overran or failed is logged with owner path, label, budget and elapsed time, kept in `CleanupMonitor.recent`
 *   and published to its streams. What still lives after its budget is in `CleanupMonitor.live` and in the census.
 * - Budgets run on the wall clock, also under `TestClock`, unless `BudgetClock` says otherwise.
 *
 * Limits
 * - JavaScript cannot pre-empt: a finalizer that blocks the thread holds everybody up for as long as it does. When it lets
 *   go, its time is reported as an overrun.
 * - A fiber cannot be killed. An abandoned finalizer that refuses interruption stays, with what it holds, until it ends
 *   by itself or the process does.
 * - The finalizer is not run by the fiber that closes the scope. A scope that is closed by a fiber forked into that very
 *   scope therefore waits for itself, until the budget is over.
 * - Changes that a finalizer makes to a `FiberRef` end with it.
 *
 * @since 0.1.0
 */
import { Cause, Clock, Context, Duration, Effect, Exit, FiberId, FiberRef, Layer, Runtime, Scope } from "effect"
import { CleanupMonitor, Outcome, overran } from "./CleanupMonitor.js"
import type { Attempt, Common, Monitor } from "./CleanupMonitor.js"
import type { OwnerPath } from "./FiberRegistry.js"
import * as FiberRegistry from "./FiberRegistry.js"

export {
  /** @since 0.1.0 */
  CleanupMonitor,
  /** @since 0.1.0 */
  layerMonitor,
  /** @since 0.1.0 */
  Outcome,
  /** @since 0.1.0 */
  overran,
  /** @since 0.1.0 */
  unsafeMakeMonitor
} from "./CleanupMonitor.js"
export type {
  /** @since 0.1.0 */
  AbandonedFiber,
  /** @since 0.1.0 */
  Attempt,
  /** @since 0.1.0 */
  Counts,
  /** @since 0.1.0 */
  Monitor
} from "./CleanupMonitor.js"

/**
 * One more thing to try when what came before it failed or overran.
 *
 * @since 0.1.0
 * @category options
 */
export interface Fallback<R = never> {
  readonly label: string
  /** Default 5 seconds. */
  readonly budget?: Duration.DurationInput
  readonly run: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown, R>
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<R = never> {
  /** Names the finalizer in reports. */
  readonly label: string
  /** The longest that anybody waits for it. Default 5 seconds. */
  readonly budget?: Duration.DurationInput
  /** Tried in order, each within its own budget, until one completes. */
  readonly fallbacks?: ReadonlyArray<Fallback<R>>
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { budget: Duration.seconds(5) } as const

/**
 * The clock that budgets run on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Timer {
  /** Milliseconds, never going back. */
  readonly unsafeNow: () => number
  /** Runs the task once, later; the returned function cancels it. */
  readonly unsafeSchedule: (task: () => void, delay: Duration.Duration) => () => void
}

const fromClock = (clock: Clock.Clock, schedule: Timer["unsafeSchedule"]): Timer => ({
  unsafeNow: () => Number(clock.unsafeCurrentTimeNanos() / 1000n) / 1000,
  unsafeSchedule: schedule
})

const wallClock = (): Timer =>
  fromClock(Clock.make(), (task, delay) => {
    const millis = Duration.toMillis(delay)
    // What a timer cannot hold (24.8 days) would fire at once.
    if (millis > 2 ** 31 - 1) return () => {}
    const handle = setTimeout(task, millis)
    return () => clearTimeout(handle)
  })

/**
 * The clock in use for budgets: the wall clock, unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class BudgetClock extends Context.Reference<BudgetClock>()("@holdfast/core/Cleanup/BudgetClock", {
  defaultValue: wallClock
}) {}

/**
 * Budgets run on Effect's own `Clock`. Under `TestClock` a budget then ends when the test says so, and never before.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEffectClock: Layer.Layer<never> = Layer.effectContext(
  Effect.map(Effect.all([Effect.clock, Effect.runtime<never>()]), ([clock, runtime]) => {
    const timer = fromClock(clock, (task, delay) => {
      const fiber = Runtime.runFork(runtime)(Effect.zipRight(clock.sleep(delay), Effect.sync(task)))
      return () => fiber.unsafeInterruptAsFork(FiberId.none)
    })
    return Context.make(BudgetClock, timer)
  })
) as Layer.Layer<never>

/**
 * Adds a finalizer to the scope in use.
 *
 * @example
 * ```ts
 * import { Cleanup } from "@holdfast/core"
 * import { Effect } from "effect"
 *
 * const connection = Cleanup.addFinalizer(
 *   {
 *     label: "say goodbye",
 *     budget: "200 millis",
 *     fallbacks: [{ label: "hang up", budget: "50 millis", run: () => Effect.log("hung up") }]
 *   },
 *   () => Effect.never
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const addFinalizer = <R = never, R2 = never>(
  options: Options<R2>,
  finalizer: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown, R>
): Effect.Effect<void, never, R | R2 | Scope.Scope> =>
  Effect.withFiberRuntime<void, never, R | R2 | Scope.Scope>((fiber) => {
    const context = fiber.currentContext as Context.Context<R | R2 | Scope.Scope>
    const owner = fiber.getFiberRef(FiberRegistry.currentOwner)
    const bounded: Labelled = (exit) =>
      Effect.provide(chain(options, owner, exit, Effect.suspend(() => finalizer(exit))), context)
    bounded.label = options.label
    bounded.fallbacks = (options.fallbacks?.length ?? 0) > 0
    return Scope.addFinalizerExit(Context.get(context, Scope.Scope), bounded as Scope.Scope.Finalizer)
  })

/**
 * Acquires a resource, uninterruptibly, with a bounded release. The options may depend on the resource.
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquireRelease = <A, E, R, R2 = never, R3 = never>(
  acquire: Effect.Effect<A, E, R>,
  options: Options<R3> | ((resource: A) => Options<R3>),
  release: (resource: A, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown, R2>
): Effect.Effect<A, E, R | R2 | R3 | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.tap(acquire, (resource) =>
      addFinalizer(
        typeof options === "function" ? options(resource) : options,
        (exit) => release(resource, exit)
      ))
  )

/**
 * Runs an effect as a cleanup, now. It cannot be interrupted from outside and ends within the sum of its budgets.
 *
 * @since 0.1.0
 * @category combinators
 */
export const run = <A, E, R, R2 = never>(
  options: Options<R2>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Outcome, never, R | R2> =>
  Effect.withFiberRuntime((fiber) => chain(options, fiber.getFiberRef(FiberRegistry.currentOwner), Exit.void, effect))

/**
 * Closes a whole scope under one budget.
 *
 * Four fifths of the budget are there for every finalizer that needs them. When they are spent, the finalizers that have not
 * run yet share the last fifth evenly, so that each is started, whatever those before it did. A nested scope counts
 * as one finalizer here; what was added with `addFinalizer` inside of it shares its time.
 * Attempts of the outcome are the finalizers that overran or failed.
 *
 * @since 0.1.0
 * @category combinators
 */
export const closeScope = <R = never>(
  scope: Scope.CloseableScope,
  exit: Exit.Exit<unknown, unknown>,
  options: Options<R>
): Effect.Effect<Outcome, never, R> =>
  Effect.withFiberRuntime((fiber) => {
    const owner = fiber.getFiberRef(FiberRegistry.currentOwner)
    const timer = Context.get(fiber.currentContext, BudgetClock)
    const failures: Array<Attempt> = []
    const budget = Duration.toMillis(options.budget ?? defaults.budget)
    // Effect's own finalizers run uninterruptibly, and a nested scope must go on with its next finalizer even
    // when this one is abandoned.
    const close = Effect.uninterruptible(Effect.suspend(() => {
      guard(scope, owner, timer, budget, failures)
      return Scope.close(scope, exit)
    }))
    return chain(options, owner, exit, close, failures)
  })

/**
 * `Effect.scoped` whose scope is closed under one budget.
 *
 * @since 0.1.0
 * @category combinators
 */
export const scoped = <R2 = never>(options: Options<R2>) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, Scope.Scope> | R2> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Scope.make(), (scope) =>
      Effect.flatMap(
        Effect.exit(restore(Scope.extend(self, scope))),
        (exit) => Effect.zipRight(closeScope(scope, exit, options), exit)
      ))
  )

interface Labelled {
  (exit: Exit.Exit<unknown, unknown>): Effect.Effect<unknown>
  label?: string
  fallbacks?: boolean
}

/** The finalizer, then its fallbacks, until one completes; records and logs how it went. */
const chain = <R, R2>(
  options: Options<R2>,
  owner: OwnerPath,
  exit: Exit.Exit<unknown, unknown>,
  effect: Effect.Effect<unknown, unknown, R>,
  inner: ReadonlyArray<Attempt> = []
): Effect.Effect<Outcome, never, R | R2> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const monitor = yield* CleanupMonitor
    const timer = yield* BudgetClock
    const startedAt = timer.unsafeNow()
    const steps: ReadonlyArray<Fallback<R | R2>> = [
      { ...options, run: () => effect },
      ...options.fallbacks ?? []
    ]
    const attempts: Array<Attempt> = []
    let completed: string | undefined
    for (const step of steps) {
      const budget = Duration.decode(step.budget ?? defaults.budget)
      const tried = yield* attempt(step.label, budget, owner, timer, monitor, Effect.suspend(() => step.run(exit)))
      const failures = attempts.length === 0 ? inner.slice() : []
      if (tried.result !== "completed" || failures.length === 0) failures.push(tried)
      attempts.push(...failures)
      if (failures.every((one) => one.result === "completed")) {
        completed = step.label
        break
      }
    }
    const common: Common = {
      owner,
      label: options.label,
      budgetMillis: steps.reduce((sum, step) => sum + Duration.toMillis(step.budget ?? defaults.budget), 0),
      elapsedMillis: timer.unsafeNow() - startedAt,
      attempts
    }
    const outcome = completed !== undefined
      ? attempts.length === 1 ? Outcome.Completed(common) : Outcome.FellBack({ ...common, via: completed })
      : attempts.some((one) => one.result === "abandoned")
      ? Outcome.Abandoned(common)
      : Outcome.Failed({
        ...common,
        cause: attempts.reduce<Cause.Cause<unknown>>(
          (all, one) => one.cause === undefined ? all : Cause.sequential(all, one.cause),
          Cause.empty
        )
      })
    monitor.unsafeRecord(outcome)
    yield* report(outcome)
    return outcome
  }))

/** What a cleanup may take of the time that the one around it has left. */
const innerShare = 0.8

/** When the budget of the cleanup around is over, on the timer of budgets. */
const currentLimit: FiberRef.FiberRef<number> = FiberRef.unsafeMake(Number.POSITIVE_INFINITY, {
  join: (parent) => parent
})

/** Waits for the effect or for the end of its budget. Nothing that the effect does reaches the waiting fiber. */
const attempt = <R>(
  label: string,
  budget: Duration.Duration,
  owner: OwnerPath,
  timer: Timer,
  monitor: Monitor,
  effect: Effect.Effect<unknown, unknown, R>,
  shared = false
): Effect.Effect<Attempt, never, R> =>
  Effect.withFiberRuntime((closing) => {
    const startedAt = timer.unsafeNow()
    const limit = closing.getFiberRef(currentLimit)
    const budgetMillis = shared
      ? Duration.toMillis(budget)
      : Math.min(Duration.toMillis(budget), Math.max(1, (limit - startedAt) * innerShare))
    const forked = FiberRegistry.forkDaemon(
      Effect.interruptible(Effect.locally(effect, currentLimit, Math.min(limit, startedAt + budgetMillis))),
      { name: label, kind: "cleanup", crash: "silent" },
      owner
    )
    return Effect.flatMap(forked, (fiber) =>
      Effect.async<Attempt>((resume) => {
        let waiting = true
        const settle = (result: Attempt["result"], cause?: Cause.Cause<unknown>) => {
          waiting = false
          const elapsedMillis = timer.unsafeNow() - startedAt
          resume(Effect.succeed({ label, budgetMillis, elapsedMillis, result, cause, fiberId: `#${fiber.id().id}` }))
        }
        const cancel = timer.unsafeSchedule(() => {
          if (!waiting) return
          settle("abandoned")
          monitor.unsafeAbandon({ owner, label, budgetMillis, since: Date.now(), fiber })
          fiber.unsafeInterruptAsFork(FiberId.none)
        }, Duration.millis(budgetMillis))
        fiber.addObserver((exit) => {
          if (!waiting) return
          cancel()
          if (exit._tag === "Success") settle("completed")
          else settle("failed", exit.cause)
        })
      }))
  })

const guarded = new WeakSet<Scope.Scope>()
const patched = new WeakSet<object>()

/**
 * From now on, and in the whole process, a scope that is closed inside of a cleanup has each of its finalizers bounded by
 * what is left of that cleanup's budget: the plain ones too, and those of the scopes that `Layer` makes for itself. One that
 * hangs then holds up nobody behind it. Other scopes close as ever.
 *
 * It replaces a method that effect 3.22 keeps private, and so is meant for a process that is about to end.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeGuardScopes = (): void => {
  const prototype = Object.getPrototypeOf(Effect.runSync(Scope.make())) as {
    readonly close?: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>
  }
  const { close } = prototype
  if (typeof close !== "function" || patched.has(prototype)) return
  patched.add(prototype)
  Object.assign(prototype, {
    close(this: Scope.CloseableScope, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
      return Effect.withFiberRuntime((fiber) => {
        const limit = fiber.getFiberRef(currentLimit)
        if (Number.isFinite(limit)) {
          const timer = Context.get(fiber.currentContext, BudgetClock)
          const owner = fiber.getFiberRef(FiberRegistry.currentOwner)
          guard(this, owner, timer, Math.max(1, limit - timer.unsafeNow()), [], true)
        }
        return close.call(this, exit)
      })
    }
  })
}

/**
 * Bounds every finalizer of a scope in place, so that the scope's own `close` keeps the order and the strategy. The map of
 * finalizers is private to effect 3.22; were it to move, the scope is still closed under its budget as a whole.
 */
const guard = (
  scope: Scope.CloseableScope,
  owner: OwnerPath,
  timer: Timer,
  budgetMillis: number,
  failures: Array<Attempt>,
  nested = false
) => {
  const state = (scope as { state?: { _tag: string; finalizers?: Map<object, Labelled> } }).state
  if (state?._tag !== "Open" || !(state.finalizers instanceof Map) || guarded.has(scope)) return
  guarded.add(scope)
  const total = state.finalizers.size
  const startedAt = timer.unsafeNow()
  let waiting = total
  for (const [index, [key, finalizer]] of Array.from(state.finalizers).entries()) {
    // Inside of another cleanup, one with a label bounds itself, and knows its owner.
    if (nested && finalizer.label !== undefined) continue
    state.finalizers.set(key, (exit) =>
      Effect.gen(function*() {
        const spent = timer.unsafeNow() - startedAt
        const budget = Math.max(1, budgetMillis * 0.8 - spent, (budgetMillis * 0.98 - spent) / waiting--)
        if (finalizer.label !== undefined) {
          // It is bounded, named and recorded by itself: it only needs to know how much time there is, all of which goes to
          // the finalizer unless there are fallbacks to keep some for.
          const limit = timer.unsafeNow() + (finalizer.fallbacks === true ? budget : budget / innerShare)
          const outcome = (yield* Effect.locally(finalizer(exit), currentLimit, limit)) as Outcome
          if (outcome._tag === "Failed" || outcome._tag === "Abandoned") failures.push(...outcome.attempts)
          return
        }
        const tried = yield* attempt(
          `finalizer ${index + 1} of ${total}`,
          Duration.millis(budget),
          owner,
          timer,
          yield* CleanupMonitor,
          Effect.uninterruptible(Effect.suspend(() => finalizer(exit))),
          true
        )
        if (tried.result !== "completed") failures.push(tried)
      }))
  }
}

const report = (outcome: Outcome): Effect.Effect<void> => {
  const level = outcome._tag === "Completed" ? overran(outcome) ? "Warning" : undefined : outcome._tag === "FellBack"
    ? "Warning"
    : "Error"
  if (level === undefined) return Effect.void
  const name = [...outcome.owner, outcome.label].join("/")
  const did = outcome._tag === "FellBack"
    ? `fell back to ${outcome.via}`
    : outcome._tag === "Completed"
    ? "overran its budget"
    : outcome._tag === "Failed"
    ? "failed"
    : "was abandoned"
  const message = `Cleanup ${name} ${did} after ${Math.round(outcome.elapsedMillis)} ms of ${outcome.budgetMillis} ms`
  const causes = outcome.attempts.flatMap((one) => one.cause === undefined ? [] : [one.cause])
  return (level === "Error" ? Effect.logError : Effect.logWarning)(message, ...causes).pipe(
    Effect.annotateLogs({
      owner: outcome.owner.join("/"),
      label: outcome.label,
      attempts: outcome.attempts.map((one) =>
        `${one.label}: ${one.result} (${Math.round(one.elapsedMillis)} of ${
          Math.round(one.budgetMillis)
        } ms, ${one.fiberId})`
      )
    }),
    // A broken logger must not fail a cleanup.
    Effect.catchAllCause(() => Effect.void)
  )
}

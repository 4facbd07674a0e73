/**
 * Finalizers with a name, a time budget and a chain of fallbacks.
 *
 * A plain finalizer that never returns blocks `Scope.close` for ever, and everything that was registered before it never
 * runs. Here a finalizer runs in a fiber of its own while the closing fiber waits, uninterruptibly, for its exit or for
 * the end of its budget, whichever comes first. On expiry the finalizer is interrupted, named, counted and abandoned,
 * and the closing fiber goes on.
 *
 * Guarantees
 * - `run`, and with it every finalizer added here, ends within the sum of its budgets, whatever the finalizer does:
 *   never return, refuse interruption, fail, throw, die, or be interrupted a second time.
 * - It never fails, so the finalizers behind it run.
 * - It runs with the references of the place where it was added (logger, log level, annotations, configuration, context), and so
 *   do its fallbacks and its report: as with `Effect.addFinalizer`.
 * - Cleanups inside of another one have one deadline together. Whoever needs time gets at least three quarters of it, at any
 *   depth, and the rest is shared by those behind.
 * - What overran or failed is logged with owner path, label, budget and elapsed time, kept in `CleanupMonitor.recent`
 *   and published to its streams. What still lives after its budget is in `CleanupMonitor.live` and in the census.
 * - Budgets run on the wall clock, also under `TestClock`, unless `BudgetClock` says otherwise.
 * - A budget that makes no sense (`NaN`, a negative one) is refused where the finalizer is added: a defect, `InvalidOption`.
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
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as FiberRefs from "effect/FiberRefs"
import { dual } from "effect/Function"
import * as Scope from "effect/Scope"
import { BudgetClock } from "./CleanupClock.js"
import type { Timer } from "./CleanupClock.js"
import { CleanupMonitor, Outcome, overran, Subject } from "./CleanupMonitor.js"
import type { Attempt, Common, Monitor } from "./CleanupMonitor.js"
import type { OwnerPath } from "./FiberRegistry.js"
import * as FiberRegistry from "./FiberRegistry.js"
import type { Running, Task } from "./internal/cleanup/attempt.js"
import { attempt, attemptOf, within } from "./internal/cleanup/attempt.js"
import { fiberName, withRefs } from "./internal/fibers/fiberState.js"
import * as Scopes from "./internal/scopes.js"
import * as InvalidOption from "./InvalidOption.js"

export {
  /** @since 0.1.0 */
  BudgetClock,
  /** @since 0.1.0 */
  layerEffectClock
} from "./CleanupClock.js"
export type {
  /** @since 0.1.0 */
  Timer
} from "./CleanupClock.js"
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
  Subject,
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
  /** Default 5 seconds. Zero or more; infinity is no limit. */
  readonly budget?: Duration.DurationInput | undefined
  readonly run: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown, R>
}

/**
 * The name, the time and the fallbacks of a finalizer.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<R = never> {
  /** Names the finalizer in reports. */
  readonly label: string
  /** The longest that anybody waits for it. Default 5 seconds. Zero or more; infinity is no limit. */
  readonly budget?: Duration.DurationInput | undefined
  /** Tried in order, each within its own budget, until one completes. */
  readonly fallbacks?: ReadonlyArray<Fallback<R>> | undefined
  /** What it is about, for reports: set by a module that waits for something of its own. Default: a finalizer of that label. */
  readonly subject?: Subject | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { budget: Duration.seconds(5) } as const

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
    const plan = planOf(fiber, options, finalizer, fiber.getFiberRefs())
    const bounded: Bounded = (exit) => follow(plan, exit)
    bounded.isBounded = true
    const context = fiber.currentContext as Context.Context<Scope.Scope>
    return Scope.addFinalizerExit(Context.get(context, Scope.Scope), bounded)
  })

/**
 * Acquires a resource, uninterruptibly, with a bounded release. The options may depend on the resource. When they throw or
 * make no sense, what was acquired is released at once, within the default budget, and the defect goes on.
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquireRelease: {
  <A, R2 = never, R3 = never>(
    options: Options<R3> | ((resource: A) => Options<R3>),
    release: (resource: A, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown, R2>
  ): <E, R>(acquire: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | R2 | R3 | Scope.Scope>
  <A, E, R, R2 = never, R3 = never>(
    acquire: Effect.Effect<A, E, R>,
    options: Options<R3> | ((resource: A) => Options<R3>),
    release: (resource: A, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown, R2>
  ): Effect.Effect<A, E, R | R2 | R3 | Scope.Scope>
} = dual(3, <A, E, R, R2 = never, R3 = never>(
  acquire: Effect.Effect<A, E, R>,
  options: Options<R3> | ((resource: A) => Options<R3>),
  release: (resource: A, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown, R2>
): Effect.Effect<A, E, R | R2 | R3 | Scope.Scope> =>
  Effect.suspend(() => {
    // Nothing is acquired that could not be released.
    if (typeof options !== "function") checkBudgets(options)
    return Effect.uninterruptible(
      Effect.tap(acquire, (resource) =>
        Effect.suspend(() =>
          addFinalizer(
            typeof options === "function" ? options(resource) : options,
            (exit) => release(resource, exit)
          )
        ).pipe(
          Effect.onError((cause) =>
            run({ label: withoutOptions }, Effect.suspend(() => release(resource, Exit.failCause(cause))))
          )
        ))
    )
  }))

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
  Effect.withFiberRuntime((fiber) => follow(planOf(fiber, options, () => effect, undefined), Exit.void))

/**
 * Closes a whole scope under one budget: one deadline for all of its finalizers and for those of the scopes inside of it, the
 * ones that layers and `Effect.scoped` make for themselves too.
 *
 * Whoever needs time gets at least three quarters of the budget, at any depth. When they are spent, the finalizers that are
 * known to wait share the rest evenly, so that each is started, whatever those before it did. Attempts of the outcome are the
 * finalizers that overran or failed; a plain one is named by its place in its scope.
 *
 * To reach the scopes inside, the first call replaces a method that all scopes of effect 3.22 share. Scopes that close
 * elsewhere close as ever.
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
    Scopes.replaceClose(guarded)
    const subject = options.subject ?? Subject.Scope({ label: options.label })
    return follow(planOf(fiber, { ...options, subject }, () => Scope.close(scope, exit), undefined), exit)
  })

/**
 * `Effect.scoped` whose scope is closed under one budget.
 *
 * @since 0.1.0
 * @category combinators
 */
export const scoped: {
  <R2 = never>(
    options: Options<R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Scope.Scope> | R2>
  <A, E, R, R2 = never>(
    self: Effect.Effect<A, E, R>,
    options: Options<R2>
  ): Effect.Effect<A, E, Exclude<R, Scope.Scope> | R2>
} = dual(
  2,
  <A, E, R, R2 = never>(
    self: Effect.Effect<A, E, R>,
    options: Options<R2>
  ): Effect.Effect<A, E, Exclude<R, Scope.Scope> | R2> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.make(), (scope) =>
        Effect.flatMap(
          Effect.exit(restore(Scope.extend(self, scope))),
          (exit) => Effect.zipRight(closeScope(scope, exit, options), exit)
        ))
    )
)

/** A finalizer that bounds, names and records itself. */
interface Bounded {
  (exit: Exit.Exit<unknown, unknown>): Effect.Effect<Outcome>
  isBounded?: boolean
}

type Run = (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown>

/** One cleanup with all that it needs when its time has come. */
interface Plan {
  readonly label: string
  readonly subject: Subject
  readonly owner: OwnerPath
  readonly refs: FiberRefs.FiberRefs | undefined
  readonly timer: Timer
  readonly monitor: Monitor
  readonly budgetMillis: number
  readonly run: Run
  readonly fallbacks: ReadonlyArray<{ readonly label: string; readonly budgetMillis: number; readonly run: Run }>
}

const defaultMillis = Duration.toMillis(defaults.budget)

const budgetOf = (budget: Duration.DurationInput | undefined): number =>
  budget === undefined
    ? defaultMillis
    : InvalidOption.unsafeDuration("Cleanup.budget", budget, { zero: true, infinite: true })

const checkBudgets = <R>({ budget, fallbacks }: Options<R>) => {
  budgetOf(budget)
  for (const fallback of fallbacks ?? []) budgetOf(fallback.budget)
}

const noFallbacks: Plan["fallbacks"] = []

const withoutOptions = "release of what has no options"

/** Services that the effects need are among the references. */
const planOf = <R, R2>(
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  options: Options<R2>,
  run: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown, unknown, R>,
  refs: FiberRefs.FiberRefs | undefined
): Plan => {
  const { fallbacks, label } = options
  return {
    label,
    subject: options.subject ?? Subject.Finalizer({ label }),
    owner: fiber.getFiberRef(FiberRegistry.currentOwner),
    refs,
    timer: Context.get(fiber.currentContext, BudgetClock),
    monitor: Context.get(fiber.currentContext, CleanupMonitor),
    budgetMillis: budgetOf(options.budget),
    run: run as Run,
    fallbacks: fallbacks === undefined ? noFallbacks : fallbacks.map(({ budget, label, run }) => ({
      label,
      budgetMillis: budgetOf(budget),
      run: run as Run
    }))
  }
}

/** The finalizer, then its fallbacks, until one completes; records and logs how it went. */
const follow = (plan: Plan, exit: Exit.Exit<unknown, unknown>): Effect.Effect<Outcome> =>
  Effect.uninterruptible(Effect.withFiberRuntime((closing) => {
    const fiber = closing as Fiber.RuntimeFiber<unknown, unknown>
    const { fallbacks, label, monitor, owner, refs, subject, timer } = plan
    const around = attemptOf(fiber)
    const startedAt = timer.unsafeNow()
    const attempts: Array<Attempt> = []
    const isScope = subject._tag === "Scope"
    // A fallback waits for its turn like a finalizer.
    let waiting = 0
    if (around !== undefined) around.allowance.pending += waiting = fallbacks.length

    const attemptAt = (index: number): Effect.Effect<Outcome> => {
      const step = index === 0 ? plan : fallbacks[index - 1]
      const task: Task = {
        label: step.label,
        subject: index === 0 ? subject : Subject.Finalizer({ label: step.label }),
        owner,
        budgetMillis: step.budgetMillis,
        timer,
        monitor,
        refs,
        interruptible: true,
        guards: isScope && index === 0,
        failures: isScope ? attempts : undefined
      }
      return Effect.flatMap(attempt(fiber, task, Effect.suspend(() => step.run(exit))), (tried) => {
        const known = isScope && index === 0
        if (!known || (tried.result.result !== "completed" && !tried.failedInside)) attempts.push(tried.result)
        const completed = known ? attempts.length === 0 : tried.result.result === "completed"
        if (known && completed) attempts.push(tried.result)
        if (!completed && index < fallbacks.length) {
          if (waiting > 0) {
            waiting--
            around!.allowance.pending--
          }
          return attemptAt(index + 1)
        }
        return finish(completed ? index : undefined)
      })
    }

    const finish = (completed: number | undefined): Effect.Effect<Outcome> => {
      if (around !== undefined) around.allowance.pending -= waiting
      const common: Common = {
        owner,
        label,
        subject,
        budgetMillis: fallbacks.reduce((sum, step) => sum + step.budgetMillis, plan.budgetMillis),
        elapsedMillis: timer.unsafeNow() - startedAt,
        attempts
      }
      const outcome = outcomeOf(
        common,
        completed === undefined ? undefined : [plan, ...fallbacks][completed].label,
        completed === 0
      )
      if (outcome._tag === "Failed" || outcome._tag === "Abandoned") around?.root.task.failures?.push(...attempts)
      monitor.unsafeRecord(outcome)
      const logged = report(outcome)
      return logged === undefined ? Effect.succeed(outcome) : Effect.as(withRefs(refs, logged), outcome)
    }

    return attemptAt(0)
  }))

const outcomeOf = (common: Common, via: string | undefined, first: boolean): Outcome => {
  if (via !== undefined) return first ? Outcome.Completed(common) : Outcome.FellBack({ ...common, via })
  const { attempts } = common
  return attempts.some((one) => one.result === "abandoned") ? Outcome.Abandoned(common) : Outcome.Failed({
    ...common,
    cause: attempts.reduce<Cause.Cause<unknown>>(
      (all, one) => one.cause === undefined ? all : Cause.sequential(all, one.cause),
      Cause.empty
    )
  })
}

/** Around the close of any scope: inside of a scope that is closed under a budget, its finalizers are bounded one by one. */
const guarded = (scope: Scope.CloseableScope, close: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.withFiberRuntime((closing) => {
    const around = attemptOf(closing)
    if (around === undefined || !around.guards || !guard(scope, around)) return close
    around.hold()
    // It goes on with the next finalizer also when whoever closes it is abandoned.
    return Effect.uninterruptible(close).pipe(
      within(around),
      Effect.onExit(() => Effect.sync(() => around.release()))
    )
  })

const known = new WeakSet<Scope.Scope>()

/** Bounds every finalizer in place, so that the scope's own `close` keeps the order and the strategy. */
const guard = (scope: Scope.Scope, around: Running): boolean => {
  const finalizers = Scopes.finalizersOf(scope)
  if (finalizers === undefined || finalizers.size === 0 || known.has(scope)) return false
  known.add(scope)
  const { allowance } = around
  const total = finalizers.size
  allowance.pending += total
  let index = 0
  for (const [key, finalizer] of finalizers) {
    const subject = Subject.Unnamed({ index: ++index, total })
    finalizers.set(key, (exit) =>
      Effect.suspend(() => {
        allowance.pending--
        const effect = finalizer(exit)
        return (finalizer as Bounded).isBounded === true ? effect : bound(subject, effect, around)
      }))
  }
  return true
}

/** A plain finalizer, inside of a scope that is closed under a budget. It fails as it would have failed without. */
const bound = (
  subject: Subject & { readonly _tag: "Unnamed" },
  effect: Effect.Effect<unknown, unknown>,
  around: Running
): Effect.Effect<unknown> =>
  Effect.withFiberRuntime((closing) => {
    const owner = ownerOf(closing as Fiber.RuntimeFiber<unknown, unknown>, around)
    const { monitor, timer } = around.task
    const task: Task = {
      label: `finalizer ${subject.index} of ${subject.total}`,
      subject,
      owner,
      budgetMillis: Number.POSITIVE_INFINITY,
      timer,
      monitor,
      refs: undefined,
      interruptible: false,
      guards: false
    }
    return Effect.flatMap(attempt(closing as Fiber.RuntimeFiber<unknown, unknown>, task, effect), (tried) => {
      const { cause, result } = tried.result
      if (result === "completed") return Effect.void
      const failed = cause === undefined ? Effect.void : Effect.failCause(cause as Cause.Cause<never>)
      if (result === "failed") {
        around.failedInside = true
        if (tried.failedInside || speaksForItself(around)) return failed
      }
      const { budgetMillis, elapsedMillis, label } = tried.result
      const outcome = outcomeOf(
        { owner, label, subject, budgetMillis, elapsedMillis, attempts: [tried.result] },
        undefined,
        false
      )
      around.root.task.failures?.push(tried.result)
      monitor.unsafeRecord(outcome)
      return Effect.zipRight(report(outcome) ?? Effect.void, failed)
    })
  })

/**
 * A cleanup that is under way.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pending {
  readonly owner: OwnerPath
  readonly label: string
  readonly subject: Subject
  /** The fiber that runs it, as in log lines. */
  readonly fiberId: string
  readonly elapsedMillis: number
  /** Until it is abandoned; infinite for a plain finalizer that nothing bounds. */
  readonly remainingMillis: number
}

/**
 * The cleanups that are under way, within their time.
 *
 * @since 0.1.0
 * @category accessors
 */
export const pending: Effect.Effect<ReadonlyArray<Pending>> = Effect.map(
  FiberRegistry.FiberRegistry,
  (registry) =>
    registry.unsafeFibers("cleanup").flatMap((fiber) => {
      const running = attemptOf(fiber)
      if (running === undefined || running.result !== undefined) return []
      const { label, owner, subject, timer } = running.task
      return [{
        owner,
        label,
        subject,
        fiberId: fiberName(fiber),
        elapsedMillis: timer.unsafeNow() - running.startedAt,
        remainingMillis: running.remainingMillis
      }]
    })
)

/** The owner path without the plain finalizers that only stand for the scopes inside of them. */
const ownerOf = (closing: Fiber.RuntimeFiber<unknown, unknown>, around: Running): OwnerPath => {
  if (around.task.subject._tag !== "Unnamed") return closing.getFiberRef(FiberRegistry.currentOwner)
  return around.task.owner
}

/** Whether a failure inside comes out as that of a cleanup with a name. */
const speaksForItself = (around: Running): boolean => {
  let at: Running | undefined = around
  while (at !== undefined && at.task.subject._tag === "Unnamed") at = at.outer
  return at !== undefined && at.task.subject._tag !== "Scope"
}

const report = (outcome: Outcome): Effect.Effect<void> | undefined => {
  const isFine = outcome._tag === "Completed" && !overran(outcome)
  // What went wrong inside of a scope has been told by itself.
  const isTold = outcome.subject._tag === "Scope" && outcome._tag !== "FellBack" &&
    outcome.attempts.every((one) => one.subject._tag !== "Scope")
  if (isFine || isTold) return undefined
  const name = [...outcome.owner, outcome.label].join("/")
  const did = outcome._tag === "FellBack"
    ? `fell back to ${outcome.via}`
    : outcome._tag === "Completed"
    ? "overran its budget"
    : outcome._tag === "Failed"
    ? "failed"
    : "was abandoned"
  const message = `Cleanup ${name} ${did} after ${Math.round(outcome.elapsedMillis)} ms of ${
    Math.round(outcome.budgetMillis)
  } ms`
  const causes = outcome.attempts.flatMap((one) => one.cause === undefined ? [] : [one.cause])
  const log = outcome._tag === "Failed" || outcome._tag === "Abandoned" ? Effect.logError : Effect.logWarning
  return log(message, ...causes).pipe(
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

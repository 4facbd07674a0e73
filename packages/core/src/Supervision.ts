/**
 * Named children under a supervisor that restarts them by the rules of OTP.
 *
 * A child is an effect that runs for as long as the child lives, with a `Scope` of its own per incarnation. The supervisor is
 * one fiber with a mailbox: exits and commands are handled one at a time, so that the state of its children is
 * always that of one moment.
 *
 * Guarantees
 * - Children start in order. They stop in reverse order, one after the other, each within its own shutdown budget, also
 *   when the supervisor is interrupted or its scope closes.
 * - A child that crashes is reported at `Error` level and to `FiberRegistry.crashes`, with its `Cause`, its owner path and what
 *   the supervisor decided.
 * - Restarts are counted, and back-offs reset, on a monotonic clock that `TestClock` moves: setting the machine's clock does not count.
 * - More than `intensity` restarts within `period` end the supervisor with all its children: `awaitEscalation` fails, and
 *   a supervisor above (see `child`) sees a crash.
 *
 * Limits
 * - An interrupt from outside counts as OTP's `shutdown`: a permanent child is started again, a transient one is not.
 * - OTP ends a supervisor that gave up with reason `shutdown`; here it fails with `Escalated`, so that a transient
 *   supervisor is restarted by its parent, too.
 * - Options that make no sense (`intensity: NaN`, a negative period) are a defect of the constructor: `InvalidOption`.
 * - There is no start phase: `start` is the child's whole life, and a child that fails at once counts as a restart.
 * - A fiber cannot be killed. `brutal_kill` interrupts and does not wait; a child that refuses to stop is left when its
 *   budget is over, named in the `CleanupMonitor` and still in the census. Its successor may run beside it.
 * - `"infinity"` means what it says. The total of a stop is the sum of the budgets (`stop: "together"`: the longest one).
 * - The mailbox is unbounded: it holds one message per exit or command, and those are bounded by children and callers.
 *
 * @since 0.1.0
 */
import { Effect, FiberRef, Layer, Option } from "effect"
import type { Scope } from "effect"
import * as FiberRegistry from "./FiberRegistry.js"
import * as Manager from "./internal/supervision/manager.js"
import * as Lifecycle from "./Lifecycle.js"
import type { ChildSpec, Escalated, Options, Supervisor } from "./SupervisorSpec.js"

export {
  /** @since 0.1.0 */
  ChildExists,
  /** @since 0.1.0 */
  ChildNotFound,
  /** @since 0.1.0 */
  ChildRunning,
  /** @since 0.1.0 */
  defaults,
  /** @since 0.1.0 */
  Escalated,
  /** @since 0.1.0 */
  SupervisorStopped
} from "./SupervisorSpec.js"
export type {
  /** @since 0.1.0 */
  ChildInfo,
  /** @since 0.1.0 */
  ChildSpec,
  /** @since 0.1.0 */
  Counts,
  /** @since 0.1.0 */
  Options,
  /** @since 0.1.0 */
  Restart,
  /** @since 0.1.0 */
  Shutdown,
  /** @since 0.1.0 */
  Strategy,
  /** @since 0.1.0 */
  Supervisor
} from "./SupervisorSpec.js"

/**
 * Starts a supervisor in the scope in use, and returns once its children are started.
 *
 * Two children of one name are a defect.
 *
 * @example
 * ```ts
 * import { Supervision } from "@holdfast/core"
 * import { Effect, Schedule } from "effect"
 *
 * const program = Supervision.make({
 *   name: "feeds",
 *   intensity: 5,
 *   period: "1 minute",
 *   backoff: Schedule.jittered(Schedule.exponential("100 millis")),
 *   children: [
 *     { name: "prices", start: Effect.never },
 *     { name: "import", restart: "transient", shutdown: "10 seconds", start: Effect.log("done") }
 *   ]
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <R = never>(
  options: Options<R>
): Effect.Effect<Supervisor<R>, never, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function*() {
    const manager = yield* Manager.make(options)
    const scope = yield* Effect.scope
    const fiber = yield* FiberRegistry.forkIn(manager.loop, scope, {
      name: options.name,
      kind: "supervisor",
      crash: "silent"
    })
    // Also when the scope closed before the loop could start.
    fiber.addObserver(manager.unsafeFinish)
    yield* manager.ready
    return manager.supervisor
  }) as Effect.Effect<Supervisor<R>, never, Exclude<R, Scope.Scope> | Scope.Scope>

/**
 * Runs a supervisor in the present fiber until it is interrupted, ends by `autoShutdown`, or gives up.
 *
 * @since 0.1.0
 * @category constructors
 */
export const run = <R = never>(options: Options<R>): Effect.Effect<void, Escalated, Exclude<R, Scope.Scope>> =>
  Effect.flatMap(
    Manager.make(options),
    (manager) => Effect.ensuring(named(options.name, manager.loop), Effect.sync(manager.unsafeFinish))
  ) as Effect.Effect<void, Escalated, Exclude<R, Scope.Scope>>

/** The owner path ends with the name of the supervisor, whoever forked the fiber. */
const named = <A, E, R>(name: string, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    FiberRef.get(FiberRegistry.currentOwner),
    (path) => path.at(-1) === name ? self : FiberRegistry.withOwner(name)(self)
  )

/**
 * A supervisor as the child of another one: what it gives up on is its parent's to decide.
 *
 * @since 0.1.0
 * @category constructors
 */
export const child = <R = never>(
  options: Options<R> & Pick<ChildSpec, "restart" | "shutdown" | "significant">
): ChildSpec<Exclude<R, Scope.Scope>> => ({
  name: options.name,
  kind: "supervisor",
  shutdown: options.shutdown ?? "infinity",
  ...(options.restart === undefined ? {} : { restart: options.restart }),
  ...(options.significant === undefined ? {} : { significant: options.significant }),
  start: run(options)
})

/**
 * A supervisor for as long as the layer lives: the top of a tree. With a `Lifecycle` in the context, and no `onEscalation`,
 * a supervisor that gives up takes the service down, as a crash.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <R = never>(options: Options<R>): Layer.Layer<never, never, Exclude<R, Scope.Scope>> =>
  Layer.scopedDiscard(Effect.flatMap(Effect.serviceOption(Lifecycle.Lifecycle), (lifecycle) =>
    make(
      Option.isNone(lifecycle) || options.onEscalation !== undefined ? options : {
        ...options,
        onEscalation: ({ message, owner }) =>
          lifecycle.value.requestShutdown({ _tag: "Crash", origin: owner.join("/"), cause: message })
      }
    ))) as Layer.Layer<never, never, Exclude<R, Scope.Scope>>

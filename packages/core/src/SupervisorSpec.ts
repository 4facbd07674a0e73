/**
 * What a supervisor is told, what it tells, and what it refuses: the words of `Supervision`.
 *
 * @since 0.1.0
 */
import { Data, Duration } from "effect"
import type { Cause, Effect, Fiber, Schedule } from "effect"
import type { FiberKind, OwnerPath } from "./FiberCensus.js"

/**
 * When a child is started again: `permanent` always, `transient` after a crash, `temporary` never.
 *
 * @since 0.1.0
 * @category options
 */
export type Restart = "permanent" | "transient" | "temporary"

/**
 * How long a child may take to stop. `infinity` waits for ever, `brutal_kill` does not wait.
 *
 * @since 0.1.0
 * @category options
 */
export type Shutdown = Duration.DurationInput | "infinity" | "brutal_kill"

/**
 * What is started again beside the child that ended: nobody, everybody, or those that were started after it.
 *
 * @since 0.1.0
 * @category options
 */
export type Strategy = "one_for_one" | "one_for_all" | "rest_for_one"

/**
 * A child: what it runs, when it is restarted, and how long its end may take.
 *
 * @since 0.1.0
 * @category options
 */
export interface ChildSpec<R = never> {
  /** Unique among the children of one supervisor. */
  readonly name: string
  /** Default `"permanent"`. */
  readonly restart?: Restart | undefined
  /** Default 5 seconds, for kind `"supervisor"` `"infinity"`. */
  readonly shutdown?: Shutdown | undefined
  /** Default `"service"`. */
  readonly kind?: FiberKind | undefined
  /** Its own end counts for `autoShutdown`. Not for permanent children: they never end for good. Default false. */
  readonly significant?: boolean | undefined
  /** The life of the child. A `Scope` that it requires is its own and closes with it. */
  readonly start: Effect.Effect<unknown, unknown, R>
}

/**
 * The name, the strategy and the intensity of a supervisor.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<R = never> {
  readonly name: string
  /** Default `"one_for_one"`. */
  readonly strategy?: Strategy | undefined
  /** How many restarts are borne within `period`. Default 1. */
  readonly intensity?: number | undefined
  /** Default 5 seconds. */
  readonly period?: Duration.DurationInput | undefined
  /**
   * How long to wait before a restart, per child, from the start again once the child has lived for longer than `period`.
   * When the schedule ends, the supervisor escalates. Default: restart at once.
   */
  readonly backoff?: Schedule.Schedule<unknown, Cause.Cause<unknown>> | undefined
  /** Stop in reverse order of start, one by one, or all at once. Default `"reverse"`. */
  readonly stop?: "reverse" | "together" | undefined
  /** Whether the end of significant children ends the supervisor. Default `"never"`. */
  readonly autoShutdown?: "never" | "any_significant" | "all_significant" | undefined
  /** Runs after the supervisor gave up and its children are stopped, uninterruptibly. */
  readonly onEscalation?: ((escalated: Escalated) => Effect.Effect<void, never, R>) | undefined
  /** Started in this order. */
  readonly children?: ReadonlyArray<ChildSpec<R>> | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  restart: "permanent",
  shutdown: Duration.seconds(5),
  kind: "service",
  strategy: "one_for_one",
  intensity: 1,
  period: Duration.seconds(5)
} as const

/**
 * The supervisor gave up.
 *
 * @since 0.1.0
 * @category errors
 */
export class Escalated extends Data.TaggedError("Escalated")<{
  readonly owner: OwnerPath
  /** `intensity`: too many restarts; `backoff`: the schedule came to its end. */
  readonly reason: "intensity" | "backoff"
  /** The child whose end was one too many. */
  readonly child: string
  readonly intensity: number
  readonly periodMillis: number
  /** Why the child ended; empty when it just returned. */
  readonly cause: Cause.Cause<unknown>
}> {
  override get message() {
    return this.reason === "intensity"
      ? `${
        this.owner.join("/")
      } gave up on ${this.child}: more than ${this.intensity} restarts within ${this.periodMillis} ms`
      : `${this.owner.join("/")} gave up on ${this.child}: its back-off came to an end`
  }
}

/**
 * A child of that name is there already, running or stopped.
 *
 * @since 0.1.0
 * @category errors
 */
export class ChildExists extends Data.TaggedError("ChildExists")<{
  readonly child: string
  readonly status: ChildInfo["status"]
}> {}

/**
 * The supervisor has no child of this name.
 *
 * @since 0.1.0
 * @category errors
 */
export class ChildNotFound extends Data.TaggedError("ChildNotFound")<{ readonly child: string }> {}

/**
 * The child runs, or is about to.
 *
 * @since 0.1.0
 * @category errors
 */
export class ChildRunning extends Data.TaggedError("ChildRunning")<{
  readonly child: string
  readonly status: "running" | "restarting"
}> {}

/**
 * The supervisor has ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class SupervisorStopped extends Data.TaggedError("SupervisorStopped")<{
  readonly owner: OwnerPath
}> {}

/**
 * A child as it is now.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChildInfo {
  readonly name: string
  readonly kind: FiberKind
  readonly restart: Restart
  readonly significant: boolean
  readonly shutdown: Shutdown
  /** `restarting` waits for its back-off, `stopped` has ended or was told to stop. */
  readonly status: "running" | "restarting" | "stopped"
  /** How often it has been started again. */
  readonly restarts: number
  /** When its present incarnation was started, milliseconds since the epoch by Effect's clock. */
  readonly startedAt: number | undefined
  readonly lastFailure: Cause.Cause<unknown> | undefined
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
}

/**
 * How many children there are, by what they do.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counts {
  readonly specs: number
  readonly active: number
  readonly supervisors: number
  readonly workers: number
}

/**
 * Children that are started in order, restarted by rule, and stopped in reverse order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Supervisor<R = never> {
  readonly name: string
  readonly owner: OwnerPath
  /** Adds a child after the others, and starts it. */
  readonly startChild: (spec: ChildSpec<R>) => Effect.Effect<void, ChildExists | SupervisorStopped>
  /** Stops a child within its shutdown budget. It keeps its place, unless it is temporary. No restart follows. */
  readonly stopChild: (name: string) => Effect.Effect<void, ChildNotFound | SupervisorStopped>
  /** Starts a stopped child again. */
  readonly restartChild: (name: string) => Effect.Effect<void, ChildNotFound | ChildRunning | SupervisorStopped>
  /** Forgets a stopped child. */
  readonly deleteChild: (name: string) => Effect.Effect<void, ChildNotFound | ChildRunning | SupervisorStopped>
  /** In start order. */
  readonly children: Effect.Effect<ReadonlyArray<ChildInfo>>
  readonly counts: Effect.Effect<Counts>
  /** Waits for the supervisor's end: fails when it gave up, succeeds when it was stopped. */
  readonly awaitEscalation: Effect.Effect<void, Escalated>
}

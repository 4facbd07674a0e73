/**
 * Whether a child is started again, when, and which others with it.
 */
import { Cause, Effect, ScheduleDecision, ScheduleIntervals } from "effect"
import * as Monotonic from "../../Monotonic.js"
import { defaults } from "../../SupervisorSpec.js"
import type { Escalated, Options, Strategy } from "../../SupervisorSpec.js"
import type { Child } from "./child.js"

export type Decision =
  | { readonly _tag: "Restart"; readonly delayMillis: number }
  | { readonly _tag: "GiveUp"; readonly reason: Escalated["reason"] }

/** The restarts that a supervisor allows itself. */
export class RestartAllowance<R> {
  /** The moments of those that still count. */
  private restarts: ReadonlyArray<number> = []

  constructor(
    readonly intensity: number,
    readonly periodMillis: number,
    readonly backoff: Options<R>["backoff"]
  ) {}

  /** Counts a restart of this child, and decides on it. */
  decide(child: Child<R>, cause: Cause.Cause<unknown>): Effect.Effect<Decision> {
    return Effect.gen(this, function*() {
      const now = yield* Monotonic.now
      this.restarts = [...this.restarts.filter((at) => now <= at + this.periodMillis), now]
      if (this.restarts.length > this.intensity) return { _tag: "GiveUp", reason: "intensity" }
      const { backoff } = this
      if (backoff === undefined) return { _tag: "Restart", delayMillis: 0 }
      if (child.startedAt !== undefined && now - child.runsSince > this.periodMillis) child.backoff = backoff.initial
      const stepped = yield* Effect.exit(backoff.step(now, cause, child.backoff))
      if (stepped._tag === "Failure") {
        // It is a function of the user's: one that throws gives no further delay.
        yield* Effect.logError(`The back-off of ${child.spec.name} failed, so it is not restarted`, stepped.cause)
        return { _tag: "GiveUp", reason: "backoff" }
      }
      const [state, , decision] = stepped.value
      child.backoff = state
      return ScheduleDecision.isDone(decision)
        ? { _tag: "GiveUp", reason: "backoff" }
        : { _tag: "Restart", delayMillis: Math.max(0, ScheduleIntervals.start(decision.intervals) - now) }
    })
  }
}

/** Who is stopped and started again with a child, itself included, in start order. */
export const groupOf = <R>(
  strategy: Strategy,
  children: ReadonlyArray<Child<R>>,
  child: Child<R>
): ReadonlyArray<Child<R>> => {
  switch (strategy) {
    case "one_for_one":
      return [child]
    case "one_for_all":
      return children
    case "rest_for_one":
      return children.slice(children.indexOf(child))
  }
}

/** Whether a child that ended like this stays down. */
export const staysDown = <R>({ spec: { restart = defaults.restart } }: Child<R>, crashed: boolean): boolean =>
  restart === "temporary" || (restart === "transient" && !crashed)

/** Whether the end of this child, which stays down, is the end of its supervisor. */
export const endsSupervisor = <R>(
  autoShutdown: Options<R>["autoShutdown"],
  children: ReadonlyArray<Child<R>>,
  { spec }: Child<R>
): boolean =>
  spec.significant === true && spec.restart !== "permanent" && (
    autoShutdown === "any_significant" ||
    (autoShutdown === "all_significant" &&
      !children.some((one) => one.spec.significant === true && one.status !== "stopped"))
  )

/**
 * What a shutdown has done so far, and the report that follows from it at any moment.
 */
import type { Fiber } from "effect"
import type * as Cleanup from "../../Cleanup.js"
import type * as FiberRegistry from "../../FiberRegistry.js"
import * as Report from "../../ShutdownReport.js"
import { attemptOf } from "../cleanup/attempt.js"
import type { PhaseRun, Waiting } from "./phase.js"
import { round } from "./phase.js"

export const scopeLabel = "application scope"

export class ShutdownRecord {
  readonly phases: Array<PhaseRun> = []
  /** What went wrong beside all fibers before the first phase began. */
  readonly early: Array<Report.Item> = []
  reason: Report.ShutdownReason | undefined
  startedAt = 0
  startedAtEpoch = 0
  hurried = false
  /** The fiber that runs the shutdown. */
  self: Fiber.RuntimeFiber<unknown, unknown> | undefined
  scopeOutcome: Cleanup.Outcome | undefined

  constructor(
    readonly name: string,
    readonly timeout: number,
    readonly listed: number,
    readonly timer: Cleanup.Timer,
    readonly registry: FiberRegistry.Service
  ) {}

  summary(finished: boolean): Report.ShutdownReport {
    const now = this.timer.unsafeNow()
    const { tracked, untracked } = this.registry.unsafeSurvey()
    const entries = tracked.filter((entry) => entry.fiber !== this.self)
    // One that waits for finalizers inside of it stands for them: they have names of their own.
    const refusing = this.refusing()
    const scopes = new Set(
      this.phases.flatMap(({ items }) => items.flatMap(({ fiber, kind }) => kind === "scope" ? [fiber] : []))
    )
    const census = entries.filter((entry) => {
      if (scopes.has(entry.fiber)) return false
      const running = entry.kind === "cleanup" ? attemptOf(entry.fiber) : undefined
      if (running === undefined) return true
      const { subject } = running.task
      if (subject._tag === "Unnamed" && refusing.has(entry.waitingFor ?? "")) return false
      return subject._tag !== "Scope" && !running.isWaiting
    })
    const unfinished = this.unfinished(census)
    const detached = untracked.filter((entry) =>
      entry.fiber !== this.self && (entry.detached || entry.ownership === "owner-ended")
    )
    const last = this.phases.length - 1
    return new Report.ShutdownReport({
      name: this.name,
      reason: this.reason!,
      startedAt: this.startedAtEpoch,
      elapsedMillis: round(now - this.startedAt),
      timeoutMillis: round(this.timeout),
      hurried: this.hurried,
      finished,
      phases: this.phases.map((state, index) => this.phaseReport(state, now, index === last ? unfinished : [])),
      live: [...census, ...detached].map((entry) =>
        new Report.LiveFiber({
          id: entry.id,
          name: entry.name,
          kind: entry.kind,
          owner: entry.tracked ? entry.owner : [...entry.owner, `${entry.name} ${entry.id}`],
          ageMillis: round(entry.ageMillis)
        })
      )
    })
  }

  /** Finalizers that are still running, and have not been reported. */
  private unfinished(census: ReadonlyArray<FiberRegistry.Entry>): ReadonlyArray<Report.Item> {
    const mine = new Set(this.phases.flatMap((state) => state.items.map((item) => item.fiber)))
    const named = new Set(this.phases.flatMap((state) => state.finalizers.flatMap(({ attempts }) => attempts)))
    const abandoned = this.abandonedFibers()
    return census.flatMap(({ ageMillis, fiber, id, kind, name, owner }) => {
      if (kind !== "cleanup" || mine.has(fiber) || named.has(id)) return []
      const subject = attemptOf(fiber)?.task.subject
      if (subject?._tag === "Child" && abandoned.has(subject.path.join("/"))) return []
      return [
        new Report.Item({
          kind: "finalizer",
          label: name,
          owner: owner.slice(0, -1),
          status: "abandoned",
          elapsedMillis: round(ageMillis),
          budgetMillis: round(ageMillis),
          detail: "still running at the end"
        })
      ]
    })
  }

  /** The ids of the fibers that were told to stop, and did not. */
  private refusing(): ReadonlySet<string> {
    return new Set(
      this.phases.flatMap((state) =>
        // A supervisor that waits for a child which refuses is interrupted, and lives as well.
        state.items.filter(({ kind, status }) =>
          kind === "fiber" && (status === "abandoned" || status === "interrupted")
        )
          .map((item) => `#${item.fiber.id().id}`)
      )
    )
  }

  private abandonedFibers(): ReadonlySet<string> {
    return new Set(
      this.phases.flatMap((state) =>
        state.items.filter((item) => item.kind === "fiber" && item.status === "abandoned").map((item) =>
          [...item.owner, item.label].join("/")
        )
      )
    )
  }

  /** The ids of the fibers of all finalizers that were given up. */
  private abandonedAttempts(): ReadonlySet<string> {
    return new Set(
      this.phases.flatMap((state) =>
        state.finalizers.flatMap(({ attempts, item }) => item.status === "abandoned" ? attempts : [])
      )
    )
  }

  private phaseReport(state: PhaseRun, now: number, unfinished: ReadonlyArray<Report.Item>): Report.PhaseReport {
    const abandoned = this.abandonedFibers()
    const refusing = this.refusing()
    const inside = this.abandonedAttempts()
    // It is the fiber that is named, not the finalizer that waited for it, nor what waited for that one.
    const finalizers = state.finalizers.flatMap(({ child, fiber, item }) =>
      abandoned.has(child ?? "") || refusing.has(fiber ?? "") || inside.has(fiber ?? "") ? [] : [item]
    )
    const extra = [...finalizers, ...state.extra]
    const items = [...state.items.map((item) => this.itemReport(item, now)), ...extra, ...unfinished]
    const named =
      this.phases.some((one) =>
        one.items.some((item) => item.kind !== "scope" && item.status === "abandoned") ||
        one.finalizers.some(({ item }) => item.status === "abandoned")
      ) || unfinished.length > 0
    const counts = { completed: state.completedFinalizers, interrupted: 0, failed: 0, abandoned: 0 }
    const listed: Array<Report.Item> = []
    let completed = 0
    for (const one of items) {
      // What held the scope up is named already.
      const item = one.kind === "scope" && one.status === "abandoned" && named
        ? new Report.Item({ ...one, status: "interrupted" })
        : one
      counts[item.status]++
      if (item.status !== "completed" || item.detail !== undefined || completed++ < this.listed) listed.push(item)
    }
    return new Report.PhaseReport({
      phase: state.phase,
      elapsedMillis: round((state.endedAt ?? now) - state.startedAt),
      budgetMillis: round(state.budget),
      ...counts,
      items: listed,
      omitted: state.completedFinalizers + items.length - listed.length
    })
  }

  private itemReport(item: Waiting, now: number): Report.Item {
    // What failed or overran inside of the scope has items of its own; here it is said why the scope took so long.
    const inside = item.kind === "scope" ? this.scopeOutcome?.attempts : undefined
    const abandoned = inside?.filter(({ result, subject }) => result === "abandoned" && subject._tag !== "Scope") ?? []
    const detail = abandoned.length === 0 ? item.detail : `abandoned ${abandoned.map(({ label }) => label).join(", ")}`
    return new Report.Item({
      kind: item.kind,
      label: item.label,
      owner: item.owner,
      status: abandoned.length > 0 ? "interrupted" : item.status ?? "abandoned",
      elapsedMillis: round((item.endedAt ?? now) - item.startedAt),
      budgetMillis: round(item.budget),
      ...(detail === undefined ? {} : { detail })
    })
  }
}

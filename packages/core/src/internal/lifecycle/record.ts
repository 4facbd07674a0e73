/**
 * What a shutdown has done so far, and the report that follows from it at any moment.
 */
import { Cause } from "effect"
import type { Fiber } from "effect"
import * as Cleanup from "../../Cleanup.js"
import type * as FiberRegistry from "../../FiberRegistry.js"
import * as Report from "../../ShutdownReport.js"
import { attemptOf } from "../cleanup/attempt.js"

/** One thing that a phase waits for. It ends by itself or by its own timer, whichever comes first. */
export interface Waiting {
  readonly kind: Report.Item["kind"]
  readonly label: string
  readonly owner: ReadonlyArray<string>
  readonly startedAt: number
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  budget: number
  /** How it ends when its time is over. */
  readonly overdue: "abandoned" | "interrupted"
  readonly supervisor: boolean
  endedAt: number | undefined
  status: Report.Status | undefined
  detail: string | undefined
  cancel: () => void
}

export interface PhaseState {
  readonly phase: Exclude<Report.Phase, "accepting" | "unready" | "done">
  readonly startedAt: number
  budget: number
  endedAt: number | undefined
  readonly items: Array<Waiting>
  /** Finalizers, as their own module reports them; with the child or the fiber that one waited for. */
  readonly finalizers: Array<
    { readonly item: Report.Item; readonly child: string | undefined; readonly fiber: string | undefined }
  >
  /** What went wrong beside all fibers. */
  readonly extra: Array<Report.Item>
  completedFinalizers: number
}

export const firstLine = (cause: Cause.Cause<unknown>): string => {
  const line = Cause.pretty(cause).split("\n", 1)[0]!
  return line.length > 200 ? `${line.slice(0, 199)}…` : line
}

export const scopeLabel = "application scope"

export const round = (millis: number): number => Math.max(0, Math.round(millis))

export class ShutdownRecord {
  readonly states: Array<PhaseState> = []
  /** What went wrong beside all fibers before the first phase began. */
  readonly early: Array<Report.Item> = []
  reason: Report.ShutdownReason | undefined
  startedAt = 0
  startedAtEpoch = 0
  hurried = false
  /** The fiber that runs the shutdown. */
  self: Fiber.RuntimeFiber<unknown, unknown> | undefined
  scopeOutcome: Cleanup.Outcome | undefined
  /** Fibers of finalizers that the report names already. */
  private readonly named = new Set<string>()

  constructor(
    readonly name: string,
    readonly timeout: number,
    readonly listed: number,
    readonly timer: Cleanup.Timer,
    readonly registry: FiberRegistry.Service
  ) {}

  add(item: Report.Item) {
    ;(this.states.at(-1)?.extra ?? this.early).push(item)
  }

  onOutcome(outcome: Cleanup.Outcome) {
    const state = this.states.at(-1)
    if (state === undefined || outcome.subject._tag === "Scope") return
    if (outcome._tag === "Completed" && !Cleanup.overran(outcome)) {
      state.completedFinalizers++
      return
    }
    for (const attempt of outcome.attempts) this.named.add(attempt.fiberId)
    const detail = outcome._tag === "FellBack"
      ? `fell back to "${outcome.via}"`
      : outcome._tag === "Failed"
      ? firstLine(outcome.cause)
      : outcome._tag === "Completed"
      ? "ended after its budget"
      : undefined
    const { subject } = outcome
    state.finalizers.push({
      child: subject._tag === "Child" ? subject.path.join("/") : undefined,
      // What a scope does for a fiber that was forked into it.
      fiber: subject._tag === "Unnamed" ? outcome.attempts[0].waitedFor : undefined,
      item: new Report.Item({
        kind: "finalizer",
        label: outcome.label,
        owner: outcome.owner,
        status: outcome._tag === "Abandoned" ? "abandoned" : outcome._tag === "Failed" ? "failed" : "completed",
        elapsedMillis: round(outcome.elapsedMillis),
        // What it was allowed here, which may be less than it asked for.
        budgetMillis: round(outcome.attempts.reduce((sum, attempt) => sum + attempt.budgetMillis, 0)),
        ...(detail === undefined ? {} : { detail })
      })
    })
  }

  summary(finished: boolean): Report.ShutdownReport {
    const now = this.timer.unsafeNow()
    const entries = this.registry.unsafeCensus().filter((entry) => entry.fiber !== this.self)
    // One that waits for finalizers inside of it stands for them: they have names of their own.
    const refusing = this.refusing()
    const scopes = new Set(
      this.states.flatMap(({ items }) => items.flatMap(({ fiber, kind }) => kind === "scope" ? [fiber] : []))
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
    const detached = this.registry.unsafeUntracked().filter((entry) =>
      entry.fiber !== this.self && (entry.detached || entry.ownership === "owner-ended")
    )
    const last = this.states.length - 1
    return new Report.ShutdownReport({
      name: this.name,
      reason: this.reason!,
      startedAt: this.startedAtEpoch,
      elapsedMillis: round(now - this.startedAt),
      timeoutMillis: round(this.timeout),
      hurried: this.hurried,
      finished,
      phases: this.states.map((state, index) => this.phaseReport(state, now, index === last ? unfinished : [])),
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
    const mine = new Set(this.states.flatMap((state) => state.items.map((item) => item.fiber)))
    const abandoned = this.abandonedFibers()
    return census.flatMap(({ ageMillis, fiber, id, kind, name, owner }) => {
      if (kind !== "cleanup" || mine.has(fiber) || this.named.has(id)) return []
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
      this.states.flatMap((state) =>
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
      this.states.flatMap((state) =>
        state.items.filter((item) => item.kind === "fiber" && item.status === "abandoned").map((item) =>
          [...item.owner, item.label].join("/")
        )
      )
    )
  }

  private phaseReport(state: PhaseState, now: number, unfinished: ReadonlyArray<Report.Item>): Report.PhaseReport {
    const abandoned = this.abandonedFibers()
    const refusing = this.refusing()
    // It is the fiber that is named, not the finalizer that waited for it.
    const finalizers = state.finalizers.flatMap(({ child, fiber, item }) =>
      abandoned.has(child ?? "") || refusing.has(fiber ?? "") ? [] : [item]
    )
    const extra = [...finalizers, ...state.extra]
    const items = [...state.items.map((item) => this.itemReport(item, now)), ...extra, ...unfinished]
    const named =
      this.states.some((one) =>
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
      status: abandoned.length > 0 ? "interrupted" : item.status ?? item.overdue,
      elapsedMillis: round((item.endedAt ?? now) - item.startedAt),
      budgetMillis: round(item.budget),
      ...(detail === undefined ? {} : { detail })
    })
  }
}

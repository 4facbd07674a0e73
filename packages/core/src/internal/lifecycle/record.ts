/**
 * What a shutdown has done so far, and the report that follows from it at any moment.
 */
import { Cause } from "effect"
import type { Fiber } from "effect"
import * as Cleanup from "../../Cleanup.js"
import type * as FiberRegistry from "../../FiberRegistry.js"
import * as Report from "../../ShutdownReport.js"

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
  /** Finalizers, as their own module reports them, and what went wrong beside all fibers. */
  readonly extra: Array<Report.Item>
  completedFinalizers: number
}

export const firstLine = (cause: Cause.Cause<unknown>): string => {
  const line = Cause.pretty(cause).split("\n", 1)[0]!
  return line.length > 200 ? `${line.slice(0, 199)}…` : line
}

export const scopeLabel = "application scope"

/** Fibers of the release that stand for others: what is inside has a name of its own, or is in the detail of the scope. */
const isContainer = (label: string): boolean => label === scopeLabel || isNumbered(label)

/** What `Cleanup` calls a finalizer that has no label. */
const isNumbered = (label: string): boolean => /^finalizer \d+ of \d+$/.test(label)

/** The child that a supervisor's finalizer `stop <name>` waits for: it is the child that is named. */
const stoppedBy = (path: ReadonlyArray<string>): string => {
  const label = path.at(-1) ?? ""
  return label.startsWith("stop ") ? [...path.slice(0, -1), label.slice(5)].join("/") : ""
}

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
  /** Finalizers without a name that have not ended. */
  private hung = 0
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
    if (state === undefined || isContainer(outcome.label)) return
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
    state.extra.push(
      new Report.Item({
        kind: "finalizer",
        label: outcome.label,
        owner: outcome.owner,
        status: outcome._tag === "Abandoned" ? "abandoned" : outcome._tag === "Failed" ? "failed" : "completed",
        elapsedMillis: round(outcome.elapsedMillis),
        // What it was allowed here, which may be less than it asked for.
        budgetMillis: round(outcome.attempts.reduce((sum, attempt) => sum + attempt.budgetMillis, 0)),
        ...(detail === undefined ? {} : { detail })
      })
    )
  }

  summary(finished: boolean): Report.ShutdownReport {
    const now = this.timer.unsafeNow()
    const entries = this.registry.unsafeCensus().filter((entry) => entry.fiber !== this.self)
    const census = entries.filter((entry) => entry.kind !== "cleanup" || !isContainer(entry.name))
    this.hung = entries.filter((entry) => entry.kind === "cleanup" && isNumbered(entry.name)).length
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

  /** Finalizers that are still running inside of the application's scope, and have not been reported. */
  private unfinished(census: ReadonlyArray<FiberRegistry.Entry>): ReadonlyArray<Report.Item> {
    const mine = new Set(this.states.flatMap((state) => state.items.map((item) => item.fiber)))
    const abandoned = this.abandonedFibers()
    const cleanups = census.filter((entry) => entry.kind === "cleanup")
    // A scope bounds a finalizer under its name, and so does the finalizer: the one that knows its owner says more.
    const owned = new Set(cleanups.filter(({ owner }) => owner[0] !== scopeLabel).map(({ name }) => name))
    const known = ({ fiber, id, name, owner }: FiberRegistry.Entry) =>
      mine.has(fiber) || this.named.has(id) || abandoned.has(stoppedBy(owner)) ||
      (owner[0] === scopeLabel && owned.has(name))
    return cleanups.flatMap((entry) => {
      const { ageMillis, name, owner } = entry
      return known(entry) ? [] : [
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
    const extra = state.extra.filter((item) => !abandoned.has(stoppedBy([...item.owner, item.label])))
    const items = [...state.items.map((item) => this.itemReport(item, now)), ...extra, ...unfinished]
    const named =
      this.states.some((one) =>
        one.items.some((item) => item.kind !== "scope" && item.status === "abandoned") ||
        one.extra.some((item) => item.status === "abandoned")
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
    let status = item.status ?? item.overdue
    let detail = item.detail
    if (item.kind === "scope" && this.scopeOutcome !== undefined) {
      const failures = this.scopeOutcome.attempts.filter((attempt) =>
        attempt.result !== "completed" && attempt.label !== scopeLabel
      )
      if (failures.some((attempt) => attempt.result === "abandoned")) status = "abandoned"
      else if (failures.length > 0 && status === "completed") status = "failed"
      if (failures.length > 0) detail = failures.map(({ label, result }) => `${label} ${result}`).join(", ")
    }
    if (item.kind === "scope" && this.hung > 0) {
      status = "abandoned"
      detail ??= `${this.hung} finalizers without a name are still running`
    }
    return new Report.Item({
      kind: item.kind,
      label: item.label,
      owner: item.owner,
      status,
      elapsedMillis: round((item.endedAt ?? now) - item.startedAt),
      budgetMillis: round(item.budget),
      ...(detail === undefined ? {} : { detail })
    })
  }
}

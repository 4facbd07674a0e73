/**
 * One phase of a shutdown: its time, and what it waits for. Each item ends by itself, or by its own timer, or with the phase.
 */
import { Cause, Duration, Effect, FiberId } from "effect"
import type { Fiber, Scope } from "effect"
import * as Cleanup from "../../Cleanup.js"
import * as FiberRegistry from "../../FiberRegistry.js"
import * as Report from "../../ShutdownReport.js"

/** The phases that last: those with a time of their own. */
export type TimedPhase = Exclude<Report.Phase, "accepting" | "unready" | "done">

/** One thing that a phase waits for. */
export interface Waiting {
  readonly kind: Report.Item["kind"]
  readonly label: string
  readonly owner: ReadonlyArray<string>
  readonly startedAt: number
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  budget: number
  readonly supervisor: boolean
  endedAt: number | undefined
  status: Report.Status | undefined
  detail: string | undefined
  cancel: () => void
}

export interface WaitingOptions extends Pick<Waiting, "kind" | "label" | "owner"> {
  readonly budget?: number | undefined
  readonly supervisor?: boolean | undefined
}

/** A finalizer, as its own module reports it. */
export interface FinalizerItem {
  readonly item: Report.Item
  /** The path of the child that it waited for. */
  readonly child: string | undefined
  /** The fiber that it waited for. */
  readonly fiber: string | undefined
  /** The fibers that ran its attempts. */
  readonly attempts: ReadonlyArray<string>
}

/** What all phases of one shutdown share. */
export interface Surroundings {
  readonly timer: Cleanup.Timer
  readonly registry: FiberRegistry.Service
  /** The scope of the fibers that phases fork. */
  readonly scope: Scope.Scope
  /** What is known of a fiber that did not end in its time. */
  readonly detailOf: (fiber: Fiber.RuntimeFiber<unknown, unknown>) => string | undefined
}

export const firstLine = (cause: Cause.Cause<unknown>): string => {
  const line = Cause.pretty(cause).split("\n", 1)[0]!
  return line.length > 200 ? `${line.slice(0, 199)}…` : line
}

export const round = (millis: number): number => Math.max(0, Math.round(millis))

const nothing = () => {}

export class PhaseRun {
  readonly startedAt: number
  endedAt: number | undefined
  readonly items: Array<Waiting> = []
  readonly finalizers: Array<FinalizerItem> = []
  completedFinalizers = 0
  /** Looks again whether what is waited for has come about. */
  private wake: () => void = nothing
  /** Sets the timer of that wait anew. */
  private rearm: () => void = nothing

  constructor(
    readonly phase: TimedPhase,
    readonly around: Surroundings,
    public budget: number,
    /** What went wrong beside all fibers. */
    readonly extra: Array<Report.Item>
  ) {
    this.startedAt = around.timer.unsafeNow()
  }

  get remaining(): number {
    return Math.max(0, this.startedAt + this.budget - this.around.timer.unsafeNow())
  }

  get pending(): ReadonlyArray<Waiting> {
    return this.items.filter(({ status }) => status === undefined)
  }

  /** Forks something that the phase waits for. The fiber is tracked as a cleanup, so no phase stops it. */
  fork(options: WaitingOptions, effect: Effect.Effect<unknown, unknown>): Effect.Effect<Waiting> {
    return FiberRegistry.forkIn(Effect.interruptible(effect), this.around.scope, {
      name: options.label,
      kind: "cleanup",
      crash: "silent"
    }).pipe(
      Effect.locally(FiberRegistry.currentOwner, options.owner),
      Effect.provideService(FiberRegistry.FiberRegistry, this.around.registry),
      Effect.map((fiber) => this.waitFor(fiber as Fiber.RuntimeFiber<unknown, unknown>, options))
    )
  }

  waitFor(fiber: Fiber.RuntimeFiber<unknown, unknown>, options: WaitingOptions): Waiting {
    const item: Waiting = {
      kind: options.kind,
      label: options.label,
      owner: options.owner,
      supervisor: options.supervisor ?? false,
      startedAt: this.around.timer.unsafeNow(),
      budget: Math.min(options.budget ?? Number.POSITIVE_INFINITY, this.remaining),
      fiber,
      endedAt: undefined,
      status: undefined,
      detail: undefined,
      cancel: nothing
    }
    this.items.push(item)
    this.arm(item)
    fiber.addObserver((exit) => {
      // A fiber that was told to stop has done so when it was interrupted; anything else that went wrong is its failure.
      const fine = exit._tag === "Success" || Cause.isInterruptedOnly(exit.cause)
      this.settle(item, fine ? "completed" : "failed", fine ? undefined : firstLine(exit.cause))
    })
    return item
  }

  /** Lists work that was in progress for all of the phase, and that the next one interrupts. */
  listInterrupted(
    fiber: Fiber.RuntimeFiber<unknown, unknown>,
    options: Pick<Waiting, "kind" | "label" | "owner" | "detail">
  ) {
    this.items.push({
      ...options,
      startedAt: this.startedAt,
      fiber,
      budget: this.budget,
      supervisor: false,
      endedAt: this.around.timer.unsafeNow(),
      status: "interrupted",
      cancel: nothing
    })
  }

  onOutcome(outcome: Cleanup.Outcome) {
    const { subject } = outcome
    if (subject._tag === "Scope") return
    if (outcome._tag === "Completed" && !Cleanup.overran(outcome)) {
      this.completedFinalizers++
      return
    }
    const detail = outcome._tag === "FellBack"
      ? `fell back to "${outcome.via}"`
      : outcome._tag === "Failed"
      ? firstLine(outcome.cause)
      : outcome._tag === "Completed"
      ? "ended after its budget"
      : undefined
    this.finalizers.push({
      child: subject._tag === "Child" ? subject.path.join("/") : undefined,
      // What a scope does for a fiber that was forked into it, or for a scope inside of it.
      fiber: subject._tag === "Unnamed" ? outcome.attempts[0].waitedFor : undefined,
      attempts: outcome.attempts.map(({ fiberId }) => fiberId),
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

  /** Ends the phase within this time, and each of its items. It never adds time. */
  shorten(millis: number) {
    const until = Math.min(this.startedAt + this.budget, this.around.timer.unsafeNow() + millis)
    this.budget = until - this.startedAt
    for (const item of this.pending) {
      if (item.startedAt + item.budget <= until) continue
      item.budget = until - item.startedAt
      this.arm(item)
    }
    this.rearm()
  }

  /** Waits until nothing is pending, or for a part of the time. */
  settled(part = 1): Effect.Effect<void> {
    return this.until(() => this.items.every(({ status }) => status !== undefined), part)
  }

  /** Waits until it is so, or for a part of the time. It is asked when an item ends, and at each `unsafeWake`. */
  until(done: () => boolean, part = 1): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      let cancel = nothing
      const over = () => {
        cancel()
        this.wake = this.rearm = nothing
        resume(Effect.void)
      }
      this.wake = () => done() ? over() : undefined
      this.rearm = () => {
        cancel()
        cancel = this.around.timer.unsafeSchedule(over, Duration.millis(this.remaining * part))
      }
      if (done()) over()
      else this.rearm()
    })
  }

  unsafeWake() {
    this.wake()
  }

  end() {
    for (const item of this.pending) this.expire(item)
    // A supervisor that waits for a child which refuses to stop is not the one that refuses.
    for (const item of this.items) {
      if (!item.supervisor || item.status !== "abandoned") continue
      const path = [...item.owner, item.label]
      const children = this.items.filter((one) =>
        one !== item && one.status === "abandoned" && path.every((name, index) => one.owner[index] === name)
      )
      if (children.length === 0) continue
      item.status = "interrupted"
      item.detail = `waited for ${children.length} of its children`
    }
    this.endedAt = this.around.timer.unsafeNow()
  }

  private arm(item: Waiting) {
    item.cancel()
    item.cancel = this.around.timer.unsafeSchedule(
      () => this.expire(item),
      Duration.millis(Math.max(0, item.startedAt + item.budget - this.around.timer.unsafeNow()))
    )
  }

  private expire(item: Waiting) {
    if (item.status !== undefined) return
    this.settle(item, "abandoned", this.around.detailOf(item.fiber))
    item.fiber.unsafeInterruptAsFork(FiberId.none)
  }

  private settle(item: Waiting, status: Report.Status, detail?: string) {
    if (item.status !== undefined) return
    item.cancel()
    item.status = status
    item.detail ??= detail
    item.endedAt = this.around.timer.unsafeNow()
    this.wake()
  }
}

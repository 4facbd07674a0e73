/**
 * How cleanups went: the outcomes that `Cleanup` records, the last of them, their counts, and what was abandoned.
 *
 * A monitor holds the last 256 outcomes and one record for each fiber that was abandoned and still lives. Its streams keep
 * nobody waiting: a subscriber that is more than 256 outcomes behind loses the oldest ones.
 *
 * @since 0.1.0
 */
import { Context, Data, Effect, Layer, Stream } from "effect"
import type { Cause, Fiber } from "effect"
import type { OwnerPath } from "./FiberCensus.js"
import * as Feed from "./internal/feed.js"

/**
 * What a cleanup is about. Reports select by it, never by a label.
 *
 * - `Finalizer`: a finalizer or effect that its owner gave a label
 * - `Unnamed`: a plain finalizer, by its place among those of its scope
 * - `Child`: a supervisor waits for a child to stop; `path` leads to the child
 * - `Scope`: a whole scope, closed under one budget
 *
 * @since 0.1.0
 * @category models
 */
export type Subject = Data.TaggedEnum<{
  Finalizer: { readonly label: string }
  Unnamed: { readonly index: number; readonly total: number }
  Child: { readonly path: OwnerPath }
  Scope: { readonly label: string }
}>

/**
 * Constructors and matchers of subjects.
 *
 * @since 0.1.0
 * @category models
 */
export const Subject = Data.taggedEnum<Subject>()

/**
 * One effect of a cleanup: the finalizer itself, or a fallback.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt {
  readonly label: string
  readonly subject: Subject
  readonly budgetMillis: number
  readonly elapsedMillis: number
  readonly result: "completed" | "failed" | "abandoned"
  /** Why it failed. */
  readonly cause: Cause.Cause<unknown> | undefined
  /** The fiber that ran it, as in log lines. */
  readonly fiberId: string
  /** The fiber that it waited for when it was abandoned, where that is known: of a scope, that of a finalizer inside. */
  readonly waitedFor: string | undefined
}

/**
 * What every outcome tells.
 *
 * @since 0.1.0
 * @category models
 */
export interface Common {
  readonly owner: OwnerPath
  readonly label: string
  readonly subject: Subject
  /** The sum of what the finalizer and its fallbacks were allowed. */
  readonly budgetMillis: number
  readonly elapsedMillis: number
  readonly attempts: ReadonlyArray<Attempt>
}

/**
 * How a cleanup went.
 *
 * - `Completed`: the finalizer ended by itself
 * - `FellBack`: it failed or overran, and a fallback completed
 * - `Failed`: everything that was tried failed
 * - `Abandoned`: nothing completed, and at least one attempt was still running when its budget was over
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = Data.TaggedEnum<{
  Completed: Common
  FellBack: Common & { readonly via: string }
  Failed: Common & { readonly cause: Cause.Cause<unknown> }
  Abandoned: Common
}>

/**
 * Constructors and matchers of outcomes.
 *
 * @since 0.1.0
 * @category models
 */
export const Outcome = Data.taggedEnum<Outcome>()

/**
 * Whether an attempt took longer than it was allowed to, finished or not.
 *
 * @since 0.1.0
 * @category models
 */
export const overran = (outcome: Outcome): boolean =>
  outcome.attempts.some((attempt) => attempt.result === "abandoned" || attempt.elapsedMillis > attempt.budgetMillis)

/**
 * A finalizer that outlived its budget and has not ended yet.
 *
 * @since 0.1.0
 * @category models
 */
export interface AbandonedFiber {
  readonly owner: OwnerPath
  readonly label: string
  readonly subject: Subject
  readonly budgetMillis: number
  /** When it was abandoned, milliseconds since the epoch. */
  readonly since: number
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
}

/**
 * How many finalizers ended in which way, since the start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counts {
  readonly completed: number
  readonly fellBack: number
  readonly failed: number
  /** Outcomes of that name. */
  readonly abandoned: number
  /** Outcomes in which some attempt took longer than its budget. */
  readonly overran: number
}

/**
 * What became of the finalizers that were run.
 *
 * @since 0.1.0
 * @category models
 */
export interface Monitor {
  /** The last 256 outcomes, oldest first. */
  readonly recent: Effect.Effect<ReadonlyArray<Outcome>>
  readonly counts: Effect.Effect<Counts>
  /** How many fibers were abandoned since the monitor was made, ended by now or not. */
  readonly abandoned: Effect.Effect<number>
  /** Those of them that live. */
  readonly live: Effect.Effect<ReadonlyArray<AbandonedFiber>>
  /** Every outcome from now on. A subscriber that is more than 256 behind loses the oldest ones. */
  readonly outcomes: Stream.Stream<Outcome>
  /** The outcomes in which some attempt took longer than its budget; the same buffer. */
  readonly overruns: Stream.Stream<Outcome>
  readonly unsafeRecord: (outcome: Outcome) => void
  /** Calls back for every outcome, without a buffer, until the returned function is called. */
  readonly unsafeListen: (listener: (outcome: Outcome) => void) => () => void
  readonly unsafeAbandon: (abandoned: AbandonedFiber) => void
}

const capacity = 256

/**
 * A monitor that belongs to nobody.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unsafeMakeMonitor = (): Monitor => {
  const recent: Array<Outcome> = []
  const live = new Set<AbandonedFiber>()
  const counts = { completed: 0, fellBack: 0, failed: 0, abandoned: 0, overran: 0 }
  const callbacks = new Set<(outcome: Outcome) => void>()
  let abandoned = 0
  const feed = Feed.make<Outcome>(capacity)
  return {
    recent: Effect.sync(() => recent.slice()),
    counts: Effect.sync(() => ({ ...counts })),
    abandoned: Effect.sync(() => abandoned),
    live: Effect.sync(() => Array.from(live)),
    outcomes: feed.stream,
    overruns: Stream.filter(feed.stream, overran),
    unsafeRecord: (outcome) => {
      recent.push(outcome)
      if (recent.length > capacity) recent.shift()
      counts[outcome._tag === "FellBack" ? "fellBack" : outcome._tag.toLowerCase() as "completed"]++
      if (overran(outcome)) counts.overran++
      feed.unsafeOffer(outcome)
      for (const callback of callbacks) callback(outcome)
    },
    unsafeListen: (listener) => {
      callbacks.add(listener)
      return () => callbacks.delete(listener)
    },
    unsafeAbandon: (one) => {
      abandoned++
      live.add(one)
      one.fiber.addObserver(() => live.delete(one))
    }
  }
}

/**
 * Where outcomes are recorded. There is one for the process unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class CleanupMonitor extends Context.Reference<CleanupMonitor>()("@holdfast/core/CleanupMonitor", {
  defaultValue: (): Monitor => unsafeMakeMonitor()
}) {}

/**
 * A monitor of its own for everything that is built on top.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMonitor: Layer.Layer<never> = Layer.effectContext(
  Effect.sync(() => Context.make(CleanupMonitor, unsafeMakeMonitor()))
) as Layer.Layer<never>

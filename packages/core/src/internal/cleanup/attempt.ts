/**
 * One attempt at a finalizer: it runs in a fiber of its own, and whoever closes the scope waits until it ends or its time is
 * over.
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import type { Timer } from "../../CleanupClock.js"
import type { Attempt, Monitor, Subject } from "../../CleanupMonitor.js"
import type { OwnerPath } from "../../FiberCensus.js"
import * as FiberRegistry from "../../FiberRegistry.js"
import { waitingFor } from "../fibers/fiberState.js"
import { Allowance } from "./allowance.js"

/** What is tried. */
export interface Task {
  readonly label: string
  readonly subject: Subject
  readonly owner: OwnerPath
  /** Its own budget; infinite for a plain finalizer, which has what its tree allows. */
  readonly budgetMillis: number
  readonly timer: Timer
  readonly monitor: Monitor
  /** The references that it runs with; default those of the closing fiber. */
  readonly refs: FiberRefs.FiberRefs | undefined
  readonly interruptible: boolean
  /** Whether the finalizers of scopes that close inside are bounded one by one. Inherited. */
  readonly guards: boolean
  /** Where a scope collects the attempts inside of it that failed or overran. */
  readonly failures?: Array<Attempt> | undefined
}

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** The attempt that the running fiber belongs to. `attemptOf` reads it. */
const currentAttempt: FiberRef.FiberRef<Running | undefined> = FiberRef.unsafeMake<Running | undefined>(
  undefined,
  { join: (parent) => parent }
)

/**
 * The attempts of plain finalizers, by their fiber: `Effect.addFinalizer` brings back the references of the place where it was
 * called, and with them that of the attempt.
 */
const byFiber = new WeakMap<AnyFiber, Running>()

export const attemptOf = (fiber: AnyFiber): Running | undefined =>
  fiber.getFiberRef(currentAttempt) ?? byFiber.get(fiber)

/** Makes the attempt known to whatever is forked inside. */
export const within = (running: Running) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.locally(self, currentAttempt, running)

/** Deeper than this, an attempt is started by the scheduler: each one that is started in place is on the stack of the one around it. */
const deepest = 24

export class Running {
  readonly startedAt: number
  readonly depth: number
  readonly guards: boolean
  /** The scope that is closed under one budget, with everything inside of it. */
  readonly root: Running
  /** How it went. */
  result: Attempt | undefined
  /** Whether its failure is that of a finalizer inside, which is known by itself. */
  failedInside = false
  /** The first of the finalizers inside of it that was given up. */
  private gaveUp: AnyFiber | undefined
  /** The finalizers inside that it waits for. */
  private waitsFor: Set<AnyFiber> | undefined
  /** No later than this, whatever happens inside. */
  private readonly hard: number
  private limit: number
  private holds = 0
  private cancel: (() => void) | undefined
  private own: Allowance | undefined

  constructor(readonly task: Task, readonly outer: Running | undefined) {
    const now = this.startedAt = task.timer.unsafeNow()
    if (outer === undefined) {
      this.depth = 0
      this.guards = task.guards
      this.root = this
      this.hard = this.limit = now + task.budgetMillis
    } else {
      this.depth = outer.depth + 1
      this.guards = task.guards || outer.guards
      this.root = task.guards ? this : outer.root
      this.hard = Math.min(now + task.budgetMillis, outer.allowance.deadline)
      this.limit = Math.min(this.hard, outer.allowance.until(now))
    }
  }

  /** What it was allowed. */
  get budgetMillis(): number {
    return this.limit - this.startedAt
  }

  /** Milliseconds until it is given up. */
  get remainingMillis(): number {
    return Math.max(0, (this.holds > 0 ? this.hard : this.limit) - this.task.timer.unsafeNow())
  }

  /** Whether it waits for finalizers inside of it, each of which has a limit of its own. */
  get isWaiting(): boolean {
    return this.holds > 0
  }

  /** The time of the finalizers inside: that of the tree around, unless its own budget ends sooner. */
  get allowance(): Allowance {
    return this.own ??= this.outer !== undefined && this.hard >= this.outer.allowance.deadline
      ? this.outer.allowance
      : new Allowance(this.startedAt, this.hard)
  }

  /** Time in which it waits for finalizers inside is not its own. */
  hold() {
    this.holds++
  }

  waitFor(inner: AnyFiber) {
    ;(this.waitsFor ??= new Set()).add(inner)
  }

  heard(inner: AnyFiber, result: Attempt["result"]) {
    this.waitsFor?.delete(inner)
    if (result === "abandoned") this.gaveUp ??= inner
  }

  release() {
    if (--this.holds > 0 || this.outer === undefined) return
    const until = this.outer.allowance.until(this.task.timer.unsafeNow())
    this.limit = Math.min(this.hard, Math.max(this.limit, until))
  }

  /** Calls back once when its time is over. */
  arm(expired: () => void, until = this.limit) {
    const { timer } = this.task
    this.cancel = timer.unsafeSchedule(() => {
      this.cancel = undefined
      // The limit may have moved, and a timer may be early by a fraction.
      const at = this.holds > 0 ? this.hard : this.limit
      if (at - timer.unsafeNow() > 0.01) this.arm(expired, at)
      else expired()
    }, Duration.millis(Math.max(0, until - timer.unsafeNow())))
  }

  end(
    result: Attempt["result"],
    fiber: AnyFiber,
    cause?: Cause.Cause<unknown>
  ): this {
    this.cancel?.()
    this.outer?.release()
    this.outer?.heard(fiber, result)
    const { label, subject, timer } = this.task
    this.result = {
      label,
      subject,
      budgetMillis: this.budgetMillis,
      elapsedMillis: timer.unsafeNow() - this.startedAt,
      result,
      cause,
      fiberId: `#${fiber.id().id}`,
      waitedFor: result === "abandoned" ? this.waitedFor(fiber) : undefined
    }
    return this
  }

  /** What stands for it in a report. When all times end in one moment, one that waits is told so before those inside of it. */
  private waitedFor(fiber: AnyFiber): string | undefined {
    const inside = this.gaveUp ?? this.waitsFor?.values().next().value
    return inside === undefined ? waitingFor(fiber) : `#${inside.id().id}`
  }

  ended(exit: Exit.Exit<unknown, unknown>, fiber: AnyFiber): this {
    return exit._tag === "Success" ? this.end("completed", fiber) : this.end("failed", fiber, exit.cause)
  }
}

/** An attempt that is over. */
export type Tried = Running & { readonly result: Attempt }

/** Waits for the effect or for the end of its time. Nothing that the effect does reaches the waiting fiber. */
export const attempt = (
  closing: AnyFiber,
  task: Task,
  effect: Effect.Effect<unknown, unknown>
): Effect.Effect<Tried> => {
  const outer = attemptOf(closing)
  const running = new Running(task, outer)
  outer?.hold()
  const fiber = FiberRegistry.unsafeStart(closing, task.interruptible ? effect : known(running, effect), {
    name: task.label,
    owner: task.owner,
    refs: task.refs,
    interruptible: task.interruptible,
    immediate: running.depth < deepest,
    prepare: (refs, fiberId) => FiberRefs.updateAs(refs, { fiberId, fiberRef: currentAttempt, value: running })
  })
  const exit = fiber.unsafePoll()
  if (exit !== null) return Effect.succeed(running.ended(exit, fiber) as Tried)
  outer?.waitFor(fiber)
  return Effect.async<Tried>((resume) => {
    let waiting = true
    running.arm(() => {
      if (!waiting) return
      waiting = false
      const { label, monitor, owner, subject } = task
      resume(Effect.succeed(running.end("abandoned", fiber) as Tried))
      monitor.unsafeAbandon({ owner, label, subject, budgetMillis: running.budgetMillis, since: Date.now(), fiber })
      fiber.unsafeInterruptAsFork(FiberId.none)
    })
    fiber.addObserver((exit) => {
      if (!waiting) return
      waiting = false
      resume(Effect.succeed(running.ended(exit, fiber) as Tried))
    })
  })
}

const known = (running: Running, effect: Effect.Effect<unknown, unknown>) =>
  Effect.withFiberRuntime<unknown, unknown>((fiber) => {
    byFiber.set(fiber as AnyFiber, running)
    return effect
  })

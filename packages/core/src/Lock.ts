/**
 * Mutual exclusion, and a result that is computed once, that survive the interruption of whoever waits.
 *
 * **Why.** `Semaphore.withPermits` of effect 3.22 loses a permit when its waiter is interrupted at the wrong operation: a
 * semaphore with one permit then stops everybody for good. `Effect.cached` keeps the interruption of its first caller as
 * its result.
 *
 * **Guarantees**
 * - One effect at a time runs under a `Lock`, in the order in which they asked for it.
 * - The lock is free again when that effect ends, in whatever way; an interrupted waiter takes nothing with it.
 * - Who waits can be interrupted, unless its caller said otherwise.
 *
 * **Limits.** A lock is not re-entrant: a fiber that asks for the lock that it holds waits for itself.
 *
 * @example
 * ```ts
 * import { Lock } from "@holdfast/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const lock = new Lock.Lock()
 *   const step = lock.withLock(Effect.sleep("1 millis"))
 *   yield* Effect.all([step, step, step], { concurrency: "unbounded" })
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"

interface Ticket {
  granted: boolean
  resume: ((effect: Effect.Effect<void>) => void) | undefined
}

/**
 * A mutual exclusion whose waiters come in turn.
 *
 * @since 0.1.0
 * @category models
 */
export class Lock {
  private held = false
  // A set keeps the order, and forgets one in the middle at no cost. Made by the first who waits.
  private tickets: Set<Ticket> | undefined = undefined

  /** How many fibers wait for it. */
  get waiting(): number {
    return this.tickets === undefined ? 0 : this.tickets.size
  }

  get isHeld(): boolean {
    return this.held
  }

  /** Runs the effect while nobody else holds the lock. */
  readonly withLock = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.uninterruptibleMask((restore) => {
      if (!this.held) {
        this.held = true
        return this.use(restore(self))
      }
      // The ticket is drawn and given back in this region: only the wait itself can be interrupted.
      const ticket: Ticket = { granted: false, resume: undefined }
      this.tickets ??= new Set()
      this.tickets.add(ticket)
      const granted = Effect.async<void>((resume) => {
        if (ticket.granted) return resume(Effect.void)
        ticket.resume = resume
      })
      return Effect.matchCauseEffect(restore(granted), {
        onFailure: (cause) => {
          if (ticket.granted) this.release()
          else this.tickets!.delete(ticket)
          return Effect.failCause(cause)
        },
        onSuccess: () => this.use(restore(self))
      })
    })

  private use<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.flatMap(Effect.exit(self), (exit) => {
      this.release()
      return exit
    })
  }

  /** Hands the lock to the one that has waited longest. */
  private release() {
    if (this.tickets !== undefined) {
      for (const next of this.tickets) {
        this.tickets.delete(next)
        next.granted = true
        next.resume?.(Effect.void)
        return
      }
    }
    this.held = false
  }
}

/**
 * The result of `self`, success or failure, computed by the first who asks and kept for all others. When the one that
 * computes is interrupted, the next one begins anew.
 *
 * @since 0.1.0
 * @category constructors
 */
export const once = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const lock = new Lock()
  let known: Exit.Exit<A, E> | undefined
  const compute = Effect.suspend(() =>
    known ?? Effect.onExit(self, (exit) =>
      Effect.sync(() => {
        if (exit._tag === "Success" || !Cause.isInterrupted(exit.cause)) known = exit
      }))
  )
  return Effect.suspend(() => known ?? lock.withLock(compute))
}

/**
 * One way to wait until something holds that synchronous code brings about.
 *
 * **Why.** What `Effect.async` of effect 3.22 returns for an interrupt is lost when the fiber is interrupted between its
 * registration and its wait: the entry of a dead fiber stays behind, and a wake-up that is meant for one waiter may go to it.
 * Here every waiter whose condition holds is woken, so that none depends on another one, and the entry of a dead fiber harms
 * nobody. It is forgotten by the next wake-up that it would have got, or when more have gathered than there are live ones: so
 * an interrupt needs nothing around the wait, which would cost as much as the wait itself.
 *
 * **Guarantees**
 * - `wait(ready)` ends only after `ready` was true in the fiber that waits, and without waiting when it holds already: a
 *   `wake` that comes first is not lost.
 * - `wake` wakes all whose `ready` holds. Those that find the condition taken by another one wait again.
 * - A woken fiber runs later, never inside of the code that called `wake`.
 * - An interrupt ends the wait whenever it comes. At most eight entries of dead fibers are kept, or as many as there are live ones.
 *
 * **Limits.** Change the state first, then call `wake`. `ready` is called by who waits and by who wakes: it must be cheap, and
 * must not throw. Between the end of a wait and the next operation other fibers may run: where several wait for the same
 * thing, look again and take it in one step.
 *
 * **Not for** values: that is what `Deferred` is for.
 *
 * @example
 * ```ts
 * import { Signal } from "@holdfast/core"
 * import { Effect } from "effect"
 *
 * const jobs: Array<string> = []
 * const added = new Signal.Signal()
 *
 * const unsafeAdd = (job: string) => {
 *   jobs.push(job)
 *   added.wake()
 * }
 *
 * const worker = Effect.zipRight(
 *   added.wait(() => jobs.length > 0),
 *   Effect.suspend(() => Effect.log(jobs.shift()))
 * ).pipe(Effect.forever)
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

interface Waiter {
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  readonly ready: () => boolean
  readonly resume: (effect: Effect.Effect<void>) => void
}

const few = 8

const isLive = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => fiber.unsafePoll() === null

/**
 * Wakes those who wait, without remembering that it did.
 *
 * @since 0.1.0
 * @category models
 */
export class Signal {
  // Made by the first who waits: most signals of a service have nobody that does.
  private waiters: Set<Waiter> | undefined = undefined
  /** So many entries are looked through for dead fibers. */
  private crowd = few

  /** How many fibers wait. */
  get waiting(): number {
    let count = 0
    if (this.waiters !== undefined) { for (const { fiber } of this.waiters) if (isLive(fiber)) count++ }
    return count
  }

  /** Wakes all whose condition holds. */
  wake(): void {
    const { waiters } = this
    if (waiters === undefined || waiters.size === 0) return
    for (const waiter of waiters) {
      if (!waiter.ready()) continue
      waiters.delete(waiter)
      // In effect 3.22 this hands the fiber to its scheduler.
      waiter.resume(Effect.void)
    }
  }

  /** Waits until `ready` holds. */
  wait(ready: () => boolean): Effect.Effect<void> {
    const parked = Effect.withFiberRuntime<void>((fiber) =>
      Effect.async<void>((resume) => {
        if (ready()) return resume(Effect.void)
        this.add({ fiber, ready, resume })
      })
    )
    const wait: Effect.Effect<void> = Effect.suspend(() => ready() ? Effect.void : Effect.flatMap(parked, () => wait))
    return wait
  }

  private add(waiter: Waiter) {
    const waiters = this.waiters ??= new Set()
    if (waiters.size >= this.crowd) {
      for (const other of waiters) if (!isLive(other.fiber)) waiters.delete(other)
      this.crowd = Math.max(few, 2 * waiters.size)
    }
    waiters.add(waiter)
  }
}

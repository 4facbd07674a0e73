/**
 * A queue with one consumer, of which no interrupt loses an item.
 *
 * **Why.** `Queue.take` of effect 3.22 loses the item that it was given when its fiber is interrupted before the next
 * operation. Here the consumer waits first, and takes in the step in which it begins to work.
 *
 * **For** the mailbox of an actor, the inbox of a connection, the queue of a writer. **Not for** several consumers, nor for
 * fan-out: that is what `EventBus` is for.
 *
 * **Guarantees**
 * - Items come in the order in which they were offered. Whoever waits for room is served in its order, too.
 * - `each` hands an item over once. While the function runs it cannot be interrupted, except where it restores that itself: an
 *   item is either in the inbox or in the hands of the function.
 * - An offer that is interrupted while it waits for room has added nothing.
 *
 * **Limits.** The capacity is infinite by default: then bound what offers. What is left when the consumer ends is the
 * business of its owner: `unsafeTake` has it.
 *
 * @example
 * ```ts
 * import { FiberRegistry, Inbox } from "@holdfast/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const inbox = new Inbox.Inbox<string>(16)
 *   const work = inbox.each(([job], restore) => restore(Effect.log(`doing ${job}`)))
 *   yield* FiberRegistry.forkScoped(work, { name: "worker" })
 *   yield* inbox.offer("the dishes")
 * })
 * ```
 *
 * @since 0.1.0
 */
import { isNonEmptyArray } from "effect/Array"
import type { NonEmptyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import { Signal } from "./Signal.js"

/**
 * Where messages wait for the one who takes them.
 *
 * @since 0.1.0
 * @category models
 */
export class Inbox<A> {
  private items: Array<A> = []
  private readonly added = new Signal()
  private readonly taken = new Signal()

  /** How many items it holds before offers wait. */
  constructor(readonly capacity: number = Number.POSITIVE_INFINITY) {}

  get size(): number {
    return this.items.length
  }

  /** False, and nothing is added, when it is full. */
  unsafeOffer(item: A): boolean {
    if (this.items.length >= this.capacity) return false
    this.items.push(item)
    this.added.wake()
    return true
  }

  /** Waits for room. */
  readonly offer = (item: A): Effect.Effect<void> =>
    Effect.suspend(() =>
      this.unsafeOffer(item)
        ? Effect.void
        : Effect.zipRight(this.taken.wait(() => this.items.length < this.capacity), this.offer(item))
    )

  /** Waits until there is something, and takes nothing. */
  readonly filled: Effect.Effect<void> = this.added.wait(() => this.items.length > 0)

  /** What there is, at most so much of it. */
  unsafeTake(max: number = Number.POSITIVE_INFINITY): Array<A> {
    const found = max >= this.items.length ? this.items : this.items.slice(0, max)
    this.items = found === this.items ? [] : this.items.slice(max)
    this.taken.wake()
    return found
  }

  /** Takes for ever, at most `max` at a time, and lets the function work on it. */
  readonly each = <E, R>(
    work: (
      items: NonEmptyArray<A>,
      restore: <B, E2, R2>(self: Effect.Effect<B, E2, R2>) => Effect.Effect<B, E2, R2>
    ) => Effect.Effect<unknown, E, R>,
    max = 1
  ): Effect.Effect<never, E, R> =>
    Effect.forever(Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(
        restore(this.filled),
        Effect.suspend((): Effect.Effect<unknown, E, R> => {
          const items = this.unsafeTake(max)
          return isNonEmptyArray(items) ? work(items, restore) : Effect.void
        })
      )
    ))
}

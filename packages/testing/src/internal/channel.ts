/**
 * A bounded buffer from one fiber to another. What is in it when it ends is still taken.
 *
 * It stands in the place of effect's `Mailbox`, whose `take` looks for a message in one step and registers in another: what
 * is offered between the two wakes nobody (3.22), and when it was the last one, the taker waits for ever.
 */
import { Signal } from "@holdfast/core/Signal"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

export class Channel<in out A, in out E = never> {
  private items: Array<A> = []
  private ended: Exit.Exit<void, E> | undefined
  private readonly changed = new Signal()

  constructor(private readonly capacity = Number.POSITIVE_INFINITY) {}

  /** Waits for room. False: it has ended. */
  readonly offer = (item: A): Effect.Effect<boolean> =>
    Effect.suspend(() => {
      if (this.ended !== undefined) return Effect.succeed(false)
      if (this.items.length >= this.capacity) {
        return Effect.zipRight(
          this.changed.wait(() => this.ended !== undefined || this.items.length < this.capacity),
          this.offer(item)
        )
      }
      this.items.push(item)
      this.changed.wake()
      return Effect.succeed(true)
    })

  /** Only the first end counts. */
  readonly done = (exit: Exit.Exit<void, E>): Effect.Effect<void> =>
    Effect.sync(() => {
      if (this.ended !== undefined) return
      this.ended = exit
      this.changed.wake()
    })

  readonly end: Effect.Effect<void> = this.done(Exit.void)

  /** Waits for a message; without one at the end: what it ended with, or `NoSuchElementException`. */
  readonly take: Effect.Effect<A, E | Cause.NoSuchElementException> = Effect.suspend(() => {
    if (this.items.length > 0) {
      const item = this.items.shift()!
      this.changed.wake()
      return Effect.succeed(item)
    }
    return this.ended === undefined
      ? Effect.zipRight(this.arrival, this.take)
      : Effect.zipRight(this.ended, new Cause.NoSuchElementException())
  })

  /** What is there now. */
  readonly clear: Effect.Effect<Chunk.Chunk<A>> = Effect.sync(() => {
    const items = Chunk.unsafeFromArray(this.items)
    this.items = []
    this.changed.wake()
    return items
  })

  /** Everything that is there, at least one message; fails with nothing at the end. */
  private readonly takeAll: Effect.Effect<Chunk.Chunk<A>, Option.Option<E>> = Effect.suspend(() => {
    if (this.items.length > 0) return this.clear
    return this.ended === undefined
      ? Effect.zipRight(this.arrival, this.takeAll)
      : Effect.zipRight(Effect.mapError(this.ended, Option.some), Effect.fail(Option.none()))
  })

  readonly stream: Stream.Stream<A, E> = Stream.repeatEffectChunkOption(this.takeAll)

  private get arrival(): Effect.Effect<void> {
    return this.changed.wait(() => this.items.length > 0 || this.ended !== undefined)
  }
}

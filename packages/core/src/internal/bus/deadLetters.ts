import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { DeadLetter } from "../../EventHandler.js"
import { Signal } from "../../Signal.js"

/** Letters that wait for a slow reader. */
const readerCapacity = 100

/** What the handlers of one bus gave up: the last ones, and a stream of those that come. */
export class DeadLetters<A> {
  /** All of them, also those that are no longer kept. */
  total = 0
  private readonly letters: Array<DeadLetter<A>> = []
  private readonly readers = new Set<Array<DeadLetter<A>>>()
  private readonly arrived = new Signal()
  private ended = false

  constructor(private readonly kept: number) {}

  add(letter: DeadLetter<A>) {
    this.total++
    this.letters.push(letter)
    if (this.letters.length > this.kept) this.letters.shift()
    if (this.ended) return
    for (const reader of this.readers) {
      if (reader.length === readerCapacity) reader.shift()
      reader.push(letter)
    }
    this.arrived.wake()
  }

  /** The streams end when they have given what is in them. */
  end() {
    this.ended = true
    this.arrived.wake()
  }

  readonly recent = Effect.sync((): ReadonlyArray<DeadLetter<A>> => this.letters.slice())

  readonly stream: Stream.Stream<DeadLetter<A>> = Stream.unwrapScoped(Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const reader: Array<DeadLetter<A>> = []
        this.readers.add(reader)
        return reader
      }),
      (reader) => Effect.sync(() => this.readers.delete(reader))
    ),
    (reader) =>
      Stream.repeatEffectChunkOption(Effect.zipRight(
        this.arrived.wait(() => reader.length > 0 || this.ended),
        Effect.suspend(() =>
          reader.length > 0 ? Effect.succeed(Chunk.unsafeFromArray(reader.splice(0))) : Effect.fail(Option.none())
        )
      ))
  ))
}

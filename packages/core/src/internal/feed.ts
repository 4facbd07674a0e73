/**
 * Publishes from synchronous code to whoever listens, and costs nothing when nobody does. `Queue.sliding` would not do: its
 * `unsafeOffer` drops the newest element.
 */
import { Chunk, Effect, Stream } from "effect"

export interface Feed<A> {
  readonly stream: Stream.Stream<A>
  readonly isHeard: () => boolean
  /** Each listener keeps the last `capacity` elements that it has not taken yet. */
  readonly unsafeOffer: (element: A) => void
}

interface Listener<A> {
  readonly buffer: Array<A>
  wake: (() => void) | undefined
}

export const make = <A>(capacity: number): Feed<A> => {
  const listeners = new Set<Listener<A>>()
  const subscribe = Effect.acquireRelease(
    Effect.sync((): Listener<A> => {
      const listener: Listener<A> = { buffer: [], wake: undefined }
      listeners.add(listener)
      return listener
    }),
    (listener) => Effect.sync(() => listeners.delete(listener))
  )
  const take = (listener: Listener<A>) =>
    Effect.async<Chunk.Chunk<A>>((resume) => {
      const wake = () => {
        listener.wake = undefined
        resume(Effect.sync(() => Chunk.unsafeFromArray(listener.buffer.splice(0))))
      }
      if (listener.buffer.length > 0) return wake()
      listener.wake = wake
      return Effect.sync(() => {
        listener.wake = undefined
      })
    })
  return {
    stream: Stream.unwrapScoped(Effect.map(subscribe, (listener) => Stream.repeatEffectChunk(take(listener)))),
    isHeard: () => listeners.size > 0,
    unsafeOffer: (element) => {
      for (const listener of listeners) {
        if (listener.buffer.length === capacity) listener.buffer.shift()
        listener.buffer.push(element)
        listener.wake?.()
      }
    }
  }
}

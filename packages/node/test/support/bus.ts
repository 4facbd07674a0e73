import * as Topic from "@holdfast/core/Topic"
import type { Envelope } from "@holdfast/http/SseFormat"
import type * as SseHub from "@holdfast/http/SseHub"
import { Effect, Queue } from "effect"

export interface Said {
  readonly _tag: "Said"
  readonly text: string
}

/** A bus in a few lines, with all of its history. */
export const makeBus = () => {
  const log: Array<Envelope<Said>> = []
  const queues = new Set<Queue.Queue<Envelope<Said>>>()
  const source: SseHub.Source<Said> = {
    subscribe: Effect.map(
      Effect.acquireRelease(
        Effect.tap(Queue.unbounded<Envelope<Said>>(), (queue) => Effect.sync(() => queues.add(queue))),
        (queue) => Effect.zipRight(Effect.sync(() => queues.delete(queue)), Queue.shutdown(queue))
      ),
      (queue) => ({
        takeBatch: (max: number) => Effect.map(Queue.takeBetween(queue, 1, max), Array.from<Envelope<Said>>)
      })
    ),
    lastId: Effect.sync(() => log.length),
    history: {
      after: (id, { limit, topics }) =>
        Effect.sync(() => {
          const looked = log.slice(id, id + limit)
          return {
            items: looked.filter(({ topic }) => topics.some((pattern) => Topic.matches(pattern, topic))),
            cursor: id + looked.length
          }
        })
    }
  }
  return {
    log,
    source,
    publish: (topic: string, text: string) =>
      Effect.sync(() => {
        const envelope: Envelope<Said> = { id: log.length + 1, at: 0, topic, event: { _tag: "Said", text } }
        log.push(envelope)
        queues.forEach((queue) => queue.unsafeOffer(envelope))
        return envelope
      })
  }
}

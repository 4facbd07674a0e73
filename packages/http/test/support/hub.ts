import * as Topic from "@holdfast/core/Topic"
import type { EndReason, Payload, Sink, SinkHandlers } from "@holdfast/http/SessionSink"
import * as Sse from "@holdfast/http/Sse"
import type { Envelope } from "@holdfast/http/SseFormat"
import * as SseFormat from "@holdfast/http/SseFormat"
import type * as SseHub from "@holdfast/http/SseHub"
import { Effect, Queue } from "effect"

export interface Said {
  readonly _tag: "Said"
  readonly text: string
}

export interface TestBus {
  readonly log: Array<Envelope<Said>>
  /** The first id that history still has. */
  first: number
  reads: number
  /** Before every read of history. */
  onRead: Effect.Effect<void, unknown>
  readonly publish: (topic: string, text: string) => Effect.Effect<Envelope<Said>>
  /** Published, but lost on its way to the subscribers. */
  readonly publishLost: (topic: string, text: string) => Effect.Effect<void>
  readonly source: SseHub.Source<Said>
}

/** A bus as small as can be, whose history can be cut, slowed down and broken. */
export const makeBus = (options?: { readonly history?: boolean }): TestBus => {
  const log: Array<Envelope<Said>> = []
  const queues = new Set<Queue.Queue<Envelope<Said> | SseHub.Gap>>()
  const bus: TestBus = {
    log,
    first: 1,
    reads: 0,
    onRead: Effect.void,
    publish: (topic: string, text: string) =>
      Effect.sync(() => {
        const envelope: Envelope<Said> = { id: log.length + 1, at: 0, topic, event: { _tag: "Said", text } }
        log.push(envelope)
        queues.forEach((queue) => queue.unsafeOffer(envelope))
        return envelope
      }),
    publishLost: (topic: string, text: string) =>
      Effect.sync(() => {
        const id = log.length + 1
        log.push({ id, at: 0, topic, event: { _tag: "Said", text } })
        queues.forEach((queue) => queue.unsafeOffer({ _tag: "Gap", firstId: id, lastId: id }))
      }),
    source: {
      subscribe: Effect.map(
        Effect.acquireRelease(
          Effect.tap(Queue.unbounded<Envelope<Said> | SseHub.Gap>(), (queue) => Effect.sync(() => queues.add(queue))),
          (queue) => Effect.zipRight(Effect.sync(() => queues.delete(queue)), Queue.shutdown(queue))
        ),
        (queue) => ({
          takeBatch: (max: number) =>
            Effect.map(Queue.takeBetween(queue, 1, max), Array.from<Envelope<Said> | SseHub.Gap>)
        })
      ),
      lastId: Effect.sync(() => log.length),
      ...(options?.history === false ? {} : {
        history: {
          after: (id, { limit, topics }) =>
            Effect.zipRight(
              Effect.suspend(() => bus.onRead),
              Effect.sync(() => {
                bus.reads++
                const from = Math.max(id, bus.first - 1)
                const looked = log.slice(from, from + limit)
                return {
                  items: [
                    ...(from > id ? [{ _tag: "Gap" as const, firstId: id + 1, lastId: from }] : []),
                    ...looked.filter(({ topic }) => topics.some((pattern) => Topic.matches(pattern, topic)))
                  ],
                  cursor: from + looked.length
                }
              })
            )
        }
      })
    }
  }
  return bus
}

export const format = SseFormat.make() as never

/** A connection that records what it is sent, and that can stall. */
export class TestSink implements Sink {
  handlers: SinkHandlers | undefined
  readonly decoder = Sse.unsafeMakeDecoder()
  readonly received: Array<Sse.Incoming> = []
  readonly payloads: Array<Payload> = []
  stalled = false
  writes = 0
  held = 0
  closed: "end" | "destroy" | undefined

  start(handlers: SinkHandlers) {
    this.handlers = handlers
  }
  write(payload: Payload) {
    this.writes++
    this.payloads.push(payload)
    this.received.push(...this.decoder.unsafeFeed(payload.bytes))
    if (this.stalled) {
      this.held += payload.byteLength
    }
    return !this.stalled
  }
  buffered() {
    return this.held
  }
  end() {
    this.closed ??= "end"
  }
  destroy() {
    this.closed = "destroy"
  }
  resume() {
    this.stalled = false
    this.held = 0
    this.handlers!.onReady()
  }
  leave(reason: EndReason = "client-left") {
    this.handlers!.onClose(reason)
  }

  /** Without the opening. */
  get messages() {
    return this.received.flatMap((one) => one._tag === "Message" && one.event !== "position" ? [one] : [])
  }
  /** Texts of events; control events as `!gap {...}`. */
  get seen() {
    return this.messages.map((message) =>
      message.event === "Said" ? JSON.parse(message.data).text as string : `!${message.event} ${message.data}`
    )
  }
  get ids() {
    return this.messages.filter((message) => message.event === "Said").map((message) => Number(message.id))
  }
}

/** Lets every fiber that can run, run. */
export const settle = Effect.yieldNow().pipe(Effect.repeatN(50))

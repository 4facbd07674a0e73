import * as EventBus from "@holdfast/core/EventBus"
import type { Format, Payload, Sink, SinkHandlers } from "@holdfast/http/SessionSink"
import type { Envelope } from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import { Effect, Schema } from "effect"

const Said = Schema.TaggedStruct("Said", { room: Schema.String })
type Said = typeof Said.Type

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const line = (value: unknown) => encoder.encode(`${JSON.stringify(value)}\n`)

type Heard =
  | { readonly is: "event"; readonly id: number; readonly at: number; readonly topic: string }
  | { readonly is: "gap"; readonly firstId: number; readonly lastId: number }
  | { readonly is: "opening" | "farewell" | "heartbeat" }

export const format: Format<Envelope<unknown>> = {
  name: "test",
  event: ({ id, topic }, at) => line({ is: "event", id, at, topic }),
  opening: () => line({ is: "opening" }),
  gap: ({ firstId, lastId }) => line({ is: "gap", firstId, lastId }),
  farewell: () => line({ is: "farewell" }),
  heartbeat: () => undefined
}

/** A connection in memory. `slow` ones are full after each payload, and say once that they have room, when `take` is called. */
export class MemorySink implements Sink {
  readonly heard: Array<Heard> = []
  state: "new" | "open" | "ended" | "destroyed" = "new"
  starts = 0
  ends = 0
  private held: Array<Payload> = []
  private full = false
  private handlers: SinkHandlers | undefined
  constructor(readonly slow: boolean) {}
  start(handlers: SinkHandlers) {
    if (this.state === "ended" || this.state === "destroyed") throw new Error("it began after its end")
    this.starts++
    this.state = "open"
    this.handlers = handlers
  }
  write(payload: Payload) {
    if (this.state === "new") throw new Error("written before it began")
    if (this.state !== "open") return true
    this.held.push(payload)
    if (!this.slow) this.flush()
    this.full = this.slow
    return !this.full
  }
  buffered() {
    return this.held.reduce((n, { byteLength }) => n + byteLength, 0)
  }
  end() {
    this.ends++
    if (this.state === "new") throw new Error("ended before it began")
    this.flush()
    if (this.state === "open") this.state = "ended"
  }
  destroy() {
    this.held = []
    if (this.state !== "ended") this.state = "destroyed"
  }
  private flush() {
    for (const { bytes } of this.held) {
      for (const text of decoder.decode(bytes).trim().split("\n")) this.heard.push(JSON.parse(text))
    }
    this.held = []
  }
  take() {
    this.flush()
    if (this.state !== "open" || !this.full) return
    this.full = false
    this.handlers?.onReady()
  }
  leave() {
    this.handlers?.onClose("client-left")
  }
  get ids() {
    return this.heard.flatMap((heard) => heard.is === "event" ? [heard.id] : [])
  }
}

export const makeBus = EventBus.make({ name: "bus", schema: Said, topic: ({ room }) => room })

/** `lossy`: the hub loses events when it is behind, as that of `SseHub.fromBus` does, and must fetch them. */
export const makeHub = (bus: EventBus.EventBus<Said>, lossy = false) =>
  SseHub.make({
    source: lossy
      ? SseHub.fromBus(bus, { capacity: 1 })
      : { ...SseHub.fromBus(bus), subscribe: Effect.orDie(bus.subscribe({ name: "hub" })) },
    recent: 2
  })

export const make = (lossy = false) =>
  Effect.gen(function*() {
    const bus = yield* makeBus
    const hub = yield* makeHub(bus, lossy)
    const publish = (room: string) => Effect.map(bus.publish({ _tag: "Said", room }), ({ id }) => id)
    /** waits until the hub has fanned out all that was published */
    const settled = Effect.gen(function*() {
      const last = yield* bus.lastId
      while ((yield* hub.stats).position < last) yield* Effect.sleep("1 millis")
      yield* Effect.sleep("10 millis")
    })
    return { bus, hub, publish, settled }
  })

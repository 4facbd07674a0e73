import type { Lost, Row } from "@holdfast/core/EventJournal"
import * as EventLoop from "@holdfast/core/EventLoop"
import type { Msg } from "@nats-io/nats-core"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import type { ApiError } from "./api.js"
import * as Api from "./api.js"
import type { Connection } from "./connection.js"
import * as Live from "./live.js"
import * as Wire from "./wire.js"

/** How often the server says that it is there when it has nothing to bring, in milliseconds. */
const heartbeat = 1000

/** The sequences in the reply subject of a message that a consumer brought. */
const sequences = (reply: string): { readonly stream: number; readonly consumer: number } | undefined => {
  const tokens = reply.split(".")
  if (tokens[0] !== "$JS" || tokens[1] !== "ACK") return undefined
  const at = tokens.length >= 11 ? 7 : tokens.length === 9 ? 5 : -1
  return at < 0 ? undefined : { stream: Number(tokens[at]), consumer: Number(tokens[at + 1]) }
}

export type Item = Row | Lost

export interface Receiver {
  readonly connection: Connection
  readonly stream: string
  /** The newest id that was brought. */
  readonly position: () => number
  readonly onItems: (items: ReadonlyArray<Item>) => void
  /** A message that is not one of ours. */
  readonly onForeign: (id: number) => void
}

/**
 * One life of a consumer: brings what is behind the position, in order, until it has to be made anew: the connection was lost,
 * a message was lost on its way, or the server was silent. It returns why.
 */
export const consume = (receiver: Receiver): Effect.Effect<string, ApiError> =>
  Effect.suspend(() => {
    const { connection, stream } = receiver
    const name = `holdfast_${randomBytes(8).toString("hex")}`
    const inbox = connection.inbox()
    const start = receiver.position() + 1
    const life = new Life(receiver)
    const config = {
      name,
      deliver_subject: inbox,
      deliver_policy: "by_start_sequence",
      opt_start_seq: start,
      ack_policy: "none",
      max_deliver: 1,
      mem_storage: true,
      num_replicas: 1,
      flow_control: true,
      idle_heartbeat: heartbeat * 1e6,
      inactive_threshold: 30_000 * 1e6
    }
    const listen = Effect.acquireRelease(
      Effect.sync(() => {
        const subscription = connection.subscribe(inbox, (message) => life.receive(message))
        const unlisten = connection.listen(() => life.end("the connection has changed"))
        const timer = setInterval(() => EventLoop.unsafeAfterTurn(() => life.look()), heartbeat / 2)
        return { subscription, unlisten, timer }
      }),
      ({ subscription, timer, unlisten }) =>
        Effect.sync(() => {
          life.close()
          clearInterval(timer)
          unlisten()
          subscription.unsubscribe()
          // the server forgets it by itself, too
          connection.publish(`$JS.API.CONSUMER.DELETE.${stream}.${name}`, "")
        })
    )
    return listen.pipe(
      Effect.zipRight(
        Api.call(connection, `CONSUMER.CREATE.${stream}.${name}`, { stream_name: stream, config, action: "create" })
      ),
      Effect.zipRight(life.ended),
      Effect.scoped
    )
  })

class Life {
  private heard = Live.now()
  private delivered = 0
  private received: number
  private why: string | undefined
  private resume: ((why: string) => void) | undefined
  private items: Array<Item> = []
  private closed = false

  constructor(private readonly receiver: Receiver) {
    this.received = receiver.position()
  }

  readonly ended = Effect.async<string>((resume) => {
    if (this.why !== undefined) return resume(Effect.succeed(this.why))
    this.resume = (why) => resume(Effect.succeed(why))
  })

  end(why: string) {
    if (this.why !== undefined) return
    this.flush()
    this.why = why
    this.resume?.(why)
  }

  close() {
    this.closed = true
  }

  look() {
    if (Live.now() - this.heard > 2.5 * heartbeat) this.end("the server is silent")
  }

  receive(message: Msg) {
    if (this.closed || this.why !== undefined) return
    this.heard = Live.now()
    const found = sequences(message.reply ?? "")
    if (found === undefined) return this.control(message)
    if (found.consumer !== this.delivered + 1) return this.end("a message was lost on its way")
    this.delivered = found.consumer
    const id = found.stream
    if (id <= this.received) return
    if (id > this.received + 1) this.push({ _tag: "Lost", firstId: this.received + 1, lastId: id - 1 })
    this.received = id
    const { data } = message
    const row = Wire.decode(id, Buffer.from(data.buffer, data.byteOffset, data.byteLength))
    if (row === undefined) {
      this.receiver.onForeign(id)
      this.push({ _tag: "Lost", firstId: id, lastId: id })
    } else this.push(row)
  }

  /** All that came in one piece over the socket is given on in one piece. */
  private push(item: Item) {
    if (this.items.push(item) === 1) queueMicrotask(() => this.flush())
  }

  private flush() {
    if (this.items.length === 0) return
    const { items } = this
    this.items = []
    if (!this.closed && this.why === undefined) this.receiver.onItems(items)
  }

  /** Heartbeats and the control of the flow. */
  private control(message: Msg) {
    const { headers } = message
    if (headers?.code !== 100) return
    if (message.reply !== undefined && message.reply !== "") {
      this.receiver.connection.publish(message.reply, "")
      return
    }
    const stalled = headers.get("Nats-Consumer-Stalled")
    if (stalled !== "") this.receiver.connection.publish(stalled, "")
    const last = headers.get("Nats-Last-Consumer")
    if (last !== "" && Number(last) > this.delivered) this.end("a message was lost on its way")
  }
}

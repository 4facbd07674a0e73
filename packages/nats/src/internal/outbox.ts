import type { AppendOptions, Draft } from "@holdfast/core/EventJournal"
import { JournalError } from "@holdfast/core/EventJournal"
import * as EventLoop from "@holdfast/core/EventLoop"
import { Signal } from "@holdfast/core/Signal"
import type { Msg } from "@nats-io/nats-core"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import { fromTopic } from "../NatsSubject.js"
import type { Refusal } from "./api.js"
import * as Api from "./api.js"
import type { Connection, NoAnswer } from "./connection.js"
import { headersOf, isNoAnswer } from "./connection.js"
import * as Live from "./live.js"
import type { Sight } from "./sight.js"
import * as Wire from "./wire.js"

/** The most that the server takes as one batch. */
export const mostRows = 1000

/** How long one try waits for its answer, in milliseconds. */
const tryTimeout = 2000

/** Batches that the server holds open for one stream are few: 50 for all nodes. */
const mostBatches = 8

/** What the server says of a batch that did not arrive whole, or of too many at a time: nothing was stored. */
const batchAgain = new Set([10175, 10176, 10210, 10211])

export interface OutboxOptions {
  readonly inFlight: number
  readonly waiting: number
  readonly whileAway: "wait" | "refuse" | "sliding"
  readonly patience: number
}

interface Entry {
  readonly rows: ReadonlyArray<Draft>
  readonly attempt: string
  readonly ifLast: number | undefined
  /** When it is given up, on the monotonic clock. */
  readonly end: number
  /** Encoded when it is first sent. */
  bodies: ReadonlyArray<Buffer> | undefined
  /** Whether a try may have been stored. */
  unsure: boolean
}

type Outcome = number | Refusal | NoAnswer

interface Slot {
  readonly entry: Entry
  readonly resume: (outcome: Outcome) => void
  state: "waiting" | "sent" | "done"
  cancel: () => void
}

/** What the journal is asked by its outbox. */
export interface Gate {
  readonly connection: Connection
  readonly stream: string
  readonly sight: Sight
  /** Whether the log is known to be the one that was seen before. */
  readonly isOpen: () => boolean
  /** Why there is no sense in going on. */
  readonly broken: () => JournalError | undefined
  /** Another event has an id that was given before. */
  readonly onReused: (id: number) => void
  readonly findAttempt: (attempt: string) => Effect.Effect<number | undefined, Api.ApiError>
}

/**
 * Appends on their way: at most `inFlight` requests at a time, the others wait in their order. An append that gets no answer
 * is tried again with the same message id until it is known what became of it, or its patience is over.
 */
export class Outbox {
  inFlight = 0
  batches = 0
  readonly opened = new Signal()
  private readonly queue: Array<Slot> = []
  private sweeper: NodeJS.Timeout | undefined

  constructor(private readonly gate: Gate, private readonly options: OutboxOptions) {}

  get waiting(): number {
    return this.queue.length
  }

  readonly append = (
    rows: ReadonlyArray<Draft>,
    { attempt, ifLast }: AppendOptions
  ): Effect.Effect<number, JournalError> =>
    Effect.suspend(() => {
      const broken = this.gate.broken()
      if (broken !== undefined) return broken
      const entry: Entry = {
        rows,
        attempt,
        ifLast,
        end: Live.now() + this.options.patience,
        bodies: undefined,
        unsure: false
      }
      const refused = this.refused(entry)
      if (refused !== undefined) return refused
      return Effect.flatMap(this.submit(entry), (outcome) =>
        typeof outcome === "number" ? Effect.succeed(outcome) : this.settle(entry, outcome))
    })

  /** Something has changed: the connection, or whether the log may be written. */
  wake() {
    if (this.gate.isOpen()) this.opened.wake()
    else if (this.options.whileAway === "refuse") this.refuseWaiting()
    if (this.gate.broken() !== undefined) {
      this.refuseWaiting()
      this.opened.wake()
    }
    this.pump()
  }

  private refused(entry: Entry): JournalError | undefined {
    const { rows } = entry
    if (rows.length === 0 || rows.length > mostRows) {
      return failure("TooBig", `${rows.length} events at once: 1 to ${mostRows} can be appended together`)
    }
    if (this.options.whileAway === "refuse" && !this.gate.isOpen()) {
      return failure("Unreachable", "there is no connection to NATS, and appends do not wait for one")
    }
    const most = this.gate.connection.server.maxPayload
    entry.bodies = rows.map((row) => Wire.encode(row, entry.attempt))
    const tooBig = entry.bodies.findIndex((body) => body.length + 512 > most)
    return tooBig < 0 ? undefined : failure(
      "TooBig",
      `event ${tooBig + 1} of ${rows.length} has ${entry.bodies[tooBig].length} bytes, the server takes ${most}`
    )
  }

  /** One try: waits for its turn, sends, waits for the answer. */
  private submit(entry: Entry): Effect.Effect<Outcome> {
    return Effect.async((resume) => {
      const slot: Slot = {
        entry,
        state: "waiting",
        cancel: () => {},
        resume: (outcome) => {
          if (slot.state === "done") return
          if (slot.state === "sent") this.release(entry)
          slot.state = "done"
          resume(Effect.succeed(outcome))
        }
      }
      this.queue.push(slot)
      if (this.options.whileAway === "sliding") this.makeRoom()
      this.pump()
      if (slot.state === "waiting") {
        this.sweeper ??= setInterval(() => EventLoop.unsafeAfterTurn(() => this.sweep()), 50)
      }
      return Effect.sync(() => this.withdraw(slot))
    })
  }

  private release(entry: Entry) {
    this.inFlight--
    if (entry.rows.length > 1) this.batches--
    if (this.queue.length > 0) queueMicrotask(() => this.pump())
  }

  private withdraw(slot: Slot) {
    if (slot.state === "sent") {
      slot.cancel()
      this.release(slot.entry)
    }
    slot.state = "done"
  }

  private makeRoom() {
    while (!this.gate.isOpen() && this.queue.length > this.options.waiting) {
      this.queue.shift()?.resume({
        _tag: "NotSent",
        details: "it gave way to newer ones while there was no connection"
      })
    }
  }

  private refuseWaiting() {
    for (const slot of this.queue.splice(0)) slot.resume({ _tag: "NotSent", details: "there is no connection to NATS" })
  }

  /** What waits for longer than its patience is given up. One that waits for its turn only is not hurried by the end. */
  private sweep() {
    const at = Live.now()
    const isOpen = this.gate.isOpen()
    for (const slot of this.queue) {
      const { end } = slot.entry
      if (end <= at || (!isOpen && this.gate.connection.left(end) <= 0)) {
        slot.resume({ _tag: "NotSent", details: "there is no connection to NATS" })
      }
    }
    this.pump()
    if (this.queue.length > 0) return
    clearInterval(this.sweeper)
    this.sweeper = undefined
  }

  private pump() {
    const { inFlight } = this.options
    while (this.queue.length > 0) {
      const slot = this.queue[0]
      if (slot.state === "waiting") {
        if (this.inFlight >= inFlight || !this.gate.isOpen()) return
        if (slot.entry.rows.length > 1 && this.batches >= mostBatches) return
        this.send(slot)
      }
      this.queue.shift()
    }
  }

  private send(slot: Slot) {
    const { entry } = slot
    const { attempt, ifLast, rows } = entry
    const { connection, stream } = this.gate
    const bodies = entry.bodies ??= rows.map((row) => Wire.encode(row, attempt))
    slot.state = "sent"
    this.inFlight++
    const expected = ifLast === undefined ? "" : `Nats-Expected-Last-Sequence: ${ifLast}\r\n`
    const timeout = Math.max(100, Math.min(tryTimeout, entry.end - Live.now()))
    const subject = (index: number) => `${stream}.${fromTopic(rows[index].topic)}`
    const last = rows.length - 1
    let commit = ""
    if (last > 0) {
      this.batches++
      const batch = `Nats-Batch-Id: ${randomBytes(12).toString("hex")}\r\n`
      for (let index = 0; index < last; index++) {
        const id = `Nats-Msg-Id: ${Wire.messageId(attempt, index)}\r\n`
        connection.publish(
          subject(index),
          bodies[index],
          headersOf(`${batch}Nats-Batch-Sequence: ${index + 1}\r\n${id}${index === 0 ? expected : ""}`)
        )
      }
      commit = `${batch}Nats-Batch-Sequence: ${last + 1}\r\nNats-Batch-Commit: 1\r\n`
    }
    const id = `Nats-Msg-Id: ${Wire.messageId(attempt, last)}\r\n`
    slot.cancel = connection.ask(
      subject(last),
      bodies[last],
      headersOf(`${commit}${id}${last === 0 ? expected : ""}`),
      timeout,
      (answer) => slot.resume(this.outcome(entry, answer))
    )
  }

  private outcome(entry: Entry, answer: Msg | NoAnswer): Outcome {
    if (isNoAnswer(answer)) {
      if (answer._tag !== "NotSent" && answer._tag !== "Denied") entry.unsure = true
      return answer
    }
    const body = Api.parse(answer) as {
      readonly seq: number
      readonly error?: { err_code: number; description: string }
    }
    const refusal = Api.refusalOf(body)
    if (refusal !== undefined) return refusal
    const first = body.seq - entry.rows.length + 1
    for (let id = first; id <= body.seq; id++) if (!this.gate.sight.note(id, entry.attempt)) this.gate.onReused(id)
    return first
  }

  private again(entry: Entry, details: string, pauses = Live.backoff(50, 1000)): Effect.Effect<number, JournalError> {
    return Effect.suspend(() => {
      const broken = this.gate.broken()
      if (broken !== undefined) return this.given(entry, broken)
      const { connection } = this.gate
      const left = connection.left(entry.end)
      if (left <= 0) return this.givenUp(entry, details)
      // An answer that did not come for want of a connection is asked for as soon as there is one.
      const pause = this.gate.isOpen()
        ? Live.sleep(Math.min(left, pauses.next()))
        : Live.either(
          this.opened.wait(() => this.gate.isOpen() || this.gate.broken() !== undefined),
          connection.until(entry.end)
        )
      return pause.pipe(
        Effect.zipRight(this.submit(entry)),
        Effect.flatMap((outcome) =>
          typeof outcome === "number" ? Effect.succeed(outcome) : this.settle(entry, outcome, pauses)
        )
      )
    })
  }

  /** What is right to say of an append that ends with this error: when it may have been stored, that nobody knows. */
  private given(entry: Entry, error: JournalError): JournalError {
    return entry.unsure && error.reason !== "Overtaken" ? failure("Unsure", error.details) : error
  }

  private givenUp(entry: Entry, details: string): JournalError {
    const waited = entry.end > Live.now()
      ? `the application ends: ${details}`
      : `${(this.options.patience / 1000).toFixed(1)} s of patience are over: ${details}`
    return failure(entry.unsure ? "Unsure" : "Unreachable", waited)
  }

  private settle(
    entry: Entry,
    outcome: Refusal | NoAnswer,
    pauses = Live.backoff(50, 1000)
  ): Effect.Effect<number, JournalError> {
    if (outcome._tag !== "Refusal") {
      if (outcome._tag === "Denied") return this.given(entry, failure("Denied", outcome.details))
      if (outcome._tag === "NotSent" && this.options.whileAway !== "wait") {
        const broken = this.gate.broken()
        return this.given(entry, broken ?? failure("Unreachable", outcome.details))
      }
      return this.again(entry, outcome.details, pauses)
    }
    const { code, details } = outcome
    if (Api.codes.wrongLast.has(code) && entry.ifLast !== undefined) return this.whose(entry, entry.ifLast, details)
    if (code === Api.codes.duplicateInBatch) return this.found(entry, details, pauses)
    if (batchAgain.has(code) || Api.codes.offline.has(code)) return this.again(entry, details, pauses)
    if (Api.codes.full.has(code)) return this.given(entry, failure("Full", details))
    if (Api.codes.tooBig.has(code)) return this.given(entry, failure("TooBig", details))
    return this.given(entry, failure("Io", `${details} (${code})`))
  }

  /** Something is behind `ifLast`. It may be this very append: of a try without an answer, or of an earlier call. */
  private whose(entry: Entry, ifLast: number, details: string): Effect.Effect<number, JournalError> {
    const { connection, sight, stream } = this.gate
    const place = ifLast + 1
    const last = Api.lastOf(details) ?? sight.witness.id
    const overtaken = () => failure("Overtaken", `expected the last id to be ${ifLast}, it is ${last}`, last)
    if (last < place) return overtaken()
    const known = sight.attemptAt(place)
    if (known !== undefined) return known === entry.attempt ? Effect.succeed(place) : overtaken()
    return Effect.matchEffect(Api.message(connection, stream, { seq: place }, Math.max(500, entry.end - Live.now())), {
      onFailure: (error) =>
        Effect.fail(failure("Unsure", `cannot ask for the event behind ${ifLast}: ${error.details}`)),
      onSuccess: (message) => {
        if (message === undefined) {
          return entry.unsure
            ? failure("Unsure", `the event behind ${ifLast} is no longer in the log`)
            : overtaken()
        }
        const attempt = Wire.headOf(message.data)?.head.attempt
        return attempt === entry.attempt ? Effect.succeed(place) : overtaken()
      }
    })
  }

  /** The server has seen a message id of this batch: the append was done before. */
  private found(
    entry: Entry,
    details: string,
    pauses: ReturnType<typeof Live.backoff>
  ): Effect.Effect<number, JournalError> {
    entry.unsure = true
    return Effect.matchEffect(this.gate.findAttempt(entry.attempt), {
      onFailure: (error) => this.again(entry, error.details, pauses),
      onSuccess: (first) => first === undefined ? this.again(entry, details, pauses) : Effect.succeed(first)
    })
  }
}

export const failure = (reason: JournalError["reason"], details: string, lastId?: number): JournalError =>
  new JournalError({
    operation: "append",
    reason,
    details,
    ...(lastId === undefined ? {} : { lastId })
  })

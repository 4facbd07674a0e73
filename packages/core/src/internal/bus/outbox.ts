import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import type { Envelope, Event } from "../../Envelope.js"
import { Gap } from "../../Envelope.js"
import type { Unsettled } from "../../EventBusReport.js"
import type { EventJournal, JournalError, Lost, Row } from "../../EventJournal.js"
import { isLost } from "../../EventJournal.js"
import type { Bounds } from "../../EventLogStore.js"
import { StoreError } from "../../EventLogStore.js"
import * as Monotonic from "../../Monotonic.js"
import type { PublishError } from "../../Publishing.js"
import { Overtaken, Unconfirmed } from "../../Publishing.js"
import * as Race from "../../Race.js"
import { Signal } from "../../Signal.js"
import type { Codec } from "./history.js"
import type { Draft, Item, Request } from "./model.js"
import { Unreadable } from "./model.js"

/** What the journal needs of its bus. */
interface Receiver<A> {
  readonly bus: { readonly name: string; readonly lastId: number }
  readonly commit: (draft: Draft<A>, at: number) => void
  /** Ids that nobody can be given. */
  readonly skip: (gap: Gap) => void
  readonly itemAt: (id: number) => Item<A> | undefined
  readonly onIdle: () => void
}

/** One append that is under way. */
interface Pending<A> {
  readonly request: Request<A>
  /** Whether the tail has brought all of its events. */
  seen: boolean
}

/**
 * The way of a bus to a journal and back. The fiber of each publisher appends its own events and then waits until the tail
 * has brought them, so that whoever published reads what it wrote. The tail commits what comes, in its order, whoever wrote it.
 */
export class Outbox<A extends Event, I> {
  /** Appends of which nobody knows whether they were done. */
  unconfirmed = 0
  /** Ids that the journal no longer had. */
  holes = 0
  private readonly pending = new Map<string, Pending<A>>()
  /** What ended `Unconfirmed` and was not settled since, with the time of it, the oldest first. */
  private readonly unsure = new Map<string, Unsettled & { readonly at: number }>()
  private readonly arrived = new Signal()
  private stopped = false
  private attempts = 0
  /**
   * The attempt of the last row that came, and the place of that row in it: not a number where rows before it may be missing.
   * Rows of one attempt follow one another in the log.
   */
  private lastAttempt: string | undefined = undefined
  private place = Number.NaN
  /** What the tail found wrong, and nobody has logged yet. */
  private problems: Array<string> = []
  private readonly found = new Signal()

  constructor(
    readonly journal: EventJournal["Type"],
    private readonly codec: Codec<A, I>,
    private readonly receiver: Receiver<A>,
    /** Begins the names of attempts; another one on every node and in every life. */
    private readonly node: string
  ) {}

  get idle(): boolean {
    return this.pending.size === 0
  }

  get stats() {
    return Effect.map(this.journal.state, (state) => ({
      state: state.current,
      pending: this.pending.size,
      unconfirmed: this.unconfirmed,
      holes: this.holes
    }))
  }

  /** What nobody knows of by now, on the monotonic clock of the bus. */
  unsettled(now: number): ReadonlyArray<Unsettled> {
    this.forgetUnsure(now)
    const ended = Array.from(this.unsure.values(), ({ attempt, events, topics }) => ({ attempt, events, topics }))
    const pending = Array.from(this.pending).filter(([attempt]) => !this.unsure.has(attempt))
    return [...ended, ...pending.map(([attempt, { request }]) => unsettledOf(attempt, request))]
  }

  /** Waits until the tail has brought event `id`, or will bring no more. */
  reached(id: number): Effect.Effect<void> {
    return this.arrived.wait(() => this.receiver.bus.lastId >= id || this.stopped)
  }

  /** What the publisher does, from the step in which it is made. */
  publish(request: Request<A>): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> {
    const attempt = request.attempt ?? `${this.node}-${++this.attempts}`
    request.done = true
    const pending: Pending<A> = { request, seen: false }
    this.pending.set(attempt, pending)
    return Effect.ensuring(
      this.append(pending, attempt),
      Effect.sync(() => {
        this.pending.delete(attempt)
        this.receiver.onIdle()
      })
    )
  }

  /** An interrupted publisher waits for nothing. Its events may come all the same, as those of a stranger. */
  forget(request: Request<A>) {
    for (const [attempt, pending] of this.pending) if (pending.request === request) this.pending.delete(attempt)
    this.receiver.onIdle()
  }

  /** Who waits for the tail waits no longer. */
  stop() {
    this.stopped = true
    this.arrived.wake()
  }

  private append(pending: Pending<A>, attempt: string): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> {
    const { clock, drafts, ifLast, payloads } = pending.request
    const at = clock.unsafeCurrentTimeMillis()
    const rows = drafts.map((draft, index) => {
      draft.at = at
      const { id: _, ...row } = this.codec.row(draft, payloads[index])
      return row
    })
    return Effect.matchEffect(Effect.suspend(() => this.journal.append(rows, { attempt, ifLast })), {
      onFailure: (error) =>
        error.reason === "Overtaken" && ifLast !== undefined
          ? this.overtaken(attempt, ifLast, error.lastId)
          : this.publishError(error, attempt, pending.request),
      onSuccess: (first) => {
        if (this.unsure.size > 0) this.unsure.delete(attempt)
        return this.envelopes(pending, first)
      }
    })
  }

  /**
   * Nobody hears of it before this node has seen what came between: who decides again at once decides on that. Told
   * earlier, it would only ask the journal again, and keep the tail from the processor.
   */
  private overtaken(
    attempt: string,
    ifLast: number,
    lastId: number | undefined
  ): Effect.Effect<never, PublishError> {
    this.unsure.delete(attempt)
    const last = lastId === undefined
      ? Effect.matchEffect(this.journal.bounds, {
        onFailure: storeError,
        onSuccess: (bounds) => Effect.succeed(bounds.last)
      })
      : Effect.succeed(lastId)
    return Effect.flatMap(last, (lastId) =>
      Effect.zipRight(
        this.reached(lastId),
        Effect.suspend(() =>
          // in the meantime the tail may have come further
          new Overtaken({ bus: this.receiver.bus.name, ifLast, lastId: Math.max(lastId, this.receiver.bus.lastId) })
        )
      ))
  }

  /** The envelopes of what was appended, once the tail is past it. */
  private envelopes(
    pending: Pending<A>,
    first: number
  ): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> {
    const { drafts } = pending.request
    const last = first + drafts.length - 1
    const caughtUp = this.arrived.wait(() => pending.seen || this.receiver.bus.lastId >= last || this.stopped)
    return Effect.zipRight(
      caughtUp,
      Effect.sync(() => {
        for (let index = 0; index < drafts.length; index++) {
          // an earlier try of the same attempt: the tail has brought it as the event of a stranger
          const item = this.receiver.itemAt(first + index)
          drafts[index].id = first + index
          if (item !== undefined && !(item instanceof Gap)) drafts[index].at = item.at
        }
        return drafts
      })
    )
  }

  private publishError(error: JournalError, attempt: string, request: Request<A>): PublishError {
    // who asks what became of an earlier try is not told that nothing was sent: that one may be in the log
    const isUnsure = error.reason === "Unsure" || (request.attempt !== undefined && knowsNothing.has(error.reason))
    if (!isUnsure) return storeError(error)
    this.unconfirmed++
    const now = Monotonic.unsafeNow(request.clock)
    this.forgetUnsure(now)
    this.unsure.delete(attempt)
    this.unsure.set(attempt, { ...unsettledOf(attempt, request), at: now })
    return new Unconfirmed({
      bus: this.receiver.bus.name,
      attempt,
      count: request.drafts.length,
      details: error.details
    })
  }

  /** Who was told so a minute ago, and has not asked again, will not. */
  private forgetUnsure(now: number) {
    for (const [attempt, { at }] of this.unsure) {
      if (now - at < 60_000) return
      this.unsure.delete(attempt)
    }
  }

  /** Commits what the journal brings, behind the events that the bus knows. */
  readonly run = (after: number): Effect.Effect<never, JournalError> =>
    Race.first(
      this.journal.follow(after, (rows) => {
        for (const row of rows) this.receive(row)
        this.arrived.wake()
      }),
      this.logProblems
    )

  private readonly logProblems = Effect.forever(Effect.zipRight(
    this.found.wait(() => this.problems.length > 0),
    Effect.suspend(() =>
      Effect.forEach(this.problems.splice(0), (problem) => Effect.logError(problem), { discard: true })
    )
  ))

  private report(problem: string) {
    this.problems.push(`${this.receiver.bus.name}: ${problem}`)
    this.found.wake()
  }

  private receive(row: Row | Lost) {
    const expected = this.receiver.bus.lastId + 1
    if (isLost(row)) {
      if (row.lastId >= expected) this.lose(Math.max(row.firstId, expected), row.lastId)
      return
    }
    if (row.id < expected) return
    const isFollowing = row.id === expected && (this.lastAttempt !== undefined || row.id === 1)
    if (row.id > expected) this.lose(expected, row.id - 1)
    this.place = row.attempt === this.lastAttempt ? this.place + 1 : isFollowing ? 0 : Number.NaN
    this.lastAttempt = row.attempt
    // it is in the log, whoever was told that nobody knows
    if (this.unsure.size > 0 && row.attempt !== undefined) this.unsure.delete(row.attempt)
    const own = row.attempt === undefined ? undefined : this.pending.get(row.attempt)
    // By its place in the attempt: when one is made again, its first events may have come before. What has none is decoded.
    const draft = own?.request.drafts[this.place]
    if (own !== undefined && draft !== undefined && draft.id === 0) {
      this.receiver.commit(draft, row.at)
      own.seen = this.place === own.request.drafts.length - 1
      return
    }
    const decoded = this.codec.envelope(row)
    if (Either.isRight(decoded)) this.receiver.commit({ ...decoded.right }, row.at)
    else {
      this.receiver.skip(new Unreadable(row.id, row.topic, row.tag))
      this.report(
        `event ${row.id} (${row.tag}) of the journal does not fit the schema: ${
          ParseResult.TreeFormatter.formatErrorSync(decoded.left)
        }`
      )
    }
  }

  private lose(firstId: number, lastId: number) {
    this.holes += lastId - firstId + 1
    this.receiver.skip(new Gap(firstId, lastId, lastId - firstId + 1))
    this.report(`the journal no longer has the events ${firstId} to ${lastId}`)
  }
}

const unsettledOf = <A extends Event>(attempt: string, { drafts }: Request<A>): Unsettled => ({
  attempt,
  events: drafts.length,
  topics: [...new Set(drafts.map(({ topic }) => topic))]
})

/** Failures of a journal that say nothing of an earlier try. */
const knowsNothing: ReadonlySet<JournalError["reason"]> = new Set(["Unreachable", "Full", "Io"])

/** Reads a journal as the history reads a store. */
export const readable = (journal: EventJournal["Type"]) => ({
  read: (options: { readonly after: number; readonly limit: number }): Effect.Effect<ReadonlyArray<Row>, StoreError> =>
    Effect.mapError(journal.read(options), storeError),
  bounds: Effect.mapError(journal.bounds, storeError) as Effect.Effect<Bounds, StoreError>
})

/** What a publisher or a reader is told of a journal that fails. */
export const storeError = (error: JournalError): StoreError =>
  new StoreError({
    operation: error.operation === "follow" ? "read" : error.operation,
    reason: storeReasons[error.reason] ?? "Io",
    details: `${error.reason}: ${error.details}`,
    cause: error
  })

const storeReasons: { readonly [reason: string]: StoreError["reason"] } = {
  Unreachable: "Unreachable",
  TooBig: "TooBig",
  Full: "Full",
  Denied: "ReadOnly",
  Gone: "Closed"
}

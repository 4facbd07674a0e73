import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Envelope, Event } from "../../Envelope.js"
import type { StoreStats } from "../../EventBusReport.js"
import type { Store, Stored } from "../../EventLogStore.js"
import { StoreError } from "../../EventLogStore.js"
import { Overtaken } from "../../Publishing.js"
import { Signal } from "../../Signal.js"
import type { Codec, EventHistory } from "./history.js"
import type { Draft, Request } from "./model.js"
import { respond } from "./model.js"

/** Rows that are appended at once, unless one publish has more. */
const maxRows = 512

/**
 * One fiber per durable bus: takes all the publishers that wait, appends their events in one go, then fans them out. An id
 * is given when its event is durable; what fails leaves no trace.
 */
export class Writer<A extends Event, I> {
  private queue: Array<Request<A>> = []
  private readonly pushed = new Signal()
  private busy = false
  private ended = false
  /** Whether the store may hold rows that were not fanned out: an append failed, and nobody could say how. */
  private unsure = false
  private failures = 0
  private failing = false
  private lastFailure: StoreError | undefined

  constructor(
    private readonly bus: string,
    private readonly store: Store["Type"],
    private readonly codec: Codec<A, I>,
    private readonly history: EventHistory<A, I>,
    private readonly lastId: () => number,
    private readonly commit: (draft: Draft<A>, at: number) => Envelope<A>,
    private readonly skip: (row: Stored) => void,
    private readonly onIdle: () => void
  ) {}

  get stats(): StoreStats {
    return {
      state: this.failing ? "failing" : "writing",
      failures: this.failures,
      lastFailure: this.lastFailure?.message
    }
  }

  get idle(): boolean {
    return !this.busy && this.queue.length === 0
  }

  /** False, and the request is not taken, when its fiber has ended. */
  push(request: Request<A>): boolean {
    if (this.ended) return false
    this.queue.push(request)
    this.pushed.wake()
    return true
  }

  /** Takes away what has not been written, and takes no more. */
  end(): ReadonlyArray<Request<A>> {
    this.ended = true
    return this.drop()
  }

  /** Takes away what has not been written. */
  drop(): ReadonlyArray<Request<A>> {
    const left = this.queue
    this.queue = []
    return left
  }

  readonly run: Effect.Effect<never> = Effect.forever(Effect.suspend(() => {
    const batch: Array<Request<A>> = []
    let rows = 0
    let taken = 0
    for (const request of this.queue) {
      if (batch.length > 0 && rows + request.drafts.length > maxRows) break
      taken++
      if (request.done) continue
      batch.push(request)
      rows += request.drafts.length
    }
    this.queue = this.queue.slice(taken)
    if (batch.length === 0) {
      this.onIdle()
      return this.pushed.wait(() => this.queue.length > 0)
    }
    this.busy = true
    return Effect.ensuring(
      Effect.zipRight(
        this.write(batch),
        Effect.suspend(() => this.history.overgrown ? this.history.trim(this.store) : Effect.void)
      ),
      Effect.sync(() => {
        this.busy = false
        for (const request of batch) if (!request.done) this.queue.unshift(request)
      })
    )
  }))

  private write(batch: ReadonlyArray<Request<A>>): Effect.Effect<void> {
    let overtaken: ReadonlyMap<Request<A>, Overtaken> = new Map()
    return Effect.matchCauseEffect(
      Effect.zipRight(
        this.unsure ? this.resync([]) : Effect.void,
        Effect.suspend(() => {
          const prepared = this.prepare(batch)
          overtaken = prepared.overtaken
          return prepared.rows.length === 0 ? Effect.void : this.store.append(prepared.rows)
        })
      ),
      {
        onSuccess: () =>
          Effect.sync(() => {
            this.failing = false
            for (const request of batch) {
              const refusal = overtaken.get(request)
              if (refusal === undefined) {
                for (const draft of request.drafts) this.commit(draft, draft.at)
                respond(request, Effect.succeed(request.drafts))
              } else respond(request, refusal)
            }
          }),
        onFailure: (cause) => {
          if (Cause.isInterruptedOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
          const error = storeError(cause)
          if (error.reason === "TooBig" && batch.length > 1) {
            return Effect.forEach(batch, (request) => this.write([request]), { discard: true })
          }
          this.unsure = true
          this.failing = true
          this.failures++
          this.lastFailure = error
          return Effect.zipRight(
            // the append may have been done all the same
            Effect.ignore(this.resync(batch)),
            Effect.sync(() => {
              for (const request of batch) respond(request, Effect.fail(error))
            })
          )
        }
      }
    )
  }

  /** The rows of all requests, except those that come too late behind what is in front of them in the same batch. */
  private prepare(batch: ReadonlyArray<Request<A>>) {
    const rows: Array<Stored> = []
    const overtaken = new Map<Request<A>, Overtaken>()
    let id = this.lastId()
    for (const request of batch) {
      const { clock, drafts, ifLast, payloads } = request
      if (ifLast !== undefined && ifLast !== id) {
        overtaken.set(request, new Overtaken({ bus: this.bus, ifLast, lastId: id }))
        continue
      }
      const at = clock.unsafeCurrentTimeMillis()
      for (let i = 0; i < drafts.length; i++) {
        drafts[i].id = ++id
        drafts[i].at = at
        const row = this.codec.row(drafts[i], payloads[i])
        this.history.retention.add(row)
        rows.push(row)
      }
    }
    return { rows, overtaken }
  }

  /** Fans out what the store holds and nobody has seen. Publishers whose events are among it have succeeded. */
  private resync(batch: ReadonlyArray<Request<A>>): Effect.Effect<void, StoreError> {
    return Effect.gen(this, function*() {
      const { last } = yield* this.store.bounds
      while (this.lastId() < last) {
        const rows = yield* this.store.read({ after: this.lastId(), limit: maxRows })
        if (rows.length === 0 || rows[0].id !== this.lastId() + 1) break
        for (const row of rows) {
          const written = find(batch, row)
          if (written !== undefined) {
            this.commit(written.draft, row.at)
            if (written.last) respond(written.request, Effect.succeed(written.request.drafts))
            continue
          }
          const decoded = this.codec.envelope(row)
          if (Either.isRight(decoded)) this.commit({ ...decoded.right }, row.at)
          else {
            this.skip(row)
            yield* Effect.logError(`Event ${row.id} of the store does not fit the schema`, decoded.left)
          }
        }
      }
      this.unsure = false
    })
  }
}

const find = <A>(batch: ReadonlyArray<Request<A>>, row: Stored) => {
  for (const request of batch) {
    const index = request.drafts.findIndex((draft) => draft.id === row.id && draft.topic === row.topic)
    if (index >= 0 && request.payloads[index] === row.payload) {
      return { request, draft: request.drafts[index], last: index === request.drafts.length - 1 }
    }
  }
  return undefined
}

const storeError = (cause: Cause.Cause<StoreError>): StoreError => {
  const failure = Cause.failureOrCause(cause)
  return failure._tag === "Left" ? failure.left : new StoreError({
    operation: "append",
    reason: "Io",
    details: Cause.pretty(cause),
    cause: Cause.squash(cause)
  })
}

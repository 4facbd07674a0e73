import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Envelope, Event } from "../../Envelope.js"
import type { Store, Stored } from "../../EventLogStore.js"
import { StoreError } from "../../EventLogStore.js"
import type { Codec, EventHistory } from "./history.js"
import type { Draft, Request } from "./mailbox.js"

/** Rows that are appended at once, unless one publish has more. */
const maxRows = 512

/**
 * One fiber per durable bus: takes all the publishers that wait, appends their events in one go, then fans them out. An id
 * is given when its event is durable; what fails leaves no trace.
 */
export class Writer<A extends Event, I> {
  private queue: Array<Request<A>> = []
  private wake: (() => void) | undefined = undefined
  private busy = false
  /** Whether the store may hold rows that were not fanned out: an append failed, and nobody could say how. */
  private unsure = false

  constructor(
    private readonly store: Store["Type"],
    private readonly codec: Codec<A, I>,
    private readonly history: EventHistory<A, I>,
    private readonly lastId: () => number,
    private readonly commit: (draft: Draft<A>, at: number) => Envelope<A>,
    private readonly skip: (id: number) => void,
    private readonly onIdle: () => void
  ) {}

  get idle(): boolean {
    return !this.busy && this.queue.length === 0
  }

  push(request: Request<A>) {
    this.queue.push(request)
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  /** Takes away what has not been written. */
  drop(): ReadonlyArray<Request<A>> {
    const left = this.queue
    this.queue = []
    return left
  }

  private readonly awaitWork = Effect.async<void>((resume) => {
    if (this.queue.length > 0) {
      resume(Effect.void)
      return
    }
    this.wake = () => resume(Effect.void)
    return Effect.sync(() => {
      this.wake = undefined
    })
  })

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
      return this.awaitWork
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
    return Effect.matchCauseEffect(
      Effect.zipRight(
        this.unsure ? this.resync([]) : Effect.void,
        Effect.suspend(() => this.store.append(this.rows(batch)))
      ),
      {
        onSuccess: () =>
          Effect.sync(() => {
            for (const request of batch) {
              for (const draft of request.drafts) this.commit(draft, draft.at)
              answer(request, Effect.succeed(request.drafts))
            }
          }),
        onFailure: (cause) => {
          if (Cause.isInterruptedOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
          const error = storeError(cause)
          if (error.reason === "TooBig" && batch.length > 1) {
            return Effect.forEach(batch, (request) => this.write([request]), { discard: true })
          }
          this.unsure = true
          return Effect.zipRight(
            // the append may have been done all the same
            Effect.ignore(this.resync(batch)),
            Effect.sync(() => {
              for (const request of batch) answer(request, Effect.fail(error))
            })
          )
        }
      }
    )
  }

  private rows(batch: ReadonlyArray<Request<A>>): ReadonlyArray<Stored> {
    const rows: Array<Stored> = []
    let id = this.lastId()
    for (const { clock, drafts, payloads } of batch) {
      const at = clock.unsafeCurrentTimeMillis()
      for (let i = 0; i < drafts.length; i++) {
        drafts[i].id = ++id
        drafts[i].at = at
        rows.push(this.codec.row(drafts[i], payloads[i]))
      }
    }
    return rows
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
            if (written.last) answer(written.request, Effect.succeed(written.request.drafts))
            continue
          }
          const decoded = this.codec.envelope(row)
          if (Either.isRight(decoded)) this.commit({ ...decoded.right }, row.at)
          else {
            this.skip(row.id)
            yield* Effect.logError(`Event ${row.id} of the store does not fit the schema`, decoded.left)
          }
        }
      }
      this.unsure = false
    })
  }
}

const answer = <A>(request: Request<A>, effect: Parameters<Request<A>["resume"]>[0]) => {
  if (request.done) return
  request.done = true
  request.resume(effect)
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

/**
 * `EventLogStore.Store` over a stream of JetStream, for a log that one process writes: an event log without a disk of its own.
 *
 * **For** one node whose events should outlast its machine. **Not for** several writers: that is `NatsJournal`.
 *
 * **Guarantees**
 * - Ids are sequences of the stream. An append is accepted only directly behind the last one; anything else is `OutOfOrder`.
 * - An append is an atomic batch; one that got no answer is tried again and settled by asking.
 *
 * **Limits**
 * - More than 1000 rows at once are several batches: when the connection is lost between them, those before it are stored.
 * - The size and age of every event that is stored are kept in memory, 16 bytes each; they are read when the store is opened.
 *
 * @since 0.1.0
 */
import type { JournalError } from "@holdfast/core/EventJournal"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import { fromConfig } from "@holdfast/core/InvalidOption"
import { Lock } from "@holdfast/core/Lock"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import * as Api from "./internal/api.js"
import type { Connection } from "./internal/connection.js"
import { mostRows } from "./internal/outbox.js"
import { NatsConnection, unsafeConnection } from "./NatsConnection.js"
import * as NatsJournal from "./NatsJournal.js"
import type * as NatsStream from "./NatsStream.js"

/**
 * The stream that holds the events.
 *
 * @since 0.1.0
 * @category options
 */
export type Options =
  & Pick<NatsStream.Options, "name" | "replicas" | "storage" | "duplicateWindow" | "create">
  & Pick<NatsJournal.Options, "patience">

type Operation = EventLogStore.StoreError["operation"]

const reasons: { readonly [reason: string]: EventLogStore.StoreError["reason"] } = {
  Overtaken: "OutOfOrder",
  Unreachable: "Unreachable",
  TooBig: "TooBig",
  Full: "Full",
  Denied: "ReadOnly",
  Gone: "Closed",
  Diverged: "Corrupt"
}

const storeError = (operation: Operation) => (error: JournalError): EventLogStore.StoreError =>
  new EventLogStore.StoreError({
    operation,
    reason: reasons[error.reason] ?? "Io",
    details: `${error.reason}: ${error.details}`,
    cause: error
  })

/** What is kept of every row in memory, the oldest first. */
interface Weight {
  readonly at: number
  readonly bytes: number
}

class EventStore {
  private weights: Array<Weight> = []
  private first = 1
  private readonly lock = new Lock()

  constructor(
    private readonly connection: Connection,
    private readonly stream: string,
    private readonly journal: NatsJournal.Service["journal"]
  ) {}

  private get last(): number {
    return this.first + this.weights.length - 1
  }

  /** Reads what is there. */
  readonly load: Effect.Effect<void, EventLogStore.StoreError> = Effect.gen(this, function*() {
    const { first, last } = yield* this.journal.bounds
    this.first = first
    while (this.last < last) {
      const rows = yield* this.journal.read({ after: this.last, limit: 1000 })
      if (rows.length === 0) break
      for (const row of rows) this.weights.push({ at: row.at, bytes: EventLogStore.sizeOf(row) })
    }
  }).pipe(Effect.mapError(storeError("bounds")))

  readonly append = (rows: ReadonlyArray<EventLogStore.Stored>): Effect.Effect<void, EventLogStore.StoreError> =>
    this.lock.withLock(Effect.suspend(() => {
      if (rows.length === 0) return Effect.void
      const refused = EventLogStore.outOfOrder(this.last, rows)
      if (refused !== undefined) return refused
      const parts = Array.from(
        { length: Math.ceil(rows.length / mostRows) },
        (_, index) => rows.slice(index * mostRows, (index + 1) * mostRows)
      )
      return Effect.uninterruptible(Effect.forEach(parts, (part) => this.appendPart(part), { discard: true }))
    }))

  private appendPart(rows: ReadonlyArray<EventLogStore.Stored>): Effect.Effect<void, EventLogStore.StoreError> {
    const attempt = randomBytes(12).toString("base64url")
    return Effect.mapBoth(this.journal.append(rows, { attempt, ifLast: rows[0].id - 1 }), {
      onFailure: storeError("append"),
      onSuccess: () => {
        for (const row of rows) this.weights.push({ at: row.at, bytes: EventLogStore.sizeOf(row) })
      }
    })
  }

  readonly read: EventLogStore.Store["Type"]["read"] = (options) =>
    Effect.mapBoth(this.journal.read(options), {
      onFailure: storeError("read"),
      onSuccess: (rows) => rows.map(({ attempt: _, ...row }) => row)
    })

  readonly bounds: EventLogStore.Store["Type"]["bounds"] = Effect.sync(() => ({ first: this.first, last: this.last }))

  readonly trim: EventLogStore.Store["Type"]["trim"] = (beforeId, limits = {}) =>
    this.lock.withLock(Effect.suspend(() => {
      const from = this.trimmed(beforeId, limits)
      if (from <= this.first) return Effect.void
      return Effect.mapBoth(Api.ask(this.connection, `STREAM.PURGE.${this.stream}`, { seq: from }), {
        onFailure: (error) =>
          new EventLogStore.StoreError({
            operation: "trim",
            reason: error._tag === "Denied" ? "ReadOnly" : error._tag === "Refusal" ? "Io" : "Unreachable",
            details: error.details
          }),
        onSuccess: () => {
          this.weights = this.weights.slice(from - this.first)
          this.first = from
        }
      })
    }))

  /** The first id that stays: never beyond the end, where the server would leave ids out. */
  private trimmed(
    beforeId: number,
    { bytes = Number.POSITIVE_INFINITY, since = Number.NEGATIVE_INFINITY }: EventLogStore.Limits
  ) {
    const { weights } = this
    const newest = weights.length - 1
    let from = Math.max(0, Math.min(weights.length, beforeId - this.first))
    while (from < newest && weights[from].at < since) from++
    if (bytes < Number.POSITIVE_INFINITY) {
      let kept = newest
      for (let left = bytes - (newest < 0 ? 0 : weights[newest].bytes); kept > from; kept--) {
        left -= weights[kept - 1].bytes
        if (left < 0) break
      }
      from = Math.max(from, kept)
    }
    return this.first + from
  }
}

/**
 * The store, for as long as the scope is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  EventLogStore.Store["Type"],
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable | EventLogStore.StoreError,
  NatsConnection | Scope.Scope
> =>
  Effect.gen(function*() {
    const connection = unsafeConnection(yield* NatsConnection)
    const { journal } = yield* NatsJournal.make(options)
    const store = new EventStore(connection, options.name, journal)
    yield* store.load
    const { append, bounds, read, trim } = store
    return { append, bounds, read, trim }
  })

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts
 * import { NatsConnection, NatsEventStore } from "@holdfast/nats"
 * import { Layer } from "effect"
 *
 * const Built = NatsEventStore.layer({ name: "world" }).pipe(
 *   Layer.provide(NatsConnection.layer({ servers: ["nats://127.0.0.1:4222"] }))
 * )
 * console.log(Layer.isLayer(Built))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  EventLogStore.Store,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable | EventLogStore.StoreError,
  NatsConnection
> => Layer.scoped(EventLogStore.Store, make(options))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<
  EventLogStore.Store,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable | EventLogStore.StoreError | ConfigError.ConfigError,
  NatsConnection
> = fromConfig(layer)

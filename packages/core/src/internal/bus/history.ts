import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { Envelope, Event } from "../../Envelope.js"
import { Gap, isEnvelope } from "../../Envelope.js"
import type { Options, Page } from "../../EventLog.js"
import { defaults } from "../../EventLog.js"
import type { Store, Stored, StoreError } from "../../EventLogStore.js"
import type { Item, Mailbox } from "./mailbox.js"
import { Ring, utf8Length } from "./ring.js"
import type { Filter } from "./topicIndex.js"

const Meta = Schema.parseJson(Schema.Struct({
  causationId: Schema.optional(Schema.Number),
  depth: Schema.Number,
  trace: Schema.optional(Schema.String)
}))

/** Events to rows and back. */
export class Codec<A extends Event, I> {
  private readonly encodeJson: (event: A) => Either.Either<string, ParseResult.ParseError>
  private readonly decodeJson: (json: string) => Either.Either<A, ParseResult.ParseError>
  private readonly decodeMeta = Schema.decodeEither(Meta)

  constructor(schema: Schema.Schema<A, I>) {
    const json = Schema.parseJson(schema)
    this.encodeJson = Schema.encodeEither(json)
    this.decodeJson = Schema.decodeEither(json)
  }

  payload(event: A): Either.Either<string, ParseResult.ParseError> {
    return this.encodeJson(event)
  }

  row(envelope: Envelope<A>, payload: string): Stored {
    const { at, causationId, depth, event, id, topic, trace } = envelope
    return { id, at, topic, tag: event._tag, payload, meta: JSON.stringify({ causationId, depth, trace }) }
  }

  envelope(row: Stored): Either.Either<Envelope<A>, ParseResult.ParseError> {
    return Either.flatMap(
      this.decodeMeta(row.meta),
      ({ causationId, depth, trace }) =>
        Either.map(this.decodeJson(row.payload), (event) => ({
          id: row.id,
          at: row.at,
          topic: row.topic,
          event,
          causationId,
          depth,
          trace
        }))
    )
  }
}

/** The newest events in memory, the older ones in the store when there is one. */
export class EventHistory<A extends Event, I> {
  readonly ring: Ring<A>
  private store: Store["Type"] | undefined = undefined
  /** Id of the oldest event in the store. */
  private storedFirst = 1
  private readonly maxStored: number

  constructor(
    private readonly name: string,
    options: Options<A>,
    private readonly codec: Codec<A, I>
  ) {
    this.ring = new Ring<A>({
      count: options.maxCount ?? defaults.maxCount,
      bytes: options.maxBytes ?? Number.POSITIVE_INFINITY,
      age: options.maxAge === undefined ? Number.POSITIVE_INFINITY : Duration.toMillis(options.maxAge),
      sizeOf: options.sizeOf ?? ((envelope) => {
        const payload = codec.payload(envelope.event)
        return utf8Length(envelope.topic) + (Either.isRight(payload) ? utf8Length(payload.right) : 0)
      })
    }, 0)
    this.maxStored = options.maxStored ?? Number.POSITIVE_INFINITY
  }

  /** Id of the oldest event that can be read. */
  get first(): number {
    return this.store === undefined ? this.ring.first : Math.min(this.storedFirst, this.ring.first)
  }

  /** Fills the ring from the store, and answers the last id. */
  load(store: Store["Type"]): Effect.Effect<number, StoreError> {
    return Effect.gen(this, function*() {
      const { first, last } = yield* store.bounds
      this.store = store
      this.storedFirst = first
      this.ring.last = Math.max(first - 1, last - this.ring.limits.count)
      yield* this.readOn(store, (items) => {
        for (const item of items) {
          if (isEnvelope(item)) this.ring.push(item)
          else {
            const { firstId, lastId } = item
            for (let id = firstId; id <= lastId; id++) this.ring.push(new Gap(id, id, 1))
          }
        }
      }, last)
      return last
    })
  }

  /** Reads everything after the end of the ring. */
  readOn(
    store: Store["Type"],
    onItems: (items: ReadonlyArray<Item<A>>) => void,
    last: number
  ): Effect.Effect<void, StoreError> {
    return Effect.gen(this, function*() {
      for (let cursor = this.ring.last; cursor < last;) {
        const items = yield* this.readStore(store, cursor, Math.min(pageRows, last - cursor))
        if (items.length === 0) return
        onItems(items)
        const end = items[items.length - 1]
        cursor = end instanceof Gap ? end.lastId : end.id
      }
    })
  }

  /** One page of the store, with a `Gap` where rows are missing or cannot be read. */
  private readStore(
    store: Store["Type"],
    after: number,
    limit: number
  ): Effect.Effect<ReadonlyArray<Item<A>>, StoreError> {
    return Effect.flatMap(store.read({ after, limit }), (rows) => {
      const items: Array<Item<A>> = []
      const problems: Array<string> = []
      let expected = after + 1
      for (const row of rows) {
        if (row.id > expected) items.push(new Gap(expected, row.id - 1, row.id - expected))
        expected = row.id + 1
        const decoded = this.codec.envelope(row)
        if (Either.isRight(decoded)) items.push(decoded.right)
        else {
          items.push(new Gap(row.id, row.id, 1))
          problems.push(`${row.id} (${row.tag}): ${ParseResult.TreeFormatter.formatErrorSync(decoded.left)}`)
        }
      }
      return problems.length === 0 ? Effect.succeed(items) : Effect.as(
        Effect.logError(`${this.name}: ${problems.length} stored events do not fit the schema`, problems.slice(0, 5)),
        items
      )
    })
  }

  /** What the ring holds after `id`. */
  recent(id: number, filter: Filter, limit: number): { readonly items: Array<Item<A>>; readonly cursor: number } {
    const items: Array<Item<A>> = []
    const { first, last } = this.ring
    let cursor = id
    if (id + 1 < first) {
      cursor = first - 1
      items.push(new Gap(id + 1, cursor, cursor - id))
    }
    while (cursor < last && items.length < limit) {
      const item = this.ring.at(++cursor)!
      if (item instanceof Gap || filter.matches(item.topic, item.event._tag)) items.push(item)
    }
    return { items, cursor }
  }

  /** Events after `id` that the filter lets through. One page of the store is looked at per call. */
  page(id: number, filter: Filter, limit: number): Effect.Effect<Page<A>, StoreError> {
    return Effect.suspend(() => {
      const { ring, store } = this
      if (store === undefined || this.inMemory(id)) {
        const { cursor, items } = this.recent(id, filter, limit)
        return Effect.succeed({ items, cursor, done: cursor >= ring.last })
      }
      if (id + 1 < this.first) {
        const cursor = this.first - 1
        return Effect.succeed({ items: [new Gap(id + 1, cursor, cursor - id)], cursor, done: cursor >= ring.last })
      }
      const rows = Math.min(pageRows, Math.max(limit, fewRows), ring.first - 1 - id)
      return Effect.map(this.readStore(store, id, rows), (all) => {
        const items: Array<Item<A>> = []
        // trimmed by somebody else while it was read: nothing of it is left
        let cursor = all.length === 0 ? Math.max(id, ring.first - 1) : id
        if (cursor > id) items.push(new Gap(id + 1, cursor, cursor - id))
        for (const item of all) {
          if (items.length >= limit) break
          cursor = item instanceof Gap ? item.lastId : item.id
          if (item instanceof Gap || filter.matches(item.topic, item.event._tag)) items.push(item)
        }
        return { items, cursor, done: cursor >= ring.last }
      })
    })
  }

  /** Feeds a mailbox from the store until the ring holds all that is left; `join` makes it live in the same step. */
  feed(mailbox: Mailbox<A>, after: number, join: () => void) {
    let cursor = after
    const goLive = () => {
      mailbox.start(this.recent(cursor, mailbox.filter, Number.POSITIVE_INFINITY).items)
      join()
    }
    if (this.inMemory(cursor)) {
      goLive()
      return
    }
    mailbox.history = {
      pending: () => this.ring.last - cursor,
      read: (max) =>
        Effect.suspend(() => {
          if (this.inMemory(cursor)) {
            if (mailbox.closed === undefined) goLive()
            return Effect.succeed([])
          }
          return Effect.map(this.page(cursor, mailbox.filter, max), (page) => {
            cursor = page.cursor
            return page.items
          })
        })
    }
  }

  private inMemory(cursor: number): boolean {
    return this.store === undefined || cursor + 1 >= this.ring.first
  }

  /** Whether the store holds much more than it should. */
  get overgrown(): boolean {
    return this.ring.last - this.storedFirst + 1 > this.maxStored * 1.25
  }

  trim(store: Store["Type"]): Effect.Effect<void> {
    const beforeId = this.ring.last - this.maxStored + 1
    return store.trim(beforeId).pipe(
      Effect.zipRight(Effect.sync(() => {
        this.storedFirst = beforeId
      })),
      Effect.catchAllCause((cause) => Effect.logWarning(`${this.name}: the event store could not be trimmed`, cause))
    )
  }
}

/** Rows that are read from the store at a time, at most; and at least, since most of them may be of no interest. */
const pageRows = 512
const fewRows = 64

import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { Envelope, Event } from "../../Envelope.js"
import { Gap, isEnvelope } from "../../Envelope.js"
import type { Options, Page } from "../../EventLog.js"
import type { Store, Stored, StoreError } from "../../EventLogStore.js"
import * as Monotonic from "../../Monotonic.js"
import { utf8Length } from "../utf8.js"
import type { Mailbox } from "./mailbox.js"
import type { Item } from "./model.js"
import { Unreadable } from "./model.js"
import { unsafeHistoryLimits } from "./options.js"
import { Retention } from "./retention.js"
import { Ring } from "./ring.js"
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

/** Where the events are that memory no longer holds. */
export type Readable = Pick<Store["Type"], "read" | "bounds">

/** The newest events in memory, the older ones in the store when there is one. */
export class EventHistory<A extends Event, I> {
  readonly ring: Ring<A>
  private store: Readable | undefined = undefined
  /** Id of the oldest event in the store. */
  private storedFirst = 1
  /** What the store keeps. */
  readonly retention: Retention
  /** Rows that were found not to fit the schema, up to this id: each is logged once. */
  private readonly reported = new Set<number>()

  constructor(
    private readonly name: string,
    options: Options<A>,
    private readonly codec: Codec<A, I>,
    private readonly clock: Clock.Clock
  ) {
    const limits = unsafeHistoryLimits(options)
    this.ring = new Ring<A>({
      count: limits.count,
      bytes: limits.bytes,
      age: limits.age,
      now: () => Monotonic.unsafeNow(clock),
      sizeOf: options.sizeOf ?? ((envelope) => {
        const payload = codec.payload(envelope.event)
        return utf8Length(envelope.topic) + (Either.isRight(payload) ? utf8Length(payload.right) : 0)
      })
    }, 0)
    this.retention = new Retention(limits, clock)
  }

  /** Id of the oldest event that can be read. */
  get first(): number {
    return this.store === undefined ? this.ring.first : Math.min(this.storedFirst, this.ring.first)
  }

  /** Fills the ring from the store, and returns the last id. */
  load(store: Readable): Effect.Effect<number, StoreError> {
    return Effect.gen(this, function*() {
      const { first, last } = yield* store.bounds
      this.store = store
      this.storedFirst = first
      this.ring.last = Math.max(first - 1, last - this.ring.limits.count)
      yield* this.readOn(store, (items) => {
        for (const item of items) {
          // how old it is can only be told by the clock that people read, since another process gave it its time
          if (isEnvelope(item)) this.ring.push(item, Math.max(0, this.clock.unsafeCurrentTimeMillis() - item.at))
          else {
            if (item instanceof Unreadable) this.ring.push(item)
            else for (let id = item.firstId; id <= item.lastId; id++) this.ring.push(new Gap(id, id, 1))
          }
        }
      }, last)
      return last
    })
  }

  /** Reads everything after the end of the ring. */
  readOn(
    store: Readable,
    onItems: (items: ReadonlyArray<Item<A>>) => void,
    last: number
  ): Effect.Effect<void, StoreError> {
    return Effect.gen(this, function*() {
      for (let cursor = this.ring.last; cursor < last;) {
        const { end, items } = yield* this.readStore(store, cursor, Math.min(pageRows, last - cursor))
        if (end <= cursor) return
        onItems(items)
        cursor = end
      }
    })
  }

  /**
   * One page of the store, with a `Gap` where rows are missing or cannot be read. What the filter excludes by its
   * topic is left out before it is decoded. `end` is the last id that was looked at.
   */
  private readStore(
    store: Readable,
    after: number,
    limit: number,
    filter?: Filter
  ): Effect.Effect<{ readonly items: ReadonlyArray<Item<A>>; readonly end: number }, StoreError> {
    return Effect.flatMap(store.read({ after, limit }), (rows) => {
      const items: Array<Item<A>> = []
      const problems: Array<string> = []
      let expected = after + 1
      for (const row of rows) {
        if (row.id > expected) items.push(new Gap(expected, row.id - 1, row.id - expected))
        expected = row.id + 1
        if (filter !== undefined && !filter.topics.matches(row.topic)) continue
        const decoded = this.codec.envelope(row)
        if (Either.isRight(decoded)) items.push(decoded.right)
        else {
          items.push(new Unreadable(row.id, row.topic, row.tag))
          if (this.isNews(row.id)) {
            problems.push(`${row.id} (${row.tag}): ${ParseResult.TreeFormatter.formatErrorSync(decoded.left)}`)
          }
        }
      }
      const page = { items, end: expected - 1 }
      return problems.length === 0 ? Effect.succeed(page) : Effect.as(
        Effect.logError(
          `${this.name}: ${problems.length} stored events do not fit the schema; readers get a gap instead`,
          problems.slice(0, 5)
        ),
        page
      )
    })
  }

  /** Whether nobody has been told yet that this row cannot be read. */
  private isNews(id: number): boolean {
    if (this.reported.has(id)) return false
    this.reported.add(id)
    // A store full of them is one problem: memory stays bounded, and what was forgotten may be logged again.
    if (this.reported.size > maxReported) this.reported.delete(this.reported.values().next().value!)
    return true
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
      const wanted = pick(filter, item)
      if (wanted !== undefined) items.push(wanted)
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
      return Effect.map(this.readStore(store, id, rows, filter), ({ end, items: found }) => {
        if (end > id) {
          const items: Array<Item<A>> = []
          for (const item of found) {
            const wanted = pick(filter, item)
            if (wanted === undefined) continue
            if (items.length === limit) {
              const cursor = idBefore(wanted)
              return { items, cursor, done: false }
            }
            items.push(wanted)
          }
          return { items, cursor: end, done: end >= ring.last }
        }
        // trimmed by somebody else while it was read: nothing of it is left
        const cursor = Math.max(id, ring.first - 1)
        const items: Array<Item<A>> = cursor > id ? [new Gap(id + 1, cursor, cursor - id)] : []
        return { items, cursor, done: cursor >= ring.last }
      })
    })
  }

  /** Feeds a mailbox from the store until the ring holds all that is left; `join` makes it live in the same step. */
  feed(mailbox: Mailbox<A>, after: number, join: () => void) {
    const reader = this.reader(mailbox, after, join, Number.POSITIVE_INFINITY)
    if (this.inMemory(after)) reader.goLive()
    else mailbox.history = reader
  }

  /** Lets a mailbox take what is in its queue, then read on from `after` until what is left has room in it. */
  fallBack(mailbox: Mailbox<A>, after: number, join: () => void) {
    mailbox.history = this.reader(mailbox, after, join, mailbox.capacity)
  }

  private reader(mailbox: Mailbox<A>, after: number, join: () => void, room: number) {
    let cursor = after
    const goLive = () => {
      mailbox.start(this.recent(cursor, mailbox.filter, Number.POSITIVE_INFINITY).items)
      join()
    }
    return {
      goLive,
      pending: () => this.ring.last - cursor,
      read: (max: number) =>
        Effect.suspend(() => {
          if (this.inMemory(cursor) && this.ring.last - cursor <= room) {
            if (mailbox.closed === undefined) goLive()
            return Effect.succeed([])
          }
          return Effect.map(this.page(cursor, mailbox.filter, Math.min(max, room)), (page) => {
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
    return this.retention.exceeded(this.ring.last - this.storedFirst + 1)
  }

  trim(store: Store["Type"]): Effect.Effect<void> {
    return this.retention.trim(store, this.ring.last).pipe(
      Effect.map(({ first }) => {
        this.storedFirst = first
      }),
      Effect.catchAllCause((cause) => Effect.logWarning(`${this.name}: the event store could not be trimmed`, cause))
    )
  }
}

/** The item as a subscriber with this filter gets it; undefined when it is none of its business. */
const pick = <A extends Event>(filter: Filter, item: Item<A>): Item<A> | undefined => {
  if (!(item instanceof Gap)) return filter.matches(item.topic, item.event._tag) ? item : undefined
  if (!(item instanceof Unreadable)) return item
  return filter.matches(item.topic, item.tag) ? new Gap(item.firstId, item.lastId, 1) : undefined
}

const idBefore = (item: Item<unknown>): number => (item instanceof Gap ? item.firstId : item.id) - 1

/** Rows that are read from the store at a time, at most; and at least, since most of them may be of no interest. */
const pageRows = 512
const fewRows = 64

/** Ids of unreadable rows that are remembered. */
const maxReported = 10_000

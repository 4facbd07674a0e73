import type { NonEmptyArray, NonEmptyReadonlyArray } from "effect/Array"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Envelope } from "../../Envelope.js"
import { Gap, isEnvelope } from "../../Envelope.js"
import type { Options, PolicyName, Stats, Subscription } from "../../EventSubscription.js"
import { defaults, SubscriptionClosed } from "../../EventSubscription.js"
import { Lock } from "../../Lock.js"
import type { Item, Request } from "./model.js"
import { policyOf, unsafeCapacity, unsafeStallLimit } from "./options.js"
import { Filter } from "./topicIndex.js"

/** The bus, as its mailboxes see it. */
export interface Host<A> {
  readonly name: string
  readonly lastId: number
  /** How many lossless mailboxes are full. */
  full: number
  /** How many events are in all mailboxes. */
  queued: number
  /** Mailboxes that left the fan-out while it ran: closed, or back to reading the log. */
  readonly leaving: Array<Mailbox<A>>
  /** Whether a full lossless mailbox continues from the log. */
  readonly fallsBack: boolean
  readonly onDropped: (count: number) => void
  readonly onTaken: (
    mailbox: Mailbox<A>,
    items: ReadonlyArray<Item<A>>,
    fiber: Fiber.RuntimeFiber<unknown, unknown>
  ) => void
  /** A mailbox that publishers wait for has room, or will never take anything. */
  readonly onRoom: (mailbox: Mailbox<A>) => void
}

/** Where a mailbox finds the events from before it went live. */
export interface History<A> {
  /** Events that are neither taken nor queued. */
  readonly pending: () => number
  /** The next items; an empty one means that the mailbox is live now, or that there was nothing of interest. */
  readonly read: (max: number) => Effect.Effect<ReadonlyArray<Item<A>>, unknown>
}

/**
 * The queue of one subscriber. Everything but waiting is synchronous: the bus pushes, the subscriber takes the whole array
 * away, and one wake-up serves however many events arrive until the subscriber runs.
 */
export class Mailbox<A> implements Subscription<A> {
  readonly name: string
  readonly filter: Filter
  readonly tags: ReadonlySet<string> | undefined
  readonly capacity: number
  readonly policy: PolicyName
  readonly lossless: boolean
  /** How long publishers wait while nothing is taken, in milliseconds. */
  readonly limit: number
  /** Id of the event that was offered last: a mailbox in several lists gets it once. */
  mark = 0
  /** Events in `items`. */
  size = 0
  /** Why it gets nothing more. The error is made when somebody takes it: most subscriptions end with their taker. */
  closed: ConstructorParameters<typeof SubscriptionClosed>[0] | undefined = undefined
  waiting: Array<Request<A>> = []
  /** Since when publishers wait without anything being taken, by the monotonic clock. */
  stalledSince = 0
  delivered = 0
  /** How much of `delivered` the bus has counted. */
  reported = 0
  dropped = 0
  history: History<A> | undefined = undefined
  /** What a handler has taken and not finished. */
  inFlight: () => ReadonlyArray<Envelope<A>> = () => nothing

  /** Hears of what was taken in the same step. */
  onTake: ((items: ReadonlyArray<Item<A>>) => void) | undefined = undefined

  private items: Array<Item<A>> = []
  private head = 0
  /** What `sliding` lost: it comes before `items`. */
  private lostFirst = 0
  private lostLast = 0
  private lostCount = 0
  /** History, at the time when the mailbox went live: it comes before everything. */
  private backlog: Array<Item<A>> = []
  /** Those who wait for something to take. By hand, since a `Signal` costs a quarter of a delivery to 100 subscribers. */
  private readonly waiters: Array<() => void> = []
  /** Whether somebody may wait for that: looked at for each event, where a call costs more than all the rest. */
  private parked = false
  private readLock: Lock | undefined = undefined

  constructor(readonly host: Host<A>, readonly id: number, options: Options) {
    const policy = options.policy ?? defaults.policy
    this.name = options.name ?? defaults.name
    this.filter = new Filter(options.topics, options.tags)
    this.tags = this.filter.tags
    this.capacity = unsafeCapacity(options.capacity)
    this.limit = unsafeStallLimit(policy)
    this.policy = policyOf(policy)._tag
    this.lossless = this.policy === "suspend"
  }

  /** Called by the bus for each event of interest, in the order of ids. */
  offer(envelope: Envelope<A>) {
    if (this.size < this.capacity) {
      this.items.push(envelope)
      this.size++
      this.host.queued++
      if (this.lossless && this.size === this.capacity) this.host.full++
    } else this.overflow(envelope)
    if (this.parked) this.wake()
  }

  /** Ids that no subscriber can be given. They come in their place, and take no room. */
  offerGap(gap: Gap) {
    this.items.push(gap)
    this.wake()
  }

  private overflow(envelope: Envelope<A>) {
    switch (this.policy) {
      case "suspend": {
        if (this.host.fallsBack) {
          this.host.leaving.push(this)
          return
        }
        this.items.push(envelope)
        this.size++
        this.host.queued++
        return
      }
      case "sliding": {
        const oldest = this.items[this.head] as Envelope<A>
        if (this.lostCount === 0) this.lostFirst = oldest.id
        this.lostLast = oldest.id
        this.lostCount++
        this.advance(1)
        this.items.push(envelope)
        break
      }
      case "dropping": {
        const last = this.items[this.items.length - 1]
        if (last instanceof Gap) {
          // nobody has seen it yet
          const gap = last as { -readonly [K in keyof Gap]: Gap[K] }
          gap.lastId = envelope.id
          gap.count++
        } else this.items.push(new Gap(envelope.id, envelope.id, 1))
        break
      }
      case "disconnect": {
        this.close("overflow", envelope.id - 1)
        this.host.leaving.push(this)
        break
      }
    }
    this.dropped++
    this.host.onDropped(1)
  }

  /** Moves the head. The array is cut when most of it is behind the head, so it stays within twice what is queued. */
  private advance(count: number) {
    this.items.fill(undefined!, this.head, this.head + count)
    this.head += count
    if (this.head === this.items.length) {
      this.items = []
      this.head = 0
    } else if (this.head >= 32 && this.head * 2 >= this.items.length) {
      this.items = this.items.slice(this.head)
      this.head = 0
    }
  }

  /** Whether there is anything to take. */
  private get ready(): boolean {
    return this.items.length > this.head || this.lostCount > 0 || this.backlog.length > 0
  }

  /** Takes without waiting. Undefined when there is nothing. */
  take(max: number): NonEmptyArray<Item<A>> | undefined {
    const room = max >= 1 ? Math.floor(max) : 1
    if (this.backlog.length > 0) {
      const taken = this.backlog.length <= room ? this.backlog : this.backlog.slice(0, room)
      this.backlog = taken === this.backlog ? [] : this.backlog.slice(room)
      this.delivered += countEvents(taken)
      return taken as NonEmptyArray<Item<A>>
    }
    const length = this.items.length - this.head
    if (length === 0 && this.lostCount === 0) return undefined
    const sizeBefore = this.size
    let taken: Array<Item<A>>
    if (this.lostCount > 0) {
      taken = [new Gap(this.lostFirst, this.lostLast, this.lostCount)]
      this.lostCount = 0
      const more = Math.min(length, room - 1)
      for (let i = this.head; i < this.head + more; i++) taken.push(this.items[i])
      this.advance(more)
      this.size -= more
    } else if (this.head === 0 && length <= room) {
      taken = this.items
      this.items = []
      this.size = 0
    } else {
      taken = this.items.slice(this.head, this.head + room)
      this.advance(taken.length)
      this.size -= this.policy === "dropping" ? countEvents(taken) : taken.length
    }
    const events = sizeBefore - this.size
    this.delivered += events
    this.host.queued -= events
    if (this.lossless && sizeBefore >= this.capacity && this.size < this.capacity && this.closed === undefined) {
      this.host.full--
    }
    if (this.waiting.length > 0) this.host.onRoom(this)
    return taken as NonEmptyArray<Item<A>>
  }

  private attempt(
    max: number,
    fiber: Fiber.RuntimeFiber<unknown, unknown>
  ): Effect.Effect<NonEmptyReadonlyArray<Item<A>>, SubscriptionClosed> | undefined {
    const taken = this.take(max)
    if (taken !== undefined) {
      if (this.onTake !== undefined) this.onTake(taken)
      this.host.onTaken(this, taken, fiber)
      return Effect.succeed(taken)
    }
    return this.closed === undefined ? undefined : new SubscriptionClosed(this.closed)
  }

  readonly takeBatch = (
    max: number = Number.POSITIVE_INFINITY
  ): Effect.Effect<NonEmptyReadonlyArray<Item<A>>, SubscriptionClosed> =>
    Effect.withFiberRuntime<NonEmptyReadonlyArray<Item<A>>, SubscriptionClosed>((fiber) =>
      this.attempt(max, fiber) ?? (
        this.history === undefined
          ? this.park(max)
          : Effect.zipRight(this.readHistory(this.history, max), Effect.suspend(() => this.takeBatch(max)))
      )
    )

  readonly poll = (max: number = Number.POSITIVE_INFINITY): Effect.Effect<ReadonlyArray<Item<A>>, SubscriptionClosed> =>
    Effect.withFiberRuntime<ReadonlyArray<Item<A>>, SubscriptionClosed>((fiber) =>
      this.attempt(max, fiber) ?? (
        this.history === undefined
          ? Effect.succeed(nothing)
          : Effect.zipRight(this.readHistory(this.history, max), Effect.suspend(() => this.poll(max)))
      )
    )

  /** Whether the scope of the subscription was closed. */
  get released(): boolean {
    return this.closed?.reason === "unsubscribed"
  }

  /** Whether it is offered what comes. Publishers wait for no other one. */
  get isLive(): boolean {
    return this.closed === undefined && this.history === undefined
  }

  /** Moves the next part of the history into the backlog, until the mailbox is live. */
  private readHistory(history: History<A>, max: number): Effect.Effect<void, SubscriptionClosed> {
    this.readLock ??= new Lock()
    return this.readLock.withLock(Effect.suspend(() => {
      if (this.history !== history || this.backlog.length > 0) return Effect.void
      return Effect.matchCauseEffect(history.read(max >= 1 ? Math.floor(max) : 1), {
        onFailure: (cause) =>
          Effect.suspend(() => {
            this.close("failed", this.host.lastId, cause)
            return new SubscriptionClosed(this.closed!)
          }),
        onSuccess: (items) =>
          Effect.sync(() => {
            if (this.closed === undefined) this.backlog = this.backlog.concat(items)
          })
      })
    }))
  }

  private readonly isDue = () => {
    if (this.ready || this.closed !== undefined) return true
    this.parked = true
    return false
  }

  /** Wakes all, so that one that was interrupted, and left its entry behind, takes nothing with it. */
  private wake() {
    this.parked = false
    if (this.waiters.length > 0) { for (const waiter of this.waiters.splice(0)) waiter() }
  }

  /** Whoever is woken and finds nothing waits again. */
  private park(max: number): Effect.Effect<NonEmptyReadonlyArray<Item<A>>, SubscriptionClosed> {
    return Effect.async<NonEmptyReadonlyArray<Item<A>>, SubscriptionClosed>((resume) => {
      const waiter = () => resume(this.takeBatch(max))
      if (this.isDue()) {
        waiter()
        return
      }
      this.waiters.push(waiter)
      return Effect.sync(() => {
        const index = this.waiters.indexOf(waiter)
        if (index >= 0) this.waiters.splice(index, 1)
      })
    })
  }

  /** Goes live with the history that comes before. */
  start(backlog: Array<Item<A>>) {
    this.history = undefined
    this.backlog = this.backlog.concat(backlog)
    this.wake()
  }

  /** What is queued can still be taken, unless `discard` says so. */
  close(reason: SubscriptionClosed["reason"], lastId: number, cause?: unknown) {
    if (this.closed !== undefined) return
    this.closed = { bus: this.host.name, subscriber: this.name, reason, lastId, cause }
    this.history = undefined
    if (this.lossless && this.size >= this.capacity) this.host.full--
    this.wake()
    if (this.waiting.length > 0) this.host.onRoom(this)
  }

  /** Forgets what is queued. */
  discard() {
    this.host.queued -= this.size
    if (this.lossless && this.size >= this.capacity && this.closed === undefined) this.host.full--
    this.items = []
    this.backlog = []
    this.head = 0
    this.size = 0
    this.lostCount = 0
  }

  /** What is neither taken nor handled. */
  unread(): { readonly count: number; readonly firstId: number; readonly lastId: number } | undefined {
    const events = [...this.inFlight(), ...[...this.backlog, ...this.items.slice(this.head)].filter(isEnvelope)]
    const pending = this.history?.pending() ?? 0
    const count = events.length + pending
    return count === 0 ? undefined : {
      count,
      firstId: events.length > 0 ? events[0].id : this.host.lastId - pending + 1,
      lastId: pending > 0 ? this.host.lastId : events[events.length - 1].id
    }
  }

  get idle(): boolean {
    return !this.ready && this.inFlight().length === 0 && (this.history === undefined || this.history.pending() === 0)
  }

  readonly stream: Stream.Stream<Item<A>, SubscriptionClosed> = Stream.repeatEffectChunkOption(
    Effect.suspend(() =>
      Effect.matchEffect(this.takeBatch(), {
        onFailure: (closed) => Effect.fail(isOrderly(closed) ? Option.none() : Option.some(closed)),
        onSuccess: (items) => Effect.succeed(Chunk.unsafeFromArray(items))
      })
    )
  )

  readonly stats: Effect.Effect<Stats> = Effect.sync(() => this.unsafeStats())

  unsafeStats(): Stats {
    return {
      id: this.id,
      name: this.name,
      policy: this.policy,
      capacity: this.capacity,
      queued: this.size + countEvents(this.backlog) + (this.history?.pending() ?? 0),
      inFlight: this.inFlight().length,
      delivered: this.delivered,
      dropped: this.dropped,
      waiting: this.waiting.length,
      closed: this.closed?.reason
    }
  }
}

const nothing: ReadonlyArray<never> = []

const countEvents = <A>(items: ReadonlyArray<Item<A>>): number => {
  let count = 0
  for (const item of items) if (!(item instanceof Gap)) count++
  return count
}

/** Whether a subscription ended as was asked for. */
export const isOrderly = (closed: SubscriptionClosed): boolean =>
  closed.reason === "unsubscribed" || closed.reason === "drained" || closed.reason === "closed"

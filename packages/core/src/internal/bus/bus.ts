import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as MetricLabel from "effect/MetricLabel"
import * as ParseResult from "effect/ParseResult"
import * as PubSub from "effect/PubSub"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Envelope, Event } from "../../Envelope.js"
import { Gap, isGap, traceOf } from "../../Envelope.js"
import type { DrainReport, Stats, Undelivered } from "../../EventBusReport.js"
import type * as EventHandler from "../../EventHandler.js"
import type * as EventLog from "../../EventLog.js"
import { UnknownPosition } from "../../EventLog.js"
import type * as EventLogStore from "../../EventLogStore.js"
import type * as EventSubscription from "../../EventSubscription.js"
import type { PublishError, PublishOptions } from "../../Publishing.js"
import { BusClosed, CycleDetected, InvalidEvent, SubscriberSaturated } from "../../Publishing.js"
import * as Race from "../../Race.js"
import type { Handling } from "./handlers.js"
import { currentHandling, start as startHandler } from "./handlers.js"
import { Codec, EventHistory } from "./history.js"
import type { Draft, Host, Item, Request } from "./mailbox.js"
import { Mailbox } from "./mailbox.js"
import * as Metrics from "./metrics.js"
import { StallWatch } from "./stallWatch.js"
import { Filter, TopicIndex } from "./topicIndex.js"
import { Writer } from "./writer.js"

interface Settings<A extends Event, I> {
  readonly name: string
  readonly schema: Schema.Schema<A, I>
  readonly topicOf: (event: A) => string
  readonly validate: boolean
  readonly maxDepth: number
  readonly log: EventLog.Options<A>
  readonly deadLetters: number
}

/** What a handler may put into a full queue, in multiples of its capacity, before it is refused. */
const handlerReserve = 8

export class Bus<A extends Event, I> implements Host<A> {
  readonly name: string
  lastId = 0
  full = 0
  queued = 0
  readonly overflowed: Array<Mailbox<A>> = []
  readonly watch: StallWatch<A>
  writer: Writer<A, I> | undefined = undefined

  private state: Stats["state"] = "open"
  private readonly mailboxes = new Set<Mailbox<A>>()
  private readonly index = new TopicIndex<Mailbox<A>>()
  /** What the fan-out looks at, used again for each event. */
  private readonly found: Array<ReadonlyArray<Mailbox<A>>> = []
  private readonly history: EventHistory<A, I>
  private readonly codec: Codec<A, I>
  private readonly isValid: ((event: A) => boolean) | undefined
  private readonly explain: (event: A) => Either.Either<A, ParseResult.ParseError>
  private readonly decode: (input: unknown) => Either.Either<A, ParseResult.ParseError>
  private readonly letters: Array<EventHandler.DeadLetter<A>> = []
  private drained: Deferred.Deferred<DrainReport> | undefined = undefined
  private onIdle: (() => void) | undefined = undefined
  private subscriptions = 0
  private published = 0
  private refused = 0
  private delivered = 0
  private dropped = 0
  private deadLettered = 0
  private readonly metrics

  constructor(
    private readonly settings: Settings<A, I>,
    private readonly clock: Clock.Clock,
    private readonly letterHub: PubSub.PubSub<EventHandler.DeadLetter<A>>
  ) {
    const { log, name, schema, validate } = settings
    const labels = [MetricLabel.make("bus", name)]
    this.name = name
    this.codec = new Codec(schema)
    this.history = new EventHistory(name, log, this.codec)
    this.isValid = validate ? Schema.is(schema) : undefined
    this.explain = Schema.validateEither(schema)
    this.decode = Schema.decodeUnknownEither(schema)
    this.watch = new StallWatch(clock, (mailbox) => this.cutOff(mailbox))
    this.metrics = {
      published: Metrics.published(labels),
      delivered: Metrics.delivered(labels),
      dropped: Metrics.dropped(labels),
      refused: Metrics.refused(labels),
      deadLetters: Metrics.deadLetters(labels),
      lag: Metrics.lag(labels),
      queued: Metrics.queued(labels)
    }
  }

  continueFrom(store: EventLogStore.Store["Type"]): Effect.Effect<void, EventLogStore.StoreError> {
    return Effect.map(this.history.load(store), (last) => {
      this.lastId = last
      this.writer = new Writer(
        store,
        this.codec,
        this.history,
        () => this.lastId,
        (draft, at) => this.commit(draft, at),
        (id) => this.history.ring.push(new Gap(this.lastId = id, id, 1)),
        () => this.checkIdle()
      )
    })
  }

  // ---- publishing

  readonly publish = (event: A, options?: PublishOptions): Effect.Effect<Envelope<A>, PublishError> =>
    Effect.withFiberRuntime<Envelope<A>, PublishError>((fiber) => {
      const handling = fiber.getFiberRef(currentHandling)
      const draft = this.draft(event, options, handling, fiber)
      if (draft instanceof Error) return this.refuse(draft)
      if (this.full === 0 && this.writer === undefined) {
        return Effect.succeed(this.commit(draft, clockOf(fiber).unsafeCurrentTimeMillis()))
      }
      return Effect.map(this.submit([draft], handling, clockOf(fiber)), (envelopes) => envelopes[0])
    })

  readonly publishAll = (
    events: ReadonlyArray<A>,
    options?: PublishOptions
  ): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> =>
    Effect.withFiberRuntime<ReadonlyArray<Envelope<A>>, PublishError>((fiber) => {
      const handling = fiber.getFiberRef(currentHandling)
      const drafts: Array<Draft<A>> = []
      for (const event of events) {
        const draft = this.draft(event, options, handling, fiber)
        if (draft instanceof Error) return this.refuse(draft)
        drafts.push(draft)
      }
      if (drafts.length === 0) return Effect.succeed(drafts)
      if (this.full === 0 && this.writer === undefined) {
        const at = clockOf(fiber).unsafeCurrentTimeMillis()
        for (const draft of drafts) this.commit(draft, at)
        return Effect.succeed(drafts)
      }
      return this.submit(drafts, handling, clockOf(fiber))
    })

  readonly publishUnknown = (input: unknown, options?: PublishOptions): Effect.Effect<Envelope<A>, PublishError> =>
    Effect.suspend(() => {
      const decoded = this.decode(input)
      return Either.isRight(decoded)
        ? this.publish(decoded.right, options)
        : this.refuse(this.invalid(input, decoded.left))
    })

  /** Everything that can be said against an event before it is its turn. */
  private draft(
    event: A,
    options: PublishOptions | undefined,
    handling: Handling | undefined,
    fiber: Fiber.RuntimeFiber<unknown, unknown>
  ): Draft<A> | Exclude<PublishError, EventLogStore.StoreError> {
    if (!this.accepts(handling)) {
      return this.busClosed()
    }
    if (this.isValid !== undefined && !this.isValid(event)) {
      return this.invalid(event, Either.getOrThrow(Either.flip(this.explain(event))))
    }
    const topic = options?.topic ?? this.settings.topicOf(event)
    const cause = options?.causation ?? handling?.envelope
    // ids of another bus mean nothing here; how long the chain is does
    const causationId = options?.causation?.id ?? (handling?.bus === this.name ? handling.envelope.id : undefined)
    const depth = cause === undefined ? 0 : cause.depth + 1
    if (depth > this.settings.maxDepth) {
      return new CycleDetected({
        bus: this.name,
        tag: event._tag,
        topic,
        causationId: cause!.id,
        depth,
        chain: this.chain(causationId)
      })
    }
    const span = fiber.currentSpan
    return { id: 0, at: 0, topic, event, causationId, depth, trace: span === undefined ? undefined : traceOf(span) }
  }

  /** What was accepted may have consequences while the bus drains. */
  private accepts(handling: Handling | undefined): boolean {
    return this.state === "open" || (this.state === "draining" && handling?.active === true)
  }

  private busClosed(): BusClosed {
    return new BusClosed({ bus: this.name, state: this.state === "closed" ? "closed" : "draining" })
  }

  private invalid(input: unknown, error: ParseResult.ParseError): InvalidEvent {
    const tag = typeof input === "object" && input !== null && "_tag" in input ? String(input._tag) : undefined
    return new InvalidEvent({ bus: this.name, tag, issue: ParseResult.TreeFormatter.formatErrorSync(error) })
  }

  private chain(id: number | undefined): ReadonlyArray<string> {
    const tags: Array<string> = []
    while (id !== undefined && tags.length < 8) {
      const item = this.history.ring.at(id)
      if (item === undefined || isGap(item)) break
      tags.unshift(item.event._tag)
      id = item.causationId
    }
    return tags
  }

  private refuse(error: Exclude<PublishError, EventLogStore.StoreError>): Effect.Effect<never, PublishError> {
    this.refused++
    this.metrics.refused.unsafeUpdate(1, Metrics.noTags)
    return error._tag === "CycleDetected" ? Effect.zipRight(Effect.logError(error.message), error) : error
  }

  private submit(
    drafts: ReadonlyArray<Draft<A>>,
    handling: Handling | undefined,
    clock: Clock.Clock
  ): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> {
    const payloads: Array<string> = []
    if (this.writer !== undefined) {
      for (const { event } of drafts) {
        const payload = this.codec.payload(event)
        if (Either.isLeft(payload)) return this.refuse(this.invalid(event, payload.left))
        payloads.push(payload.right)
      }
    }
    const saturated = handling?.active === true ? this.saturation(drafts) : undefined
    if (saturated !== undefined) return this.refuse(saturated)
    let request: Request<A> | undefined
    const accepted = Effect.async<ReadonlyArray<Envelope<A>>, PublishError>((resume) => {
      request = { drafts, payloads, clock, resume, done: false }
      // again: a drain that began since the first look may have found everything idle already
      if (this.accepts(handling)) this.admit(request, handling?.active !== true)
      else this.reject(request)
    })
    // around the wait: one that `async` answers is lost on a fiber that is interrupted between registering and waiting
    return Effect.onInterrupt(accepted, () =>
      Effect.sync(() => {
        if (request !== undefined) this.withdraw(request)
      }))
  }

  private withdraw(request: Request<A>) {
    if (request.done) return
    request.done = true
    for (const mailbox of this.mailboxes) {
      const index = mailbox.waiting.indexOf(request)
      if (index >= 0) mailbox.waiting.splice(index, 1)
    }
  }

  private admit(request: Request<A>, patient: boolean) {
    const blocker = patient ? this.findFull(request.drafts, 0) : undefined
    if (blocker !== undefined) {
      blocker.waiting.push(request)
      if (blocker.waiting.length === 1) {
        blocker.stalledSince = this.clock.unsafeCurrentTimeMillis()
        this.watch.add(blocker)
      }
    } else if (this.writer !== undefined) this.writer.push(request)
    else {
      const at = request.clock.unsafeCurrentTimeMillis()
      for (const draft of request.drafts) this.commit(draft, at)
      request.done = true
      request.resume(Effect.succeed(request.drafts))
    }
  }

  /** A lossless subscriber of interest whose queue is full, and longer than its capacity by more than `reserve`. */
  private findFull(drafts: ReadonlyArray<Draft<A>>, reserve: number): Mailbox<A> | undefined {
    if (this.full === 0) return undefined
    for (const { event, topic } of drafts) {
      for (const list of this.index.lookup(topic, event._tag)) {
        for (const mailbox of list) {
          if (
            mailbox.lossless && mailbox.size >= mailbox.capacity * (1 + reserve) &&
            (mailbox.tags === undefined || mailbox.tags.has(event._tag))
          ) return mailbox
        }
      }
    }
    return undefined
  }

  private saturation(drafts: ReadonlyArray<Draft<A>>): SubscriberSaturated | undefined {
    const mailbox = this.findFull(drafts, handlerReserve)
    return mailbox === undefined ? undefined : new SubscriberSaturated({
      bus: this.name,
      subscriber: mailbox.name,
      queued: mailbox.size,
      capacity: mailbox.capacity
    })
  }

  /** Accepts an event: id, history and every queue of interest, in one step. */
  private commit(draft: Draft<A>, at: number): Envelope<A> {
    const id = ++this.lastId
    draft.id = id
    draft.at = at
    this.history.ring.push(draft)
    const tag = draft.event._tag
    const lists = this.index.lookup(draft.topic, tag, this.found)
    for (let i = 0; i < lists.length; i++) {
      const list = lists[i]
      for (let j = 0; j < list.length; j++) {
        const mailbox = list[j]
        if (mailbox.mark === id || (mailbox.tags !== undefined && !mailbox.tags.has(tag))) continue
        mailbox.mark = id
        mailbox.offer(draft)
      }
    }
    // not in the loop, since it changes the lists
    if (this.overflowed.length > 0) { for (const mailbox of this.overflowed.splice(0)) this.index.remove(mailbox) }
    this.published++
    this.metrics.published.unsafeUpdate(1, Metrics.noTags)
    return draft
  }

  // ---- what mailboxes tell

  readonly onDropped = (count: number) => {
    this.dropped += count
    this.metrics.dropped.unsafeUpdate(count, Metrics.noTags)
  }

  readonly onTaken = (
    mailbox: Mailbox<A>,
    items: ReadonlyArray<Item<A>>,
    fiber: Fiber.RuntimeFiber<unknown, unknown>
  ) => {
    const first = items[0]
    if (!isGap(first)) {
      this.metrics.lag.unsafeUpdate(Math.max(0, clockOf(fiber).unsafeCurrentTimeMillis() - first.at), Metrics.noTags)
    }
    const taken = mailbox.delivered - mailbox.reported
    mailbox.reported = mailbox.delivered
    this.delivered += taken
    this.metrics.delivered.unsafeUpdate(taken, Metrics.noTags)
    this.metrics.queued.unsafeUpdate(this.queued, Metrics.noTags)
    if (this.onIdle !== undefined) this.checkIdle()
  }

  readonly onRoom = (mailbox: Mailbox<A>) => {
    if (mailbox.closed === undefined) mailbox.stalledSince = this.clock.unsafeCurrentTimeMillis()
    while (mailbox.waiting.length > 0 && (mailbox.closed !== undefined || mailbox.size < mailbox.capacity)) {
      this.admit(mailbox.waiting.shift()!, true)
    }
  }

  private cutOff(mailbox: Mailbox<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (mailbox.closed !== undefined) return Effect.void
      this.index.remove(mailbox)
      mailbox.close("cut-off", this.lastId)
      return Effect.logWarning(
        `${this.name} cut off subscriber "${mailbox.name}": it took nothing for ${mailbox.limit} ms while publishers waited`
      )
    })
  }

  // ---- subscribing

  private open(options: EventSubscription.Options): Mailbox<A> {
    const capacity = options.capacity ?? 1
    if (!Number.isInteger(capacity) || capacity < 1) {
      throw new RangeError(`The capacity of a subscription must be a positive integer, not ${capacity}`)
    }
    const mailbox = new Mailbox<A>(this, ++this.subscriptions, options)
    this.mailboxes.add(mailbox)
    return mailbox
  }

  /** From here on it is live. On a bus that is closed, what it has is all that it gets. */
  private join(mailbox: Mailbox<A>) {
    if (this.state === "closed") mailbox.close("closed", this.lastId)
    else this.index.add(mailbox)
  }

  private subscribed(open: Effect.Effect<Mailbox<A>, EventLog.UnknownPosition>) {
    return Effect.acquireRelease(open, (mailbox) =>
      Effect.sync(() => {
        this.index.remove(mailbox)
        this.mailboxes.delete(mailbox)
        mailbox.close("unsubscribed", this.lastId)
        mailbox.discard()
        this.checkIdle()
      }))
  }

  readonly subscribe = (options: EventSubscription.Options = {}) =>
    Effect.orDie(this.subscribed(Effect.sync(() => {
      const mailbox = this.open(options)
      this.join(mailbox)
      return mailbox
    })))

  readonly handle = <E, R>(
    options: EventHandler.Options<A, E, R>,
    f: (envelope: Envelope<A>) => Effect.Effect<unknown, E, R>
  ): Effect.Effect<void, never, R | Scope.Scope> =>
    Effect.flatMap(this.subscribe(options), (mailbox) =>
      startHandler(
        this.name,
        this.clock,
        mailbox,
        options,
        f,
        (letter) => this.onDeadLetter(letter),
        () => this.checkIdle()
      ))

  readonly bounds = Effect.withFiberRuntime<EventLog.Bounds>((fiber) => {
    this.history.ring.expire(clockOf(fiber).unsafeCurrentTimeMillis())
    return Effect.succeed({ first: this.history.first, last: this.lastId })
  })

  readonly after = (id: number, options: EventLog.ReadOptions = {}) =>
    Effect.zipRight(
      this.checkPosition(id),
      Effect.suspend(() =>
        this.history.page(id, new Filter(options.topics, options.tags), Math.max(1, Math.floor(options.limit ?? 1024)))
      )
    )

  readonly subscribeAfter = (id: number, options: EventSubscription.Options = {}) =>
    this.subscribed(Effect.map(this.checkPosition(id), () => {
      const mailbox = this.open(options)
      this.history.feed(mailbox, id, () => this.join(mailbox))
      return mailbox
    }))

  private checkPosition(id: number): Effect.Effect<void, EventLog.UnknownPosition> {
    return Effect.withFiberRuntime((fiber) => {
      if (!Number.isInteger(id) || id < 0 || id > this.lastId) {
        return new UnknownPosition({ bus: this.name, after: id, lastId: this.lastId })
      }
      this.history.ring.expire(clockOf(fiber).unsafeCurrentTimeMillis())
      return Effect.void
    })
  }

  // ---- the end

  private checkIdle() {
    if (this.onIdle === undefined || this.queued > 0 || this.writer?.idle === false) return
    for (const mailbox of this.mailboxes) if (!mailbox.idle) return
    this.onIdle()
  }

  private readonly awaitIdle = Effect.async<void>((resume) => {
    this.onIdle = () => {
      this.onIdle = undefined
      resume(Effect.void)
    }
    this.checkIdle()
    return Effect.sync(() => {
      this.onIdle = undefined
    })
  })

  private reject(request: Request<A>) {
    if (request.done) return
    request.done = true
    this.refused += request.drafts.length
    this.metrics.refused.unsafeUpdate(request.drafts.length, Metrics.noTags)
    request.resume(this.busClosed())
  }

  private rejectAll(): number {
    const waiting = [...this.mailboxes].flatMap((mailbox) => mailbox.waiting.splice(0))
    for (const request of waiting) this.reject(request)
    return waiting.length
  }

  readonly drain = (budget: Duration.DurationInput): Effect.Effect<DrainReport> =>
    // uninterruptible from the first look: a drain that has been announced ends, or those who wait for it never do
    Effect.uninterruptibleMask((restore) =>
      Effect.clockWith((clock) => {
        if (this.drained !== undefined) return restore(Deferred.await(this.drained))
        const drained = this.drained = Deferred.unsafeMake<DrainReport>(FiberId.none)
        const startedAt = clock.unsafeCurrentTimeMillis()
        if (this.state === "open") this.state = "draining"
        const rejected = this.rejectAll()
        return Effect.flatMap(Effect.exit(restore(Race.timeoutOption(this.awaitIdle, budget))), () => {
          const undelivered = this.finish("drained")
          const report: DrainReport = {
            bus: this.name,
            lastId: this.lastId,
            undelivered,
            rejected,
            elapsedMillis: clock.unsafeCurrentTimeMillis() - startedAt
          }
          Deferred.unsafeDone(drained, Effect.succeed(report))
          return undelivered.length === 0 ? Effect.succeed(report) : Effect.as(
            Effect.logWarning(`${this.name} left events undelivered: ${undelivered.map(showUndelivered).join(", ")}`),
            report
          )
        })
      })
    )

  private finish(reason: "drained" | "closed"): ReadonlyArray<Undelivered> {
    this.state = "closed"
    this.rejectAll()
    for (const request of this.writer?.drop() ?? []) this.reject(request)
    const undelivered: Array<Undelivered> = []
    for (const mailbox of this.mailboxes) {
      this.index.remove(mailbox)
      const unread = mailbox.unread()
      if (unread !== undefined) undelivered.push({ subscriber: mailbox.name, ...unread })
      mailbox.close(reason, this.lastId)
      mailbox.discard()
    }
    return undelivered
  }

  /** When the scope of the bus is closed without a drain. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    if (this.state === "closed") return Effect.void
    const undelivered = this.finish("closed")
    return undelivered.length === 0 ? Effect.void : Effect.logWarning(
      `${this.name} was closed with events undelivered: ${undelivered.map(showUndelivered).join(", ")}`
    )
  })

  private onDeadLetter(letter: EventHandler.DeadLetter<A>): Effect.Effect<void> {
    this.deadLettered++
    this.metrics.deadLetters.unsafeUpdate(1, Metrics.noTags)
    this.letters.push(letter)
    if (this.letters.length > (this.settings.deadLetters)) this.letters.shift()
    // publishing on one that was shut down would interrupt the handler
    return Effect.flatMap(
      PubSub.isShutdown(this.letterHub),
      (closed) => closed ? Effect.void : Effect.asVoid(PubSub.publish(this.letterHub, letter))
    )
  }

  readonly deadLetterStream: Stream.Stream<EventHandler.DeadLetter<A>> = Stream.unwrap(
    Effect.suspend(() =>
      Effect.map(
        PubSub.isShutdown(this.letterHub),
        (closed) => closed ? Stream.empty : Stream.fromPubSub(this.letterHub)
      )
    )
  )

  readonly recentDeadLetters = Effect.sync((): ReadonlyArray<EventHandler.DeadLetter<A>> => this.letters.slice())

  readonly stats = Effect.sync((): Stats => {
    const subscribers = Array.from(this.mailboxes, (mailbox) => mailbox.unsafeStats())
    return {
      bus: this.name,
      state: this.state,
      lastId: this.lastId,
      published: this.published,
      refused: this.refused,
      delivered: this.delivered,
      dropped: this.dropped,
      queued: subscribers.reduce((sum, { queued }) => sum + queued, 0),
      waiting: subscribers.reduce((sum, { waiting }) => sum + waiting, 0),
      deadLetters: this.deadLettered,
      subscribers
    }
  })
}

const clockOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Clock.Clock =>
  Context.get(fiber.currentDefaultServices, Clock.Clock)

const showUndelivered = ({ count, firstId, lastId, subscriber }: Undelivered): string =>
  `${count} for "${subscriber}" (${firstId} to ${lastId})`

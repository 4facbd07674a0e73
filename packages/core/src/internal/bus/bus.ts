import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Envelope, Event } from "../../Envelope.js"
import { Gap, isGap } from "../../Envelope.js"
import type { DrainReport, Stats, Undelivered, Unsettled } from "../../EventBusReport.js"
import type * as EventHandler from "../../EventHandler.js"
import type { EventJournal } from "../../EventJournal.js"
import type * as EventLog from "../../EventLog.js"
import { UnknownPosition } from "../../EventLog.js"
import type * as EventLogStore from "../../EventLogStore.js"
import type * as EventSubscription from "../../EventSubscription.js"
import * as FiberRegistry from "../../FiberRegistry.js"
import type { InvalidOption } from "../../InvalidOption.js"
import { check } from "../../InvalidOption.js"
import * as Monotonic from "../../Monotonic.js"
import type { PublishError, PublishOptions } from "../../Publishing.js"
import { BusClosed, Overtaken } from "../../Publishing.js"
import * as Race from "../../Race.js"
import { Signal } from "../../Signal.js"
import { Admission } from "./admission.js"
import { DeadLetters } from "./deadLetters.js"
import type { Handling } from "./handlers.js"
import { currentHandling, start as startHandler } from "./handlers.js"
import { Codec, EventHistory } from "./history.js"
import { Intake } from "./intake.js"
import type { Host } from "./mailbox.js"
import { Mailbox } from "./mailbox.js"
import * as Metrics from "./metrics.js"
import type { Draft, Item, Request } from "./model.js"
import { clockOf, respond, Unreadable } from "./model.js"
import { checkHandler, unsafePageSize } from "./options.js"
import { Outbox, readable } from "./outbox.js"
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

/**
 * A bus, put together from its parts: `Intake` makes drafts of events, `Admission` lets publishers wait for room, a `Writer`
 * or an `Outbox` makes what is accepted durable, `commit` gives it its id and offers it to subscribers, a `Mailbox` per subscriber
 * keeps it until it is taken, `EventHistory` afterwards.
 */
export class Bus<A extends Event, I> implements Host<A> {
  readonly name: string
  lastId = 0
  queued = 0
  readonly leaving: Array<Mailbox<A>> = []
  readonly watch: StallWatch<A>
  readonly letters: DeadLetters<A>
  writer: Writer<A, I> | undefined = undefined
  outbox: Outbox<A, I> | undefined = undefined
  /** Hears at the end of a drain of publishes that nobody confirmed. */
  onUnsettled: (bus: string, unsettled: ReadonlyArray<Unsettled>) => void = () => {}

  private state: Stats["state"] = "open"
  private readonly mailboxes = new Set<Mailbox<A>>()
  private readonly index = new TopicIndex<Mailbox<A>>()
  /** Events that were accepted while another one was being offered to subscribers. */
  private readonly unoffered: Array<Draft<A>> = []
  private offering = false
  private readonly admission: Admission<A>
  private readonly intake: Intake<A, I>
  private readonly history: EventHistory<A, I>
  private readonly codec: Codec<A, I>
  private readonly progress = new Signal()
  private report: DrainReport | undefined = undefined
  private subscriptions = 0
  private published = 0
  private refused = 0
  private delivered = 0
  private dropped = 0
  private readonly metrics

  constructor(settings: Settings<A, I>, private readonly clock: Clock.Clock) {
    const { deadLetters, log, name, schema } = settings
    this.name = name
    this.codec = new Codec(schema)
    this.history = new EventHistory(name, log, this.codec, clock)
    this.intake = new Intake(settings, (id) => this.history.ring.at(id))
    this.watch = new StallWatch(clock, (mailbox) => this.cutOff(mailbox))
    this.admission = new Admission(
      name,
      this.index,
      this.watch,
      clock,
      (request) => this.accept(request),
      (ifLast) => this.isLate(ifLast)
    )
    this.letters = new DeadLetters(deadLetters)
    this.metrics = Metrics.ofBus(name)
  }

  continueFrom(store: EventLogStore.Store["Type"]): Effect.Effect<void, EventLogStore.StoreError> {
    return Effect.map(this.history.load(store), (last) => {
      this.lastId = last
      this.writer = new Writer(
        this.name,
        store,
        this.codec,
        this.history,
        () => this.lastId,
        (draft, at) => this.commit(draft, at),
        (row) => this.skip(new Unreadable(row.id, row.topic, row.tag)),
        () => this.progress.wake()
      )
    })
  }

  /** `node` begins the names of attempts: another one on every node and in every life. */
  share(journal: EventJournal["Type"], node: string): Effect.Effect<void, EventLogStore.StoreError> {
    return Effect.map(this.history.load(readable(journal)), (last) => {
      this.lastId = last
      this.outbox = new Outbox(journal, this.codec, {
        bus: this,
        commit: (draft, at) => this.commit(draft, at),
        skip: (gap) => this.skip(gap),
        itemAt: (id) => this.history.ring.at(id),
        onIdle: () => this.progress.wake()
      }, node)
    })
  }

  /** Whether a full lossless subscriber continues from the log: on a journal nobody elsewhere waits for it. */
  get fallsBack(): boolean {
    return this.outbox !== undefined
  }

  get full(): number {
    return this.admission.full
  }

  set full(count: number) {
    this.admission.full = count
  }

  // Publishing

  readonly publish = (event: A, options?: PublishOptions): Effect.Effect<Envelope<A>, PublishError> =>
    Effect.withFiberRuntime<Envelope<A>, PublishError>((fiber) => {
      const handling = fiber.getFiberRef(currentHandling)
      if (!this.accepts(handling)) return this.refuse(this.busClosed())
      const draft = this.intake.draft(event, options, handling, fiber)
      if (draft instanceof Error) return this.refuse(draft)
      if (this.isDirect && options?.ifLast === undefined) {
        return Effect.succeed(this.commit(draft, clockOf(fiber).unsafeCurrentTimeMillis()))
      }
      return Effect.map(this.submit([draft], options, handling, clockOf(fiber)), (envelopes) => envelopes[0])
    })

  readonly publishAll = (
    events: ReadonlyArray<A>,
    options?: PublishOptions
  ): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> =>
    Effect.withFiberRuntime<ReadonlyArray<Envelope<A>>, PublishError>((fiber) => {
      const handling = fiber.getFiberRef(currentHandling)
      if (!this.accepts(handling)) return this.refuse(this.busClosed())
      const drafts: Array<Draft<A>> = []
      for (const event of events) {
        const draft = this.intake.draft(event, options, handling, fiber)
        if (draft instanceof Error) return this.refuse(draft)
        drafts.push(draft)
      }
      if (drafts.length === 0) return Effect.succeed(drafts)
      if (this.isDirect && options?.ifLast === undefined) {
        const at = clockOf(fiber).unsafeCurrentTimeMillis()
        for (const draft of drafts) this.commit(draft, at)
        return Effect.succeed(drafts)
      }
      return this.submit(drafts, options, handling, clockOf(fiber))
    })

  readonly publishUnknown = (input: unknown, options?: PublishOptions): Effect.Effect<Envelope<A>, PublishError> =>
    Effect.suspend(() => {
      const decoded = this.intake.decode(input)
      return Either.isRight(decoded) ? this.publish(decoded.right, options) : this.refuse(decoded.left)
    })

  /** Whether an event can be accepted in the step of its publisher. */
  private get isDirect(): boolean {
    return this.admission.full === 0 && this.writer === undefined && this.outbox === undefined
  }

  /** What was accepted may have consequences while the bus drains. */
  private accepts(handling: Handling | undefined): boolean {
    return this.state === "open" || (this.state === "draining" && handling?.active === true)
  }

  private busClosed(): BusClosed {
    return new BusClosed({ bus: this.name, state: this.state === "closed" ? "closed" : "draining" })
  }

  private refuse(error: Exclude<PublishError, EventLogStore.StoreError>): Effect.Effect<never, PublishError> {
    this.countRefused(1)
    return error._tag === "CycleDetected" ? Effect.zipRight(Effect.logError(error.message), error) : error
  }

  private countRefused(count: number) {
    this.refused += count
    this.metrics.refused.unsafeUpdate(count, Metrics.noTags)
  }

  private submit(
    drafts: ReadonlyArray<Draft<A>>,
    options: PublishOptions | undefined,
    handling: Handling | undefined,
    clock: Clock.Clock
  ): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> {
    const { attempt, ifLast } = options ?? {}
    // the journal need not be asked
    if (this.isLate(ifLast) && attempt === undefined) {
      return this.refuse(new Overtaken({ bus: this.name, ifLast, lastId: this.lastId }))
    }
    const payloads: Array<string> = []
    if (this.writer !== undefined || this.outbox !== undefined) {
      for (const { event } of drafts) {
        const payload = this.codec.payload(event)
        if (Either.isLeft(payload)) return this.refuse(this.intake.invalid(event, payload.left))
        payloads.push(payload.right)
      }
    }
    const patient = handling?.active !== true
    const saturated = patient ? undefined : this.admission.saturation(drafts)
    if (saturated !== undefined) return this.refuse(saturated)
    let request: Request<A> | undefined
    // each step looks again: a drain that began since the last look may have found everything idle already
    const accepted = Effect.suspend((): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> => {
      if (!this.accepts(handling)) {
        this.countRefused(drafts.length)
        return this.busClosed()
      }
      const draft = (resume: Request<A>["resume"]): Request<A> =>
        request = { drafts, payloads, clock, ifLast, attempt, resume, done: false }
      if (this.writer === undefined && (!patient || this.admission.hasRoom({ drafts, ifLast }))) {
        // not by a resumption in the same step: effect 3.22 counts the operations until a yield anew with each
        return this.acceptNow(draft(() => {}))
      }
      return Effect.async((resume) => {
        const waiting = draft(resume)
        if (!this.accepts(handling)) this.reject(waiting)
        else if (patient) this.admission.admit(waiting)
        else this.accept(waiting)
      })
    })
    // around the wait: one that `async` returns is lost on a fiber that is interrupted between registering and waiting
    return Effect.onInterrupt(accepted, () =>
      Effect.sync(() => {
        if (request !== undefined) this.withdraw(request)
      }))
  }

  /** Whether something came behind `ifLast` for certain: what this node has seen is never more than there is. */
  private isLate(ifLast: number | undefined): ifLast is number {
    return ifLast !== undefined && ifLast < this.lastId
  }

  private withdraw(request: Request<A>) {
    this.outbox?.forget(request)
    if (request.done) return
    request.done = true
    for (const mailbox of this.mailboxes) {
      const index = mailbox.waiting.indexOf(request)
      if (index >= 0) mailbox.waiting.splice(index, 1)
    }
  }

  /** For a request that waits for no room: on to the store, or what `acceptNow` does. */
  private accept(request: Request<A>) {
    if (request.done) return
    if (this.writer === undefined) request.resume(this.acceptNow(request))
    else if (!this.writer.push(request)) this.reject(request)
  }

  /** On to the journal, or into the queues at once. */
  private acceptNow(request: Request<A>): Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError> {
    const { clock, drafts, ifLast } = request
    request.done = true
    if (this.outbox !== undefined) return this.outbox.publish(request)
    if (ifLast !== undefined && ifLast !== this.lastId) {
      return this.refuse(new Overtaken({ bus: this.name, ifLast, lastId: this.lastId }))
    }
    const at = clock.unsafeCurrentTimeMillis()
    for (const draft of drafts) this.commit(draft, at)
    return Effect.succeed(drafts)
  }

  /**
   * Accepts an event: id, history and every queue of interest, in one step. It may be called from within itself, by what a
   * queue does on being offered an event: ids are given at once, and every queue gets the events in their order.
   */
  private commit(draft: Draft<A>, at: number): Envelope<A> {
    draft.id = ++this.lastId
    draft.at = at
    this.history.ring.push(draft)
    this.published++
    this.metrics.published.unsafeUpdate(1, Metrics.noTags)
    if (this.offering) this.unoffered.push(draft)
    else {
      this.offering = true
      this.offer(draft)
      while (this.unoffered.length > 0) this.offer(this.unoffered.shift()!)
      this.offering = false
    }
    return draft
  }

  private offer(draft: Draft<A>) {
    const { id } = draft
    const tag = draft.event._tag
    const lists = this.index.lookup(draft.topic, tag)
    for (let i = 0; i < lists.length; i++) {
      const list = lists[i]
      for (let j = 0; j < list.length; j++) {
        const mailbox = list[j]
        if (mailbox.mark === id || (mailbox.tags !== undefined && !mailbox.tags.has(tag))) continue
        mailbox.mark = id
        mailbox.offer(draft)
      }
    }
    if (this.leaving.length > 0) { for (const mailbox of this.leaving.splice(0)) this.leave(mailbox, id) }
  }

  /** It could not take event `id`. */
  private leave(mailbox: Mailbox<A>, id: number) {
    this.index.remove(mailbox)
    if (mailbox.closed !== undefined) return
    this.history.fallBack(mailbox, id - 1, () => this.join(mailbox))
    this.admission.onRoom(mailbox)
  }

  /** Ids that nobody can be given: a gap for those who may be interested. */
  private skip(gap: Gap) {
    const to = gap instanceof Unreadable
      ? new Set(this.index.lookup(gap.topic, gap.tag).flat().filter(({ filter }) => filter.matches(gap.topic, gap.tag)))
      : this.mailboxes
    for (let id = gap.firstId; id < gap.lastId; id++) this.history.ring.push(new Gap(id, id, 1))
    this.lastId = gap.lastId
    this.history.ring.push(gap instanceof Unreadable ? gap : new Gap(gap.lastId, gap.lastId, 1))
    for (const mailbox of to) {
      if (mailbox.isLive) mailbox.offerGap(new Gap(gap.firstId, gap.lastId, gap.count))
    }
  }

  // What mailboxes report

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
      this.metrics.lag.unsafeUpdate(
        Math.max(0, clockOf(fiber).unsafeCurrentTimeMillis() - first.at) / 1000,
        Metrics.noTags
      )
    }
    const taken = mailbox.delivered - mailbox.reported
    mailbox.reported = mailbox.delivered
    this.delivered += taken
    this.metrics.delivered.unsafeUpdate(taken, Metrics.noTags)
    this.metrics.queued.unsafeUpdate(this.queued, Metrics.noTags)
    this.progress.wake()
  }

  readonly onRoom = (mailbox: Mailbox<A>) => this.admission.onRoom(mailbox)

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

  // Subscribing

  private open(options: EventSubscription.Options): Mailbox<A> {
    const mailbox = new Mailbox<A>(this, ++this.subscriptions, options)
    this.mailboxes.add(mailbox)
    return mailbox
  }

  /** From here on it is live. On a bus that is closed, what it has is all that it gets. */
  private join(mailbox: Mailbox<A>) {
    if (this.state === "closed") mailbox.close("closed", this.lastId)
    else this.index.add(mailbox)
  }

  private subscribed<E>(open: Effect.Effect<Mailbox<A>, E>) {
    return Effect.acquireRelease(open, (mailbox) => Effect.sync(() => this.unsubscribe(mailbox)))
  }

  private unsubscribe(mailbox: Mailbox<A>) {
    this.index.remove(mailbox)
    this.mailboxes.delete(mailbox)
    mailbox.close("unsubscribed", this.lastId)
    mailbox.discard()
    this.progress.wake()
  }

  readonly subscribe = (
    options: EventSubscription.Options = {}
  ): Effect.Effect<Mailbox<A>, InvalidOption, Scope.Scope> =>
    this.subscribed(check(() => {
      const mailbox = this.open(options)
      this.join(mailbox)
      return mailbox
    }))

  readonly handle = <E, R>(
    options: EventHandler.Options<A, E, R>,
    f: (envelope: Envelope<A>) => Effect.Effect<unknown, E, R>
  ): Effect.Effect<void, InvalidOption, R | Scope.Scope> =>
    // first: a mailbox that nobody takes from would make publishers wait
    Effect.zipRight(
      check(() => checkHandler(options)),
      Effect.flatMap(this.subscribe(options), (mailbox) =>
        startHandler(
          this.name,
          this.clock,
          mailbox,
          options,
          f,
          (letter) => this.onDeadLetter(letter),
          () => this.progress.wake(),
          () => this.unsubscribe(mailbox)
        ))
    )

  private onDeadLetter(letter: EventHandler.DeadLetter<A>) {
    this.letters.add(letter)
    this.metrics.deadLetters.unsafeUpdate(1, Metrics.noTags)
  }

  // The history

  readonly bounds = Effect.sync((): EventLog.Bounds => {
    this.history.ring.expire()
    return { first: this.history.first, last: this.lastId }
  })

  /** The last id of the log, which may be ahead of what this node has seen. */
  readonly head: Effect.Effect<number, EventLogStore.StoreError> = Effect.suspend(() =>
    this.outbox === undefined
      ? Effect.succeed(this.lastId)
      : Effect.map(readable(this.outbox.journal).bounds, ({ last }) => last)
  )

  readonly after = (id: number, options: EventLog.ReadOptions = {}) =>
    Effect.zipRight(
      this.checkPosition(id),
      Effect.flatMap(
        check(() => unsafePageSize(options.limit)),
        (limit) => this.history.page(id, new Filter(options.topics, options.tags), limit)
      )
    )

  readonly subscribeAfter = (id: number, options: EventSubscription.Options = {}) =>
    this.subscribed(Effect.zipRight(
      this.checkPosition(id),
      check(() => {
        const mailbox = this.open(options)
        this.history.feed(mailbox, id, () => this.join(mailbox))
        return mailbox
      })
    ))

  /** An id that another node has seen already is waited for; one that nobody has given is refused. */
  private checkPosition(id: number): Effect.Effect<void, UnknownPosition | EventLogStore.StoreError> {
    return Effect.suspend(() => {
      this.history.ring.expire()
      if (Number.isInteger(id) && id >= 0 && id <= this.lastId) return Effect.void
      const unknown = new UnknownPosition({ bus: this.name, after: id, lastId: this.lastId })
      if (this.outbox === undefined || !Number.isInteger(id) || id < 0) return unknown
      return Effect.flatMap(this.head, (head) => id > head ? unknown : this.outbox!.reached(id))
    })
  }

  // The end

  private get isIdle(): boolean {
    if (this.queued > 0 || this.writer?.idle === false || this.outbox?.idle === false) return false
    for (const mailbox of this.mailboxes) if (!mailbox.idle) return false
    return true
  }

  private reject(request: Request<A>) {
    if (request.done) return
    this.countRefused(request.drafts.length)
    respond(request, this.busClosed())
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
        const ended = Effect.zipRight(
          this.progress.wait(() => this.report !== undefined),
          Effect.sync(() => this.report!)
        )
        if (this.state === "draining" || this.report !== undefined) return restore(ended)
        const startedAt = Monotonic.unsafeNow(clock)
        const wasOpen = this.state === "open"
        if (wasOpen) this.state = "draining"
        const rejected = this.rejectAll()
        const idle = this.progress.wait(() => this.isIdle)
        return Effect.flatMap(Effect.exit(restore(Race.timeoutOption(idle, budget))), () => {
          const undelivered = this.finish("drained")
          const report: DrainReport = {
            bus: this.name,
            lastId: this.lastId,
            undelivered,
            rejected,
            unconfirmed: this.outbox?.unconfirmed ?? 0,
            unsettled: this.outbox?.unsettled(Monotonic.unsafeNow(clock)) ?? [],
            elapsedMillis: Monotonic.unsafeNow(clock) - startedAt
          }
          this.report = report
          if (report.unsettled.length > 0) this.onUnsettled(this.name, report.unsettled)
          this.progress.wake()
          return undelivered.length === 0 ? Effect.succeed(report) : Effect.as(
            Effect.logWarning(`${this.name} left events undelivered: ${undelivered.map(showUndelivered).join(", ")}`),
            report
          )
        })
      })
    )

  private finish(reason: "drained" | "closed" | "diverged"): ReadonlyArray<Undelivered> {
    this.state = "closed"
    this.rejectAll()
    for (const request of this.writer?.drop() ?? []) this.reject(request)
    this.outbox?.stop()
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
    this.letters.end()
    if (this.state === "closed") return Effect.void
    const undelivered = this.finish("closed")
    return undelivered.length === 0 ? Effect.void : Effect.logWarning(
      `${this.name} was closed with events undelivered: ${undelivered.map(showUndelivered).join(", ")}`
    )
  })

  /** Forks the fibers that a bus consists of. */
  readonly start: Effect.Effect<void, never, Scope.Scope> = Effect.gen(this, function*() {
    yield* FiberRegistry.forkScoped(this.watch.run, { name: `${this.name}/limits`, kind: "service" })
    const { outbox, writer } = this
    if (writer !== undefined) {
      yield* FiberRegistry.forkFinally(
        writer.run,
        { name: `${this.name}/writer`, kind: "service" },
        () =>
          Effect.sync(() => {
            for (const request of writer.end()) this.reject(request)
          })
      )
    }
    if (outbox !== undefined) {
      // Commits what the journal brings. When that is no longer what it was, the bus ends, and so does the fiber, loudly.
      const tail = Effect.suspend(() => outbox.run(this.lastId))
      yield* FiberRegistry.forkFinally(
        tail,
        { name: `${this.name}/tail`, kind: "service" },
        (exit) =>
          Effect.sync(() => {
            if (this.state === "closed") return
            if (Exit.isInterrupted(exit)) outbox.stop()
            else this.finish("diverged")
          })
      )
    }
  })

  readonly stats = Effect.flatMap(
    Effect.suspend(() => this.outbox === undefined ? Effect.succeed(undefined) : this.outbox.stats),
    (journal) =>
      Effect.sync((): Stats => {
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
          deadLetters: this.letters.total,
          subscribers,
          journal,
          store: this.writer?.stats
        }
      })
  )
}

const showUndelivered = ({ count, firstId, lastId, subscriber }: Undelivered): string =>
  `${count} for "${subscriber}" (${firstId} to ${lastId})`

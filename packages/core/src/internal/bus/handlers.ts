import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as HashSet from "effect/HashSet"
import * as MetricLabel from "effect/MetricLabel"
import type * as Scope from "effect/Scope"
import type { Envelope, Event, Gap } from "../../Envelope.js"
import { isGap, spanOf } from "../../Envelope.js"
import type { DeadLetter, Options } from "../../EventHandler.js"
import { HandlerTimeout } from "../../EventHandler.js"
import type { SubscriptionClosed } from "../../EventSubscription.js"
import * as FiberRegistry from "../../FiberRegistry.js"
import * as Monotonic from "../../Monotonic.js"
import * as Race from "../../Race.js"
import { Signal } from "../../Signal.js"
import type { Mailbox } from "./mailbox.js"
import { isOrderly } from "./mailbox.js"
import * as Metrics from "./metrics.js"
import type { Item } from "./model.js"
import { unsafeConcurrency, unsafeHandlerTimeout } from "./options.js"

/** One run of a handler for one event. Fibers that it forks inherit it, and may outlive it. */
export interface Handling {
  readonly bus: string
  readonly envelope: Envelope<Event>
  active: boolean
}

/** What the running fiber is handling. It is the cause of what the fiber publishes. */
export const currentHandling: FiberRef.FiberRef<Handling | undefined> = FiberRef.unsafeMake<Handling | undefined>(
  undefined,
  { join: (parent) => parent }
)

/** Events that a handler takes from its mailbox at a time. */
const batchSize = 32

/**
 * Runs `f` for everything that comes into the mailbox. The fibers belong to the scope in use. Whoever interrupts one of them
 * ends the handler: `onEnd` gives up the mailbox, for which publishers would wait in vain.
 */
export const start = <A extends Event, E, R>(
  bus: string,
  clock: Clock.Clock,
  mailbox: Mailbox<A>,
  options: Options<A, E, R>,
  f: (envelope: Envelope<A>) => Effect.Effect<unknown, E, R>,
  onDeadLetter: (letter: DeadLetter<A>) => void,
  onFinished: () => void,
  onEnd: () => void
): Effect.Effect<void, never, R | Scope.Scope> => {
  const one = runner(bus, clock, mailbox, options, f, onDeadLetter)
  const onGap = (gap: Gap): Effect.Effect<void, never, R> =>
    options.onGap === undefined
      ? Effect.logWarning(
        `Handler "${options.name}" of ${bus} missed ${gap.count} events, ids ${gap.firstId} to ${gap.lastId}`
      )
      : Effect.catchAllCause(
        Effect.asVoid(Effect.suspend(() => options.onGap!(gap))),
        (cause) => Effect.logError(`The gap function of handler "${options.name}" of ${bus} failed`, cause)
      )
  const fork = (self: Effect.Effect<void, SubscriptionClosed, R>, name: string, ended = onEnd) =>
    FiberRegistry.forkFinally(
      Effect.catchAll(self, (closed) => isOrderly(closed) ? Effect.void : Effect.fail(closed)),
      { name, kind: "handler" },
      (exit) => exit._tag === "Success" ? Effect.void : Effect.sync(ended)
    )
  const concurrency = unsafeConcurrency(options.concurrency)
  if (concurrency === 1) return Effect.asVoid(fork(serial(mailbox, one, onGap, onFinished), options.name))
  const lanes = new Lanes<A>(options.key, Math.max(batchSize, concurrency * 2), onFinished)
  return Effect.gen(function*() {
    for (let i = 1; i <= concurrency; i++) {
      const hand: Hand<A> = { holds: undefined }
      yield* fork(work(mailbox, lanes, hand, one), `${options.name}/${i}`, () => {
        onEnd()
        lanes.finish(hand)
      })
    }
    yield* fork(dispatch(mailbox, lanes, onGap), options.name, () => {
      onEnd()
      lanes.end()
    })
  })
}

const serial = <A, R>(
  mailbox: Mailbox<A>,
  one: Runner<A, R>,
  onGap: (gap: Gap) => Effect.Effect<unknown, never, R>,
  onFinished: () => void
): Effect.Effect<never, SubscriptionClosed, R> => {
  let batch: ReadonlyArray<Item<A>> = []
  let next = 0
  mailbox.inFlight = () => batch.slice(next).filter((item): item is Envelope<A> => !isGap(item))
  // in the same step as the taking, so that the events are at no time in nobody's hands
  mailbox.onTake = (items) => {
    batch = items
    next = 0
  }
  const each = Effect.whileLoop({
    // A function that closes the scope of its handler handles nothing more; the closing spares the fiber that does it.
    while: () => next < batch.length && !mailbox.released,
    body: () => {
      const item = batch[next]
      return isGap(item) ? onGap(item) : one(item)
    },
    step: () => {
      next++
    }
  })
  return Effect.forever(Effect.flatMap(mailbox.takeBatch(batchSize), () => Effect.map(each, onFinished)))
}

interface Ready<A> {
  readonly envelope: Envelope<A>
  readonly key: string | undefined
  /** What the key function threw. */
  readonly defect?: { readonly thrown: unknown }
}

/**
 * What a worker has taken. It is known from the step of the taking until the end of the fiber, whenever that is interrupted: a
 * finalizer around the work would begin a step later.
 */
interface Hand<A> {
  holds: Ready<A> | undefined
}

/** Events that are taken, by key: those of one key one after the other, different keys at once. */
class Lanes<A> {
  /** Events that may start now. */
  private readonly ready: Array<Ready<A>> = []
  /** For each key in use, the events that wait for the one that is ready or running. */
  private readonly behind = new Map<string, Array<Envelope<A>>>()
  private readonly held = new Set<Envelope<A>>()
  private readonly readied = new Signal()
  private readonly finished = new Signal()
  private ended = false

  constructor(
    private readonly key: ((envelope: Envelope<A>) => string) | undefined,
    private readonly max: number,
    private readonly onFinished: () => void
  ) {}

  get room(): number {
    return this.max - this.held.size
  }

  add(envelope: Envelope<A>) {
    this.held.add(envelope)
    let key: string | undefined = undefined
    try {
      key = this.key?.(envelope)
    } catch (thrown) {
      this.start({ key, envelope, defect: { thrown } })
      return
    }
    const behind = key === undefined ? undefined : this.behind.get(key)
    if (behind !== undefined) {
      behind.push(envelope)
      return
    }
    if (key !== undefined) this.behind.set(key, [])
    this.start({ key, envelope })
  }

  private start(ready: Ready<A>) {
    this.ready.push(ready)
    this.readied.wake()
  }

  take(hand: Hand<A>): Ready<A> | undefined {
    return hand.holds = this.ready.shift()
  }

  /** What the hand holds is done, or its fiber has ended. */
  finish(hand: Hand<A>) {
    if (hand.holds === undefined) return
    const { envelope, key } = hand.holds
    hand.holds = undefined
    this.held.delete(envelope)
    if (key !== undefined) {
      const next = this.behind.get(key)!.shift()
      if (next === undefined) this.behind.delete(key)
      else this.start({ key, envelope: next })
    }
    this.finished.wake()
    if (this.over) this.readied.wake()
    this.onFinished()
  }

  end() {
    this.ended = true
    this.readied.wake()
  }

  get over(): boolean {
    return this.ended && this.held.size === 0
  }

  unfinished(): ReadonlyArray<Envelope<A>> {
    return [...this.held].sort((a, b) => a.id - b.id)
  }

  /** Waits for work, or for the end of it. */
  readonly awaitWork = this.readied.wait(() => this.ready.length > 0 || this.over)

  readonly awaitRoom = this.finished.wait(() => this.room > 0)
}

const dispatch = <A, R>(
  mailbox: Mailbox<A>,
  lanes: Lanes<A>,
  onGap: (gap: Gap) => Effect.Effect<unknown, never, R>
): Effect.Effect<never, SubscriptionClosed, R> => {
  mailbox.inFlight = () => lanes.unfinished()
  mailbox.onTake = (items) => {
    for (const item of items) if (!isGap(item)) lanes.add(item)
  }
  return Effect.forever(Effect.flatMap(
    Effect.zipRight(lanes.awaitRoom, Effect.suspend(() => mailbox.takeBatch(Math.min(batchSize, lanes.room)))),
    (items) => Effect.forEach(items.filter(isGap), onGap, { discard: true })
  )).pipe(Effect.onExit(() => Effect.sync(() => lanes.end())))
}

const work = <A, R>(
  mailbox: Mailbox<A>,
  lanes: Lanes<A>,
  hand: Hand<A>,
  one: Runner<A, R>
): Effect.Effect<void, never, R> =>
  Effect.suspend(() => {
    const next = lanes.take(hand)
    if (next !== undefined) {
      return Effect.flatMap(one(next.envelope, next.defect), () => {
        lanes.finish(hand)
        return mailbox.released ? Effect.void : work(mailbox, lanes, hand, one)
      })
    }
    return lanes.over ? Effect.void : Effect.flatMap(lanes.awaitWork, () => work(mailbox, lanes, hand, one))
  })

type Runner<A, R> = (envelope: Envelope<A>, defect?: Ready<A>["defect"]) => Effect.Effect<void, never, R>

/** Handles one event: attempts, time limit, span, and what becomes of a failure. It never fails. */
const runner = <A extends Event, E, R>(
  bus: string,
  clock: Clock.Clock,
  mailbox: Mailbox<A>,
  options: Options<A, E, R>,
  f: (envelope: Envelope<A>) => Effect.Effect<unknown, E, R>,
  onDeadLetter: (letter: DeadLetter<A>) => void
): Runner<A, R> => {
  const { name, retry } = options
  const timeout = unsafeHandlerTimeout(options.timeout)
  const durations = Metrics.handlerDuration([MetricLabel.make("bus", bus), MetricLabel.make("handler", name)])

  const deadLetter = (envelope: Envelope<A>, cause: Cause.Cause<unknown>, attempts: number) => {
    const letter: DeadLetter<A> = {
      _tag: "DeadLetter",
      bus,
      handler: name,
      envelope,
      cause,
      attempts,
      at: clock.unsafeCurrentTimeMillis()
    }
    const report = Effect.zipRight(
      Effect.sync(() => onDeadLetter(letter)),
      Effect.logError(
        `Handler "${name}" of ${bus} gave up event ${envelope.id} (${envelope.event._tag}), attempts: ${attempts}`,
        cause
      )
    )
    return options.deadLetter === undefined ? report : Effect.zipRight(
      report,
      Effect.catchAllCause(
        Effect.suspend(() => options.deadLetter!(letter)),
        (cause) => Effect.logError(`The dead-letter function of handler "${name}" of ${bus} failed`, cause)
      )
    )
  }

  return (envelope, defect) => {
    let attempts = 0
    const startedAt = Monotonic.unsafeNow(clock)
    const handling: Handling = { bus, envelope, active: true }
    let attempt: Effect.Effect<unknown, E | HandlerTimeout, R> = Effect.suspend(() => {
      if (defect !== undefined) return Effect.die(defect.thrown)
      attempts++
      return f(envelope)
    })
    if (timeout !== undefined) {
      attempt = Race.timeoutFail(attempt as Effect.Effect<unknown, E, R>, {
        duration: Duration.millis(timeout),
        onTimeout: () => new HandlerTimeout({ bus, handler: name, id: envelope.id, millis: timeout })
      })
    }
    if (retry !== undefined) attempt = Effect.retry(attempt, { schedule: retry, while: () => !mailbox.released })
    const parent = envelope.trace === undefined ? undefined : spanOf(envelope.trace)
    if (parent !== undefined) {
      attempt = Effect.withSpan(attempt, "EventBus.handle", {
        parent,
        kind: "consumer",
        captureStackTrace: false,
        attributes: { bus, handler: name, topic: envelope.topic, id: envelope.id, tag: envelope.event._tag }
      })
    }
    const settle = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<void, never, R> => {
      handling.active = false
      durations.unsafeUpdate(Monotonic.unsafeNow(clock) - startedAt, Metrics.noTags)
      if (exit._tag === "Success") return Effect.void
      return Effect.descriptorWith((descriptor) =>
        HashSet.size(descriptor.interruptors) > 0 && Cause.isInterrupted(exit.cause)
          ? Effect.interrupt
          : deadLetter(envelope, exit.cause, attempts)
      )
    }
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        Effect.exit(Effect.zipRight(FiberRef.set(currentHandling, handling), restore(attempt))),
        (exit) => exit._tag === "Success" ? settle(exit) : restore(settle(exit))
      )
    )
  }
}

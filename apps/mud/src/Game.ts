/**
 * The world while it runs: commands are decided on what this node has folded of the log, and published only if nothing came
 * between. One node or many, it is the same: who was overtaken by another node folds on and decides again.
 *
 * **Guarantees**
 * - Order: the commands of a node are decided one after the other, in the order in which they came. Those of all nodes are in
 *   one order, that of the log; state, log and streams agree on it.
 * - Atomic: the events of one command are published together or not at all. A command whose events cannot be published
 *   changes nothing and fails with {@link Unavailable}.
 * - A refusal was true when it was given: before somebody is refused, the node has folded up to the end of the log.
 * - Batches: commands that wait together are written to the log together, so a slow disk costs once for all of them. Who was
 *   overtaken decides again together with what came meanwhile.
 * - Terms: what is decided through `own` happens in its term, or not at all.
 * - Restart: see `WorldFold`. Nothing that was answered is lost.
 *
 * **Limits**
 * - What is decided may be decided several times: it must depend on the data and the state alone.
 * - The queue of commands is bounded ({@link capacity}); when it is full, callers wait.
 * - A snapshot is written every {@link snapshotEvery} events and on closing, by the node that drives the world; the log has
 *   to keep more than that.
 * - An answer without events may be as old as what this node has heard of the log.
 *
 * @since 0.1.0
 */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Cleanup from "@holdfast/core/Cleanup"
import type { Envelope } from "@holdfast/core/Envelope"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Inbox } from "@holdfast/core/Inbox"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import { BusClosed, Overtaken, Unconfirmed } from "@holdfast/core/Publishing"
import {
  Cause,
  Context,
  Deferred,
  Duration,
  Effect,
  Either,
  Exit,
  FiberId,
  Layer,
  Option,
  Random,
  Schema,
  type Scope
} from "effect"
import { CurrentWorldData } from "./data/CurrentWorldData.js"
import type { WorldData } from "./data/WorldData.js"
import type * as Consequence from "./domain/Consequence.js"
import * as Decide from "./domain/Decide.js"
import type { Reply } from "./domain/Reply.js"
import * as World from "./domain/World.js"
import type { WorldEvent } from "./domain/WorldEvent.js"
import * as Storm from "./Storm.js"
import { WorldBus } from "./WorldBus.js"
import { FoldEnded, WorldFold } from "./WorldFold.js"

/**
 * The world cannot take a command now: it is shutting down, or its log cannot be written.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", {
  message: Schema.String,
  expected: Schema.String
}) {}

/**
 * Another node drives the world by now: what this one wanted to do as its driver did not happen.
 *
 * @since 0.1.0
 * @category errors
 */
export class Superseded extends Schema.TaggedError<Superseded>()("Superseded", {
  term: Schema.Number,
  /** The term of the world. */
  by: Schema.Number
}) {
  override get message() {
    return `what was decided in term ${this.term} did not happen: the world is in term ${this.by}`
  }
}

/**
 * How many commands wait at most before their callers do.
 *
 * @since 0.1.0
 * @category limits
 */
export const capacity = 4_096

/**
 * How many events lie between two snapshots, at most.
 *
 * @since 0.1.0
 * @category limits
 */
export const snapshotEvery = 2_000

/** How many commands are written together, at most. */
const batch = 128

/**
 * What a transaction came to: its reply, and what happened.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly reply: Reply
  readonly facts: ReadonlyArray<Envelope<WorldEvent>>
}

type Transaction<E> = (data: WorldData, world: World.World) => Either.Either<Consequence.Decision, E>
type Happening = (data: WorldData, world: World.World) => ReadonlyArray<WorldEvent>

/**
 * The world as the node that drives it sees it: everything is decided in its term.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owned {
  readonly term: number
  readonly publish: (decide: Happening) => Effect.Effect<Outcome, Unavailable | Superseded>
  /** Puts new data in place of the old, in the order of the commands, and tells everybody. */
  readonly reload: (data: WorldData) => Effect.Effect<Outcome, Unavailable | Superseded>
  /** When the last minute of the world came, on the monotonic clock; none before the first one that comes to this node. */
  readonly tickedAt: Effect.Effect<Option.Option<number>>
  /** Waits until another node drives the world, and fails with that. */
  readonly superseded: Effect.Effect<never, Superseded>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Game extends Context.Tag("@holdfast/mud/Game")<Game, {
  /**
   * Decides on the state at its turn, publishes what was decided, and answers when that is in the log. What is given may be
   * called several times.
   */
  readonly transact: <E>(decide: Transaction<E>) => Effect.Effect<Outcome, E | Unavailable>
  /** As `transact`, for what cannot be refused; without events nothing is published. */
  readonly publish: (decide: Happening) => Effect.Effect<Outcome, Unavailable>
  /**
   * This node drives the world from now on, until the scope is closed or another one does. `term` is what it was given as the
   * owner; its term in the log is greater than that of everybody before it.
   */
  readonly own: (node: string, term: number) => Effect.Effect<Owned, Unavailable, Scope.Scope>
  /** Data that the node that drives the world has told of, or will: nothing is published. */
  readonly use: (data: WorldData) => Effect.Effect<void>
  /** Data and state after the last event that came. */
  readonly now: Effect.Effect<{ readonly data: WorldData; readonly world: World.World }>
  /** As `now`, with everything that is in the log, also what another node has just written. */
  readonly current: Effect.Effect<{ readonly data: WorldData; readonly world: World.World }, Unavailable>
  /** Waits until event `id` is part of the state. */
  readonly reach: (id: number) => Effect.Effect<void, Unavailable>
  /** What a player may read. */
  readonly windows: (player: string) => Effect.Effect<ReadonlyArray<World.Window>>
  /** Fails, with why, while what happens cannot be written down. */
  readonly writable: Effect.Effect<void, string>
  readonly stats: Effect.Effect<{
    readonly waiting: number
    readonly batches: number
    readonly transactions: number
    /** Batches that were decided again, since another node came between. */
    readonly overtaken: number
  }>
}>() {}

interface Waiting {
  /** Data that is in use from this transaction on. */
  readonly data?: WorldData
  readonly decide: Transaction<unknown>
  readonly done: Deferred.Deferred<Outcome, unknown>
}

const closing = new Unavailable({
  message: "The world is going to sleep. Try again in a moment.",
  expected: "a world that is awake"
})

const unwritable = new Unavailable({
  message: "The world cannot write down what happens, so nothing happens. It goes on by itself as soon as it can.",
  expected: "a disk with room on it"
})

const encodeSnapshot = Schema.encode(Schema.parseJson(World.Snapshot))

const unconfirmed = new Unavailable({
  message: "The world is going to sleep, and nobody knows whether this was written down. Look when you come back.",
  expected: "a log that answers"
})

const isBusClosed = Schema.is(BusClosed)
const isOvertaken = Schema.is(Overtaken)
const isUnconfirmed = Schema.is(Unconfirmed)

/** A command that was decided, with its part of the events of the batch; or what it is refused with. */
interface Verdict {
  readonly done: Waiting["done"]
  readonly result: Exit.Exit<{ readonly reply: Reply; readonly from: number; readonly length: number }, unknown>
}

/** What is decided in one batch, on the state that the batch before it left. */
interface Batch {
  readonly before: World.World
  readonly data: WorldData
  readonly verdicts: ReadonlyArray<Verdict>
  readonly events: ReadonlyArray<WorldEvent>
  readonly refusals: number
}

/** Decides all that waits, one on the state that the other left. */
const decideAll = (data: WorldData, before: World.World, waiting: Iterable<Waiting>): Effect.Effect<Batch> =>
  Effect.gen(function*() {
    let current = data
    let world = before
    let refusals = 0
    const verdicts: Array<Verdict> = []
    const events: Array<WorldEvent> = []
    for (const { data: shape = current, decide, done } of waiting) {
      const now = world
      const result = yield* Effect.exit(Effect.suspend(() => decide(shape, now)))
      if (Exit.isFailure(result)) {
        refusals += 1
        verdicts.push({ done, result: Exit.failCause(result.cause) })
        continue
      }
      const { events: own, reply } = result.value
      current = shape
      verdicts.push({ done, result: Exit.succeed({ reply, from: events.length, length: own.length }) })
      for (const event of own) {
        events.push(event)
        world = World.evolve(world, { id: world.lastId + 1, at: 0, event })
      }
    }
    return { before, data: current, verdicts, events, refusals }
  })

/** Whether what happens can be written down, and a line for each time that this changes, however many commands fail. */
const makeWriting = () => {
  const storm = Storm.make("1 minute")
  let broken: string | undefined
  return {
    check: Effect.suspend(() => broken === undefined ? Effect.void : Effect.fail(broken)),
    failed: (cause: Cause.Cause<unknown>, commands: number) =>
      Effect.suspend(() => {
        const reason = Option.getOrUndefined(Cause.failureOption(cause))
        broken = reason instanceof Error ? reason.message : Cause.pretty(cause).split("\n", 1)[0]
        return storm.say((count) =>
          Effect.logError(
            `What happens cannot be written down, and nothing happens until it can: ${broken}`
          ).pipe(Effect.annotateLogs({ batches: count, commands }))
        )
      }),
    worked: Effect.suspend(() => {
      if (broken === undefined) return Effect.void
      broken = undefined
      return Effect.flatMap(
        storm.over,
        (batches) => Effect.logInfo("What happens can be written down again").pipe(Effect.annotateLogs({ batches }))
      )
    })
  }
}

/** Times between tries: short, and different for every node. */
const backoff = (tries: number, most: number) =>
  Effect.flatMap(
    Random.next,
    (chance) => Effect.sleep(Duration.millis(chance * Math.min(most, 2 ** Math.min(tries, 10))))
  )

type Interruptible = <A, E>(self: Effect.Effect<A, E>) => Effect.Effect<A, E>

/**
 * Until the log says whether the events are in it: an attempt that nobody confirmed may have been written. A node that ends asks
 * no longer than its journal does: the bus names in its report what nobody knows of.
 */
const publishing = (
  bus: Context.Tag.Service<typeof WorldBus>,
  writing: ReturnType<typeof makeWriting>,
  isEnding: () => boolean
) =>
(
  { before, events }: Batch,
  interruptible: Interruptible
) => {
  const ask = (tries: number, attempt?: string): ReturnType<typeof bus.publishAll> =>
    Effect.catchIf(
      bus.publishAll(events, { ifLast: before.lastId, attempt }),
      (error): error is Unconfirmed => isUnconfirmed(error) && !isEnding(),
      (error) =>
        Effect.zipRight(writing.failed(Cause.fail(error), events.length), interruptible(backoff(tries, 1_000))).pipe(
          Effect.zipRight(Effect.suspend(() => ask(tries + 1, error.attempt)))
        )
    )
  return ask(5)
}

const answer = ({ verdicts }: Batch, published: ReadonlyArray<Envelope<WorldEvent>>) =>
  Effect.forEach(verdicts, ({ done, result }) =>
    Exit.isFailure(result)
      ? Deferred.failCause(done, result.cause)
      : Deferred.succeed(done, {
        reply: result.value.reply,
        facts: published.slice(result.value.from, result.value.from + result.value.length)
      }), { discard: true })

/** The data in use, and what the node has done. */
interface Progress {
  data: WorldData
  driving: boolean
  drove: boolean
  overtaken: number
}

/** Decides what waits once. False when something came between: the fold is then as far as that. */
const deciding = (progress: Progress, writing: ReturnType<typeof makeWriting>) =>
  Effect.gen(function*() {
    const bus = yield* WorldBus
    const fold = yield* WorldFold
    const lifecycle = Option.getOrUndefined(yield* Effect.serviceOption(Lifecycle.Lifecycle))
    const isEnding = () => lifecycle !== undefined && !["accepting", "unready"].includes(lifecycle.unsafePhase())
    const publishAll = publishing(bus, writing, isEnding)
    return (waiting: ReadonlyArray<Waiting>, interruptible: Interruptible) =>
      Effect.gen(function*() {
        const before = progress.data
        yield* fold.reach(yield* bus.lastId)
        const decision = yield* decideAll(before, yield* fold.world, waiting)
        if (decision.events.length === 0) {
          const { lastId } = decision.before
          const head = decision.refusals === 0 ? lastId : yield* bus.head
          if (head > lastId) {
            yield* fold.reach(head)
            return false
          }
          yield* answer(decision, [])
          return true
        }
        // Who hears of new data finds it in use.
        progress.data = decision.data
        const published = yield* Effect.exit(publishAll(decision, interruptible))
        if (Exit.isFailure(published)) {
          if (progress.data === decision.data) progress.data = before
          const error = Option.getOrUndefined(Cause.failureOption(published.cause))
          if (!isOvertaken(error)) return yield* Effect.failCause(published.cause)
          progress.overtaken += 1
          yield* fold.reach(error.lastId)
          return false
        }
        yield* writing.worked
        // Who is answered looks at the state next. What was published has happened, though it is folded no further here.
        yield* Effect.ignore(fold.reach(published.value[published.value.length - 1].id))
        yield* answer(decision, published.value)
        return true
      })
  })

type Transact = <E>(decide: Transaction<E>, data?: WorldData) => Effect.Effect<Outcome, E | Unavailable>

const decided = (decide: Happening) => (data: WorldData, world: World.World) =>
  Either.right({ events: decide(data, world), reply: { _tag: "Done" as const } })

/** Claims the world for this node, and decides in its term. */
const owning = (fold: Context.Tag.Service<typeof WorldFold>, progress: Progress, transact: Transact) =>
(
  node: string,
  given: number
): Effect.Effect<Owned, Unavailable, Scope.Scope> =>
  Effect.gen(function*() {
    let term = 0
    yield* transact<never>(decided((_, world) => {
      term = Math.max(given, world.term + 1)
      return [{ _tag: "Led", term, node }]
    }))
    const inTerm = (decide: Happening): Transaction<Superseded> => (data, world) =>
      world.term === term ? decided(decide)(data, world) : Either.left(new Superseded({ term, by: world.term }))
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        progress.driving = progress.drove = true
      }),
      () =>
        Effect.sync(() => {
          progress.driving = false
        })
    )
    return {
      term,
      publish: (decide) => transact(inTerm(decide)),
      reload: (data) => transact(inTerm(Decide.reload), data),
      tickedAt: fold.tickedAt,
      superseded: Effect.flatMap(
        // A world that is closed has no other term.
        Effect.zipRight(Effect.catchAll(fold.until((world) => world.term !== term), () => Effect.never), fold.world),
        (world) => new Superseded({ term, by: world.term })
      )
    }
  })

const make = Effect.gen(function*() {
  const bus = yield* WorldBus
  const fold = yield* WorldFold
  const store = yield* KeyValueStore.KeyValueStore
  const { initial } = yield* CurrentWorldData
  const progress: Progress = { data: initial, driving: false, drove: false, overtaken: 0 }
  const queue = new Inbox<Waiting>(capacity)
  const writing = makeWriting()
  const once = yield* deciding(progress, writing)
  let saved = (yield* fold.world).lastId
  let closed = false
  let batches = 0
  let transactions = 0

  const save = Effect.gen(function*() {
    const world = yield* fold.world
    if (world.lastId === saved) return
    yield* store.set("world", yield* encodeSnapshot(World.toSnapshot(world)))
    saved = world.lastId
  }).pipe(Effect.withSpan("Game.save"))

  const refuse = (waiting: Iterable<Waiting>, cause: Cause.Cause<unknown>) =>
    Effect.gen(function*() {
      const gone = closed || Cause.isInterrupted(cause) ||
        Option.exists(Cause.failureOption(cause), (error) => isBusClosed(error) || error instanceof FoldEnded)
      const all = Array.from(waiting)
      if (!gone) yield* writing.failed(cause, all.length)
      const isUnsure = Option.exists(Cause.failureOption(cause), isUnconfirmed)
      const refusal = isUnsure ? unconfirmed : gone ? closing : unwritable
      yield* Effect.forEach(all, ({ done }) => Deferred.fail(done, refusal), { discard: true })
    })

  const settle = (first: Iterable<Waiting>, interruptible: Interruptible) =>
    Effect.gen(function*() {
      const waiting = Array.from(first)
      const settled = Effect.gen(function*() {
        for (let tries = 1; !(yield* once(waiting, interruptible)); tries++) {
          yield* interruptible(backoff(tries, 50))
          waiting.push(...queue.unsafeTake(batch - waiting.length))
        }
      })
      const exit = yield* Effect.exit(settled)
      if (Exit.isFailure(exit)) return yield* refuse(waiting, exit.cause)
      batches += 1
      transactions += waiting.length
      const { lastId } = yield* fold.world
      if (progress.driving && lastId - saved >= snapshotEvery) {
        yield* save.pipe(Effect.catchAllCause((cause) => Effect.logWarning("The world could not be saved", cause)))
      }
    })

  // A batch is published, folded and answered as one: an interrupt waits for that, and nobody waits after it.
  const write = queue.each(settle, batch)
  const refuseRest = Effect.suspend(() => {
    closed = true
    return Effect.forEach(queue.unsafeTake(), ({ done }) => Deferred.fail(done, closing), { discard: true })
  })

  yield* Cleanup.addFinalizer(
    { label: "save the world", budget: "2 seconds" },
    () => progress.drove ? save : Effect.void
  )
  yield* FiberRegistry.forkFinally(write, { name: "world-writer", kind: "service" }, () => refuseRest)

  const transact: Transact = <E>(decide: Transaction<E>, data?: WorldData): Effect.Effect<Outcome, E | Unavailable> =>
    Effect.suspend(() => {
      if (closed) return closing
      const done = Deferred.unsafeMake<Outcome, E | Unavailable>(FiberId.none)
      return Effect.zipRight(
        queue.offer({
          decide,
          done: done as Deferred.Deferred<Outcome, unknown>,
          ...(data === undefined ? {} : { data })
        }),
        // The writer may have ended between the look and the offer.
        Effect.suspend(() => closed ? Effect.zipRight(refuseRest, Deferred.await(done)) : Deferred.await(done))
      )
    })

  const now = Effect.map(fold.world, (world) => ({ data: progress.data, world }))
  const reach = (id: number) => Effect.mapError(fold.reach(id), () => closing)

  return Game.of({
    transact: (decide) => transact(decide),
    publish: (decide) => transact<never>(decided(decide)),
    own: owning(fold, progress, transact),
    use: (given) =>
      Effect.sync(() => {
        progress.data = given
      }),
    now,
    current: Effect.zipRight(Effect.flatMap(Effect.mapError(bus.head, () => unwritable), reach), now),
    reach,
    writable: writing.check,
    windows: (player) => Effect.map(fold.world, (world) => World.windowsOf(world, player)),
    stats: Effect.sync(() => ({ waiting: queue.size, batches, transactions, overtaken: progress.overtaken }))
  })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scoped(Game, make)

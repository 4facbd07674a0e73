/**
 * The world while it runs: one writer that decides, publishes and folds.
 *
 * **Guarantees**
 * - Order: commands are decided one after the other, in the order in which they came. The state, the log and what every
 *   stream shows agree on it.
 * - Atomic: the events of one command are published together or not at all. A command whose events cannot be published
 *   changes nothing and fails with {@link Unavailable}.
 * - Batches: commands that wait together are written to the log together, so a slow disk costs once for all of them.
 * - Streams: the windows of a player's streams change with its moves, exactly at the events that move it. That the ids of
 *   a batch are known before it is published rests on this being the only publisher of the bus.
 * - Restart: the state is the last snapshot and the log after it. Nothing that was answered is lost.
 *
 * **Limits**
 * - The queue of commands is bounded ({@link capacity}); when it is full, callers wait.
 * - A snapshot is written every {@link snapshotEvery} events and on closing; the log has to keep more than that.
 *
 * @since 0.1.0
 */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Cleanup from "@holdfast/core/Cleanup"
import type { Envelope } from "@holdfast/core/Envelope"
import * as EventLog from "@holdfast/core/EventLog"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Inbox } from "@holdfast/core/Inbox"
import { BusClosed } from "@holdfast/core/Publishing"
import {
  Cause,
  Context,
  Deferred,
  Effect,
  Either,
  Exit,
  FiberId,
  Layer,
  Option,
  ParseResult,
  Ref,
  Schema
} from "effect"
import { CurrentWorldData } from "./data/CurrentWorldData.js"
import type { WorldData } from "./data/WorldData.js"
import type * as Consequence from "./domain/Consequence.js"
import * as Decide from "./domain/Decide.js"
import type { Reply } from "./domain/Reply.js"
import * as World from "./domain/World.js"
import { WorldEvent } from "./domain/WorldEvent.js"
import { PlayerStreams } from "./PlayerStreams.js"
import type { Settings } from "./Settings.js"
import * as Storage from "./Storage.js"
import * as Storm from "./Storm.js"
import { WorldBus } from "./WorldBus.js"

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
 * What a transaction came to: its reply, what happened, and the world right after it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly reply: Reply
  readonly facts: ReadonlyArray<Envelope<WorldEvent>>
  readonly data: WorldData
  readonly world: World.World
}

type Transaction<E> = (data: WorldData, world: World.World) => Either.Either<Consequence.Decision, E>

/**
 * @since 0.1.0
 * @category tags
 */
export class Game extends Context.Tag("@holdfast/mud/Game")<Game, {
  /** Decides on the state at its turn, publishes what was decided, and answers when that is in the log. */
  readonly transact: <E>(decide: Transaction<E>) => Effect.Effect<Outcome, E | Unavailable>
  /** As `transact`, for what cannot be refused; without events nothing is published. */
  readonly publish: (
    decide: (data: WorldData, world: World.World) => ReadonlyArray<WorldEvent>
  ) => Effect.Effect<Outcome, Unavailable>
  /** Puts new data in place of the old, in the order of the commands. */
  readonly reload: (data: WorldData) => Effect.Effect<Outcome, Unavailable>
  /** Data and state after the last transaction. */
  readonly now: Effect.Effect<{ readonly data: WorldData; readonly world: World.World }>
  /**
   * What a player may read, with what is being published just now counted in: a stream that opens in that moment would
   * otherwise miss the turn.
   */
  readonly windows: (player: string) => Effect.Effect<ReadonlyArray<World.Window>>
  /** Fails, with why, while what happens cannot be written down. */
  readonly writable: Effect.Effect<void, string>
  readonly stats: Effect.Effect<{ readonly waiting: number; readonly batches: number; readonly transactions: number }>
}>() {}

interface Waiting {
  /** Data that is in use from this transaction on. */
  readonly data?: WorldData
  readonly decide: Transaction<unknown>
  readonly done: Deferred.Deferred<Outcome, unknown>
}

interface Decided extends Waiting, Consequence.Decision {
  readonly data: WorldData
  /** Where its events begin in the batch. */
  readonly from: number
}

const closing = new Unavailable({
  message: "The world is going to sleep. Try again in a moment.",
  expected: "a world that is awake"
})

const unwritable = new Unavailable({
  message: "The world cannot write down what happens, so nothing happens. It goes on by itself as soon as it can.",
  expected: "a disk with room on it"
})

/**
 * What was stored of the world cannot be read.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnreadableState extends Schema.TaggedError<UnreadableState>()("UnreadableState", {
  path: Schema.String,
  /** What cannot be read: the snapshot and its key, or an event and its id. */
  what: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.what} in ${this.path} cannot be read: ${this.reason}. ` +
      "It was written by another release, or by hand. Start the release that wrote it, put a copy of the file back, " +
      "or begin anew with another --data"
  }
}

const decodeSnapshot = Schema.decode(Schema.parseJson(World.Snapshot))
const encodeSnapshot = Schema.encode(Schema.parseJson(World.Snapshot))
const decodeEvent = Schema.decode(Schema.parseJson(WorldEvent))

const unreadable = (path: string, what: string) => ({ issue }: ParseResult.ParseError) => {
  const [first] = ParseResult.ArrayFormatter.formatIssueSync(issue)
  const at = first.path.length === 0 ? "" : `${first.path.map(String).join(".")}: `
  return new UnreadableState({ path, what, reason: `${at}${first.message}`.slice(0, 300) })
}

/** The last snapshot, and what the log holds after it. */
const restore = (data: WorldData, path: string) =>
  Effect.gen(function*() {
    const store = yield* KeyValueStore.KeyValueStore
    const log = yield* EventLog.Store
    const saved = yield* store.get("world")
    let world = Option.isNone(saved)
      ? World.initial(data)
      : World.fromSnapshot(
        yield* Effect.mapError(decodeSnapshot(saved.value), unreadable(path, "the snapshot (key \"world\")"))
      )
    const from = world.lastId
    while (true) {
      const rows = yield* log.read({ after: world.lastId, limit: 1_000 })
      if (rows.length === 0) break
      for (const { at, id, payload } of rows) {
        world = World.evolve(world, {
          id,
          at,
          event: yield* Effect.mapError(decodeEvent(payload), unreadable(path, `event ${id} of the log`))
        })
      }
    }
    yield* Effect.logInfo("The world is restored").pipe(
      Effect.annotateLogs({ snapshot: from, events: world.lastId - from, players: World.count(world) })
    )
    return world
  }).pipe(Effect.withSpan("Game.restore"))

const isBusClosed = Schema.is(BusClosed)

/** What is decided in one batch, on the state that the batch before it left. */
interface Batch {
  readonly before: World.World
  readonly data: WorldData
  readonly world: World.World
  readonly decided: ReadonlyArray<Decided>
  readonly events: ReadonlyArray<WorldEvent>
  /** Who moves, wakes or falls asleep. */
  readonly travellers: ReadonlySet<string>
}

/** Decides all that waits, one on the state that the other left. Who is refused is told at once. */
const decideAll = (state: State, waiting: Iterable<Waiting>): Effect.Effect<Batch> =>
  Effect.gen(function*() {
    let { data, world } = state
    const decided: Array<Decided> = []
    const events: Array<WorldEvent> = []
    for (const one of waiting) {
      const { data: shape = data } = one
      const now = world
      const result = yield* Effect.exit(Effect.sync(() => one.decide(shape, now)))
      if (Exit.isFailure(result)) yield* Deferred.failCause(one.done, result.cause)
      else if (Either.isLeft(result.value)) yield* Deferred.fail(one.done, result.value.left)
      else {
        data = shape
        decided.push({ ...one, ...result.value.right, data, from: events.length })
        for (const event of result.value.right.events) {
          events.push(event)
          world = World.evolve(world, { id: world.lastId + 1, at: 0, event })
        }
      }
    }
    const travellers = new Set(events.flatMap((event) => "actor" in event ? [event.actor.id] : []))
    return { before: state.world, data, world, decided, events, travellers }
  })

interface State {
  readonly data: WorldData
  readonly world: World.World
}

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

const make = (settings: Pick<Settings, "data">) =>
  Effect.gen(function*() {
    const bus = yield* WorldBus
    const streams = yield* PlayerStreams
    const store = yield* KeyValueStore.KeyValueStore
    const { initial } = yield* CurrentWorldData
    const state = yield* Ref.make<State>({ data: initial, world: yield* restore(initial, Storage.fileOf(settings)) })
    const queue = new Inbox<Waiting>(capacity)
    const writing = makeWriting()
    let saved = (yield* state).world.lastId
    let ahead = (yield* state).world
    let closed = false
    let batches = 0
    let transactions = 0

    const save = Effect.gen(function*() {
      const { world } = yield* state
      if (world.lastId === saved) return
      yield* store.set("world", yield* encodeSnapshot(World.toSnapshot(world)))
      saved = world.lastId
    }).pipe(Effect.withSpan("Game.save"))

    const refused = ({ before, decided, travellers }: Batch, cause: Cause.Cause<unknown>) =>
      Effect.gen(function*() {
        ahead = before
        yield* Effect.forEach(travellers, streams.reset, { discard: true })
        const gone = Option.exists(Cause.failureOption(cause), isBusClosed)
        if (!gone) yield* writing.failed(cause, decided.length)
        yield* Effect.forEach(decided, ({ done }) => Deferred.fail(done, gone ? closing : unwritable), {
          discard: true
        })
      })

    const settle = (waiting: Iterable<Waiting>) =>
      Effect.gen(function*() {
        const decision = yield* decideAll(yield* state, waiting)
        const { before, data, decided, events, travellers, world } = decision
        // Streams turn to the rooms where their players will be before the events are out: nothing is shown too late.
        ahead = world
        for (const player of travellers) {
          for (const window of World.windowChanges(before, world, player)) yield* streams.turn(player, window)
        }
        const published = events.length === 0 ? Exit.succeed([]) : yield* Effect.exit(bus.publishAll(events))
        if (Exit.isFailure(published)) return yield* refused(decision, published.cause)
        if (events.length > 0) yield* writing.worked
        // Folded once more: the state takes the ids and instants that the log gave.
        let after = before
        const answers = decided.map(({ data: shape, done, events: { length }, from, reply }) => {
          const facts = published.value.slice(from, from + length)
          after = facts.reduce(World.evolve, after)
          return Deferred.succeed(done, { reply, facts, data: shape, world: after })
        })
        ahead = after
        yield* Ref.set(state, { data, world: after })
        // Only now: who is answered looks at the state next.
        yield* Effect.all(answers, { discard: true })
        batches += 1
        transactions += decided.length
        if (after.lastId - saved >= snapshotEvery) {
          yield* save.pipe(Effect.catchAllCause((cause) => Effect.logWarning("The world could not be saved", cause)))
        }
      })

    // A batch is published, folded and answered as one: an interrupt waits for that, and nobody waits after it.
    const write = queue.each(settle, batch)
    const refuseRest = Effect.suspend(() => {
      closed = true
      return Effect.forEach(queue.unsafeTake(), ({ done }) => Deferred.fail(done, closing), { discard: true })
    })

    yield* Cleanup.addFinalizer({ label: "save the world" }, () => save)
    yield* FiberRegistry.forkScoped(Effect.ensuring(write, refuseRest), {
      name: "world-writer",
      kind: "service"
    })

    const transact = <E>(decide: Transaction<E>, data?: WorldData): Effect.Effect<Outcome, E | Unavailable> =>
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

    const publish = (decide: (data: WorldData, world: World.World) => ReadonlyArray<WorldEvent>, data?: WorldData) =>
      transact<never>((data, world) => Either.right({ events: decide(data, world), reply: { _tag: "Done" } }), data)

    return Game.of({
      transact: (decide) => transact(decide),
      publish: (decide) => publish(decide),
      reload: (data) => publish(Decide.reload, data),
      now: Ref.get(state),
      writable: writing.check,
      windows: (player) => Effect.sync(() => World.windowsOf(ahead, player)),
      stats: Effect.sync(() => ({ waiting: queue.size, batches, transactions }))
    })
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Pick<Settings, "data">) => Layer.scoped(Game, make(settings))

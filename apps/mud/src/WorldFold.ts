/**
 * The state of the world on this node: the last snapshot, and every event of the log behind it, folded as it comes, whoever
 * decided it.
 *
 * **Guarantees**
 * - The state after an event is the same on every node: it depends on the log alone.
 * - The windows of a player's streams change before the events that move it are shown, on every node: what the streams show
 *   goes through the fold.
 * - A world with a hole is wrong. When events are missing, the fold ends, the streams of this node end, and the process shuts
 *   down: whoever starts it anew has it fold from the log again.
 * - Nobody waits for a state that cannot come: when the fold ends, for whatever reason, its waits end with `FoldEnded`.
 *
 * **Not for** deciding: see `Game`.
 *
 * @since 0.1.0
 */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import { type Envelope, type Gap, isGap } from "@holdfast/core/Envelope"
import type { Subscription, SubscriptionClosed } from "@holdfast/core/EventSubscription"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Monotonic from "@holdfast/core/Monotonic"
import { Signal } from "@holdfast/core/Signal"
import * as SseHub from "@holdfast/http/SseHub"
import { Cause, Context, Data, Effect, Layer, Option, ParseResult, Schedule, Schema, type Scope } from "effect"
import { CurrentWorldData } from "./data/CurrentWorldData.js"
import type { WorldData } from "./data/WorldData.js"
import * as World from "./domain/World.js"
import type { WorldEvent } from "./domain/WorldEvent.js"
import type { Settings } from "./Settings.js"
import * as Storage from "./Storage.js"
import { WorldBus } from "./WorldBus.js"

/**
 * What was stored of the world cannot be read.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnreadableState extends Schema.TaggedError<UnreadableState>()("UnreadableState", {
  path: Schema.String,
  /** What cannot be read: the snapshot and its key, or events and their ids. */
  what: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.what} in ${this.path} cannot be read: ${this.reason}. ` +
      "It was written by another release, or by hand. Start the release that wrote it, put a copy of the file back, " +
      "or begin anew with another --data"
  }
}

/**
 * The fold goes no further: the bus was closed, or the log has a hole.
 *
 * @since 0.1.0
 * @category errors
 */
export class FoldEnded extends Data.TaggedError("FoldEnded")<{
  /** Whether the bus was closed in order. */
  readonly closed: boolean
  readonly reason: string
}> {
  /** @since 0.1.0 */
  override get message() {
    return `the world is folded no further: ${this.reason}`
  }
}

/**
 * What the streams of this node have to be told before an event that moves a player is shown.
 *
 * @since 0.1.0
 * @category models
 */
export type Turn = (player: string, change: World.WindowChange) => Effect.Effect<void>

/**
 * @since 0.1.0
 * @category tags
 */
export class WorldFold extends Context.Tag("@holdfast/mud/WorldFold")<WorldFold, {
  /** The state after the last event that came. */
  readonly world: Effect.Effect<World.World>
  /** Waits until event `id` is part of the state. */
  readonly reach: (id: number) => Effect.Effect<void, FoldEnded>
  /** Waits for a state. */
  readonly until: (holds: (world: World.World) => boolean) => Effect.Effect<void, FoldEnded>
  /** When the last minute of the world came, on the monotonic clock; none before the first one that comes to this node. */
  readonly tickedAt: Effect.Effect<Option.Option<number>>
  /** From now on, for each window that changes. */
  readonly onTurn: (turn: Turn) => Effect.Effect<void>
  /** What a hub shows: all that is part of the state, after its turns. */
  readonly source: Pick<SseHub.Source<WorldEvent>, "subscribe" | "lastId">
}>() {}

/** How many events wait for the hub at most. It takes what it missed beyond that from the log. */
const shownCapacity = 16_384

type Item = Envelope<WorldEvent> | Gap

class Fold {
  ended: FoldEnded | undefined
  readonly moved = new Signal()
  turn: Turn = () => Effect.void
  tickedAt: Option.Option<number> = Option.none()

  /** What waits for the hub, while there is one. */
  private shown: Array<Envelope<WorldEvent> | SseHub.Gap> | undefined
  private readonly added = new Signal()

  constructor(public world: World.World) {}

  readonly until = (holds: (world: World.World) => boolean): Effect.Effect<void, FoldEnded> =>
    Effect.zipRight(
      this.moved.wait(() => this.ended !== undefined || holds(this.world)),
      Effect.suspend(() => holds(this.world) ? Effect.void : this.ended!)
    )

  readonly reach = (id: number): Effect.Effect<void, FoldEnded> =>
    Effect.suspend(() => this.world.lastId >= id ? Effect.void : this.until(({ lastId }) => lastId >= id))

  /** Folds what comes, until there is no more. `again` subscribes behind the state, for when the log could not be read. */
  run<R>(
    first: Subscription<WorldEvent>,
    again: Effect.Effect<Subscription<WorldEvent>, unknown, R>
  ): Effect.Effect<FoldEnded, never, Exclude<R, Scope.Scope>> {
    const follow = (subscription: Subscription<WorldEvent>) =>
      Effect.forever(Effect.flatMap(subscription.takeBatch(512), (items) => this.take(items)))
    const resumed: Effect.Effect<never, FoldEnded | SubscriptionClosed, Exclude<R, Scope.Scope>> = Effect.suspend(() =>
      Effect.scoped(Effect.flatMap(Effect.orDie(Effect.retry(again, Schedule.spaced("200 millis"))), follow))
    )
    const isPassing = (error: FoldEnded | SubscriptionClosed) => error.reason === "failed"
    return Effect.catchIf(
      follow(first),
      isPassing,
      () => Effect.retry(resumed, { while: isPassing, schedule: Schedule.spaced("200 millis") })
    ).pipe(
      Effect.mapError((error) =>
        error._tag === "FoldEnded" ? error : new FoldEnded({
          closed: ["drained", "closed", "unsubscribed"].includes(error.reason),
          reason: error.message
        })
      ),
      Effect.flip,
      // As a hole: what it has folded is of no use any more.
      Effect.catchAllDefect((defect) =>
        Effect.as(
          Effect.logError("The fold of the world crashed", Cause.die(defect)),
          new FoldEnded({ closed: false, reason: `it crashed: ${String(defect)}` })
        )
      ),
      Effect.tap((ended) => Effect.sync(() => this.end(ended)))
    )
  }

  private take(items: ReadonlyArray<Item>): Effect.Effect<void, FoldEnded> {
    return Effect.clockWith((clock) => {
      const before = this.world
      const facts: Array<Envelope<WorldEvent>> = []
      const travellers = new Set<string>()
      let world = before
      for (const item of items) {
        if (isGap(item)) {
          return new FoldEnded({
            closed: false,
            reason: `events ${item.firstId} to ${item.lastId} of the log are missing`
          })
        }
        world = World.evolve(world, item)
        facts.push(item)
        if (item.event._tag === "Ticked") this.tickedAt = Option.some(Monotonic.unsafeNow(clock))
        if ("actor" in item.event) travellers.add(item.event.actor.id)
      }
      this.world = world
      this.moved.wake()
      const turns = Array.from(travellers).flatMap((player) =>
        World.windowChanges(before, world, player).map((change) => this.turn(player, change))
      )
      return Effect.zipRight(Effect.all(turns, { discard: true }), Effect.sync(() => this.show(facts)))
    })
  }

  private show(facts: ReadonlyArray<Envelope<WorldEvent>>) {
    if (this.shown === undefined) return
    this.shown.push(...facts)
    if (this.shown.length > shownCapacity) {
      const [first] = this.shown
      const firstId = "firstId" in first ? first.firstId : first.id
      this.shown = [{ _tag: "Gap", firstId, lastId: facts[facts.length - 1].id }]
    }
    this.added.wake()
  }

  /** Who waits for a state waits no longer. What it ended with first remains. */
  end(ended: FoldEnded) {
    this.ended ??= ended
    this.moved.wake()
    this.added.wake()
  }

  readonly subscribe: SseHub.Source<WorldEvent>["subscribe"] = Effect.as(
    Effect.acquireRelease(
      Effect.sync(() => {
        this.shown = []
      }),
      () =>
        Effect.sync(() => {
          this.shown = undefined
        })
    ),
    {
      takeBatch: (max) =>
        Effect.zipRight(
          this.added.wait(() => this.ended !== undefined || (this.shown?.length ?? 0) > 0),
          Effect.suspend((): Effect.Effect<ReadonlyArray<Envelope<WorldEvent> | SseHub.Gap>, unknown> => {
            if (this.shown !== undefined && this.shown.length > 0) return Effect.succeed(this.shown.splice(0, max))
            return this.ended?.closed === true ? new SseHub.SourceClosed() : this.ended!
          })
        )
    }
  )
}

const decodeSnapshot = Schema.decode(Schema.parseJson(World.Snapshot))

const unreadable = (path: string, what: string) => ({ issue }: ParseResult.ParseError) => {
  const [first] = ParseResult.ArrayFormatter.formatIssueSync(issue)
  const at = first.path.length === 0 ? "" : `${first.path.map(String).join(".")}: `
  return new UnreadableState({ path, what, reason: `${at}${first.message}`.slice(0, 300) })
}

const snapshotName = "the snapshot (key \"world\")"

/** Why a snapshot is not one of this log, if it is none. */
const misfit = (world: World.World, head: number) =>
  Effect.gen(function*() {
    const bus = yield* WorldBus
    if (world.lastId > head) return `it is of event ${world.lastId}, and the log ends at ${head}`
    if (world.lastId === 0 || world.lastAt === 0) return undefined
    // A log that lost its end, and went on, has another event there. Another node may have written it a moment ago: it is waited for.
    yield* bus.log.after(world.lastId, { limit: 1 })
    const { items: [last] } = yield* bus.log.after(world.lastId - 1, { limit: 1 })
    return last !== undefined && !isGap(last) && last.id === world.lastId && last.at !== world.lastAt
      ? `event ${world.lastId} of the log is another one than when it was saved`
      : undefined
  })

/**
 * The world as it was saved, if the log is the one that it was saved from. A log that lost its end has what the world is made
 * of as long as it has its beginning.
 */
const saved = (data: WorldData, path: string) =>
  Effect.gen(function*() {
    const store = yield* KeyValueStore.KeyValueStore
    const bus = yield* WorldBus
    const text = yield* store.get("world")
    if (Option.isNone(text)) return World.initial(data)
    const world = World.fromSnapshot(yield* Effect.mapError(decodeSnapshot(text.value), unreadable(path, snapshotName)))
    const refused = (reason: string) => new UnreadableState({ path, what: snapshotName, reason })
    const head = yield* bus.head
    const reason = yield* Effect.mapError(misfit(world, head), (error) => refused(error.message))
    if (reason === undefined) return world
    const { first } = yield* bus.log.bounds
    if (head === 0 || first > 1) return yield* refused(reason)
    yield* Effect.logWarning(
      `${snapshotName} is not of this log: ${reason}. The world is folded from the first event of the log`
    )
    return World.initial(data)
  })

const make = (settings: Pick<Settings, "data">) =>
  Effect.gen(function*() {
    const bus = yield* WorldBus
    const { initial } = yield* CurrentWorldData
    const path = Storage.fileOf(settings)
    const lifecycle = yield* Effect.serviceOption(Lifecycle.Lifecycle)
    const start = yield* saved(initial, path)
    const fold = new Fold(start)
    const behind = (id: number) =>
      bus.log.subscribeAfter(id, { name: "world-fold", capacity: 4_096, policy: "suspend" })
    const subscription = yield* Effect.mapError(
      behind(start.lastId),
      (error) => new UnreadableState({ path, what: "the log", reason: error.message })
    )
    const known = yield* bus.lastId
    let restored = false
    const folding = Effect.flatMap(fold.run(subscription, Effect.suspend(() => behind(fold.world.lastId))), (ended) => {
      if (ended.closed || !restored) return Effect.void
      const crash = { _tag: "Crash" as const, origin: "world-fold", cause: ended.message }
      return Effect.zipRight(
        Effect.logError(`This node stops: ${ended.message}`),
        Option.match(lifecycle, {
          onNone: () => Effect.void,
          onSome: ({ requestShutdown }) => requestShutdown(crash)
        })
      )
    })
    // Who waits for it may be what the shutdown waits for, long before the scope of this layer is closed.
    yield* FiberRegistry.forkFinally(
      folding,
      { name: "world-fold", kind: "service" },
      () => Effect.sync(() => fold.end(new FoldEnded({ closed: true, reason: "this node shuts down" })))
    )
    yield* Effect.mapError(
      fold.reach(known),
      ({ reason }) => new UnreadableState({ path, what: `the log behind event ${start.lastId}`, reason })
    )
    restored = true
    // those of the log were before this node began
    fold.tickedAt = Option.none()
    yield* Effect.logInfo("The world is restored").pipe(
      Effect.annotateLogs({
        snapshot: start.lastId,
        events: fold.world.lastId - start.lastId,
        players: World.count(fold.world)
      })
    )
    return WorldFold.of({
      world: Effect.sync(() => fold.world),
      reach: fold.reach,
      until: fold.until,
      tickedAt: Effect.sync(() => fold.tickedAt),
      onTurn: (turn) =>
        Effect.sync(() => {
          fold.turn = turn
        }),
      source: { subscribe: fold.subscribe, lastId: Effect.sync(() => fold.world.lastId) }
    })
  }).pipe(Effect.withSpan("WorldFold.restore"))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Pick<Settings, "data">) => Layer.scoped(WorldFold, make(settings))

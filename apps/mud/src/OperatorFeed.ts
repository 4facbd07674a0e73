/**
 * What the operator sees: a picture of the whole process, taken once a second while somebody looks, over a hub of its own.
 *
 * @since 0.1.0
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Clock, Context, Effect, Layer } from "effect"
import { monitorEventLoopDelay, performance } from "node:perf_hooks"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"
import { LastShutdown } from "./LastShutdown.js"
import { PlayerStreams } from "./PlayerStreams.js"
import { clockOf } from "./world/WorldData.js"
import { WorldBus } from "./WorldBus.js"
import { WorldTicker } from "./WorldTicker.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class OperatorFeed extends Context.Tag("@holdfast/mud/OperatorFeed")<OperatorFeed, {
  readonly hub: SseHub.Service
  readonly snapshot: Effect.Effect<Snapshot>
}>() {}

/** Rows of each table; the rest is counted. */
const shown = 200

const seconds = 1_000

interface FiberNode {
  readonly label: string
  readonly id?: string
  readonly kind?: string
  readonly status?: string
  readonly ownership?: string
  /** Milliseconds. */
  readonly age?: number
  readonly restarts?: number
  readonly leaked?: boolean
  readonly children: ReadonlyArray<FiberNode>
}

/** What nobody is answerable for. A fiber whose scope has just been closed is given a moment to end. */
const whyLeaked = (entry: FiberRegistry.Entry, roots: ReadonlySet<string>): string | undefined => {
  if (entry.ageMillis < 2 * seconds || entry.kind === "cleanup") return undefined
  if (entry.ownership === "scope-closed") return "its scope is closed, and it still runs"
  if (entry.ownership === "owner-ended") return "the fiber that forked it has ended, and it still runs"
  return entry.ownership === "none" && entry.detached && !roots.has(entry.id) ? "no scope will ever end it" : undefined
}

const asNode = (roots: ReadonlySet<string>) => ({ children, entry, label }: FiberRegistry.Node): FiberNode => ({
  label,
  children: children.map(asNode(roots)),
  ...(entry === undefined ? {} : {
    id: entry.id,
    kind: entry.kind,
    status: entry.status,
    ownership: entry.ownership,
    age: entry.ageMillis,
    restarts: entry.restarts,
    leaked: whyLeaked(entry, roots) !== undefined
  })
})

/**
 * @since 0.1.0
 * @category models
 */
export type Snapshot = Effect.Effect.Success<Effect.Effect.Success<typeof makeSnapshot>>

const makeSnapshot = Effect.gen(function*() {
  const lifecycle = yield* Lifecycle.Lifecycle
  const registry = yield* FiberRegistry.FiberRegistry
  const cleanups = yield* Cleanup.CleanupMonitor
  const bus = yield* WorldBus
  const game = yield* Game
  const streams = yield* PlayerStreams
  const ticker = yield* WorldTicker
  const server = yield* NodeServer.NodeServer
  const last = yield* LastShutdown
  // The fiber that runs the process itself has nobody above it.
  const roots = new Set((yield* registry.untracked).map(({ id }) => id))
  const startedAt = yield* Clock.currentTimeMillis
  const delay = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const histogram = monitorEventLoopDelay({ resolution: 10 })
      histogram.enable()
      return histogram
    }),
    (histogram) => Effect.sync(() => histogram.disable())
  )
  let before = { at: startedAt, events: 0, deliveries: 0, utilization: performance.eventLoopUtilization() }

  return Effect.gen(function*() {
    const at = yield* Clock.currentTimeMillis
    const { data, world } = yield* game.now
    const sessions = yield* streams.hub.sessions
    const ended = yield* streams.hub.ended
    const fanOut = yield* streams.hub.stats
    const busStats = yield* bus.stats
    const tree = yield* registry.tree
    const entries = [...(yield* registry.census), ...(yield* registry.untracked)]
    const utilization = performance.eventLoopUtilization()
    const passed = Math.max(0.001, (at - before.at) / seconds)
    const rates = {
      events: Math.max(0, (busStats.lastId - before.events) / passed),
      deliveries: Math.max(0, (fanOut.events - before.deliveries) / passed)
    }
    const cpu = performance.eventLoopUtilization(utilization, before.utilization).utilization
    before = { at, events: busStats.lastId, deliveries: fanOut.events, utilization }
    const lag = delay.percentile(99) / 1e6
    delay.reset()
    const nameOf = (id: string | undefined) =>
      id === undefined ? "somebody" : World.playerById(world, id)?.name ?? "forgotten"
    return {
      at,
      startedAt,
      phase: yield* lifecycle.phase,
      world: {
        clock: clockOf(world.minute),
        weather: World.weatherOf(data, world),
        awake: World.awake(world).length,
        players: World.count(world)
      },
      rates,
      fibers: tree.map(asNode(roots)),
      counts: yield* registry.counts,
      leaks: entries.flatMap((entry) => {
        const why = whyLeaked(entry, roots)
        return why === undefined ? [] : [{ id: entry.id, label: entry.name, owner: entry.owner.join("/"), why }]
      }),
      sessions: {
        total: sessions.length,
        open: sessions.slice(0, shown).map(({ buffered, id, openedAt, principal }) => {
          const player = principal === undefined ? undefined : World.playerById(world, principal)
          return {
            id,
            player: principal,
            name: nameOf(principal),
            room: player === undefined ? "" : data.rooms[player.room]?.name ?? "",
            waiting: buffered,
            age: at - openedAt
          }
        }),
        ended: ended.slice(-50).toReversed().map(({ endedAt, id, openedAt, principal, reason }) => ({
          id,
          name: nameOf(principal),
          reason,
          lasted: endedAt - openedAt,
          at: endedAt
        }))
      },
      bus: {
        lastId: busStats.lastId,
        depth: Math.max(0, ...busStats.subscribers.map(({ queued }) => queued)),
        subscribers: busStats.subscribers.map(({ dropped, id, name, queued }) => ({
          id,
          name,
          depth: queued,
          lag: queued,
          lost: dropped
        }))
      },
      tickers: [yield* ticker.stats],
      process: { heap: process.memoryUsage().heapUsed, rss: process.memoryUsage.rss(), lag, cpu },
      http: yield* server.stats,
      cleanups: {
        counts: yield* cleanups.counts,
        left: (yield* cleanups.left).map(({ budgetMillis, label, owner, since }) => ({
          label,
          owner: owner.join("/"),
          budget: budgetMillis,
          since
        })),
        recent: (yield* cleanups.recent).slice(-40).toReversed().map((outcome, index) => ({
          key: `${outcome.attempts[0]?.fiberId ?? index} ${outcome.label}`,
          label: outcome.label,
          owner: outcome.owner.join("/"),
          outcome: outcome._tag,
          elapsed: outcome.elapsedMillis,
          budget: outcome.budgetMillis
        }))
      },
      report: last.text
    }
  })
})

/** A subscription that takes a picture each second, as long as somebody looks. */
const source = (snapshot: Effect.Effect<Snapshot>, watched: Effect.Effect<boolean>): SseHub.Source<Snapshot> => {
  let id = 0
  const next = Effect.gen(function*() {
    yield* Effect.sleep("1 second")
    while (!(yield* watched)) yield* Effect.sleep("250 millis")
    const event = yield* snapshot
    id += 1
    return [{ id, at: event.at, topic: "operator", event }]
  })
  return { subscribe: Effect.succeed({ takeBatch: () => next }), lastId: Effect.sync(() => id) }
}

const make = Effect.gen(function*() {
  const snapshot = yield* makeSnapshot
  let hub: SseHub.Service | undefined
  const watched = Effect.suspend(() =>
    hub === undefined ? Effect.succeed(false) : Effect.map(hub.stats, ({ open }) => open > 0)
  )
  hub = yield* SseHub.make<Snapshot>({
    name: "operators",
    source: source(snapshot, watched),
    retry: "1 second",
    heartbeat: "5 seconds",
    // Nobody wants yesterday's picture: a slow reader skips.
    policy: { _tag: "sliding" },
    recent: 1,
    limits: { sessions: 32 }
  })
  return OperatorFeed.of({ hub, snapshot })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scoped(OperatorFeed, make)

/**
 * How a picture goes over the wire.
 *
 * @since 0.1.0
 * @category formats
 */
export const format = SseFormat.make<Snapshot>({
  encode: ({ event }) => ({ event: "Snapshot", data: JSON.stringify(event) })
})

/**
 * What the operator sees: a picture of the whole process, taken once a second while somebody looks, over a hub of its own.
 *
 * @since 0.1.0
 */
import * as Audit from "@holdfast/core/Audit"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Probes from "@holdfast/core/Probes"
import * as Ticker from "@holdfast/core/Ticker"
import * as Metrics from "@holdfast/http/Metrics"
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import * as NodeProbes from "@holdfast/node/NodeProbes"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Clock, Context, Effect, Layer, Option } from "effect"
import { performance } from "node:perf_hooks"
import { clockOf } from "./data/WorldData.js"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"
import * as LastShutdown from "./LastShutdown.js"
import { PlayerStreams } from "./PlayerStreams.js"
import type { Settings } from "./Settings.js"
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

const second = 1_000

/** How many seconds the graphs go back. */
const beats = 120

/** What the graphs show of one second. */
interface Beat {
  readonly events: number
  readonly deliveries: number
  readonly depth: number
  /** Milliseconds. */
  readonly late: number
  /** Milliseconds. */
  readonly lag: number
  /** Bytes. */
  readonly heap: number
}

const tenths = (value: number) => Math.round(value * 10) / 10

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

const asNode = (leaked: ReadonlySet<string>) => ({ children, entry, label }: FiberRegistry.Node): FiberNode => ({
  label,
  children: children.map(asNode(leaked)),
  ...(entry === undefined ? {} : {
    id: entry.id,
    kind: entry.kind,
    status: entry.status,
    ownership: entry.ownership,
    age: entry.ageMillis,
    restarts: entry.restarts,
    leaked: leaked.has(entry.id)
  })
})

const reasons = {
  "scope-closed": "its scope is closed, and it still runs",
  "owner-ended": "the fiber that forked it has ended, and it still runs",
  "detached": "no scope will ever end it"
}

/**
 * @since 0.1.0
 * @category models
 */
export type Snapshot = Effect.Effect.Success<Effect.Effect.Success<typeof makeSnapshot>>

const makeSnapshot = Effect.gen(function*() {
  const lifecycle = yield* Lifecycle.Lifecycle
  const registry = yield* FiberRegistry.FiberRegistry
  const audit = yield* Audit.Audit
  const memory = yield* Probes.MemoryProbe
  const lag = yield* Probes.LagProbe
  const cleanups = yield* Cleanup.CleanupMonitor
  const bus = yield* WorldBus
  const game = yield* Game
  const streams = yield* PlayerStreams
  const ticker = yield* WorldTicker
  const server = yield* NodeServer.NodeServer
  const last = yield* LastShutdown.LastShutdown
  const startedAt = yield* Clock.currentTimeMillis
  const pulse: Array<Beat> = []
  const seenAt = new WeakMap<Cleanup.Outcome, number>()
  let cpu = 0
  let before = { at: startedAt, events: 0, deliveries: 0, utilization: performance.eventLoopUtilization() }

  const beat = Effect.gen(function*() {
    const at = yield* Clock.currentTimeMillis
    const { lastId, subscribers } = yield* bus.stats
    const { events: deliveries } = yield* streams.hub.stats
    const { lateMillis: late } = yield* ticker.stats
    const { p99 } = yield* lag.read
    const { heapUsed } = yield* memory.read
    const utilization = performance.eventLoopUtilization()
    const passed = Math.max(0.001, (at - before.at) / second)
    pulse.push({
      events: tenths(Math.max(0, lastId - before.events) / passed),
      deliveries: tenths(Math.max(0, deliveries - before.deliveries) / passed),
      depth: Math.max(0, ...subscribers.map(({ queued }) => queued)),
      late: tenths(late),
      lag: tenths(p99),
      heap: heapUsed
    })
    if (pulse.length > beats) pulse.shift()
    cpu = performance.eventLoopUtilization(utilization, before.utilization).utilization
    before = { at, events: lastId, deliveries, utilization }
  })
  // It beats also while nobody looks: whoever comes sees the two minutes before.
  const heart = yield* Ticker.make({ name: "operator-pulse", interval: "1 second", overrun: { _tag: "skip" } })
  yield* heart.onTick({ name: "beat" }, () => beat)

  // The same numbers for Prometheus.
  yield* Metrics.collect(Effect.gen(function*() {
    const { world } = yield* game.now
    const { bytes, events, open } = yield* streams.hub.stats
    const { dropped, lastId, queued } = yield* bus.stats
    const { lateMillis: late, maxLateMillis: maxLate, ticks } = yield* ticker.stats
    const requests = yield* server.stats
    return [
      ...Metrics.gauges("mud", "The world", {
        players_awake: World.awake(world).length,
        players_known: World.count(world)
      }),
      ...Metrics.gauges("mud_streams", "Streams of players", { open }),
      ...Metrics.counters("mud_streams", "Streams of players", { events, bytes }),
      ...Metrics.gauges("mud_bus", "Events that wait on the bus", { queued }),
      ...Metrics.counters("mud_bus", "Events of the bus", { published: lastId, dropped }),
      ...Metrics.gauges("mud_tick", "Milliseconds that the world's clock was late", { late, worst: maxLate }),
      ...Metrics.counters("mud_tick", "World minutes", { handed_out: ticks }),
      ...Metrics.gauges("mud_http", "HTTP", { connections: requests.connections, in_flight: requests.inFlight }),
      ...Metrics.counters("mud_http", "HTTP", { requests: requests.requests, refused: requests.refused })
    ]
  }))

  return Effect.gen(function*() {
    const at = yield* Clock.currentTimeMillis
    const { data, world } = yield* game.now
    const sessions = yield* streams.hub.sessions
    const ended = yield* streams.hub.ended
    const busStats = yield* bus.stats
    const tree = yield* registry.tree
    const orphans = (yield* audit.inspect).filter((finding) => finding._tag === "Orphan")
    const outcomes = yield* cleanups.recent
    for (const outcome of outcomes) if (!seenAt.has(outcome)) seenAt.set(outcome, at)
    const used = yield* memory.read
    const lastAudit = yield* audit.last
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
      pulse,
      fibers: tree.map(asNode(new Set(orphans.map(({ suspect }) => suspect.id)))),
      counts: yield* registry.counts,
      leaks: orphans.map(({ suspect: { ageMillis, id, path }, why }) => ({
        id,
        label: path.split("/").at(-1) ?? id,
        owner: path.split("/").slice(0, -1).join("/"),
        why: reasons[why],
        age: ageMillis
      })),
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
        subscribers: busStats.subscribers.map(({ delivered, dropped, id, name, queued }) => ({
          id,
          name,
          depth: queued,
          delivered,
          lost: dropped
        }))
      },
      tickers: [yield* ticker.stats],
      process: { heap: used.heapUsed, rss: used.rss, cpu },
      http: yield* server.stats,
      cleanups: {
        counts: yield* cleanups.counts,
        left: (yield* cleanups.live).map(({ budgetMillis, label, owner, since }) => ({
          key: `${label} ${since}`,
          label,
          owner: owner.join("/"),
          budget: budgetMillis,
          since
        })),
        recent: outcomes.slice(-40).toReversed().map((outcome, index) => ({
          key: `${outcome.attempts[0]?.fiberId ?? index} ${outcome.label}`,
          label: outcome.label,
          owner: outcome.owner.join("/"),
          outcome: outcome._tag,
          elapsed: outcome.elapsedMillis,
          budget: outcome.budgetMillis,
          at: seenAt.get(outcome) ?? at
        }))
      },
      audit: Option.getOrUndefined(Option.map(lastAudit, ({ at: when, findings }) => ({
        at: when,
        findings: findings.map(Audit.render)
      }))),
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
export const layer = (settings: Pick<Settings, "data">) =>
  Layer.scoped(OperatorFeed, make).pipe(
    Layer.provide([Audit.layer({ orphanAfter: "3 seconds" }), LastShutdown.layer(settings)]),
    Layer.provide(NodeProbes.layer)
  )

/**
 * How a picture goes over the wire.
 *
 * @since 0.1.0
 * @category formats
 */
export const format = SseFormat.make<Snapshot>({
  encode: ({ event }) => ({ event: "Snapshot", data: JSON.stringify(event) })
})

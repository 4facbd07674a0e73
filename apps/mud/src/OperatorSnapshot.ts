/**
 * A picture of the whole process, for the operator: what runs, who is there, what was cleaned up, and what went wrong.
 *
 * @since 0.1.0
 */
import * as Audit from "@holdfast/core/Audit"
import * as Cleanup from "@holdfast/core/Cleanup"
import type { CrashReport } from "@holdfast/core/FiberCensus"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Probes from "@holdfast/core/Probes"
import * as Ticker from "@holdfast/core/Ticker"
import * as Metrics from "@holdfast/http/Metrics"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Cause, Clock, Effect, Option, Stream } from "effect"
import { performance } from "node:perf_hooks"
import { clockOf } from "./data/WorldData.js"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"
import * as LastShutdown from "./LastShutdown.js"
import { PlayerStreams } from "./PlayerStreams.js"
import { WorldBus } from "./WorldBus.js"
import { WorldTicker } from "./WorldTicker.js"

/** Rows of each table; the rest is counted. */
const shown = 200

const second = 1_000

/** How many seconds the graphs go back. */
const beats = 120

/**
 * What the graphs show of one second.
 *
 * @since 0.1.0
 * @category models
 */
export interface Beat {
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

/**
 * A fiber in the tree.
 *
 * @since 0.1.0
 * @category models
 */
export interface FiberNode {
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

/** The two minutes before, beat by beat, and how busy the processor was in the last one. */
const makePulse = Effect.gen(function*() {
  const memory = yield* Probes.MemoryProbe
  const lag = yield* Probes.LagProbe
  const bus = yield* WorldBus
  const streams = yield* PlayerStreams
  const ticker = yield* WorldTicker
  const pulse: Array<Beat> = []
  let cpu = 0
  let before = {
    at: yield* Clock.currentTimeMillis,
    events: 0,
    deliveries: 0,
    utilization: performance.eventLoopUtilization()
  }

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

  return { beats: pulse, cpu: () => cpu }
})

/** The same numbers for Prometheus. */
const exportMetrics = Effect.gen(function*() {
  const bus = yield* WorldBus
  const game = yield* Game
  const streams = yield* PlayerStreams
  const ticker = yield* WorldTicker
  const server = yield* NodeServer.NodeServer
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
})

/** Crashes are looked at for so long. */
const crashesFor = 10 * 60_000

/** What crashed lately: a service that was started anew works again, but somebody should look at why it fell. */
const makeCrashes = Effect.gen(function*() {
  const registry = yield* FiberRegistry.FiberRegistry
  const recent: Array<CrashReport> = []
  yield* FiberRegistry.forkScoped(
    Stream.runForEach(registry.crashes, (crash) =>
      Effect.sync(() => {
        recent.push(crash)
        if (recent.length > 20) recent.shift()
      })),
    { name: "operator-crashes", kind: "service" }
  )
  return Effect.map(
    Clock.currentTimeMillis,
    (now) =>
      recent.filter(({ at }) => now - at < crashesFor).map(({ action, at, cause, id, name, owner }) => ({
        key: `${id} ${at}`,
        label: name,
        owner: owner.join("/"),
        why: Cause.pretty(cause).split("\n", 1)[0],
        action: action ?? "nobody starts it again"
      }))
  )
})

/** The tree of fibers, and those in it that nobody will end. */
const makeFibers = Effect.gen(function*() {
  const registry = yield* FiberRegistry.FiberRegistry
  const audit = yield* Audit.Audit
  return Effect.gen(function*() {
    const tree = yield* registry.tree
    const orphans = (yield* audit.inspect).filter((finding) => finding._tag === "Orphan")
    const lastAudit = yield* audit.last
    return {
      fibers: tree.map(asNode(new Set(orphans.map(({ suspect }) => suspect.id)))),
      counts: yield* registry.counts,
      leaks: orphans.map(({ suspect: { ageMillis, id, path }, why }) => ({
        id,
        label: path.split("/").at(-1) ?? id,
        owner: path.split("/").slice(0, -1).join("/"),
        why: reasons[why],
        age: ageMillis
      })),
      audit: Option.getOrUndefined(Option.map(lastAudit, ({ at: when, findings }) => ({
        at: when,
        findings: findings.map(Audit.render)
      })))
    }
  })
})

/** Who is connected, and who was. */
const makeSessions = Effect.gen(function*() {
  const game = yield* Game
  const { hub } = yield* PlayerStreams
  return Effect.gen(function*() {
    const at = yield* Clock.currentTimeMillis
    const { data, world } = yield* game.now
    const open = yield* hub.sessions
    const ended = yield* hub.ended
    const nameOf = (id: string | undefined) =>
      id === undefined ? "somebody" : World.playerById(world, id)?.name ?? "forgotten"
    return {
      total: open.length,
      open: open.slice(0, shown).map(({ buffered, id, openedAt, principal }) => {
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
    }
  })
})

const makeCleanups = Effect.gen(function*() {
  const cleanups = yield* Cleanup.CleanupMonitor
  const seenAt = new WeakMap<Cleanup.Outcome, number>()
  return Effect.gen(function*() {
    const at = yield* Clock.currentTimeMillis
    const outcomes = yield* cleanups.recent
    for (const outcome of outcomes) if (!seenAt.has(outcome)) seenAt.set(outcome, at)
    return {
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
    }
  })
})

/**
 * @since 0.1.0
 * @category models
 */
export type Snapshot = Effect.Effect.Success<Effect.Effect.Success<typeof make>>

/**
 * Begins to look. The effect that comes back takes a picture.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.gen(function*() {
  const lifecycle = yield* Lifecycle.Lifecycle
  const memory = yield* Probes.MemoryProbe
  const bus = yield* WorldBus
  const game = yield* Game
  const ticker = yield* WorldTicker
  const server = yield* NodeServer.NodeServer
  const last = yield* LastShutdown.LastShutdown
  const startedAt = yield* Clock.currentTimeMillis
  const pulse = yield* makePulse
  const crashes = yield* makeCrashes
  const fibers = yield* makeFibers
  const sessions = yield* makeSessions
  const cleanups = yield* makeCleanups
  yield* exportMetrics
  return Effect.gen(function*() {
    const { data, world } = yield* game.now
    const { lastId, subscribers } = yield* bus.stats
    const used = yield* memory.read
    const unwritable = yield* Effect.match(game.writable, { onSuccess: () => undefined, onFailure: (why) => why })
    return {
      at: yield* Clock.currentTimeMillis,
      startedAt,
      phase: yield* lifecycle.phase,
      world: {
        clock: clockOf(world.minute),
        weather: World.weatherOf(data, world),
        awake: World.awake(world).length,
        players: World.count(world)
      },
      pulse: pulse.beats,
      ...(yield* fibers),
      crashes: yield* crashes,
      ...(unwritable === undefined ? {} : { unwritable }),
      sessions: yield* sessions,
      bus: {
        lastId,
        depth: Math.max(0, ...subscribers.map(({ queued }) => queued)),
        subscribers: subscribers.map(({ delivered, dropped, id, name, queued }) => ({
          id,
          name,
          depth: queued,
          delivered,
          lost: dropped
        }))
      },
      tickers: [yield* ticker.stats],
      process: { heap: used.heapUsed, rss: used.rss, cpu: pulse.cpu() },
      http: yield* server.stats,
      cleanups: yield* cleanups,
      report: last.text
    }
  })
})

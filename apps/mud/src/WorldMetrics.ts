/**
 * The numbers of this world for Prometheus.
 *
 * @since 0.1.0
 */
import * as Metrics from "@holdfast/http/Metrics"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Effect, Layer } from "effect"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"
import { PlayerStreams } from "./PlayerStreams.js"
import { WorldBus } from "./WorldBus.js"
import { WorldTicker } from "./WorldTicker.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scopedDiscard(Effect.gen(function*() {
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
      ...Metrics.gauges("mud_tick", {
        late_seconds: "Seconds by which the world's clock was late last.",
        max_late_seconds: "Seconds by which the world's clock was late at most."
      }, { late_seconds: late / 1000, max_late_seconds: maxLate / 1000 }),
      ...Metrics.counters("mud_tick", "World minutes", { handed_out: ticks }),
      ...Metrics.gauges("mud_http", "HTTP", { connections: requests.connections, in_flight: requests.inFlight }),
      ...Metrics.counters("mud_http", "HTTP", { requests: requests.requests, refused: requests.refused })
    ]
  }))
}))

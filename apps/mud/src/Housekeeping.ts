/**
 * What has to be looked after once a second: players who should be asleep, by the node that drives the world, and streams of
 * players who are, by every node for its own.
 *
 * @since 0.1.0
 */
import * as Presence from "@holdfast/core/Presence"
import * as Ticker from "@holdfast/core/Ticker"
import { Effect, Layer } from "effect"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"
import { Players } from "./Players.js"
import { PlayerStreams } from "./PlayerStreams.js"
import { WorldOwner } from "./WorldOwner.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scopedDiscard(
  Effect.gen(function*() {
    const game = yield* Game
    const players = yield* Players
    const streams = yield* PlayerStreams
    const presence = yield* Presence.Presence
    const owner = yield* WorldOwner
    const connected = Effect.map(
      streams.hub.sessions,
      (sessions) => new Set(sessions.flatMap(({ principal }) => principal ?? []))
    )
    yield* presence.announce(Effect.flatMap(connected, players.roster))
    const ticker = yield* Ticker.make({ name: "housekeeping", interval: "1 second" })

    yield* ticker.onTick({ name: "sleep" }, () =>
      Effect.gen(function*() {
        const { world } = yield* game.now
        // A second after it fell asleep a player has read why: then its streams end.
        for (const id of yield* connected) {
          const player = World.playerById(world, id)
          if (player?.asleep !== undefined) {
            yield* streams.hub.kick(player.id, player.asleep === "kicked" ? "kicked" : "expired")
          }
        }
        const owned = yield* owner.current
        if (owned !== undefined) yield* players.sweep(owned, yield* presence.members)
      }).pipe(
        // The world is closing, or another node has taken over.
        Effect.catchTags({ Unavailable: () => Effect.void, Superseded: () => Effect.void })
      ))
  })
)

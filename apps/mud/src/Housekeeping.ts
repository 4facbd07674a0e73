/**
 * What has to be looked after once a second: players who should be asleep, and streams of players who are.
 *
 * @since 0.1.0
 */
import * as Ticker from "@holdfast/core/Ticker"
import { Effect, Layer } from "effect"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"
import { Players } from "./Players.js"
import { PlayerStreams } from "./PlayerStreams.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scopedDiscard(
  Effect.gen(function*() {
    const game = yield* Game
    const players = yield* Players
    const streams = yield* PlayerStreams
    const ticker = yield* Ticker.make({ name: "housekeeping", interval: "1 second" })

    yield* ticker.onTick({ name: "sleep" }, () =>
      Effect.gen(function*() {
        const { world } = yield* game.now
        const connected = new Set((yield* streams.hub.sessions).map(({ principal }) => principal))
        // A second after it fell asleep a player has read why: then its streams end.
        for (const id of connected) {
          const player = id === undefined ? undefined : World.playerById(world, id)
          if (player?.asleep !== undefined) {
            yield* streams.hub.kick(player.id, player.asleep === "kicked" ? "kicked" : "expired")
          }
        }
        yield* players.sweep((id) => connected.has(id))
      }).pipe(
        // The world is closing.
        Effect.catchTag("Unavailable", () => Effect.void)
      ))
  })
)

/**
 * Time and weather: each tick of the world's ticker is one world minute.
 *
 * @since 0.1.0
 */
import type * as Ticker from "@holdfast/core/Ticker"
import { Effect, Layer, Random } from "effect"
import * as Decide from "./domain/Decide.js"
import { Game } from "./Game.js"
import { WorldTicker } from "./WorldTicker.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scopedDiscard(
  Effect.gen(function*() {
    const game = yield* Game
    const ticker: Ticker.Service = yield* WorldTicker
    yield* ticker.onTick(
      { name: "sky" },
      () =>
        Effect.flatMap(Random.next, (chance) => game.publish((data, world) => Decide.tick(data, world, chance))).pipe(
          // The world is closing: there is no time any more.
          Effect.catchTag("Unavailable", () => Effect.void)
        )
    )
  })
)

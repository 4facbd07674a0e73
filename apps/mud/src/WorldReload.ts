/**
 * Hot reload: data that changed comes into use at once, and players stay where they are.
 *
 * @since 0.1.0
 */
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Effect, Layer, Stream } from "effect"
import { CurrentWorldData } from "./data/CurrentWorldData.js"
import { Game } from "./Game.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scopedDiscard(
  Effect.gen(function*() {
    const game = yield* Game
    const current = yield* CurrentWorldData
    yield* current.changes.pipe(
      Stream.runForEach((data) =>
        Effect.gen(function*() {
          yield* game.reload(data)
          yield* Effect.logInfo("The world was read anew").pipe(
            Effect.annotateLogs({ rooms: Object.keys(data.rooms).length })
          )
        }).pipe(Effect.catchTag("Unavailable", () => Effect.void))
      ),
      (self) => FiberRegistry.forkScoped(self, { name: "world-data-watcher", kind: "service" })
    )
  })
)

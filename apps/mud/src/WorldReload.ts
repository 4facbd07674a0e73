/**
 * Hot reload: data that changed comes into use at once, and players stay where they are. Every node reads its own files; the
 * one that drives the world tells everybody.
 *
 * The watcher is supervised: whatever ends it, the next change of a file is read.
 *
 * @since 0.1.0
 */
import * as Supervision from "@holdfast/core/Supervision"
import { Effect, Layer, Schedule, Stream } from "effect"
import { CurrentWorldData } from "./data/CurrentWorldData.js"
import { Game } from "./Game.js"
import { WorldOwner } from "./WorldOwner.js"

const watch = Effect.gen(function*() {
  const game = yield* Game
  const current = yield* CurrentWorldData
  const owner = yield* WorldOwner
  yield* Stream.runForEach(current.changes, (data) =>
    Effect.gen(function*() {
      const owned = yield* owner.current
      if (owned === undefined) yield* game.use(data)
      else yield* Effect.catchTag(owned.reload(data), "Superseded", () => game.use(data))
      yield* Effect.logInfo("The world was read anew").pipe(
        Effect.annotateLogs({ rooms: Object.keys(data.rooms).length })
      )
    }).pipe(
      Effect.catchTag("Unavailable", ({ message }) =>
        Effect.logWarning(`The world's new data is not in use: ${message} Save a file of it once more.`))
    ))
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scopedDiscard(
  Supervision.make<Game | CurrentWorldData | WorldOwner>({
    name: "world-data",
    strategy: "one_for_one",
    intensity: 5,
    period: "1 minute",
    backoff: Schedule.exponential("200 millis"),
    children: [{
      name: "world-data-watcher",
      kind: "service",
      // A folder that cannot be watched has been warned of: that ends it normally.
      restart: "transient",
      shutdown: "1 second",
      start: watch
    }]
  })
)

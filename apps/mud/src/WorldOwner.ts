/**
 * The node that drives the world: of all nodes one at a time moves its clock, plays its characters, lets silent players fall
 * asleep, and saves snapshots. The others take over when it ends.
 *
 * Who tries is decided by `Leadership`, who may by the log: what a node does as the driver is decided in its term, and the
 * world refuses what belongs to an earlier one, however late it comes and whatever a clock says.
 *
 * @since 0.1.0
 */
import * as Leadership from "@holdfast/core/Leadership"
import { Context, Effect, Layer, Schedule } from "effect"
import * as Characters from "./Characters.js"
import { Game, type Owned } from "./Game.js"
import * as TimeAndWeather from "./TimeAndWeather.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class WorldOwner extends Context.Tag("@holdfast/mud/WorldOwner")<WorldOwner, {
  /** The world in the term of this node, while it drives it. */
  readonly current: Effect.Effect<Owned | undefined>
}>() {}

const make = Effect.gen(function*() {
  const game = yield* Game
  const leadership = yield* Leadership.Leadership
  let current: Owned | undefined
  yield* leadership.whileOwner({ name: "world" }, (given) =>
    Effect.gen(function*() {
      // While nothing can be written down there is nothing to drive.
      const owned = yield* Effect.retry(game.own(leadership.node, given), Schedule.spaced("1 second"))
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          current = owned
        }),
        () =>
          Effect.sync(() => {
            if (current === owned) current = undefined
          })
      )
      yield* Effect.logDebug("This node drives the world").pipe(Effect.annotateLogs({ term: owned.term }))
      yield* TimeAndWeather.run(owned)
      yield* Characters.run(owned)
      return yield* owned.superseded
    }))
  return WorldOwner.of({ current: Effect.sync(() => current) })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.scoped(WorldOwner, make)

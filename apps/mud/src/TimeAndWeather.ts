/**
 * Time and weather: each tick of the world's ticker is one world minute.
 *
 * @since 0.1.0
 */
import type * as Ticker from "@holdfast/core/Ticker"
import { Effect, Option, Random } from "effect"
import * as Decide from "./domain/Decide.js"
import type { Owned } from "./Game.js"
import { WorldTicker } from "./WorldTicker.js"

/**
 * The clock runs for as long as the scope.
 *
 * @since 0.1.0
 * @category acting
 */
export const run = (owned: Owned) =>
  Effect.gen(function*() {
    const ticker: Ticker.Service = yield* WorldTicker
    yield* ticker.onTick(
      { name: "sky" },
      () =>
        Effect.flatMap(Random.next, (chance) => owned.publish((data, world) => Decide.tick(data, world, chance))).pipe(
          // The world is closing, or another node moves it: there is no time any more.
          Effect.catchTags({ Unavailable: () => Effect.void, Superseded: () => Effect.void })
        )
    )
    // Time goes on where the node before stopped.
    const resume = Effect.flatMap(
      owned.tickedAt,
      Option.match({ onNone: () => ticker.resume, onSome: (last) => Effect.orDie(ticker.resumeFrom(last)) })
    )
    yield* Effect.acquireRelease(resume, () => ticker.pause)
  })

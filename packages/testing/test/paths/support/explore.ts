import { Effect, Random } from "effect"
import { sized } from "../../../../../scripts/sized.js"

export const seeds = sized(1_000, 4_000, 150)
/** Of programs that take several times as long as the others. */
export const fewer = Math.ceil(seeds / 4)
export const timeout = sized(180_000, 7_200_000)

export const ensure = (condition: boolean, message: () => string) =>
  condition ? Effect.void : Effect.suspend(() => Effect.dieMessage(message()))

/** Comes in the middle of what the others do. A sleep would not: time passes when nobody has anything left to do. */
export const soon = (most = 20) =>
  Effect.flatMap(
    Random.nextIntBetween(0, most + 1),
    (turns) => turns === 0 ? Effect.void : Effect.repeatN(Effect.yieldNow(), turns - 1)
  )

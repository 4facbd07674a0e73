/** The options of an exploration, checked and complete, and what the environment asks for instead. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Options, Strategy } from "../../ExploreRun.js"
import type { InvalidOption } from "../../InvalidOption.js"
import * as Check from "../options.js"
import * as Prng from "../prng.js"
import * as Choose from "./chooser.js"
import type { Chooser } from "./types.js"

export interface Plan {
  readonly seed: number
  readonly seeds: number
  readonly strategy: Strategy
  readonly maxOperations: number
  readonly maxMillis: number
  readonly leaks: boolean
  readonly settleMillis: number
  readonly pauseMillis: number
  readonly external: "forbid" | "await"
  readonly shrink: boolean
  readonly known: ReadonlyArray<string | RegExp>
  readonly isBug: (exit: Exit.Exit<unknown, unknown>) => boolean
}

type Defaults = { readonly [Key in Exclude<keyof Options, "isBug">]-?: Exclude<Options[Key], undefined> }

export const make = (options: Options, defaults: Defaults): Effect.Effect<Plan, InvalidOption> =>
  Effect.gen(function*() {
    const strategy: Strategy = options.strategy ?? defaults.strategy
    if (strategy !== "mixed") {
      if (strategy._tag === "pct") yield* Check.whole("Explore.strategy.depth", strategy.depth, 1)
      else yield* Check.probability("Explore.strategy.preemption", strategy.preemption)
    }
    return {
      seed: yield* Check.whole("Explore.seed", options.seed ?? defaults.seed),
      seeds: yield* Check.whole("Explore.seeds", options.seeds ?? defaults.seeds, 1),
      strategy,
      maxOperations: yield* Check.whole("Explore.maxOperations", options.maxOperations ?? defaults.maxOperations, 1),
      maxMillis: yield* Check.finite("Explore.maxTime", options.maxTime ?? defaults.maxTime),
      leaks: options.leaks ?? defaults.leaks,
      settleMillis: yield* Check.finite("Explore.settle", options.settle ?? defaults.settle),
      pauseMillis: yield* Check.finite("Explore.maxPause", options.maxPause ?? defaults.maxPause),
      external: options.external ?? defaults.external,
      shrink: options.shrink ?? defaults.shrink,
      known: options.known ?? defaults.known,
      isBug: options.isBug ?? Exit.isFailure
    }
  })

/** What the environment asks for, in the place of what the test asks for. */
export const fromEnvironment = (plan: Plan): Effect.Effect<Plan, InvalidOption> => {
  const read = (name: string, atLeast?: number) => {
    const text = process.env[name] ?? ""
    return text === "" ? Effect.succeed(undefined) : Check.whole(name, Number(text), atLeast, text)
  }
  return Effect.zipWith(
    read("HOLDFAST_SEED"),
    read("HOLDFAST_SEEDS", 1),
    (seed, seeds) => seed === undefined ? { ...plan, seeds: seeds ?? plan.seeds } : { ...plan, seed, seeds: seeds ?? 1 }
  )
}

export interface Named {
  readonly name: string
  readonly chooser: Chooser
}

const random = (seed: number, preemption: number): Named => ({
  name: `random, preemption ${preemption}`,
  chooser: Choose.random(seed, preemption)
})

const pct = (seed: number, depth: number, length: number): Named => ({
  name: `pct, depth ${depth} of ${length}`,
  chooser: Choose.pct(seed, depth, length)
})

/** Who decides in the run of a seed; `length` is that of the program, in operations. */
export const chooserOf = (strategy: Strategy, seed: number, length: number): Named => {
  if (strategy !== "mixed") {
    return strategy._tag === "pct" ? pct(seed, strategy.depth, length) : random(seed, strategy.preemption)
  }
  switch (Prng.make(seed, "strategy").below(8)) {
    case 0:
    case 1:
    case 2:
      return random(seed, 0.3)
    case 3:
    case 4:
      return random(seed, 0.05)
    case 5:
      return pct(seed, 3, length)
    default:
      return pct(seed, 5, length)
  }
}

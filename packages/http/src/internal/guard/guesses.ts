/** Wrong tokens by address: how many, and how long the next answer waits. Bounded in addresses and in who waits. */
import * as Monotonic from "@holdfast/core/Monotonic"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

const maxAddresses = 1000

interface Guess {
  readonly count: number
  /** Monotonic, milliseconds. */
  readonly at: number
}

export interface Guesses {
  /** Counts one. */
  readonly wrong: (
    address: string
  ) => Effect.Effect<{ readonly count: number; readonly delay: Duration.Duration }>
  /** False, at once, when too many wait already. */
  readonly wait: (delay: Duration.Duration) => Effect.Effect<boolean>
}

/** Times in milliseconds. */
export const makeGuesses = (settings: {
  readonly firstDelay: number
  readonly maxDelay: number
  readonly maxDelayed: number
  readonly forgetAfter: number
}): Guesses => {
  // The address that guessed last is the last one.
  const byAddress = new Map<string, Guess>()
  const { forgetAfter } = settings
  let waiting = 0
  return {
    wrong: (address) =>
      Effect.map(Monotonic.now, (now) => {
        const known = byAddress.get(address)
        const count = known === undefined || now - known.at > forgetAfter ? 1 : known.count + 1
        byAddress.delete(address)
        byAddress.set(address, { count, at: now })
        for (const [oldest, { at }] of byAddress) {
          if (byAddress.size <= maxAddresses && now - at <= forgetAfter) break
          byAddress.delete(oldest)
        }
        return {
          count,
          delay: Duration.millis(Math.min(settings.maxDelay, settings.firstDelay * 2 ** Math.min(count - 1, 30)))
        }
      }),
    wait: (delay) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const isAllowed = waiting < settings.maxDelayed
          if (isAllowed) waiting++
          return isAllowed
        }),
        (isAllowed) => isAllowed ? Effect.as(Effect.interruptible(Effect.sleep(delay)), true) : Effect.succeed(false),
        (isAllowed) =>
          Effect.sync(() => {
            if (isAllowed) waiting--
          })
      )
  }
}

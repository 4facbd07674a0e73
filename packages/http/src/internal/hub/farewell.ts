/**
 * The end of a hub: new sessions are refused, open ones get their farewell in chunks, each with its own jittered `retry`.
 *
 * Draining twice waits for the same drain. Whoever waits for a drain that is interrupted goes on with it.
 */
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Random from "effect/Random"
import type { DrainOptions, DrainReport } from "../../HubOptions.js"
import { defaults } from "../../HubOptions.js"
import type { LiveSession, SessionTable } from "./sessionTable.js"

const interval = 50
/** Few kinds of farewell, so that their bytes are few. */
const kinds = 32

/** Throws `InvalidOption`. */
export const unsafeCheck = ({ jitter, perSecond, retry }: DrainOptions = {}): void => {
  if (retry !== undefined) {
    InvalidOption.unsafeDuration("SseHub.drain.retry", retry, { zero: true })
  }
  if (jitter !== undefined) {
    InvalidOption.unsafeDuration("SseHub.drain.jitter", jitter, { zero: true })
  }
  if (perSecond !== undefined) {
    InvalidOption.unsafeWhole("SseHub.drain.perSecond", perSecond, { min: 1, infinite: true })
  }
}

export interface Farewell {
  readonly drain: (given?: DrainOptions) => Effect.Effect<DrainReport>
  /** Ends one session for a server that stops, with a `retry` as in a drain of all. */
  readonly endOne: (session: LiveSession) => Effect.Effect<void>
}

export const make = (table: SessionTable, options: DrainOptions | undefined): Farewell => {
  const retryOf = (sessions: number, given?: DrainOptions): Effect.Effect<number> => {
    const retry = Duration.toMillis(given?.retry ?? options?.retry ?? defaults.drain.retry)
    const jitter = given?.jitter ?? options?.jitter
    const spread = jitter === undefined ? Math.max(1000, sessions * 2) : Duration.toMillis(jitter)
    return Effect.map(
      Random.nextIntBetween(0, kinds),
      (kind) => Math.round(retry + spread * kind / (kinds - 1))
    )
  }
  /** They end one by one, and come back at the same time. */
  let together = 0
  const endOne = (session: LiveSession): Effect.Effect<void> =>
    Effect.suspend(() => {
      together = Math.max(together, table.size)
      return Effect.map(retryOf(together), (retryMillis) => session.finishWith("drained", "farewell", retryMillis))
    })

  const drainOnce = (given?: DrainOptions): Effect.Effect<DrainReport> =>
    Effect.gen(function*() {
      const start = table.monotonic()
      table.draining = true
      const all = table.all()
      const perSecond = given?.perSecond ?? options?.perSecond ?? defaults.drain.perSecond
      const chunk = Math.min(all.length, Math.max(1, Math.ceil(perSecond * interval / 1000)))
      for (let sent = 0; sent < all.length;) {
        // by the clock, so that a late timer does not slow the drain down
        const elapsed = table.monotonic() - start
        const due = Math.min(all.length, chunk + (elapsed === 0 ? 0 : Math.floor(elapsed * perSecond / 1000)))
        for (; sent < due; sent++) {
          const retryMillis = yield* retryOf(all.length, given)
          all[sent].finishWith("drained", "farewell", retryMillis)
        }
        if (sent < all.length) {
          yield* Effect.sleep(interval)
        }
      }
      return { sessions: all.length, elapsedMillis: table.monotonic() - start }
    })

  let drained: Deferred.Deferred<DrainReport | undefined> | undefined
  const drain = (given?: DrainOptions): Effect.Effect<DrainReport> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        unsafeCheck(given)
        if (drained !== undefined) {
          return restore(Effect.flatMap(
            Deferred.await(drained),
            (report) => report === undefined ? drain(given) : Effect.succeed(report)
          ))
        }
        const deferred = drained = Deferred.unsafeMake<DrainReport | undefined>(FiberId.none)
        return Effect.onExit(restore(drainOnce(given)), (exit) =>
          Effect.sync(() => {
            if (exit._tag === "Failure") {
              drained = undefined
            }
            Deferred.unsafeDone(deferred, Effect.succeed(exit._tag === "Success" ? exit.value : undefined))
          }))
      })
    )
  return { drain, endOne }
}

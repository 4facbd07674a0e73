/**
 * Who has been heard of, when, and from where: what decides that somebody falls asleep, and that an address has enough.
 *
 * @since 0.1.0
 */
import { Duration } from "effect"
import type { SleepReason } from "./domain/WorldEvent.js"
import type { Settings } from "./Settings.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Presence {
  /** A player did something, at a monotonic instant. */
  readonly acted: (id: string, now: number) => void
  /** A stream of a player was opened. */
  readonly connected: (id: string, now: number) => void
  readonly comesFrom: (id: string, address: string) => void
  /** How many of these players come from an address. */
  readonly countFrom: (address: string, ids: ReadonlyArray<string>) => number
  /** How long ago, in milliseconds, a player did something, as far as this node knows. */
  readonly idleMillis: (id: string, now: number) => number
  /**
   * Those for whom it is time to fall asleep, and why. `idleElsewhere` says of those who are connected to any node how long
   * they have been idle. Players that are not awake are forgotten here.
   */
  readonly tired: (
    awake: ReadonlyArray<string>,
    idleElsewhere: (id: string) => number | undefined,
    now: number
  ) => ReadonlyArray<{ readonly id: string; readonly reason: SleepReason }>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (settings: Pick<Settings, "idleTimeout" | "linger">): Presence => {
  const idleTimeout = Duration.toMillis(settings.idleTimeout)
  const linger = Duration.toMillis(settings.linger)
  const active = new Map<string, number>()
  const seen = new Map<string, number>()
  const origin = new Map<string, string>()
  return {
    acted: (id, now) => {
      active.set(id, now)
      seen.set(id, now)
    },
    connected: (id, now) => {
      seen.set(id, now)
      if (!active.has(id)) active.set(id, now)
    },
    comesFrom: (id, address) => void origin.set(id, address),
    countFrom: (address, ids) => ids.filter((id) => origin.get(id) === address).length,
    idleMillis: (id, now) => now - (active.get(id) ?? now),
    tired: (awake, idleElsewhere, now) => {
      const ids = new Set(awake)
      for (const map of [active, seen, origin]) for (const id of map.keys()) if (!ids.has(id)) map.delete(id)
      return awake.flatMap((id) => {
        const idle = idleElsewhere(id)
        if (idle !== undefined || !seen.has(id)) seen.set(id, now)
        if (idle !== undefined || !active.has(id)) {
          active.set(id, Math.max(active.get(id) ?? -Infinity, now - (idle ?? 0)))
        }
        const reason = now - seen.get(id)! > linger
          ? "lost"
          : now - active.get(id)! > idleTimeout
          ? "idle"
          : undefined
        return reason === undefined ? [] : [{ id, reason }]
      })
    }
  }
}

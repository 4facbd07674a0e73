/**
 * One fiber for everything of a hub that depends on time: heartbeats, send time-outs, expiry.
 */
import * as EventLoop from "@holdfast/core/EventLoop"
import type { Lock } from "@holdfast/core/Lock"
import * as Effect from "effect/Effect"
import { Payload } from "../../SessionSink.js"
import { batch } from "./delivery.js"
import type { FanOut } from "./fanOut.js"
import type { SessionTable } from "./sessionTable.js"

/** Never ends by itself. `interval` is in milliseconds. */
export const run = (
  table: SessionTable,
  fanOut: FanOut,
  lock: Lock,
  interval: number
): Effect.Effect<never> => {
  const tick = Math.max(10, Math.min(1000, interval, table.sendTimeout / 2))
  let sinceHeartbeat = 0
  const look = Effect.suspend(() => {
    sinceHeartbeat += tick
    const due = sinceHeartbeat >= interval
    if (due) {
      sinceHeartbeat = 0
    }
    table.sweep()
    return due
      ? Effect.zipRight(lock.withLock(beat(table, fanOut)), Effect.sleep(tick))
      : Effect.sleep(tick)
  })
  // what readers took while this process stood still is not known before
  return Effect.forever(Effect.zipRight(EventLoop.turn, look))
}

/** To every session that got nothing since the last one, one payload per format. */
const beat = (table: SessionTable, fanOut: FanOut): Effect.Effect<void> =>
  Effect.gen(function*() {
    const quiet = table.all().filter((session) => {
      const was = session.active
      session.active = false
      return !was
    })
    const beats = new Map<string, Payload | undefined>()
    for (let i = 0; i < quiet.length; i++) {
      if (i > 0 && i % batch === 0) {
        yield* Effect.sleep(1)
      }
      const session = quiet[i]
      if (session.state !== "live" || session.stalledSince !== undefined) {
        continue
      }
      if (session.seen > fanOut.position) {
        // its client has seen more elsewhere: its last id must not go back
        continue
      }
      const { name } = session.format
      if (!beats.has(name)) {
        const bytes = session.format.heartbeat(fanOut.wireId(fanOut.position))
        beats.set(name, bytes && new Payload([{ bytes, id: undefined }]))
      }
      const payload = beats.get(name)
      if (payload !== undefined) {
        session.deliver(payload)
        session.active = false
      }
    }
  })

/** From deliveries to writes, in batches that leave timers and other connections their turn. */
import * as Effect from "effect/Effect"
import type { Delivery } from "./fanOut.js"

/** Writes in one go. */
export const batch = 1024

const write = ({ payload, sessions }: Delivery, from: number, count: number): void => {
  const end = Math.min(sessions.length, from + count)
  for (let i = from; i < end; i++) {
    sessions[i].deliver(payload)
  }
}

/** In one go where it can be, so that nothing comes between; in several where that would hold everybody up. */
export const deliver = (deliveries: ReadonlyArray<Delivery>): Effect.Effect<void> => {
  let count = 0
  for (const delivery of deliveries) {
    count += delivery.sessions.length
  }
  if (count <= batch) {
    for (const delivery of deliveries) {
      write(delivery, 0, batch)
    }
    return Effect.void
  }
  return Effect.gen(function*() {
    let room = batch
    for (const delivery of deliveries) {
      for (let at = 0; at < delivery.sessions.length;) {
        if (room === 0) {
          // a timer, not a microtask: sockets need a turn of the event loop
          yield* Effect.sleep(1)
          room = batch
        }
        const count = Math.min(room, delivery.sessions.length - at)
        write(delivery, at, count)
        at += count
        room -= count
      }
    }
  })
}

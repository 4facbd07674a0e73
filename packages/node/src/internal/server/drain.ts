/**
 * How a server ends, step by step and each within its budget: requests finish, then they are interrupted, then their
 * sockets are destroyed, and at last they are named.
 *
 * The timers are the wall clock's: budgets that a test clock could stop would bound nothing.
 */
import * as Monotonic from "@holdfast/core/Monotonic"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Settings } from "../../NodeServerOptions.js"
import type { Connections } from "./connections.js"
import type { Exchange } from "./exchange.js"

/** A request that did not finish in time. */
interface Cut {
  readonly method: string
  readonly url: string
  readonly ageMillis: number
}

/** What became of the requests in flight. */
export interface Finished {
  readonly inFlight: number
  readonly cut: ReadonlyArray<Cut>
  readonly abandoned: ReadonlyArray<Cut>
}

/** The whole way: nothing is left of the server after it. */
export const drain = (connections: Connections, settings: Settings, streams: StreamsEnd) =>
  Effect.gen(function*() {
    const begun = performance.now()
    connections.refuseNew()
    const finished = yield* finish(connections, settings, streams)
    const destroyed = yield* closeSockets(connections, settings)
    // Only for its timer: nothing is left to close.
    connections.server.close()
    return { ...finished, destroyed, elapsedMillis: Math.round(performance.now() - begun) }
  })

/** Who ends the streams: hubs, with everything else that a lifecycle drains, or this server, because nobody else does. */
export type StreamsEnd = "byHubs" | "byServer"

/**
 * Lets requests finish within their budget, interrupts the others, and tells which. Streams that the server is to end are
 * told so; those that cannot be told are interrupted at once.
 */
export const finish = (
  connections: Connections,
  settings: Settings,
  streams: StreamsEnd
): Effect.Effect<Finished> =>
  Effect.gen(function*() {
    const { exchanges } = connections
    const inFlight = exchanges.size
    if (streams === "byServer") {
      for (const exchange of Array.from(exchanges)) {
        exchange.stop()
      }
    }
    const waitedFor = () => streams === "byHubs" ? exchanges.size : count(exchanges, (exchange) => exchange.ends)
    yield* isZero(connections, waitedFor, settings.drain.requests)
    const cut = Array.from(exchanges)
    for (const exchange of cut) {
      exchange.cut = true
      exchange.last = true
      exchange.fiber?.unsafeInterruptAsFork(FiberId.none)
    }
    if (!(yield* isZero(connections, () => exchanges.size, settings.drain.interruption))) {
      // Those that only wait for a peer to take their last bytes end with its socket.
      for (const connection of connections.sockets.values()) {
        if (connection.exchanges.size > 0) {
          connection.socket.destroy()
        }
      }
      yield* isZero(connections, () => exchanges.size, settings.drain.sockets)
    }
    return { inFlight, cut: cut.map(describe), abandoned: Array.from(exchanges, describe) }
  })

const closeSockets = (connections: Connections, settings: Settings): Effect.Effect<number> =>
  Effect.gen(function*() {
    const { sockets } = connections
    const released = () => count(sockets.values(), (connection) => connection.released)
    yield* isZero(connections, released, settings.drain.sockets / 2)
    const destroyed = sockets.size
    for (const connection of sockets.values()) {
      connection.socket.destroy()
    }
    yield* isZero(connections, () => sockets.size, settings.drain.sockets)
    connections.beneath.forEach((socket) => socket.destroy())
    return destroyed
  })

/** Waits until `count` is 0, and no longer than the milliseconds; true when it is. */
const isZero = (connections: Connections, count: () => number, milliseconds: number): Effect.Effect<boolean> =>
  Effect.async((resume) => {
    if (count() === 0) {
      return resume(Effect.succeed(true))
    }
    // Once per turn of the event loop: counting for each of 10,000 sessions that end together would be quadratic.
    let scheduled: NodeJS.Immediate | undefined
    const forget = connections.whenChanged(() => {
      scheduled ??= setImmediate(() => {
        scheduled = undefined
        if (count() === 0) {
          done(true)
        }
      })
    })
    const done = (value: boolean) => {
      clearTimeout(timer)
      clearImmediate(scheduled)
      forget()
      resume(Effect.succeed(value))
    }
    const timer = setTimeout(() => done(count() === 0), milliseconds)
  })

const count = <A>(values: Iterable<A>, predicate: (value: A) => boolean): number => {
  let found = 0
  for (const value of values) {
    if (predicate(value)) {
      found++
    }
  }
  return found
}

const describe = (exchange: Exchange): Cut => ({
  method: exchange.request.method ?? "",
  url: exchange.request.url ?? "",
  ageMillis: Math.round(Monotonic.unsafeOfProcess() - exchange.since)
})

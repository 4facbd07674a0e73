import { Effect, Random } from "effect"
import * as Net from "node:net"

/** The opening of an event stream or of a WebSocket has arrived, whole. */
const opened = (received: string): boolean =>
  received.includes("\"_tag\":\"open\"") || (received.includes("event: position") && received.includes("\n\n"))

/**
 * Leads to the server, and cuts each connection behind a number of bytes of what comes back: none, a piece of the head, the
 * head without the opening, a piece of an event, at most `longest`. The first one is cut right behind the opening.
 */
export const cutter = (target: number, longest = 3000) =>
  Effect.flatMap(Random.nextIntBetween(1, 2 ** 31), (seed) => cutterOf(target, longest, seed))

const cutterOf = (target: number, longest: number, given: number) =>
  Effect.acquireRelease(
    Effect.async<
      {
        readonly port: number
        readonly cuts: () => number
        readonly stop: () => void
        readonly close: () => Promise<void>
      }
    >(
      (resume) => {
        const open = new Set<Net.Socket>()
        let count = 0
        let first = true
        let stopped = false
        let seed = given
        const below = (n: number) => {
          seed = (seed * 1103515245 + 12345) & 0x7fffffff
          // the low bits of such a generator are no good
          return (seed >>> 8) % n
        }
        const server = Net.createServer((client) => {
          const upstream = Net.connect(target, "127.0.0.1")
          let left = below(4) === 0 ? below(400) : below(longest)
          let received = ""
          const end = (isCut: boolean) => {
            if (isCut && !client.destroyed) count++
            // in order, or as a network that fails
            if (isCut && below(2) === 0) client.resetAndDestroy()
            else client.destroy()
            upstream.destroy()
          }
          for (const socket of [client, upstream]) {
            open.add(socket)
            socket.on("error", () => {})
            socket.on("close", () => {
              open.delete(socket)
              end(false)
            })
          }
          client.on("data", (data) => upstream.write(data))
          upstream.on("data", (data) => {
            if (first) {
              received += data.toString("latin1")
              client.write(data)
              // behind the opening, and once it has arrived
              if (opened(received)) {
                first = false
                setTimeout(() => end(true), 50)
              }
              return
            }
            if (stopped || data.length < left) {
              left -= data.length
              client.write(data)
              return
            }
            client.write(data.subarray(0, left), () => end(true))
            left = 0
            if (data.length === 0) end(true)
          })
        })
        server.listen(0, "127.0.0.1", () =>
          resume(Effect.succeed({
            port: (server.address() as Net.AddressInfo).port,
            cuts: () => count,
            stop: () => {
              stopped = true
            },
            close: () =>
              new Promise<void>((done) => {
                open.forEach((socket) => socket.destroy())
                server.close(() => done())
              })
          })))
      }
    ),
    (it) => Effect.promise(it.close)
  )

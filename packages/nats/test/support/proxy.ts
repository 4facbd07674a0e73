/** A TCP proxy between a client and its server that cuts where a test says. */
import { Effect } from "effect"
import type { Scope } from "effect"
import type { Socket } from "node:net"
import { connect, createServer } from "node:net"

export interface Proxy {
  readonly url: string
  /** Looks at what the client sends; true cuts the connection instead of handing it on. */
  beforeSend: (chunk: Buffer) => boolean
  /** Looks at what the client sends; true hands it on, and cuts before the answer comes through. */
  afterSend: (chunk: Buffer) => boolean
  readonly cut: Effect.Effect<void>
  /** How many connections there have been. */
  connections: number
}

export const proxy = (port: number): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const pairs = new Set<readonly [Socket, Socket]>()
    const cut = () => {
      for (const [client, server] of pairs) {
        client.destroy()
        server.destroy()
      }
      pairs.clear()
    }
    const listener = createServer((client) => {
      made.connections++
      const server = connect(port, "127.0.0.1")
      const pair = [client, server] as const
      pairs.add(pair)
      const end = () => {
        pairs.delete(pair)
        client.destroy()
        server.destroy()
      }
      let deaf = false
      for (const socket of pair) socket.on("error", end).on("close", end)
      client.on("data", (chunk: Buffer) => {
        if (deaf) return
        if (made.beforeSend(chunk)) return end()
        if (!made.afterSend(chunk)) return void server.write(chunk)
        deaf = true
        // what was handed over is taken: only the answer is lost
        server.write(chunk, () => setTimeout(end, 50))
      })
      server.on("data", (chunk: Buffer) => {
        if (!deaf) client.write(chunk)
      })
    })
    const made: Proxy = {
      url: "",
      beforeSend: () => false,
      afterSend: () => false,
      cut: Effect.sync(cut),
      connections: 0
    }
    const url = yield* Effect.acquireRelease(
      Effect.async<string>((resume) => {
        listener.listen(0, "127.0.0.1", () => {
          const address = listener.address()
          resume(
            Effect.succeed(`nats://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`)
          )
        })
      }),
      () =>
        Effect.async<void>((resume) => {
          cut()
          listener.close(() => resume(Effect.void))
        })
    )
    return Object.assign(made, { url })
  })

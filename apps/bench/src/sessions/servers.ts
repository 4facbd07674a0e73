/**
 * One server of sessions, chosen by the first argument, in a process of its own. Told what to do over IPC; it measures its
 * own CPU and heap, and the readers are elsewhere.
 */
import { Effect, Exit, Scope } from "effect"
import type { Server } from "./shared.js"
import { scope } from "./shared.js"
import { streams } from "./streams.js"
import { webSockets } from "./webSockets.js"

type Order =
  | { readonly _tag: "Publish"; readonly bursts: number; readonly size: number; readonly pause: number }
  | { readonly _tag: "Heap" }
  | { readonly _tag: "Drain" }
  | { readonly _tag: "Stats" }
  | { readonly _tag: "Stop" }

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

// Not `await { … }` at once: the compiler (5.9 and 6.0) then prints the last statements of the file twice.
const servers = { ...streams, ...webSockets }
const server: Server = await servers[process.argv[2]!]!()
const text = "A person of some importance enters from the north, looks around, and says nothing at all."
let usage = process.cpuUsage()

const reply = (value: object) => process.send!(value)

const obey = async (order: Order): Promise<unknown> => {
  switch (order._tag) {
    case "Publish": {
      usage = process.cpuUsage()
      let n = 0
      for (let burst = 0; burst < order.bursts; burst++) {
        for (let i = 0; i < order.size; i++) {
          server.publish({ _tag: "Said", n: ++n, text, at: performance.timeOrigin + performance.now() })
        }
        await sleep(order.pause)
      }
      return undefined
    }
    case "Stats": {
      const { system, user } = process.cpuUsage(usage)
      return reply({ cpu: system + user, hub: await server.stats?.() })
    }
    case "Heap": {
      for (let i = 0; i < 5; i++) {
        globalThis.gc!()
        await sleep(20)
      }
      const { external, heapUsed, rss } = process.memoryUsage()
      return reply({ heap: heapUsed, external, rss, handles: process.getActiveResourcesInfo().length })
    }
    case "Drain": {
      const start = performance.now()
      await server.drain?.()
      return reply({ millis: performance.now() - start })
    }
    case "Stop":
      await Promise.race([Effect.runPromise(Scope.close(scope, Exit.void)), sleep(2000)])
      process.exit(0)
  }
}

process.on("message", obey)
process.send!({ port: server.port })

/** Servers and readers of sessions, each in a process of its own, and what is said to them. */
import type { ChildProcess } from "node:child_process"
import type { Child } from "../shared/measure.js"
import { start } from "../shared/measure.js"

export interface Answer {
  readonly port: number
  readonly cpu: number
  readonly p99: number
  readonly heap: number
  readonly external: number
  readonly handles: number
  readonly farewells: number
  readonly hub: { readonly open: number }
}

/** What the process says next. */
export const next = (child: ChildProcess) =>
  new Promise<Answer>((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`a child process ended with ${code}`))
    child.once("exit", onExit)
    child.once("message", (message) => {
      child.off("exit", onExit)
      resolve(message as Answer)
    })
  })

export const ask = (child: ChildProcess, order: object) => {
  const answer = next(child)
  child.send(order)
  return answer
}

export const startServer = (name: string): Promise<Child> => start(new URL("./servers.js", import.meta.url), name)

export const startClient = async (): Promise<ChildProcess> =>
  (await start(new URL("./client.js", import.meta.url), "client")).process

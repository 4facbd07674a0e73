/** Connections of the load generator: event streams, WebSockets, plain requests. */
import * as Http from "node:http"
import * as Https from "node:https"
import { WebSocket } from "ws"

export type Headers = Readonly<Record<string, string>>

export interface Stream {
  /** sends a message; streams of events cannot */
  readonly send: (text: string) => void
  readonly close: () => void
}

export interface Heard {
  /** all that came of one message */
  readonly onMessage: (text: string, id: number | undefined) => void
  /** the connection ended, and nobody here wanted it */
  readonly onBroken: (why: string) => void
}

const moduleOf = (url: string) => url.startsWith("https:") ? Https : Http

export const openSse = (url: string, headers: Headers, { onBroken, onMessage }: Heard): Promise<Stream> =>
  new Promise((resolve, reject) => {
    let closing = false
    const sent = moduleOf(url).get(
      url,
      { agent: false, headers: { accept: "text/event-stream", ...headers } },
      (response) => {
        if (response.statusCode !== 200) {
          response.destroy()
          reject(new Error(`the stream was answered with ${response.statusCode}`))
          return
        }
        let rest = ""
        response.setEncoding("utf8")
        response.on("data", (text: string) => {
          const blocks = (rest + text).split(/\r?\n\r?\n/)
          rest = blocks.pop()!
          for (const block of blocks) {
            const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5))
              .join("\n")
            const id = /^id: ?(\d+)\r?$/m.exec(block)?.[1]
            if (data !== "") onMessage(data, id === undefined ? undefined : Number(id))
          }
        })
        response.on("error", () => {})
        response.on("close", () => {
          if (!closing) onBroken("a stream was closed by the server")
        })
        resolve({
          send: () => {},
          close: () => {
            closing = true
            sent.destroy()
          }
        })
      }
    )
    sent.on("error", reject)
  })

export const openWebSocket = (url: string, headers: Headers, { onBroken, onMessage }: Heard): Promise<Stream> =>
  new Promise((resolve, reject) => {
    let closing = false
    const socket = new WebSocket(url, { headers, perMessageDeflate: false })
    socket.on("message", (data: Buffer) => onMessage(data.toString(), undefined))
    socket.on("close", (code) => {
      if (!closing) onBroken(`a WebSocket was closed by the server with ${code}`)
    })
    socket.once("open", () => {
      socket.on("error", () => {})
      resolve({
        send: (text) => socket.send(text),
        close: () => {
          closing = true
          socket.terminate()
        }
      })
    })
    socket.once("error", reject)
  })

export interface Requests {
  /** resolves with the status; `onSent` when a connection was free */
  readonly ask: (body: string | undefined, onSent: () => void) => Promise<number>
  readonly close: () => void
}

export const requests = (url: string, method: string, headers: Headers, connections: number): Requests => {
  const { Agent, request } = moduleOf(url)
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const ask = (body: string | undefined, onSent: () => void): Promise<number> =>
    new Promise((resolve, reject) => {
      const sent = request(url, { agent, method, headers }, (response) => {
        response.resume()
        response.on("error", reject)
        response.on("end", () => resolve(response.statusCode!))
      })
      sent.once("socket", onSent)
      sent.on("error", reject)
      sent.end(body)
    })
  return { ask, close: () => agent.destroy() }
}

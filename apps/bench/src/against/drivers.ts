/** What the clients do while a server's slice is measured: from here, so that it costs the server's process nothing. */
import * as Net from "node:net"

export interface Driver {
  /** Resolves when all that the operations cause has been read. */
  readonly run: (operations: number, start: (operations: number) => Promise<unknown>) => Promise<void>
  readonly close: () => void
}

const connect = (port: number): Promise<Net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true }, () => resolve(socket))
    socket.once("error", reject)
  })

const connected = (port: number, count: number) => Promise.all(Array.from({ length: count }, () => connect(port)))

const streams = 200
const blank = Buffer.from("\n\n")

const events = async (port: number): Promise<Driver> => {
  const sockets = await connected(port, streams)
  let received = 0
  let expected = Infinity
  let enough = () => {}
  await Promise.all(sockets.map((socket) =>
    new Promise<void>((resolve) => {
      socket.once("data", () => {
        resolve()
        socket.on("data", (data) => {
          for (let at = data.indexOf(blank); at !== -1; at = data.indexOf(blank, at + 2)) received++
          if (received >= expected) enough()
        })
      })
      socket.write("GET /events?topic=all HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n")
    })
  ))
  // what a server says at first may come in two parts
  await new Promise((resolve) => setTimeout(resolve, 300))
  return {
    run: async (operations, start) => {
      received = 0
      const all = new Promise<void>((resolve) => {
        enough = resolve
      })
      expected = operations * streams
      await start(operations)
      await all
    },
    close: () => sockets.forEach((socket) => socket.destroy())
  }
}

const order = JSON.stringify({ customer: "somebody", items: [{ sku: "lamp", count: 2 }, { sku: "wick", count: 12 }] })
const get = "GET /thing HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\n\r\n"
const post = "POST /orders HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n" +
  `content-length: ${order.length}\r\n\r\n${order}`

/** One request after the other on each of 50 connections. A response is over when its length has come. */
const requests = (request: string) => async (port: number): Promise<Driver> => {
  const sockets = await connected(port, 50)
  return {
    run: async (operations) => {
      let left = operations
      await Promise.all(sockets.map((socket) =>
        new Promise<void>((resolve, reject) => {
          let text = ""
          const next = () => {
            text = ""
            if (left-- > 0) {
              socket.write(request)
            } else {
              socket.removeAllListeners("data")
              resolve()
            }
          }
          socket.on("data", (data) => {
            text += data.toString("latin1")
            const head = text.indexOf("\r\n\r\n")
            if (head === -1) return
            if (!text.startsWith("HTTP/1.1 200 ")) return reject(new Error(`expected a response 200, received ${text}`))
            const length = Number(/content-length: (\d+)/i.exec(text)?.[1])
            if (text.length >= head + 4 + length) next()
          })
          next()
        })
      ))
    },
    close: () => sockets.forEach((socket) => socket.destroy())
  }
}

/** By the name of the workload. A workload without one drives itself. */
export const driverOf = (workload: string): ((port: number) => Promise<Driver>) | undefined =>
  workload.startsWith("sse:")
    ? events
    : workload === "http: GET JSON"
    ? requests(get)
    : workload === "http: POST JSON"
    ? requests(post)
    : undefined

/**
 * Plain requests: GET and POST of JSON on 50 connections that are kept alive, `NodeServer` beside the platform's own server
 * with the same router, and beside `node:http` by hand.
 *
 * Each server is a process of its own. Rounds take turns; a round is the processor time of the server, as the operating system
 * counts it, per request. Ratios are to the platform's server in the same round.
 */
import * as Net from "node:net"
import type { Child } from "./shared/measure.js"
import { cpuMicros, quick, reportRounds, start } from "./shared/measure.js"

const connections = 50
const rounds = quick ? 4 : 11
const requests = quick ? 1500 : 10_000

const order = JSON.stringify({
  customer: "somebody",
  items: [{ sku: "lamp", count: 2 }, { sku: "wick", count: 12 }],
  note: "leave it at the door"
})

const kinds: Record<string, string> = {
  "GET JSON": "GET /thing HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\n\r\n",
  "POST JSON with a schema":
    `POST /orders HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: ${order.length}\r\n\r\n${order}`
}

/** Sends one request after the other on each socket. All responses to one request have the same length. */
const load = async (sockets: ReadonlyArray<Net.Socket>, request: string, count: number): Promise<void> => {
  const [first] = sockets
  const length = await new Promise<number>((resolve) => {
    first!.once("data", (data) => {
      if (!data.toString("latin1").startsWith("HTTP/1.1 200 OK\r\n")) {
        throw new Error(`expected a response 200, received ${data.toString()}`)
      }
      setTimeout(() => resolve(data.length + (first!.read() as Buffer | null ?? "").length), 50)
      first!.once("data", (more) => resolve(data.length + more.length))
    })
    first!.write(request)
  })
  first!.removeAllListeners("data")
  let left = count
  await Promise.all(sockets.map((socket) =>
    new Promise<void>((resolve, reject) => {
      let received = 0
      const next = () => {
        if (left-- > 0) {
          socket.write(request)
        } else {
          socket.removeAllListeners("data").off("error", reject)
          resolve()
        }
      }
      socket.on("data", (data) => {
        received += data.length
        if (received >= length) {
          received -= length
          next()
        }
      })
      socket.on("error", reject)
      next()
    })
  ))
}

interface Contender {
  readonly name: string
  readonly server: Child
  readonly sockets: ReadonlyArray<Net.Socket>
}

const contenders: Array<Contender> = []
for (const name of ["platform", "NodeServer", "raw"]) {
  const server = await start(new URL("./http/servers.js", import.meta.url), name)
  const sockets = await Promise.all(
    Array.from({ length: connections }, () =>
      new Promise<Net.Socket>((resolve, reject) => {
        const socket = Net.connect({ port: server.port, host: "127.0.0.1", noDelay: true }, () => resolve(socket))
        socket.once("error", reject)
      }))
  )
  contenders.push({ name, server, sockets })
}
for (const [kind, request] of Object.entries(kinds)) {
  const taken = new Map(contenders.map(({ name }) => [name, [] as Array<number>]))
  for (const { sockets } of contenders) {
    await load(sockets, request, requests)
  }
  for (let round = 0; round < rounds; round++) {
    for (const { name, server, sockets } of round % 2 === 0 ? contenders : contenders.toReversed()) {
      const before = cpuMicros(server.pid)
      await load(sockets, request, requests)
      taken.get(name)!.push((cpuMicros(server.pid) - before) / requests)
    }
  }
  reportRounds(`${kind}, us of the server's CPU per request`, taken)
}
for (const { server, sockets } of contenders) {
  sockets.forEach((socket) => socket.destroy())
  await server.stop()
}

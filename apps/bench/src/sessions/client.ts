/**
 * The readers, in a process of their own so that their work is nobody else's CPU. Told what to do over IPC by a bench.
 *
 * Raw sockets, because a thousand `fetch` would cost more than what is measured. Events are counted by their ending, a
 * blank line, or as frames of a WebSocket; their delay is read from the time in their data.
 */
import * as Net from "node:net"

type Order =
  | {
    readonly _tag: "Connect"
    readonly port: number
    readonly count: number
    readonly stalled?: number
    readonly webSocket?: boolean
  }
  | { readonly _tag: "Expect"; readonly events: number; readonly sample?: boolean }
  | { readonly _tag: "Churn"; readonly port: number; readonly cycles: number; readonly parallel: number }
  | { readonly _tag: "AwaitClosed" }
  | { readonly _tag: "Leave" }

const sockets = new Set<Net.Socket>()
let events = 0
let farewells = 0
let expected = Infinity
let sampling = false
let delays: Array<number> = []
let onEnough = () => {}
let onClosed = () => {}

const request = "GET /events?topic=all HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n"
const handshake = "GET /events?topic=all HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
  "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
const marker = Buffer.from("\n\n")
const at = Buffer.from("\"at\":")
const bye = Buffer.from("event: farewell")

/** What takes the bytes of one WebSocket, and returns how many events were in them. */
const frames = (socket: Net.Socket) => {
  let rest: Buffer = Buffer.alloc(0)
  let upgraded = false
  return (data: Buffer): number => {
    rest = rest.length === 0 ? data : Buffer.concat([rest, data])
    if (!upgraded) {
      const end = rest.indexOf("\r\n\r\n")
      if (end === -1) return 0
      upgraded = true
      rest = rest.subarray(end + 4)
    }
    let count = 0
    while (rest.length >= 4) {
      const short = rest[1]!
      const [length, header] = short < 126 ? [short, 2] : [rest.readUInt16BE(2), 4]
      if (rest.length < header + length) break
      const opcode = rest[0]! & 15
      // what a server says of itself is shorter than an event
      if (opcode === 1 && length > 150) count++
      else if (opcode === 8) {
        farewells++
        socket.end(Buffer.from([0x88, 0x80, 0, 0, 0, 0]))
      } else if (opcode === 9) socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0]))
      rest = rest.subarray(header + length)
    }
    return count
  }
}

const blocks = (socket: Net.Socket) => (data: Buffer): number => {
  if (data.indexOf(bye) !== -1) {
    farewells++
    socket.end()
  }
  let count = 0
  for (let i = data.indexOf(marker); i !== -1; i = data.indexOf(marker, i + 2)) count++
  return count
}

const connect = (port: number, stalled: boolean, webSocket: boolean) =>
  new Promise<void>((resolve, reject) => {
    const socket = Net.connect({ port, host: "127.0.0.1" })
    sockets.add(socket)
    let started = false
    const read = (webSocket ? frames : blocks)(socket)
    socket.on("connect", () => {
      socket.write(webSocket ? handshake : request)
      if (stalled) {
        socket.pause()
        resolve()
      }
    })
    socket.on("data", (data) => {
      if (!started) {
        // the head and whatever a server says first
        started = true
        read(data)
        return resolve()
      }
      events += read(data)
      if (sampling) {
        const from = data.lastIndexOf(at)
        if (from !== -1) {
          delays.push(
            performance.timeOrigin + performance.now() - Number.parseFloat(data.toString("latin1", from + 5, from + 22))
          )
        }
      }
      if (events >= expected) {
        expected = Infinity
        onEnough()
      }
    })
    socket.on("error", (error) => started ? undefined : reject(error))
    socket.on("close", () => {
      sockets.delete(socket)
      if (sockets.size === 0) {
        onClosed()
      }
    })
  })

/** Connects, waits for the first bytes (or, every third time, does not) and goes. */
const churn = async (port: number, cycles: number, parallel: number) => {
  let left = cycles
  const one = (i: number) =>
    new Promise<void>((resolve) => {
      const socket = Net.connect({ port, host: "127.0.0.1" }, () => {
        socket.write(request)
        if (i % 3 === 0) {
          socket.destroy()
        }
      })
      socket.on("data", () => socket.destroy())
      socket.on("error", () => {})
      socket.on("close", () => resolve())
    })
  await Promise.all(Array.from({ length: parallel }, async () => {
    while (left > 0) {
      await one(left--)
    }
  }))
}

const percentile = (values: Array<number>, p: number) =>
  values.length === 0 ? 0 : values.sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))]

process.on("message", async (order: Order) => {
  const reply = (value: object) => process.send!(value)
  switch (order._tag) {
    case "Connect": {
      for (let i = 0; i < order.count; i += 100) {
        await Promise.all(
          Array.from(
            { length: Math.min(100, order.count - i) },
            (_, j) => connect(order.port, i + j < (order.stalled ?? 0), order.webSocket === true)
          )
        )
      }
      events = 0
      return reply({ connected: sockets.size })
    }
    case "Expect": {
      events = 0
      delays = []
      sampling = order.sample === true
      onEnough = () => reply({ events, p50: percentile(delays, 0.5), p99: percentile(delays, 0.99) })
      expected = order.events
      return reply({ ready: true })
    }
    case "Churn":
      await churn(order.port, order.cycles, order.parallel)
      return reply({ churned: order.cycles })
    case "AwaitClosed":
      onClosed = () => reply({ farewells })
      return sockets.size === 0 ? onClosed() : undefined
    case "Leave":
      onClosed = () => reply({ left: true })
      sockets.forEach((socket) => socket.destroy())
      return sockets.size === 0 ? onClosed() : undefined
  }
})
process.send!({ ready: true })

/**
 * The readers, in a process of their own so that their work is nobody else's CPU. Told what to do over IPC by `sse.ts`.
 *
 * Raw sockets, because a thousand `fetch` would cost more than what is measured. Events are counted by their ending, a
 * blank line, and their delay is read from the time in their data.
 */
import * as Net from "node:net"

type Order =
  | { readonly _tag: "Connect"; readonly port: number; readonly count: number; readonly stalled?: number }
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
const marker = Buffer.from("\n\n")
const at = Buffer.from("\"at\":")
const bye = Buffer.from("event: farewell")

const connect = (port: number, stalled: boolean) =>
  new Promise<void>((resolve, reject) => {
    const socket = Net.connect({ port, host: "127.0.0.1" })
    sockets.add(socket)
    let started = false
    socket.on("connect", () => {
      socket.write(request)
      if (stalled) {
        socket.pause()
        resolve()
      }
    })
    socket.on("data", (data) => {
      if (!started) {
        // the head and whatever a server says first
        started = true
        return resolve()
      }
      const isFarewell = data.indexOf(bye) !== -1
      if (isFarewell) {
        farewells++
        socket.end()
      }
      for (let i = data.indexOf(marker); i !== -1; i = data.indexOf(marker, i + 2)) {
        events++
      }
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
            (_, j) => connect(order.port, i + j < (order.stalled ?? 0))
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

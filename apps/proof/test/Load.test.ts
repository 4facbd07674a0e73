// edge: sockets on loopback are the subject
import { assert, describe, it } from "@effect/vitest"
import * as Http from "node:http"
import type { Socket } from "node:net"
import { type WebSocket, WebSocketServer } from "ws"
import { Ids, Ledger } from "../src/load/ledger.js"
import * as Load from "../src/load/run.js"

const listening = async <A>(
  server: Http.Server,
  body: (url: string) => Promise<A>
): Promise<A> => {
  const sockets = new Set<Socket>()
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  try {
    return await body(`http://127.0.0.1:${(server.address() as { readonly port: number }).port}`)
  } finally {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
}

const options = (given: Partial<Load.Options> & Pick<Load.Options, "url" | "kind">): Load.Options => ({
  ...Load.defaults,
  connections: 4,
  rate: 100,
  seconds: 1,
  ...given
})

/** Streams that get what is posted; `send` may lose, double or change the order. */
const broadcaster = (send: (n: number, index: number, write: (n: number) => void) => void) => {
  const streams: Array<Http.ServerResponse> = []
  let id = 0
  return Http.createServer((request, response) => {
    if (request.method === "GET") {
      response.writeHead(200, { "content-type": "text/event-stream" }).write(": hello\n\n")
      streams.push(response)
      return
    }
    let body = ""
    request.on("data", (chunk) => (body += chunk))
    request.on("end", () => {
      const n = ++id
      streams.forEach((stream, index) => send(n, index, (as) => void stream.write(`id: ${as}\ndata: ${body}\n\n`)))
      response.end("{}")
    })
  })
}

describe("a load", () => {
  it("finds nothing wrong with a server that is right", async () => {
    const result = await listening(
      broadcaster((n, _, write) => write(n)),
      (url) => Load.run(options({ kind: "sse", url, publish: url, contiguous: true }))
    )
    assert.deepInclude(result, { sent: 100, received: 400, lost: 0, repeated: 0, disordered: 0, errors: {} })
    assert.strictEqual(result.corrected.count, 400)
  })

  it("counts what one stream of four has lost, was sent twice, and out of order (daily)", async () => {
    const lost = await listening(
      broadcaster((n, index, write) => {
        if (index !== 2 || n % 20 !== 0) write(n)
      }),
      (url) => Load.run(options({ kind: "sse", url, publish: url, patience: 0.5 }))
    )
    assert.deepInclude(lost, { lost: 5, repeated: 0, disordered: 0 })

    const repeated = await listening(
      broadcaster((n, index, write) => {
        write(n)
        if (index === 1 && n === 50) write(n)
      }),
      (url) => Load.run(options({ kind: "sse", url, publish: url }))
    )
    // by its marker, and by its id
    assert.deepInclude(repeated, { lost: 0, repeated: 2, disordered: 0 })

    const disordered = await listening(
      broadcaster((n, index, write) => write(index === 3 && n === 50 ? 10_000 : n)),
      (url) => Load.run(options({ kind: "sse", url, publish: url }))
    )
    assert.strictEqual(disordered.disordered, 50)
  })

  it("charges a stall to all that was due meanwhile, which a closed loop would not have sent", async () => {
    let asked = 0
    const server = Http.createServer((_, response) => {
      // once, in the middle, the server stands still for half a second
      if (++asked === 100) setTimeout(() => response.end("late"), 500)
      else response.end("ok")
    })
    const result = await listening(
      server,
      (url) => Load.run(options({ kind: "http", url, connections: 1, rate: 200, seconds: 1.5 }))
    )
    assert.deepInclude(result, { sent: 300, received: 300, errors: {} })
    // a hundred requests were due while the one connection was held up: a third of all
    assert.isAbove(result.corrected.p90, 200)
    assert.isBelow(result.uncorrected.p90, result.corrected.p90 / 2)
    assert.isAbove(result.uncorrected.max, 450)
  })

  it("counts refusals and broken connections", async () => {
    let asked = 0
    const server = Http.createServer((request, response) => {
      asked++
      if (asked % 10 === 0) response.writeHead(503).end()
      else if (asked % 10 === 5) request.socket.destroy()
      else response.end()
    })
    const { errors } = await listening(server, (url) => Load.run(options({ kind: "http", url, rate: 50, seconds: 1 })))
    assert.isAtLeast(errors["status 503"], 3)
    assert.isAtLeast(Object.values(errors).reduce((a, b) => a + b, 0), 6)
  })

  it("expects an echo on the same WebSocket, or everywhere (daily)", async () => {
    const sockets = new Set<WebSocket>()
    const run = async (broadcast: boolean, forgets: number) => {
      const server = Http.createServer()
      const upgrades = new WebSocketServer({ server })
      let n = 0
      upgrades.on("connection", (socket) => {
        sockets.add(socket)
        socket.on("close", () => sockets.delete(socket))
        socket.on("message", (data) => {
          if (++n === forgets) return
          for (const to of broadcast ? sockets : [socket]) to.send(data.toString())
        })
      })
      const result = await listening(
        server,
        (url) => Load.run(options({ kind: "websocket", url: url.replace("http", "ws"), broadcast, patience: 0.5 }))
      )
      upgrades.close()
      return result
    }
    assert.deepInclude(await run(false, 0), {
      sent: 100,
      received: 100,
      lost: 0,
      repeated: 0,
      disordered: 0,
      errors: {}
    })
    assert.deepInclude(await run(true, 0), { sent: 100, received: 400, lost: 0, errors: {} })
    assert.deepInclude(await run(false, 7), { lost: 1 })
    assert.deepInclude(await run(true, 7), { lost: 4 })
  })
})

describe("the books of a connection", () => {
  it("tell late, doubled and missing messages apart", () => {
    const ledger = new Ledger(-1, true)
    for (const n of [0, 1, 3, 2, 3, 5]) ledger.note(n)
    assert.deepInclude({ ...ledger }, { received: 6, disordered: 1, repeated: 1 })
    assert.strictEqual(ledger.lost(7, () => true), 3)
    assert.strictEqual(ledger.lost(7, (n) => n !== 4), 2)
  })

  it("tell ids that repeat from ids that go back", () => {
    const ids = new Ids(true)
    for (const id of [10, 11, 11, 14, 9]) ids.note(id)
    assert.deepInclude({ ...ids }, { repeated: 1, lost: 2, disordered: 1 })
  })
})

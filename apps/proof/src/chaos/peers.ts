/** Peers that break off, stall or dawdle, in each phase of a request. */
import { eventually, sleep } from "../lib/wait.js"
import { ask, endsCleanly, expect, raw, returned, type Row, state, subject } from "./row.js"

const phases: Readonly<Record<string, { readonly sends: string; readonly pause: number }>> = {
  "before the first byte": { sends: "", pause: 20 },
  "in the request line": { sends: "GET /hel", pause: 20 },
  "in the head": { sends: "GET /hello HTTP/1.1\r\nhost: a\r\nx-a", pause: 20 },
  "before the body": { sends: "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\n", pause: 20 },
  "in the body": {
    sends: `POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\n${"x".repeat(100)}`,
    pause: 20
  },
  "in a chunk of the body": {
    sends: "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc",
    pause: 20
  },
  "while the handler works": { sends: "GET /slow?millis=400 HTTP/1.1\r\nhost: a\r\n\r\n", pause: 100 },
  "in the response": { sends: "GET /download HTTP/1.1\r\nhost: a\r\n\r\n", pause: 200 },
  "in an event stream": { sends: "GET /events HTTP/1.1\r\nhost: a\r\n\r\n", pause: 200 }
}

const aborts = Object.entries(phases).map(([phase, { pause, sends }]): Row => ({
  name: `abort ${phase}`,
  holds: "nothing of 20 such requests is left, and the server answers others",
  run: async (setting) => {
    const server = await subject(setting)
    const before = await state(server)
    for (let i = 0; i < 20; i++) {
      const { socket } = await raw(server.port, sends)
      await sleep(setting.chance.below(pause))
      if (setting.chance.float() < 0.5) socket.resetAndDestroy()
      else socket.destroy()
    }
    expect((await ask(server.url, "GET", "/hello")).status === 200, "the next request is not served")
    const after = await returned(server, before)
    return `${after}; ${await endsCleanly(server)}`
  }
}))

const stalled: Row = {
  name: "stalled reader",
  holds: "who reads nothing is cut off after sendTimeout (1 s), and others get their events meanwhile",
  run: async (setting) => {
    const server = await subject(setting)
    const before = await state(server)
    const other = await raw(server.port, "GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
    const stall = await raw(server.port, "GET /download HTTP/1.1\r\nhost: a\r\n\r\n")
    stall.socket.pause()
    await eventually("the download has begun", async () => (await state(server)).http.inFlight >= 2)
    const from = performance.now()
    // the question itself is in flight, and so is the other stream
    await eventually("the reader that stalls is cut off", async () => (await state(server)).http.inFlight <= 2, 25_000)
    const millis = Math.round(performance.now() - from)
    const events = other.text().split("\n\n").length
    expect(events > 10, `the other reader got ${events} events only`)
    stall.socket.destroy()
    other.socket.destroy()
    return `cut off after ${millis} ms, the other had ${events} events; ${await returned(server, before)}`
  }
}

const halfOpen: Row = {
  name: "half-open peer",
  holds: "who has closed its side is let go after halfOpenTimeout (1 s), and its response is not left running",
  run: async (setting) => {
    const server = await subject(setting)
    const before = await state(server)
    const peers = await Promise.all(["/events", "/slow?millis=400", "/hello"].map(async (path) => {
      const peer = await raw(server.port, `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`)
      await sleep(setting.chance.below(100))
      peer.socket.end()
      return peer
    }))
    const times = await Promise.all(peers.map(({ closed }) => closed))
    const worst = Math.max(...times)
    expect(worst < 10_000, `a half-open peer was held for ${Math.round(worst)} ms`)
    expect(peers[1].text().includes("\"slow\":true"), "the response to a half-open peer did not come")
    return `closed after ${times.map(Math.round).join(", ")} ms; ${await returned(server, before)}`
  }
}

const dawdlers = [
  {
    name: "head",
    head: "",
    byte: (i: number) => "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n"[i] ?? "x",
    limit: "headersTimeout"
  },
  {
    name: "body",
    head: "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n",
    byte: () => "x",
    limit: "bodyTimeout"
  }
].map(({ byte, head, limit, name }): Row => ({
  name: `a byte a second, ${name}`,
  holds: `the peer is turned away after ${limit}, before its request is whole, and others are served meanwhile`,
  run: async (setting) => {
    const server = await subject(setting)
    const before = await state(server)
    const peer = await raw(server.port, head)
    let sent = 0
    const timer = setInterval(() => peer.socket.writable && peer.socket.write(byte(sent++)), 1_000)
    const others = (async () => {
      let served = 0
      for (; served < 20; served++) {
        expect((await ask(server.url, "GET", "/hello")).status === 200, "others are not served")
      }
      return served
    })()
    const millis = await Promise.race([peer.closed, sleep(25_000).then(() => Infinity)])
    clearInterval(timer)
    expect(millis < 25_000, `still open after 25 s and ${sent} bytes`)
    return `closed after ${Math.round(millis)} ms and ${sent} bytes with ${
      peer.text().split("\r\n")[0] || "no answer"
    }, ${await others} others served; ${await returned(server, before)}`
  }
}))

export const peerRows: ReadonlyArray<Row> = [...aborts, stalled, halfOpen, ...dawdlers]

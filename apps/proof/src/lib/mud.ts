/** The text world, and players that behave well and badly. */
import * as Http from "node:http"
import * as Net from "node:net"
import type { Prng } from "./prng.js"
import * as Server from "./server.js"
import { eventually, sleep } from "./wait.js"

export const operatorToken = "a-token-of-the-proof-tools"

const limits = "--port 0 --join-rate 10000 --max-players 10000 --per-address 10000 --linger 60 --log-level warning"
  .split(" ")

export const start = (
  options:
    & { readonly data?: string; readonly environment?: Readonly<Record<string, string>> }
    & Omit<
      Server.Options,
      "file"
    > = {}
): Promise<Server.Server> =>
  Server.start({
    ...options,
    file: Server.mudFile,
    flags: [
      ...limits,
      "--operator-token",
      operatorToken,
      "--data",
      options.data ?? "memory",
      ...(options.flags ?? [])
    ]
  })

export interface Answer {
  readonly status: number
  readonly body: ReturnType<typeof JSON.parse>
}

export const request = (
  url: string,
  method: string,
  path: string,
  { body, token }: { readonly body?: unknown; readonly token?: string | undefined } = {}
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const sent = Http.request(`${url}${path}`, {
      method,
      agent: false,
      headers: {
        ...(payload === undefined ? {} : { "content-type": "application/json" }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` })
      }
    }, (response) => {
      const chunks: Array<Buffer> = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("error", reject)
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString()
        const json = response.headers["content-type"]?.includes("json") === true
        resolve({ status: response.statusCode!, body: json ? JSON.parse(text) : text })
      })
    })
    sent.setTimeout(30_000, () => sent.destroy(new Error(`${method} ${path}: nothing for 30 s`)))
    sent.on("error", reject)
    sent.end(payload)
  })

export interface Census {
  readonly fibers: number
  readonly sessions: number
  /** titles of alerts about fibers that nobody will end */
  readonly leaks: ReadonlyArray<string>
}

interface Snapshot {
  readonly frame: {
    readonly alerts: ReadonlyArray<{ readonly title: string }>
    readonly sample: { readonly values: Readonly<Record<string, number>> }
    readonly sections: Readonly<Record<string, { readonly total?: number }>>
  }
}

export const census = async (url: string): Promise<Census> => {
  const { body, status } = await request(url, "GET", "/operator/snapshot", { token: operatorToken })
  if (status !== 200) throw new Error(`no snapshot: ${status}`)
  const { alerts, sample, sections } = (body as Snapshot).frame
  return {
    fibers: sample.values["live"] ?? 0,
    sessions: sections["sessions"]?.total ?? 0,
    leaks: alerts.map(({ title }) => title).filter((title) => title === "Leaked fiber")
  }
}

export const ended = "a stream closed by itself"

/** Finds what is wrong with the events that a player was sent. */
export class Listener {
  readonly problems: Array<string> = []
  events = 0
  private stream: Http.ClientRequest | undefined
  private ending = false
  private lastId: number
  /** What stands before the number in an id of a world on several nodes. */
  private readonly epoch: string
  /** What was said, as it came. */
  readonly texts: Array<string> = []
  constructor(readonly url: string, readonly token: string, after: number | string) {
    const id = String(after)
    this.epoch = id.slice(0, id.lastIndexOf(".") + 1)
    this.lastId = Number(id.slice(this.epoch.length))
  }

  open(): Promise<void> {
    return new Promise((resolve) => {
      this.ending = false
      const stream = Http.get(`${this.url}/events`, {
        agent: false,
        headers: { authorization: `Bearer ${this.token}`, "last-event-id": `${this.epoch}${this.lastId}` }
      }, (response) => {
        if (response.statusCode !== 200) this.problems.push(`a stream was refused: ${response.statusCode}`)
        response.setEncoding("utf8")
        let rest = ""
        response.on("data", (text: string) => {
          const blocks = (rest + text).split("\n\n")
          rest = blocks.pop()!
          for (const block of blocks) this.read(block)
        })
        response.on("error", () => {})
        response.on("close", () => {
          if (!this.ending && this.stream === stream) this.problems.push(ended)
        })
        resolve()
      })
      stream.on("error", (error: Error) => {
        if (!this.ending && this.stream === stream) this.problems.push(`a stream broke: ${error.message}`)
        resolve()
      })
      this.stream = stream
    })
  }

  private read(block: string): void {
    if (/^event: ?gap$/m.test(block)) this.problems.push("a gap in a stream")
    const id = /^id: ?(?:[\w-]+\.)?(\d+)$/m.exec(block)?.[1]
    if (id === undefined || /^event: ?position$/m.test(block)) return
    this.events++
    if (Number(id) <= this.lastId) this.problems.push(`event ${id} came after ${this.lastId}`)
    this.lastId = Number(id)
    const text = /"text":"([^"]*)"/.exec(block)?.[1]
    if (text !== undefined) this.texts.push(text)
  }

  lastSeen(): number {
    return this.lastId
  }

  expectEnd(): void {
    this.ending = true
  }

  close(): void {
    this.ending = true
    this.stream?.destroy()
  }
}

const letters = (n: number) => [...String(n)].map((digit) => "abcdefghij"[Number(digit)]).join("")
const directions = ["north", "south", "east", "west"]

/** One player from coming ashore to giving up its name: walks, talks, loses its connection and comes back. */
const player = async (url: string, chance: Prng, name: string): Promise<ReadonlyArray<string>> => {
  const joined = await request(url, "POST", "/api/join", { body: { name } })
  if (joined.status !== 200) return [`join: ${joined.status} ${joined.body?._tag ?? ""}`]
  const { after, token } = joined.body
  const listener = new Listener(url, token, after)
  const problems: Array<string> = []
  await listener.open()
  for (let step = 3 + chance.below(4); step > 0; step--) {
    const line = chance.float() < 0.6 ? `say ${name} ${step}` : chance.pick(directions)
    const { body, status } = await request(url, "POST", "/api/command", { token, body: { line } })
    if (status >= 500) problems.push(`${line}: ${status} ${body?._tag ?? ""}`)
    if (chance.float() < 0.25) {
      listener.close()
      await listener.open()
    }
    await sleep(chance.below(60))
  }
  // the server ends the streams of those who leave
  listener.expectEnd()
  const left = await request(url, "POST", "/api/leave", { token, body: {} })
  if (left.status !== 200) problems.push(`leave: ${left.status} ${left.body?._tag ?? ""}`)
  listener.close()
  if (listener.events === 0) problems.push("a player heard nothing")
  return [...problems, ...listener.problems]
}

/** A raw connection: what is sent, in pieces, and how long it stays. */
const raw = (port: number, pieces: ReadonlyArray<string>, pause: number, reads: boolean): Promise<void> =>
  new Promise((resolve) => {
    const socket = Net.connect(port, "127.0.0.1")
    socket.on("error", () => {})
    socket.on("close", () => resolve())
    if (reads) socket.resume()
    else socket.pause()
    void (async () => {
      for (const piece of pieces) {
        socket.write(piece)
        await sleep(pause)
      }
      socket.destroy()
    })()
  })

const joinHead = "POST /api/join HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"

/** Those that servers are afraid of. */
const mischief = (server: Server.Server, chance: Prng): ReadonlyArray<() => Promise<void>> => [
  // in the middle of the head
  () => raw(server.port, ["GET /api/door HTTP/1.1\r\nho"], chance.below(100), true),
  // in the middle of the body
  () => raw(server.port, [`${joinHead}content-length: 400\r\n\r\n`, "{\"name\":"], 30, true),
  // a byte at a time
  () => raw(server.port, [...`${joinHead}content-length: 9000\r\n\r\n{"name":"x`], 3, true),
  // asks for a stream and does not read
  () => raw(server.port, [`GET /events HTTP/1.1\r\nhost: a\r\n\r\n`], 400, false),
  // many at once on one connection, and gone
  () => raw(server.port, ["GET /api/door HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20)], 1, true),
  // what is no HTTP at all
  () => raw(server.port, ["\u0000\u0001nonsense\r\n\r\n"], 20, true),
  // too large
  () => raw(server.port, [`${joinHead}content-length: 40000\r\n\r\n`, "x".repeat(40_000)], 20, true)
]

/** A player whose stream is not read while others talk. */
const staller = async (server: Server.Server, name: string): Promise<void> => {
  const joined = await request(server.url, "POST", "/api/join", { body: { name } })
  if (joined.status !== 200) return
  const { token } = joined.body
  const head = `GET /events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${token}\r\n\r\n`
  await raw(server.port, [head], 600, false)
  await request(server.url, "POST", "/api/leave", { token, body: {} })
}

/** So many players come and go at once, each of whom leaves some events in the history. */
export const fill = async (server: Server.Server, count: number): Promise<void> => {
  let next = 0
  const comeAndGo = async (): Promise<void> => {
    while (next < count) {
      const name = `F${letters(next++)}`
      const { body, status } = await request(server.url, "POST", "/api/join", { body: { name } })
      if (status !== 200) throw new Error(`the history could not be filled: ${status} ${body?._tag ?? ""}`)
      await request(server.url, "POST", "/api/leave", { token: body.token, body: {} })
    }
  }
  await Promise.all(Array.from({ length: 8 }, comeAndGo))
}

/** A round of churn; returns what was wrong. At its end nobody is connected any more. */
export const churn = async (
  server: Server.Server,
  chance: Prng,
  round: number,
  players: number
): Promise<ReadonlyArray<string>> => {
  const jobs: Array<Promise<ReadonlyArray<string>>> = []
  for (let i = 0; i < players; i++) {
    jobs.push(player(server.url, chance, `P${letters(round)}x${letters(i)}`))
    const evil = chance.pick(mischief(server, chance))
    jobs.push(evil().then(() => []))
    if (i % 5 === 0) jobs.push(staller(server, `S${letters(round)}x${letters(i)}`).then(() => []))
    await sleep(5)
  }
  return (await Promise.all(jobs)).flat()
}

/** Waits until no stream is open and the fibers no longer become fewer. */
export const quiet = async (server: Server.Server): Promise<Census> => {
  let before = Infinity
  let same = 0
  return eventually(
    "the server is quiet after its clients have gone",
    async () => {
      const now = await census(server.url)
      same = now.sessions === 0 && now.fibers === before ? same + 1 : 0
      before = now.fibers
      return same >= 3 ? now : undefined
    },
    30_000,
    100
  )
}

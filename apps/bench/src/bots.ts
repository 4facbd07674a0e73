/**
 * Simulated players against a real server process: each has an event stream and a life of its own, walks, talks and picks
 * things up. Measured is the time from sending a command to reading its event, on the player's own stream.
 *
 * `npm run bench bots -- --players 500 --seconds 120` is the full size; the default is smaller. Without `--url` a server is
 * started on a free port and stopped at the end; with it, `--operator-token` is that of the server.
 *
 * It fails when anything was refused or broke, when an event did not come, when the census of the server does not return to
 * what it was before the players came, and when an event of the second half takes more room in the log than one of the first.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs"
import * as Http from "node:http"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { record } from "./shared/measure.js"

const usage = `Simulated players against a real server.

Usage: npm run bench bots -- [flags]

  --players NUMBER  how many (60)
  --seconds NUMBER  how long is measured (12)
  --every SECONDS   between two commands of one player, on average (4)
  --spread SECONDS  in which they walk away from where all come ashore, before anything is measured (6)
  --url URL         a server that runs already; without it one is started and stopped
  --help            this text
`

const flags = () => {
  try {
    return parseArgs({ options }).values
  } catch (error) {
    process.stderr.write(`bots: ${(error as Error).message}\n\n${usage}`)
    process.exit(2)
  }
}

const options = {
  players: { type: "string", default: "60" },
  seconds: { type: "string", default: "12" },
  every: { type: "string", default: "4" },
  spread: { type: "string", default: "6" },
  url: { type: "string" },
  "operator-token": { type: "string", default: "a-token-for-the-bots" },
  help: { type: "boolean", default: false }
} as const
const values = flags()
if (values.help) {
  process.stdout.write(usage)
  process.exit(0)
}
const players = Number(values.players)
const seconds = Number(values.seconds)
/** Seconds in which the players, who all come ashore at one place, spread over the island before anything is measured. */
const spread = Number(values.spread)
/** Seconds between two commands of one player, on average. */
const every = Number(values.every)

const say = (line: string) => process.stdout.write(`${line}\n`)
const sleep = (millis: number) => new Promise<void>((resolve) => void setTimeout(resolve, millis))

interface Server {
  readonly url: string
  readonly stop: () => Promise<{ readonly code: number | null; readonly millis: number }>
}

/** Where the log of a server that is started here lies. */
const data = mkdtempSync(join(tmpdir(), "holdfast-bots-"))

const started = async (): Promise<Server> => {
  const main = fileURLToPath(new URL("../../mud/dist/main.js", import.meta.url))
  const child = spawn(process.execPath, [
    main,
    "--port",
    "0",
    "--data",
    data,
    "--join-rate",
    "10000",
    "--max-players",
    "10000",
    "--per-address",
    "10000",
    "--linger",
    "1",
    "--operator-token",
    values["operator-token"],
    "--log-level",
    "warning"
  ], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  const ended = new Promise<number | null>((resolve) => void child.once("exit", (code) => resolve(code)))
  let last = ""
  let stopping = false
  void ended.then((code) => {
    if (!stopping) say(`the server ended by itself with ${code}: ${last}`)
  })
  const lines = createInterface({ input: child.stdout })
  const url = await new Promise<string>((resolve, reject) => {
    lines.on("line", (line) => {
      last = line
      const found = /https?:\/\/[^\s"\\/]+/.exec(line)?.[0]
      if (found === undefined) return
      clearTimeout(impatient)
      resolve(found)
    })
    void ended.then((code) => reject(new Error(`the server ended with ${code}`)))
    const impatient = setTimeout(() => {
      child.kill("SIGKILL")
      reject(new Error("the server did not say where it listens within 30 s"))
    }, 30_000)
  })
  return {
    url,
    stop: async () => {
      const from = performance.now()
      stopping = true
      child.kill("SIGTERM")
      return { code: await ended, millis: performance.now() - from }
    }
  }
}

const server = values.url === undefined
  ? await started()
  : { url: values.url, stop: async () => ({ code: 0, millis: 0 }) }
const agent = new Http.Agent({ keepAlive: true, maxSockets: 64 })

interface Answer {
  readonly status: number
  readonly body: ReturnType<typeof JSON.parse>
}

const request = (method: string, path: string, token?: string, body?: unknown): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const sent = Http.request(`${server.url}${path}`, {
      method,
      agent,
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` })
      }
    }, (response) => {
      const chunks: Array<Buffer> = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString()
        resolve({ status: response.statusCode ?? 0, body: text === "" ? undefined : JSON.parse(text) })
      })
    })
    sent.on("error", (error: NodeJS.ErrnoException) =>
      // The server closed a connection that was idle in the very moment in which it was used again: not sent, so again.
      sent.reusedSocket && error.code === "ECONNRESET"
        ? request(method, path, token, body).then(resolve, reject)
        : reject(error))
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })

const latencies: Array<number> = []
const joining: Array<number> = []
const problems = new Map<string, number>()
const problem = (what: string) => void problems.set(what, (problems.get(what) ?? 0) + 1)
let commands = 0
let refused = 0
let events = 0
/** The last id that anybody saw. */
let lastId = 0

/** What may be refused in the course of play: a way that is closed, a thing that somebody else has taken. */
const usual = new Set(["NoExit", "NotHere", "NotHeld", "NotPossible"])

const letters = (index: number) => [...String(index)].map((digit) => "abcdefghij"[Number(digit)]).join("")

class Bot {
  token = ""
  exits: ReadonlyArray<string> = []
  /** The command that waits for its event: a text that is in it. */
  private waiting: { readonly mark: string; readonly since: number; readonly done: () => void } | undefined
  private stream: Http.ClientRequest | undefined
  private lastId = 0
  private ending = false

  constructor(readonly index: number) {}

  async join(): Promise<void> {
    const from = performance.now()
    const { body, status } = await request("POST", "/api/join", undefined, { name: `Bot${letters(this.index)}` })
    if (status !== 200) return problem(`join: ${status} ${body?._tag}`)
    joining.push(performance.now() - from)
    this.token = body.token
    this.lastId = body.after
    this.exits = body.view.exits.map(({ direction }: { readonly direction: string }) => direction)
    await this.open()
  }

  open(): Promise<void> {
    return new Promise((resolve) => {
      this.stream = Http.get(`${server.url}/events`, {
        agent: false,
        headers: { authorization: `Bearer ${this.token}`, "last-event-id": String(this.lastId) }
      }, (response) => {
        resolve()
        if (response.statusCode !== 200) return problem(`stream: ${response.statusCode}`)
        response.setEncoding("utf8")
        let rest = ""
        response.on("data", (text: string) => {
          const blocks = (rest + text).split("\n\n")
          rest = blocks.pop()!
          for (const block of blocks) this.read(block)
        })
        response.on("close", () => {
          if (!this.ending) problem("a stream closed by itself")
        })
      })
      this.stream.on("error", () => {
        if (!this.ending) problem("a stream broke")
        resolve()
      })
    })
  }

  private read(block: string): void {
    const data = /^data: ?(.*)$/m.exec(block)?.[1]
    if (data === undefined) return
    const name = /^event: ?(.*)$/m.exec(block)?.[1]
    if (name === "gap") return problem("a gap in a stream")
    // Where the stream begins: nothing has happened yet.
    if (name === "position") return
    const id = Number(/^id: ?(.*)$/m.exec(block)?.[1])
    events += 1
    if (Number.isInteger(id)) {
      if (id <= this.lastId) problem("an event twice or out of order")
      this.lastId = id
      lastId = Math.max(lastId, id)
    }
    if (name === "Saw") {
      const view = JSON.parse(data).view as { readonly exits: ReadonlyArray<{ readonly direction: string }> }
      this.exits = view.exits.map(({ direction }) => direction)
    }
    if (this.waiting !== undefined && data.includes(this.waiting.mark)) {
      latencies.push(performance.now() - this.waiting.since)
      this.waiting.done()
    }
  }

  /** Sends a line and waits for the event that has `mark` in it. */
  private async act(line: string, mark: string): Promise<void> {
    const since = performance.now()
    commands += 1
    let timer: NodeJS.Timeout | undefined
    const seen = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), 5_000)
      this.waiting = { mark, since, done: () => resolve(true) }
    })
    const { body, status } = await request("POST", "/api/command", this.token, { line })
    if (status === 200) {
      if (!await seen) problem(`no event after: ${line.split(" ")[0]}`)
    } else if (usual.has(body?._tag)) refused += 1
    else problem(`command: ${status} ${body?._tag}`)
    clearTimeout(timer)
    this.waiting = undefined
  }

  async wander(until: number): Promise<void> {
    while (performance.now() < until && this.exits.length > 0) {
      await sleep(1_000 + Math.random() * 2_000)
      const way = this.exits[Math.floor(Math.random() * this.exits.length)]
      await request("POST", "/api/command", this.token, { line: way })
      await sleep(200)
    }
  }

  async live(until: number): Promise<void> {
    await sleep(Math.random() * every * 1_000)
    for (let step = 0; performance.now() < until; step++) {
      const choice = Math.random()
      const mark = `b${this.index}-${step}`
      const me = `"Bot${letters(this.index)}"`
      await (choice < 0.45
        ? this.act(`say ${mark}`, mark)
        : choice < 0.55
        ? this.act(`emote ${mark}`, mark)
        : choice < 0.95 && this.exits.length > 0
        ? this.act(this.exits[Math.floor(Math.random() * this.exits.length)], "\"moved\":true")
        : this.act(`whisper Bot${letters((this.index + 1) % players)} ${mark}`, mark)).catch((error: Error) =>
          problem(`${me}: ${error.message}`)
        )
      await sleep(every * 1_000 * (0.5 + Math.random()))
    }
  }

  leave(): void {
    this.ending = true
    this.stream?.destroy()
  }
}

interface Snapshot {
  readonly frame: {
    readonly alerts: ReadonlyArray<{ readonly title: string }>
    readonly sample: { readonly values: Readonly<Record<string, number>> }
    readonly sections: Readonly<Record<string, { readonly total?: number }>>
  }
}

const census = async () => {
  const { body, status } = await request("GET", "/operator/snapshot", values["operator-token"])
  if (status !== 200) throw new Error(`no snapshot: ${status}`)
  const { alerts, sample, sections } = (body as Snapshot).frame
  return {
    live: sample.values["live"] ?? 0,
    sessions: sections["sessions"]?.total ?? 0,
    leaks: alerts.filter(({ title }) => title === "Leaked fiber").length,
    heap: sample.values["heap"] ?? 0,
    cpu: sample.values["cpu"] ?? 0
  }
}

const firstSample = async () => {
  for (let tries = 0; tries < 200; tries++) {
    const sample = await census()
    if (sample.live > 0) return sample
    await sleep(50)
  }
  throw new Error("no sample of the census within 10 s")
}

/** How large the log is, and how many events that is. */
const logged = () => ({
  id: lastId,
  bytes: readdirSync(data).filter((name) => /\.db/.test(name)).reduce(
    (sum, name) => sum + statSync(join(data, name)).size,
    0
  )
})
const bytesPerEvent = (from: ReturnType<typeof logged>, to: ReturnType<typeof logged>) =>
  (to.bytes - from.bytes) / Math.max(1, to.id - from.id)

await sleep(500)
const before = await firstSample()
const all = Array.from({ length: players }, (_, index) => new Bot(index))
for (let index = 0; index < all.length; index += 25) {
  await Promise.all(all.slice(index, index + 25).map((bot) => bot.join()))
}
const settled = performance.now() + spread * 1_000
await Promise.all(all.map((bot) => bot.wander(settled)))
events = 0
const marks = [logged()]
const until = performance.now() + seconds * 1_000
const living = Promise.all(all.map((bot) => bot.live(until)))
await sleep(seconds * 500)
const during = await census()
marks.push(logged())
await living
marks.push(logged())
for (const bot of all) bot.leave()
let after = await census()
for (let tries = 0; tries < 40 && (after.sessions > 0 || after.live > before.live); tries++) {
  await sleep(250)
  after = await census()
}
const stopped = await server.stop()
agent.destroy()
rmSync(data, { recursive: true, force: true })

latencies.sort((a, b) => a - b)
const latencyAt = (part: number) => latencies[Math.floor((latencies.length - 1) * part)] ?? 0
const at = (part: number) => `${latencyAt(part).toFixed(1)} ms`
say(`${players} players for ${seconds} s, a command every ${every} s each, ${cpus().length} processors`)
say(`  commands          ${commands} (${refused} refused in play), ${(commands / seconds).toFixed(0)}/s`)
say(`  events delivered  ${events}, ${(events / seconds).toFixed(0)}/s`)
say(`  command to event  p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}, worst ${at(1)}`)
say(`  join              worst ${Math.max(...joining, 0).toFixed(0)} ms`)
say(
  `  server processor  ${Math.round(during.cpu)} % of one, heap ${Math.round(during.heap / 1_048_576)} MB`
)
say(`  fibers            ${before.live} before, ${during.live} during, ${after.live} after`)
say(`  leaks             ${after.leaks}`)
say(`  stopped           exit code ${stopped.code} after ${stopped.millis.toFixed(0)} ms`)
const title = `${players} players, a command every ${every} s each`
record({ title: `${title}: command to event, ms`, contender: "p50", value: latencyAt(0.5) })
record({ title: `${title}: command to event, ms`, contender: "p99", value: latencyAt(0.99) })
record({ title: `${title}: server, per cent of a processor`, contender: "while they play", value: during.cpu })
record({ title: `${title}: server, MB of heap`, contender: "while they play", value: during.heap / 1_048_576 })
const [first, second] = [bytesPerEvent(marks[0], marks[1]), bytesPerEvent(marks[1], marks[2])]
if (values.url === undefined) {
  say(
    `  log               ${marks[2].id} events, ${(marks[2].bytes / 1_048_576).toFixed(1)} MB; ` +
      `${first.toFixed(0)} bytes an event in the first half, ${second.toFixed(0)} in the second`
  )
  // A file grows by pages, and a journal of writes by what was not moved into it yet.
  if (second > 1.5 * first + 200) problem("an event takes more and more room in the log")
}
for (const [what, count] of problems) say(`  PROBLEM           ${count} x ${what}`)
const failed = problems.size > 0 || after.leaks > 0 || after.live > before.live ||
  stopped.code !== 0
if (failed) process.exitCode = 1

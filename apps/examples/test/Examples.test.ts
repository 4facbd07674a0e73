// Each example as a person would use it: the built program in a process of its own, used over the network, then told to end.
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import assert from "node:assert"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { WebSocket } from "ws"

const folder = fileURLToPath(new URL("..", import.meta.url))

interface Running {
  readonly url: string
  /** All that it has printed. */
  readonly output: () => string
  /** Sends SIGTERM, once, and waits for the end. */
  readonly stop: Effect.Effect<{ readonly code: number | null; readonly last: string }>
}

const start = (name: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const child: ChildProcess = spawn(process.execPath, [`dist/${name}.js`], {
          cwd: folder,
          env: { ...process.env, PORT: "0" },
          stdio: ["ignore", "pipe", "pipe"]
        })
        const exit = once(child, "exit") as Promise<[number | null]>
        let text = ""
        const url = await new Promise<string>((resolve, reject) => {
          const read = (chunk: Buffer) => {
            text += chunk
            const found = /Listening on (http:\S+?)"?\s/.exec(text)
            if (found !== null) resolve(found[1]!)
          }
          child.stdout!.on("data", read)
          child.stderr!.on("data", read)
          void exit.then(([code]) => reject(new Error(`${name} ended with ${code}: ${text}`)))
        })
        return { child, exit, url, text: () => text }
      }),
      ({ child, exit }) =>
        Effect.promise(() => {
          if (child.exitCode === null) child.kill("SIGKILL")
          return exit
        })
    ),
    ({ child, exit, text, url }): Running => ({
      url,
      output: text,
      stop: Effect.promise(async () => {
        child.kill("SIGTERM")
        const [code] = await exit
        return { code, last: text().trim().split("\n").at(-1)! }
      })
    })
  )

const request = (url: string, init?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    const text = await response.text()
    return { status: response.status, text, json: () => JSON.parse(text) }
  })

const post = (url: string, body: unknown) =>
  request(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })

const clean = (name: string, ended: { readonly code: number | null; readonly last: string }) => {
  assert.match(ended.last, new RegExp(`^shutdown: ${name}, SIGTERM, clean`))
  assert.strictEqual(ended.code, 0)
}

describe("examples", () => {
  it.scopedLive("dashboard streams figures, the history first, and says farewell", () =>
    Effect.gen(function*() {
      const app = yield* start("dashboard")
      assert.match((yield* request(app.url)).text, /EventSource/)
      const stream = yield* Effect.promise(async () => {
        const response = await fetch(`${app.url}/events?topic=Measured&lastEventId=0`)
        return response.body!.pipeThrough(new TextDecoderStream()).getReader()
      })
      let seen = ""
      while (!/id: 2\n/.test(seen)) seen += (yield* Effect.promise(() => stream.read())).value ?? ""
      assert.match(seen, /id: 1\n/)
      const rest = Effect.promise(async () => {
        for (;;) {
          const { done, value } = await stream.read()
          if (done) return seen
          seen += value
        }
      })
      const [ended] = yield* Effect.all([app.stop, rest], { concurrency: "unbounded" })
      assert.match(seen, /event: farewell/)
      clean("dashboard", ended)
    }), 60_000)

  it.scopedLive(
    "jobs finishes what is in progress, survives a crash, and refuses nonsense (daily)",
    () =>
      Effect.gen(function*() {
        const app = yield* start("jobs")
        assert.strictEqual((yield* post(`${app.url}/jobs`, { name: "" })).status, 400)
        assert.strictEqual((yield* post(`${app.url}/jobs`, { name: "bad", millis: 0, crash: true })).status, 202)
        let counts = { done: 0, crashed: 0 }
        while (counts.crashed < 1) counts = (yield* request(`${app.url}/jobs`)).json()
        assert.strictEqual((yield* post(`${app.url}/jobs`, { name: "after", millis: 1 })).status, 202)
        while (counts.done < 1) counts = (yield* request(`${app.url}/jobs`)).json()
        assert.strictEqual((yield* post(`${app.url}/jobs`, { name: "slow", millis: 1_000 })).status, 202)
        let waiting = 1
        while (waiting > 0) waiting = (yield* request(`${app.url}/jobs`)).json().waiting
        const ended = yield* app.stop
        // it took the second that the job needed
        const [, seconds] = /, ([0-9.]+) s of/.exec(ended.last)!
        assert(Number(seconds) > 0.3, ended.last)
        clean("jobs", ended)
      }),
    60_000
  )

  it.scopedLive("api keeps its notes until they are written down", () =>
    Effect.gen(function*() {
      const app = yield* start("api")
      assert.strictEqual((yield* post(`${app.url}/notes`, { text: "" })).status, 400)
      assert.deepStrictEqual((yield* post(`${app.url}/notes`, { text: "first" })).json(), { id: 1, text: "first" })
      assert.deepStrictEqual((yield* request(`${app.url}/notes`)).json(), [{ id: 1, text: "first" }])
      assert.strictEqual((yield* request(`${app.url}/notes/7`)).status, 404)
      clean("api", yield* app.stop)
      assert.match(app.output(), /1 notes written down/)
    }), 60_000)

  it.scopedLive(
    "chat announces who comes and who goes, and tells everybody the same (daily)",
    () =>
      Effect.gen(function*() {
        const app = yield* start("chat")
        const join = (name: string) =>
          Effect.acquireRelease(
            Effect.promise(async () => {
              const socket = new WebSocket(`${app.url.replace("http", "ws")}/socket?name=${name}`)
              const messages: Array<string> = []
              socket.on("message", (data) => messages.push(String(data)))
              await once(socket, "open")
              return { socket, messages }
            }),
            ({ socket }) => Effect.sync(() => socket.terminate())
          )
        const heard = (messages: ReadonlyArray<string>, text: string) =>
          Effect.repeat(Effect.sleep("10 millis"), { until: () => messages.some((message) => message.includes(text)) })

        const ada = yield* join("Ada")
        const bob = yield* join("Bob")
        yield* heard(ada.messages, "\"Bob\"")
        bob.socket.send(JSON.stringify({ text: "good evening" }))
        yield* heard(ada.messages, "good evening")
        yield* heard(bob.messages, "good evening")
        bob.socket.terminate()
        yield* heard(ada.messages, "\"Left\"")
        clean("chat", yield* app.stop)
      }),
    60_000
  )

  it.scopedLive(
    "console shows what its HttpApi and its bus do, at the link that it logs (daily)",
    () =>
      Effect.gen(function*() {
        const app = yield* start("console")
        assert.strictEqual((yield* post(`${app.url}/orders`, { item: "tea" })).status, 204)
        const token = /console#token=([\w-]+)/.exec(app.output())![1]!
        const { frame } = (yield* request(`${app.url}/console/snapshot`, {
          headers: { authorization: `Bearer ${token}` }
        })).json()
        const row = (section: string, key: string) =>
          frame.sections[section].set.find((row: { readonly key: string }) => row.key === key).cells
        assert.strictEqual(row("buses", "shop/Orders").lastId, 1)
        assert.strictEqual(row("routes", "POST /orders").ok, 1)
        assert.strictEqual(frame.sections.subscribers.set[0].cells.subscriber, "kitchen")
        assert(
          frame.sections.log.set.some(({ cells }: { readonly cells: { readonly message: string } }) =>
            cells.message === "one tea"
          )
        )
        const page = yield* request(`${app.url}/console/`)
        assert.strictEqual(page.status, 200)
        clean("shop", yield* app.stop)
      }),
    60_000
  )

  for (
    const [name, most] of [["dashboard", 150], ["jobs", 150], ["api", 150], ["chat", 150], ["console", 40]] as const
  ) {
    it(`${name} is small enough to be read`, () => {
      const lines = readFileSync(new URL(`../src/${name}.ts`, import.meta.url), "utf8").trimEnd().split("\n").length
      assert(lines <= most, `${lines} lines`)
    })
  }
})

import { assert, describe, it } from "@holdfast/testing/Vitest"
import type { Scope } from "effect"
import { Deferred, Effect, FiberSet } from "effect"
import { EventSource } from "eventsource"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { chromium } from "playwright-core"

const program = fileURLToPath(new URL("../.tsbuild/test/fixtures/counter.js", import.meta.url))
const chromiumPath = "/usr/bin/chromium"
const required = process.env["HOLDFAST_REQUIRE_INTEGRATION"] === "1"
const missing = [
  ...existsSync(chromiumPath) ? [] : ["chromium"],
  ...spawnSync("curl", ["--version"]).status === 0 ? [] : ["curl"]
]

const last = 10_000
const disconnects = 20

const pause = (millis: number) => Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, millis)))

const until = (what: string, holds: () => boolean, within: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    const end = performance.now() + within
    while (!holds()) {
      if (performance.now() > end) return yield* Effect.dieMessage(`not within ${within} ms: ${what}`)
      yield* pause(20)
    }
  })

const ended = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null

/** A child that is gone when the scope is closed. */
const child = (command: string, args: ReadonlyArray<string>): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] })),
    (one) =>
      Effect.promise(() =>
        new Promise<void>((resolve) => {
          if (ended(one)) return resolve()
          one.once("close", () => resolve())
          one.kill("SIGKILL")
        })
      )
  )

/** Passes bytes on to the server, whichever port it has, and cuts connections when told to. */
const proxy = Effect.acquireRelease(
  Effect.async<
    { port: number; target: number; connections: number; cut: (share: number) => void; close: () => Promise<void> }
  >(
    (resume) => {
      const open = new Set<Net.Socket>()
      const server = Net.createServer((client) => {
        const upstream = Net.connect(it.target, "127.0.0.1")
        for (const [one, other] of [[client, upstream], [upstream, client]] as const) {
          one.on("error", () => {})
          one.on("close", () => {
            open.delete(one)
            other.destroySoon()
          })
          one.pipe(other)
        }
        open.add(client)
        it.connections++
      })
      const it = {
        port: 0,
        target: 1,
        connections: 0,
        cut: (share: number) => {
          for (const socket of open) {
            if (Math.random() < share) socket.resetAndDestroy()
          }
        },
        close: () =>
          new Promise<void>((resolve) => {
            server.close(() => resolve())
            for (const socket of open) socket.destroy()
          })
      }
      server.listen(0, "127.0.0.1", () => {
        it.port = (server.address() as Net.AddressInfo).port
        resume(Effect.succeed(it))
      })
    }
  ),
  (it) => Effect.promise(it.close)
)

/** A free port, for a server that is to come back at the same one. */
const freePort = Effect.async<number>((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const up = (port: number) =>
  Effect.gen(function*() {
    const answer = { ok: false }
    const ask = Effect.promise(() =>
      fetch(`http://127.0.0.1:${port}/`).then((response) => response.text()).then(
        () => void (answer.ok = true),
        () => {}
      )
    )
    yield* Effect.repeat(Effect.zipRight(ask, pause(25)), { until: () => answer.ok, times: 600 })
    assert.isTrue(answer.ok, "the server is up")
  })

/** `curl`, started again whenever it ends, with the id of the last whole frame. */
const curl = (url: string, seen: Array<number>): Effect.Effect<never> =>
  Effect.scoped(Effect.gen(function*() {
    const one = yield* child("curl", ["-sN", "-H", `last-event-id: ${seen.at(-1) ?? 0}`, url])
    yield* Effect.async<void>((resume) => {
      let rest = ""
      one.stdout!.setEncoding("utf8").on("data", (text: string) => {
        const frames = (rest + text).split("\n\n")
        rest = frames.pop()!
        for (const frame of frames) {
          const number = /^data: \{"_tag":"Counted","number":(\d+)\}$/m.exec(frame)
          if (number !== null) seen.push(Number(number[1]))
        }
      })
      one.once("close", () => resume(Effect.void))
    })
    yield* pause(50)
  })).pipe(Effect.forever)

const eventSource = (url: string, seen: Array<number>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const source = new EventSource(url)
      source.addEventListener("Counted", (event) => {
        seen.push(JSON.parse(event.data).number)
      })
      return source
    }),
    (source) => Effect.sync(() => source.close())
  )

interface Seen {
  readonly eventSource: ReadonlyArray<number>
  readonly webSocket: ReadonlyArray<number>
}

const browser = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() =>
      chromium.launch({
        executablePath: chromiumPath,
        args: [
          "--no-sandbox",
          "--disable-gpu",
          "--disable-quic",
          "--no-first-run",
          "--disable-background-networking",
          "--disable-component-update",
          "--disable-sync"
        ]
      })
    ),
    (one) => Effect.promise(() => one.close())
  ),
  (one) => ({
    open: (url: string) =>
      Effect.promise(async () => {
        const page = await one.newPage()
        await page.goto(url)
        return {
          counts: () => page.evaluate("[seen.eventSource.length, seen.webSocket.length]") as Promise<[number, number]>,
          seen: () => page.evaluate("seen") as Promise<Seen>
        }
      })
  })
)

const name = `see ${last} numbers once and in order, over ${disconnects} disconnects and 3 restarts (daily)`

describe("curl, eventsource, and Chromium's EventSource and WebSocket", () => {
  if (missing.length > 0 && !required) {
    it.effect.skip(`${name} (skipped: ${missing.join(" and ")} missing)`, () => Effect.void)
    return
  }
  it.scopedLive(name, () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(missing, [])
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-counter-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
      )
      const between = yield* proxy
      const port = yield* freePort
      between.target = port
      const serve = child(process.execPath, [program, String(port), join(folder, "log.db"), String(last)])
      let server = yield* serve
      yield* up(port)

      const url = `http://127.0.0.1:${between.port}`
      const bySource: Array<number> = []
      const byCurl: Array<number> = []
      yield* eventSource(`${url}/events?lastEventId=0`, bySource)
      const running = yield* FiberSet.make<never>()
      yield* FiberSet.run(running, curl(`${url}/events`, byCurl))
      const page = yield* Effect.flatMap(browser, ({ open }) => open(url))

      // Cuts and restarts are spread over the numbers, so that each falls into the middle of the stream.
      for (let i = 1; i <= disconnects; i++) {
        yield* until(`number ${i * 450}`, () => byCurl.length >= i * 450 - 400, 60_000)
        between.cut(0.7)
        if (i % 6 !== 0) continue
        const gone = yield* Deferred.make<void>()
        server.once("close", () => Deferred.unsafeDone(gone, Effect.void))
        server.kill(i === 12 ? "SIGKILL" : "SIGTERM")
        yield* Deferred.await(gone)
        if (i !== 12) assert.strictEqual(server.exitCode, 0)
        server = yield* serve
        yield* up(port)
      }

      const complete = { page: false }
      const look = Effect.promise(async () => {
        const counts = await page.counts()
        complete.page = counts.every((count) => count >= last)
      })
      yield* Effect.repeat(Effect.zipRight(look, pause(100)), {
        until: () => complete.page && bySource.length >= last && byCurl.length >= last,
        times: 400
      })
      assert.isAbove(between.connections, disconnects, "clients came back")
      const { eventSource: inPage, webSocket } = yield* Effect.promise(page.seen)
      const numbers = Array.from({ length: last }, (_, i) => i + 1)
      for (const [client, seen] of Object.entries({ byCurl, bySource, inPage, webSocket })) {
        assert.strictEqual(seen.length, last, client)
        assert.deepStrictEqual(Array.from(seen), numbers, client)
      }
    }), 180_000)
})

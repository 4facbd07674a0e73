import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as SseClient from "@holdfast/http/SseClient"
import { Effect, Fiber, Stream } from "effect"
import * as Ws from "ws"
import { isStopped, pause, start } from "./support/process.js"
import { connect } from "./support/rawSocket.js"
import { eventually } from "./support/serve.js"

/** A process that stands still runs its timers before it reads its sockets: what came meanwhile lies in the kernel. */
const serving = (limit: number) =>
  Effect.gen(function*() {
    const running = yield* start(String(limit), { fixture: "stalls" })
    const port = Number(/ready (\d+)\./.exec(yield* running.said("."))?.[1])
    const ask = (path: string, method = "GET") =>
      Effect.promise(() => fetch(`http://127.0.0.1:${port}${path}`, { method }).then((response) => response.text()))
    return {
      port,
      ask,
      stop: Effect.zipRight(
        running.signal("SIGSTOP"),
        eventually(Effect.sync(() => isStopped(running.pid)), (stopped) => stopped)
      ),
      goOn: running.signal("SIGCONT"),
      counts: Effect.map(
        ask("/counts"),
        (text): { readonly slow: number; readonly stalled: number } => JSON.parse(text)
      )
    }
  })

describe("A server whose process stood still", () => {
  it.scopedLive(
    "keeps the WebSockets that have answered, and gives up the silent one (daily)",
    () =>
      Effect.gen(function*() {
        const interval = 2_000
        const { goOn, port, stop } = yield* serving(interval)
        const dial = (autoPong: boolean) =>
          Effect.acquireRelease(
            Effect.async<Ws.WebSocket>((resume) => {
              const ws = new Ws.WebSocket(`ws://127.0.0.1:${port}/ws`, { autoPong })
              ws.on("error", () => {})
              ws.on("open", () => resume(Effect.succeed(ws)))
            }),
            (ws) => Effect.sync(() => ws.terminate())
          )
        const ping = (ws: Ws.WebSocket) =>
          Effect.async<void>((resume) => void ws.once("ping", () => resume(Effect.void)))
        const usual = yield* dial(true)
        const silent = yield* dial(false)
        const late = yield* dial(false)
        yield* ping(late)
        yield* stop
        // none of them is read before its time is over
        late.pong()
        yield* pause(2.5 * interval)
        const again = yield* Effect.fork(Effect.raceFirst(
          Effect.as(ping(late), "asked again"),
          Effect.async<string>((resume) => void late.once("close", () => resume(Effect.succeed("given up"))))
        ))
        yield* goOn
        assert.strictEqual(yield* Fiber.join(again), "asked again")
        late.on("ping", () => late.pong())
        late.pong()
        yield* eventually(Effect.sync(() => silent.readyState), (state) => state === Ws.WebSocket.CLOSED, 20_000)
        assert.strictEqual(silent.readyState, Ws.WebSocket.CLOSED)
        assert.strictEqual(late.readyState, Ws.WebSocket.OPEN)
        assert.strictEqual(usual.readyState, Ws.WebSocket.OPEN)
      }),
    60_000
  )

  it.scopedLive(
    "reads what has come of requests, sees what readers took, and gives up those who did neither (daily)",
    () =>
      Effect.gen(function*() {
        const limit = 5_000
        const { ask, counts, goOn, port, stop } = yield* serving(limit)
        const two = (head: string, options?: { readonly paused: boolean }) =>
          Effect.replicateEffect(
            Effect.tap(connect(port, options), (raw) => Effect.sync(() => raw.write(head))),
            2
          )
        const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`
        const files = yield* two(get("/big"), { paused: true })
        // Node.js itself looks twice at a write that the kernel took a part of
        yield* pause(1.2 * limit)
        const streams = yield* two(get("/events"), { paused: true })
        yield* ask("/flood", "POST")
        const bodies = yield* two("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n01234")
        const heads = yield* two("GET / HTTP/1.1\r\nhost: x\r\n")
        const idle = yield* two(get("/"))
        for (const raw of idle) assert.isTrue(yield* raw.until(() => raw.replies().length === 1))
        yield* stop
        let received = 0
        files[0].socket.on("data", (data) => received += data.length).resume()
        let said = ""
        streams[0].socket.on("data", (data) => said = (said + data.toString("latin1")).slice(-64 * 1024 - 100)).resume()
        bodies[0].write("56789")
        heads[0].write("\r\n")
        idle[0].write(get("/"))
        yield* pause(1.2 * limit)
        yield* goOn

        const answered = (raw: typeof idle[number], count: number) =>
          Effect.map(
            raw.until(() => raw.replies().length === count || raw.isClosed(), 20_000),
            () => raw.replies().map(({ status }) => status)
          )
        assert.deepStrictEqual(yield* answered(idle[0], 2), [200, 200])
        assert.deepStrictEqual(yield* answered(heads[0], 1), [200])
        assert.deepStrictEqual(yield* answered(bodies[0], 1), [200])
        assert.deepStrictEqual(yield* answered(bodies[1], 1), [408])
        assert.isTrue(yield* heads[1].closed(20_000))
        assert.isTrue(yield* idle[1].closed(20_000))
        yield* eventually(Effect.sync(() => received), (received) => received > 32 * 1024 * 1024, 20_000)
        assert.isAbove(received, 32 * 1024 * 1024)
        yield* ask("/say", "POST")
        yield* eventually(Effect.sync(() => said), (said) => said.includes("last words"), 20_000)
        assert.include(said, "last words")
        assert.deepStrictEqual(
          yield* eventually(counts, ({ slow, stalled }) => slow > 0 && stalled > 0, 20_000),
          { slow: 1, stalled: 1 }
        )
      }),
    90_000
  )
})

describe("A client whose process stood still", () => {
  it.scopedLive("stays with a stream that has said something meanwhile (daily)", () =>
    Effect.gen(function*() {
      const { ask, port } = yield* serving(60_000)
      const client = yield* SseClient.make
      const lost: Array<string> = []
      const heard: Array<string> = []
      yield* Effect.forkScoped(
        client.messages(`http://127.0.0.1:${port}/events`, {
          idleTimeout: "3 seconds",
          onDisconnect: ({ reason }) => Effect.sync(() => lost.push(reason))
        }).pipe(Stream.runForEach(({ data, event }) => Effect.sync(() => heard.push(`${event} ${data}`))))
      )
      const until = (part: string) =>
        eventually(Effect.sync(() => heard.join("\n")), (heard) => heard.includes(part), 20_000)
      yield* until("position")
      // the timers come next, and then the sockets
      yield* Effect.async<void>((resume) => {
        setImmediate(() => {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4_000)
          resume(Effect.void)
        })
      })
      yield* ask("/say", "POST")
      assert.include(yield* until("last words"), "last words")
      assert.deepStrictEqual(lost, [])
    }).pipe(Effect.provide(FetchHttpClient.layer)), 60_000)
})

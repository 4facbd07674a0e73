import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Effect, Schedule, Schema, Stream } from "effect"
import { sized } from "../../../scripts/sized.js"
import { connect, parseReplies } from "./support/rawSocket.js"
import { eventually, requests, serve } from "./support/serve.js"

const rounds = sized(800, 10_000, 200)
const timeout = sized(60_000, 600_000)
const seed = Number(process.env["HOLDFAST_SEED"] ?? 20_261_124)

/** mulberry32: the same requests for the same seed. */
const generator = (seed: number) => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (n: number) => Math.floor(next() * n)
  const pick = <A>(from: ReadonlyArray<A>): A => from[below(from.length)]
  const noise = (length: number) => Buffer.from(Array.from({ length }, () => below(256))).toString("latin1")
  return { next, below, pick, noise }
}

type Random = ReturnType<typeof generator>

const router = HttpRouter.empty.pipe(
  HttpRouter.get("/", HttpServerResponse.text("hello")),
  HttpRouter.get("/things/:id", Effect.flatMap(HttpRouter.params, ({ id }) => HttpServerResponse.json({ id }))),
  HttpRouter.get(
    "/query",
    Effect.flatMap(HttpErrors.searchParams(Schema.Struct({ n: Schema.NumberFromString })), HttpServerResponse.json)
  ),
  HttpRouter.get("/die", Effect.die(new Error("inside"))),
  HttpRouter.get("/throw", Effect.sync(() => JSON.parse("{") as HttpServerResponse.HttpServerResponse)),
  HttpRouter.get(
    "/stream",
    HttpServerResponse.stream(
      Stream.take(Stream.repeat(Stream.make(new Uint8Array(512).fill(97)), Schedule.forever), 40)
    )
  ),
  HttpRouter.post(
    "/json",
    Effect.flatMap(HttpErrors.bodyJson(Schema.Struct({ a: Schema.Number })), HttpServerResponse.json)
  ),
  HttpRouter.post("/ignored", HttpServerResponse.text("ok"))
)

const valid = (random: Random): string => {
  const { below, noise, pick } = random
  const method = pick(["GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"])
  const path = pick([
    "/",
    "/things/7",
    "/things/%F0%9F%98%80",
    "/query?n=1",
    "/query?n=x",
    "/query",
    "/die",
    "/throw",
    "/stream",
    "/json",
    "/json",
    "/json",
    "/ignored",
    "/nowhere",
    "//",
    "/../../etc/passwd",
    `/${"a".repeat(below(3000))}`,
    "http://host/things/1",
    "*"
  ])
  const headers = [`host: ${pick(["a", "127.0.0.1", "[::1]:80", "a b", ""])}`]
  let body = ""
  if (method === "POST" || below(8) === 0) {
    body = pick(["{\"a\":1}", "{\"a\":\"x\"}", "{", "null", "[]", noise(below(200)), " ".repeat(below(5000)), ""])
    headers.push(`content-type: ${pick(["application/json", "text/plain", "application/json; charset=utf-16", ""])}`)
    if (below(3) === 0) {
      headers.push("transfer-encoding: chunked")
      const cut = below(body.length + 1)
      body = [body.slice(0, cut), body.slice(cut)].filter((part) => part !== "")
        .map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join("") + "0\r\n\r\n"
    } else {
      headers.push(`content-length: ${body.length}`)
    }
  }
  for (let i = below(4); i > 0; i--) {
    headers.push(pick([
      "connection: keep-alive",
      "connection: close",
      "connection: upgrade",
      "upgrade: websocket",
      "upgrade: h2c",
      "expect: 100-continue",
      "expect: nonsense",
      "accept: text/event-stream",
      `cookie: ${"a=b; ".repeat(below(50))}`,
      "content-length: 5",
      "transfer-encoding: gzip, chunked",
      "accept-encoding: *",
      "range: bytes=0-",
      "last-event-id: \u00e9",
      `x-${below(99)}: ${"v".repeat(below(2000))}`,
      "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
      "sec-websocket-version: 13"
    ]))
  }
  return `${method} ${path} HTTP/${pick(["1.1", "1.1", "1.1", "1.0"])}\r\n${headers.join("\r\n")}\r\n\r\n${body}`
}

const mutated = (bytes: string, { below, noise, pick }: Random): string => {
  let text = bytes
  for (let i = 1 + below(3); i > 0; i--) {
    const at = below(text.length + 1)
    text = pick([
      () => text.slice(0, at) + noise(1 + below(4)) + text.slice(at),
      () => text.slice(0, at) + text.slice(at + 1 + below(8)),
      () => text.slice(0, at),
      () => text.slice(0, at) + text.slice(Math.max(0, at - below(40))),
      () => text.replace("\r\n", pick(["\n", "\r", "\r\n\r\n", "\r\n "])),
      () => text.replace(/\d+/, pick(["-1", "99999999999999999999", "0x10", "1e3", "+4", " 7"])),
      () => text.replace("HTTP/1.1", pick(["HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", "HTTP"]))
    ])()
  }
  return text
}

const statuses = new Set([100, 200, 204, 206, 400, 404, 405, 408, 413, 415, 417, 426, 431, 500, 503])

describe("NodeServer under fuzzed requests", () => {
  it.scopedLive(
    `${rounds} requests: no crash, no leak, a proper status for each`,
    () =>
      Effect.gen(function*() {
        const running = yield* serve(HttpErrors.handled(router), {
          headersTimeout: "400 millis",
          requestTimeout: "600 millis",
          bodyTimeout: "300 millis",
          keepAliveTimeout: "300 millis",
          halfOpenTimeout: "200 millis",
          lingerTimeout: "200 millis",
          maxBodyBytes: 512
        })
        const seen = new Map<number, number>()
        let silent = 0

        const one = (index: number) =>
          Effect.scoped(Effect.gen(function*() {
            const random = generator(seed + index)
            const { below, pick } = random
            const count = 1 + (below(4) === 0 ? below(4) : 0)
            let bytes = Array.from({ length: count }, () => valid(random)).join("")
            const broken = below(2) === 0
            if (broken) {
              bytes = mutated(bytes, random)
            }
            const label = `seed ${seed + index}: ${JSON.stringify(bytes.slice(0, 600))}`
            const raw = yield* connect(running.port)
            const parts = below(3) === 0 ? 1 + below(6) : 1
            for (let i = 0; i < parts; i++) {
              raw.socket.write(
                Buffer.from(
                  bytes.slice(Math.floor(i * bytes.length / parts), Math.floor((i + 1) * bytes.length / parts)),
                  "latin1"
                )
              )
              if (parts > 1) {
                yield* Effect.yieldNow()
              }
            }
            const leave = pick(["stay", "stay", "stay", "stay", "reset", "destroy", "end"])
            if (leave === "reset") {
              raw.socket.resetAndDestroy()
              return
            }
            if (leave === "destroy") {
              raw.socket.destroy()
              return
            }
            if (leave === "end") {
              raw.socket.end()
            }
            assert.isTrue(yield* raw.closed(8000), `never closed: ${label}`)
            const received = raw.received()
            if (received === "") {
              silent++
              // Silence is for a peer that said nothing.
              assert.isTrue(leave === "end" || bytes.trim() === "", `no answer: ${label}`)
              return
            }
            assert.match(received, /^HTTP\/1\.1 \d\d\d [\x20-\x7e]*\r\n/, label)
            // A reply to HEAD has a length and no body, so replies behind one are not taken apart.
            const first = Number(received.slice(9, 12))
            const all = /^HEAD|HEAD \S+ HTTP/m.test(bytes)
              ? [first]
              : parseReplies(received).map((reply) => reply.status)
            for (const status of all.length === 0 ? [first] : all) {
              assert.isTrue(statuses.has(status), `status ${status}: ${label}`)
              seen.set(status, (seen.get(status) ?? 0) + 1)
            }
          }))

        yield* Effect.forEach(Array.from({ length: rounds }, (_, index) => index), one, {
          concurrency: 64,
          discard: true
        })

        assert.deepStrictEqual(yield* eventually(requests, (found) => found.length === 0), [])
        const stats = yield* eventually(running.server.stats, (stats) => stats.connections === 0)
        assert.deepInclude(stats, { connections: 0, inFlight: 0, stalled: 0 })
        for (const status of [200, 400, 404, 405, 500]) {
          assert.isAbove(seen.get(status) ?? 0, 0, `never saw ${status}`)
        }
        assert.isBelow(silent, rounds / 4)
        const probe = yield* connect(running.port)
        probe.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert.isTrue(yield* probe.closed())
        assert.strictEqual(probe.replies()[0].body, "hello")
      }),
    timeout
  )
})

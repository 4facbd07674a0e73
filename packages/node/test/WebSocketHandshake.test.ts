import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseHub from "@holdfast/http/SseHub"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import { Effect } from "effect"
import { makeBus } from "./support/bus.js"
import { connect } from "./support/rawSocket.js"
import { eventually, serve } from "./support/serve.js"

const handshake = (path: string, more = "", version = "13") =>
  `GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: ${version}\r\n` +
  `sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`

/** A client's final frame, masked with zeros. */
const frame = (opcode: number, payload: Buffer): Buffer =>
  Buffer.concat([
    payload.length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | payload.length])
      : Buffer.from([0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255]),
    Buffer.alloc(4),
    payload
  ])

/** The opcodes of the server's complete frames. */
const opcodes = (received: string): ReadonlyArray<number> => {
  const bytes = Buffer.from(received, "latin1")
  const found: Array<number> = []
  for (let at = bytes.indexOf("\r\n\r\n") + 4; at + 2 <= bytes.length;) {
    const short = bytes[at + 1] & 127
    const header = short === 126 ? 4 : short === 127 ? 10 : 2
    if (at + header > bytes.length) break
    const length = short === 126
      ? bytes.readUInt16BE(at + 2)
      : short === 127
      ? Number(bytes.readBigUInt64BE(at + 2))
      : short
    if (at + header + length > bytes.length) break
    found.push(bytes[at] & 15)
    at += header + length
  }
  return found
}

const setup = (route: Partial<WebSocketRoute.Options> = {}) =>
  Effect.gen(function*() {
    const bus = makeBus()
    let opened = 0
    let authorized = 0
    const hub = yield* SseHub.make({
      source: bus.source,
      onOpen: () =>
        Effect.sync(() => {
          opened++
        })
    })
    const { port } = yield* serve(HttpErrors.handled(HttpRouter.empty.pipe(
      WebSocketRoute.mount("/ws", {
        hub,
        authorize: () =>
          Effect.sync(() => {
            authorized++
            return { following: [{ topic: "hall" }] }
          }),
        ...route
      }),
      HttpRouter.get(
        "/socket",
        Effect.gen(function*() {
          const socket = yield* (yield* HttpServerRequest.HttpServerRequest).upgrade
          authorized++
          yield* Effect.orDie(socket.runRaw(() => {}))
          return HttpServerResponse.empty()
        })
      )
    )))
    return { bus, hub, port, acquired: () => opened + authorized }
  })

describe("the handshake of a WebSocket", () => {
  const rows: ReadonlyArray<readonly [what: string, lines: string, status: number, version?: string]> = [
    ["one", "sec-websocket-protocol: v1\r\n", 101],
    ["several", "sec-websocket-protocol: v1, v2\r\n", 101],
    ["white space around them", "sec-websocket-protocol:  v1 \t,\tv2 \r\n", 101],
    ["two lines", "sec-websocket-protocol: v1\r\nsec-websocket-protocol: v2\r\n", 101],
    ["every character of a token", "sec-websocket-protocol: !#$%&'*+-.^_`|~09azAZ\r\n", 101],
    ["one twice", "sec-websocket-protocol: v1, v1\r\n", 400],
    ["an empty one between", "sec-websocket-protocol: v1,,v2\r\n", 400],
    ["a comma at the end", "sec-websocket-protocol: v1,\r\n", 400],
    ["a comma at the beginning", "sec-websocket-protocol: ,v1\r\n", 400],
    ["none", "sec-websocket-protocol: \r\n", 400],
    ["no token", "sec-websocket-protocol: bearer:abc/def==\r\n", 400],
    ["two words", "sec-websocket-protocol: v1 v2\r\n", 400],
    ["quoted", "sec-websocket-protocol: \"v1\"\r\n", 400],
    ["beyond ASCII", "sec-websocket-protocol: é\r\n", 400],
    ["another version", "", 426, "8"]
  ]
  for (const path of ["/ws", "/socket"]) {
    for (const [what, lines, status, version] of rows) {
      it.scopedLive(`at ${path} with subprotocols: ${what}: ${status}, and nothing is acquired before`, () =>
        Effect.gen(function*() {
          const it = yield* setup({ protocols: ["v2", "v1"] })
          const raw = yield* connect(it.port)
          raw.write(handshake(path, lines, version))
          assert.isTrue(yield* raw.until((received) => received.includes("\r\n\r\n"), 20_000))
          assert.strictEqual(Number(raw.received().split(" ")[1]), status)
          if (status !== 101) {
            assert.isTrue(yield* raw.closed(20_000))
            assert.strictEqual(it.acquired(), 0)
          }
        }))
    }
  }
})

describe("a close that the peer or the protocol began", () => {
  for (
    const [what, bytes] of [
      ["a message over the limit", frame(1, Buffer.alloc(2000, "x"))],
      ["a close of the client's", frame(8, Buffer.from([3, 232]))],
      ["a frame with a reserved bit", Buffer.concat([Buffer.from([0xc1, 0x80]), Buffer.alloc(4)])]
    ] as const
  ) {
    it.scopedLive(`nothing follows it, also to a reader that is behind: ${what}`, () =>
      Effect.gen(function*() {
        const it = yield* setup({ maxMessageBytes: 1024, closeTimeout: "20 seconds" })
        const raw = yield* connect(it.port)
        raw.write(handshake("/ws"))
        assert.isTrue(yield* raw.until((received) => received.includes("\"open\""), 20_000))
        raw.socket.pause()
        const stalled = Effect.zipRight(it.bus.publish("hall", "x".repeat(40_000)), it.hub.stats)
        assert.strictEqual((yield* eventually(stalled, (stats) => stats.stalled === 1, 20_000)).stalled, 1)
        yield* it.bus.publish("hall", "behind")
        raw.write(bytes)
        // what another connection is answered after it, the server has read after it
        const other = yield* connect(it.port)
        other.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert.isTrue(yield* other.until((received) => received !== "", 20_000))
        yield* it.bus.publish("hall", "after")
        raw.socket.resume()
        const read = Effect.zipRight(it.bus.publish("hall", "after"), Effect.sync(() => opcodes(raw.received())))
        yield* eventually(read, (found) => found.includes(8), 20_000)
        for (let n = 0; n < 20; n++) {
          yield* it.bus.publish("hall", "after")
        }
        raw.socket.end()
        assert.isTrue(yield* raw.closed(20_000))
        const found = opcodes(raw.received())
        assert.strictEqual(found.indexOf(8), found.length - 1, found.slice(-5).join())
      }))
  }
})

import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Effect } from "effect"
import * as Net from "node:net"
import * as Ws from "ws"
import { eventually, serve } from "./support/serve.js"

/** A client's frame: masked, final, without reserved bits, unless the options say otherwise. */
const frame = (
  opcode: number,
  payload: Uint8Array | string = "",
  { fin = true, mask = true, rsv = 0 }: { readonly fin?: boolean; readonly mask?: boolean; readonly rsv?: number } = {}
): Buffer => {
  const bytes = Buffer.from(payload as string)
  const length = bytes.length
  const masked = mask ? 0x80 : 0
  const header = [(fin ? 0x80 : 0) | rsv | opcode]
  if (length < 126) header.push(masked | length)
  else if (length < 65536) header.push(masked | 126, length >> 8, length & 255)
  else {header.push(
      masked | 127,
      0,
      0,
      0,
      0,
      (length >>> 24) & 255,
      (length >> 16) & 255,
      (length >> 8) & 255,
      length & 255
    )}
  const key = [1, 2, 3, 4]
  return Buffer.concat([
    Buffer.from(header),
    mask ? Buffer.from(key) : Buffer.alloc(0),
    mask ? bytes.map((byte, index) => byte ^ key[index & 3]) : bytes
  ])
}

const close = (code: number, reason: Uint8Array | string = "") =>
  frame(8, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason as string)]))

/** The server's frames: texts, binaries as hexadecimal, pongs, and the close with its code. */
const readFrames = (received: Buffer): ReadonlyArray<string> => {
  const found: Array<string> = []
  let rest = received.subarray(received.indexOf("\r\n\r\n") + 4)
  while (rest.length >= 2) {
    let length = rest[1] & 127
    let at = 2
    if (length === 126) {
      length = rest.readUInt16BE(2)
      at = 4
    } else if (length === 127) {
      length = Number(rest.readBigUInt64BE(2))
      at = 10
    }
    if (rest.length < at + length) break
    const payload = rest.subarray(at, at + length)
    const opcode = rest[0] & 15
    found.push(
      opcode === 8
        ? `close ${length >= 2 ? payload.readUInt16BE(0) : "-"}`
        : opcode === 10
        ? `pong ${payload.toString()}`
        : length > 200
        ? `${length} bytes`
        : `${opcode === 1 ? "text" : "binary"} ${payload.toString()}`
    )
    rest = rest.subarray(at + length)
  }
  return found
}

const end = close(1000)
const rows: ReadonlyArray<readonly [what: string, frames: ReadonlyArray<Buffer>, ...answers: ReadonlyArray<string>]> = [
  // 5.2 and 5.6: data
  ["an empty text", [frame(1), end], "text ", "close 1000"],
  ["a text", [frame(1, "hi"), end], "text hi", "close 1000"],
  ["a text of 125 bytes", [frame(1, "x".repeat(125)), end], `text ${"x".repeat(125)}`, "close 1000"],
  ["a text of 126 bytes", [frame(1, "x".repeat(126)), end], `text ${"x".repeat(126)}`, "close 1000"],
  ["a text of 65535 bytes", [frame(1, "x".repeat(65535)), end], "65535 bytes", "close 1000"],
  ["a text of 65536 bytes", [frame(1, "x".repeat(65536)), end], "65536 bytes", "close 1000"],
  ["a binary", [frame(2, "hi"), end], "binary hi", "close 1000"],
  ["two messages in one piece", [Buffer.concat([frame(1, "a"), frame(1, "b")]), end], "text a", "text b", "close 1000"],
  ["a byte at a time", [...Array.from(frame(1, "hi"), (byte) => Buffer.from([byte])), end], "text hi", "close 1000"],
  ["a message beyond the limit (7.4.1)", [frame(2, "x".repeat(200_001))], "close 1009"],
  [
    "fragments beyond the limit",
    [frame(2, "x".repeat(150_000), { fin: false }), frame(0, "x".repeat(60_000))],
    "close 1009"
  ],
  // 5.4: fragmentation
  ["two fragments", [frame(1, "a", { fin: false }), frame(0, "b"), end], "text ab", "close 1000"],
  [
    "three fragments",
    [frame(1, "a", { fin: false }), frame(0, "b", { fin: false }), frame(0, "c"), end],
    "text abc",
    "close 1000"
  ],
  [
    "empty fragments",
    [frame(1, "", { fin: false }), frame(0, "", { fin: false }), frame(0), end],
    "text ",
    "close 1000"
  ],
  [
    "a ping between fragments",
    [frame(1, "a", { fin: false }), frame(9, "p"), frame(0, "b"), end],
    "pong p",
    "text ab",
    "close 1000"
  ],
  ["a continuation of nothing", [frame(0, "a")], "close 1002"],
  ["a continuation of nothing that is not the last", [frame(0, "a", { fin: false })], "close 1002"],
  ["a text within fragments", [frame(1, "a", { fin: false }), frame(1, "b")], "close 1002"],
  ["a binary within fragments", [frame(1, "a", { fin: false }), frame(2, "b")], "close 1002"],
  // 5.5: control frames
  ["a ping", [frame(9), end], "pong ", "close 1000"],
  ["a ping with 125 bytes", [frame(9, "x".repeat(125)), end], `pong ${"x".repeat(125)}`, "close 1000"],
  ["a ping with 126 bytes", [frame(9, "x".repeat(126))], "close 1002"],
  ["a ping in fragments", [frame(9, "a", { fin: false })], "close 1002"],
  ["a pong that nobody asked for", [frame(10, "x"), end], "close 1000"],
  ["a pong with 126 bytes", [frame(10, "x".repeat(126))], "close 1002"],
  ["a close in fragments", [frame(8, "", { fin: false })], "close 1002"],
  // 5.2: bits and opcodes that are reserved
  ...[0x40, 0x20, 0x10, 0x70].map((rsv) =>
    [`reserved bits ${rsv.toString(16)}`, [frame(1, "a", { rsv })], "close 1002"] as const
  ),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) =>
    [`opcode ${opcode}`, [frame(opcode, "a")], "close 1002"] as const
  ),
  // 5.1: a client masks
  ["a text without a mask", [frame(1, "a", { mask: false })], "close 1002"],
  ["a ping without a mask", [frame(9, "a", { mask: false })], "close 1002"],
  // 7.4: close codes
  ["a close without a code", [frame(8)], "close -"],
  ["a close with one byte", [frame(8, "x")], "close 1002"],
  ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999].map((code) =>
    [`a close with ${code}`, [close(code)], `close ${code}`] as const
  ),
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535].map((code) =>
    [`a close with ${code}`, [close(code)], "close 1002"] as const
  ),
  ["a close with a reason", [close(1000, "enough")], "close 1000"],
  ["a close with a reason of 123 bytes", [close(1000, "x".repeat(123))], "close 1000"],
  ["a close with a reason of 124 bytes", [close(1000, "x".repeat(124))], "close 1002"],
  ["nothing after a close", [close(1000), frame(1, "late")], "close 1000"],
  // 8.1: UTF-8
  ["UTF-8 of every length", [frame(1, "é€🎉"), end], "text é€🎉", "close 1000"],
  [
    "a character in two fragments",
    [
      frame(1, Buffer.from("€").subarray(0, 1), { fin: false }),
      frame(0, Buffer.from("€").subarray(1)),
      end
    ],
    "text €",
    "close 1000"
  ],
  ...[
    ["a lone continuation byte", [0x80]],
    ["a character that is cut off", [0xe2, 0x82]],
    ["an overlong slash", [0xc0, 0xaf]],
    ["a surrogate", [0xed, 0xa0, 0x80]],
    ["beyond U+10FFFF", [0xf4, 0x90, 0x80, 0x80]],
    ["a byte that never is", [0xff]]
  ].map(([what, bytes]) =>
    [`${String(what)} in a text`, [frame(1, Buffer.from(bytes as Array<number>))], "close 1007"] as const
  ),
  ["a reason that is not UTF-8", [close(1000, Buffer.from([0xff]))], "close 1007"],
  ["a binary that is not UTF-8", [frame(2, Buffer.from([0x41])), end], "binary A", "close 1000"]
]

const handshake = "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
  "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

/** Everything the server sends until it ends the connection. */
const converse = (port: number, frames: ReadonlyArray<Buffer>, before: number): Effect.Effect<Buffer> =>
  Effect.async((resume) => {
    const socket = Net.connect(port, "127.0.0.1")
    let received = Buffer.alloc(0)
    let begun = false
    let isEnding = frames.at(-1) !== end
    const finish = () => resume(Effect.succeed(received))
    socket.on("error", () => {})
    socket.on("close", finish)
    socket.on("data", (data) => {
      received = Buffer.concat([received, data])
      if (!begun && received.includes("\r\n\r\n")) {
        begun = true
        for (const one of frames) if (one !== end) socket.write(one)
      }
      // A close frame is answered at once: what is echoed has to be there first.
      if (begun && !isEnding && readFrames(received).length >= before) {
        isEnding = true
        socket.write(end)
      }
    })
    socket.write(handshake)
    return Effect.sync(() => socket.destroy())
  })

const ended: Array<string> = []
const app = HttpErrors.handled(HttpRouter.empty.pipe(HttpRouter.get(
  "/echo",
  Effect.gen(function*() {
    const socket = yield* HttpServerRequest.upgrade
    const write = yield* socket.writer
    const exit = yield* Effect.exit(socket.runRaw((data) => write(data)))
    ended.push(exit._tag === "Success" ? "in order" : String(exit.cause))
    return HttpServerResponse.empty()
  }).pipe(Effect.scoped)
)))

describe("RFC 6455", () => {
  it.scopedLive(`${rows.length} conversations end as the RFC says`, () =>
    Effect.gen(function*() {
      const { port } = yield* serve(app, { webSocket: { maxMessageBytes: 200_000 } })
      const wrong = yield* Effect.forEach(rows, ([what, frames, ...answers]) =>
        Effect.map(converse(port, frames, answers.length - 1), (received) => {
          const found = readFrames(received)
          return JSON.stringify(found) === JSON.stringify(answers)
            ? []
            : [`${what}: ${found.join(", ")}, expected ${answers.join(", ")}`]
        }), { concurrency: 8 })
      assert.deepStrictEqual(wrong.flat(), [])
    }))

  it.scopedLive("the platform's socket: what a handler sees of the end, subprotocols", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve(app)
      const dial = (options: ReadonlyArray<string>) =>
        Effect.async<Ws.WebSocket>((resume) => {
          const ws = new Ws.WebSocket(`ws://127.0.0.1:${port}/echo`, [...options])
          ws.on("error", () => {})
          ws.on("open", () => resume(Effect.succeed(ws)))
        })
      ended.length = 0
      const first = yield* dial(["v2", "v1"])
      assert.strictEqual(first.protocol, "v2")
      first.close(1000)
      yield* eventually(Effect.sync(() => ended.length), (count) => count === 1, 20_000)
      const second = yield* dial([])
      second.terminate()
      yield* eventually(Effect.sync(() => ended.length), (count) => count === 2, 20_000)
      // The code after `run` goes on, as on the platform's server, also when the connection broke.
      assert.deepStrictEqual(ended, ["in order", "in order"])
      assert.strictEqual((yield* eventually(server.stats, ({ inFlight }) => inFlight === 0, 20_000)).inFlight, 0)
    }))
})

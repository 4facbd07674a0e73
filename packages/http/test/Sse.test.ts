import { assert, describe, it } from "@effect/vitest"
import { assertFailure } from "@effect/vitest/utils"
import * as Sse from "@holdfast/http/Sse"
import { Cause, Effect, Stream } from "effect"
import * as fc from "fast-check"

const utf8 = new TextEncoder()

/** Text made of what could hurt: line ends, NUL, field names, colons, BOM, astral characters, lone surrogates. */
const hostile = fc.array(
  fc.oneof(
    fc.constantFrom(
      "\r",
      "\n",
      "\r\n",
      "\0",
      ":",
      " ",
      "data: ",
      "\nid: 1\n",
      "event: x\n\n",
      "\uFEFF",
      "\u2028",
      "\uD800",
      "😀"
    ),
    fc.string({ unit: "binary", maxLength: 4 })
  ),
  { maxLength: 12 }
).map((parts) => parts.join(""))

const frame: fc.Arbitrary<Sse.Frame> = fc.record({
  event: fc.option(hostile, { nil: undefined }),
  id: fc.option(hostile, { nil: undefined }),
  data: hostile,
  retry: fc.option(fc.oneof(fc.nat(), fc.double()), { nil: undefined }),
  comment: fc.option(hostile, { nil: undefined })
})

/** The HTML standard's parser, written down from the standard and sharing nothing with the code under test. */
const standard = (input: string) => {
  const events: Array<{ event: string; data: string; lastEventId: string }> = []
  const retries: Array<number> = []
  const ids: Array<string> = []
  let data = ""
  let type = ""
  let id = ""
  for (const line of input.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/).slice(0, -1)) {
    if (line === "") {
      ids.push(id)
      if (data !== "") {
        events.push({ event: type || "message", data: data.replace(/\n$/, ""), lastEventId: id })
      }
      data = type = ""
      continue
    }
    const colon = line.indexOf(":")
    if (colon === 0) {
      continue
    }
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "")
    if (field === "event") {
      type = value
    } else if (field === "data") {
      data += `${value}\n`
    } else if (field === "id" && !value.includes("\0")) {
      id = value
    } else if (field === "retry" && /^\d+$/.test(value)) {
      retries.push(Number(value))
    }
  }
  return { events, retries, ids }
}

const onWire = (text: string) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(utf8.encode(text))
const oneLine = (text: string) => onWire(text.replace(/[\r\n\0]/g, "\uFFFD"))
const manyLines = (text: string) => onWire(text.replace(/\r\n|\r/g, "\n"))

const expected = (frames: ReadonlyArray<Sse.Frame>) => {
  let lastEventId = ""
  return frames.map((frame) => {
    lastEventId = frame.id === undefined ? lastEventId : oneLine(frame.id)
    return {
      event: frame.event ? oneLine(frame.event) : "message",
      data: manyLines(frame.data ?? ""),
      lastEventId
    }
  })
}

const cut = (bytes: Uint8Array, sizes: ReadonlyArray<number>) => {
  const out: Array<Uint8Array> = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes.length === 0 ? bytes.length : sizes[i % sizes.length]
    out.push(bytes.slice(at, at + size))
    at += size
  }
  return out
}

const messages = (incoming: Iterable<Sse.Incoming>) =>
  Array.from(incoming).flatMap((one) =>
    one._tag === "Message" ? [{ event: one.event, data: one.data, lastEventId: one.lastEventId }] : []
  )

describe("Sse", () => {
  describe("encode", () => {
    it("writes comments, retry, event, id and data lines", () => {
      assert.strictEqual(
        Sse.encode({ comment: "hi", retry: "2 seconds", event: "said", id: "7", data: "a\nb" }),
        ": hi\nretry: 2000\nevent: said\nid: 7\ndata: a\ndata: b\n\n"
      )
      assert.strictEqual(Sse.encode({ data: "" }), "data: \n\n")
      assert.strictEqual(Sse.encode({}), "")
    })

    it("lets no field start another", () => {
      assert.strictEqual(
        Sse.encode({ event: "a\ndata: x\n\n", id: "1\r\nretry: 1", data: "x\r\revent: y", comment: "c\n\ndata: z" }),
        ": c\n: \n: data: z\nevent: a\uFFFDdata: x\uFFFD\uFFFD\nid: 1\uFFFD\uFFFDretry: 1\n" +
          "data: x\ndata: \ndata: event: y\n\n"
      )
    })

    it("writes retry as digits or not at all", () => {
      assert.strictEqual(Sse.encode({ retry: 1.6 }), "retry: 2\n\n")
      assert.strictEqual(Sse.encode({ retry: "soon" as never }), "")
      assert.strictEqual(Sse.encode({ retry: Infinity }), "")
      assert.strictEqual(Sse.encode({ retry: Number.NaN }), "retry: 0\n\n")
    })

    it("is read back by the standard's algorithm as exactly the frames that went in", () => {
      fc.assert(
        fc.property(fc.array(frame, { maxLength: 6 }), (frames) => {
          const wire = onWire(frames.map(Sse.encode).join(""))
          assert.deepStrictEqual(standard(wire).events, expected(frames))
        }),
        { numRuns: 500 }
      )
    })
  })

  describe("decode", () => {
    it("reads back what was encoded, whatever the chunk borders", () => {
      fc.assert(
        fc.property(
          fc.array(frame, { maxLength: 6 }),
          fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 8 }),
          fc.boolean(),
          (frames, sizes, bom) => {
            const wire = (bom ? "\uFEFF" : "") + frames.map(Sse.encode).join("")
            const decoder = Sse.unsafeMakeDecoder()
            const got = messages(cut(utf8.encode(wire), sizes).flatMap((part) => decoder.unsafeFeed(part)))
            assert.deepStrictEqual(got, expected(frames))
          }
        ),
        { numRuns: 500 }
      )
    })

    it("agrees with the standard on any text", () => {
      fc.assert(
        fc.property(
          fc.array(
            fc.constantFrom(
              "data",
              "data:",
              "data: ",
              "id: 1",
              "id",
              "id: 2\0",
              "event: e",
              "retry: 5",
              "retry: x",
              ": c",
              " ",
              ":",
              "\n",
              "\n",
              "\n\n",
              "\r",
              "\r\n",
              "x",
              "😀"
            ),
            {
              maxLength: 60
            }
          ),
          fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 8 }),
          (parts, sizes) => {
            const wire = parts.join("")
            const decoder = Sse.unsafeMakeDecoder()
            const got = cut(utf8.encode(wire), sizes).flatMap((part) => decoder.unsafeFeed(part))
            const { events, ids, retries } = standard(wire)
            assert.deepStrictEqual(messages(got), events)
            assert.deepStrictEqual(got.flatMap((one) => one._tag === "Retry" ? [one.millis] : []), retries)
            // the last id is that of the last block, dispatched or not
            const last = got.filter((one) => one._tag === "Message" || one._tag === "Position").at(-1)
            assert.strictEqual(last?.lastEventId ?? "", ids.at(-1) ?? "")
          }
        ),
        { numRuns: 500 }
      )
    })

    it.effect("is a stream of messages, retries and comments", () =>
      Effect.gen(function*() {
        const got = yield* Stream.make(": hi\nretry: 10\n\nid: 1\nda", "ta: a\r\n\r\ndata: b\n\ndata: unfinished").pipe(
          Stream.encodeText,
          Sse.decode({ lastEventId: "0" }),
          Stream.runCollect
        )
        assert.deepStrictEqual(Array.from(got), [
          { _tag: "Comment", comment: "hi" },
          { _tag: "Retry", millis: 10 },
          { _tag: "Message", event: "message", data: "a", id: "1", lastEventId: "1" },
          { _tag: "Message", event: "message", data: "b", id: undefined, lastEventId: "1" }
        ])
      }))

    it.effect("fails on an event that is longer than allowed", () =>
      Effect.gen(function*() {
        const exit = yield* Stream.make(`data: ${"x".repeat(50)}`, `${"x".repeat(60)}\n\n`).pipe(
          Stream.encodeText,
          Sse.decode({ maxFrameLength: 100 }),
          Stream.runCollect,
          Effect.exit
        )
        assertFailure(exit, Cause.fail(new Sse.FrameTooLarge({ limit: 100 })))
      }))
  })
})

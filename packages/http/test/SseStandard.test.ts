import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import * as Sse from "@holdfast/http/Sse"
import * as SseClient from "@holdfast/http/SseClient"
import { Chunk, Duration, Effect, Fiber, Layer, Schedule, Stream, TestClock } from "effect"

/**
 * What the HTML standard (9.2.6) and the behaviour of browsers say of one stream: the messages as `[event, data, last id]`,
 * the id with which a client comes back, and the delay that the server asked for.
 */
interface Case {
  readonly what: string
  readonly wire: string
  readonly messages: ReadonlyArray<readonly [string, string, string]>
  readonly comesBackWith?: string
  readonly retry?: number
}

const message = (data: string, id = "", event = "message") => [event, data, id] as const

const cases: ReadonlyArray<Case> = [
  { what: "one line of data", wire: "data: a\n\n", messages: [message("a")] },
  { what: "two lines are joined by LF", wire: "data: a\ndata: b\n\n", messages: [message("a\nb")] },
  { what: "empty lines of data are kept", wire: "data\ndata\n\n", messages: [message("\n")] },
  { what: "one empty line of data is dispatched", wire: "data\n\ndata:\n\n", messages: [message(""), message("")] },
  { what: "a block without data is not dispatched", wire: "event: x\n\n\n\n", messages: [] },
  { what: "and its name does not go over to the next", wire: "event: x\n\ndata: a\n\n", messages: [message("a")] },
  {
    what: "one space after the colon is no part of the value",
    wire: "data:a\ndata: b\ndata:  c\n\n",
    messages: [message("a\nb\n c")]
  },
  { what: "a tab is", wire: "data:\ta\n\n", messages: [message("\ta")] },
  { what: "trailing space is", wire: "data: a \n\n", messages: [message("a ")] },
  { what: "more colons are", wire: "data: a:b: c\n\n", messages: [message("a:b: c")] },
  { what: "CR ends a line", wire: "data: a\rdata: b\r\r", messages: [message("a\nb")] },
  { what: "CRLF ends one line", wire: "data: a\r\ndata: b\r\n\r\n", messages: [message("a\nb")] },
  { what: "all three, mixed", wire: "data: a\ndata: b\rdata: c\r\n\n", messages: [message("a\nb\nc")] },
  { what: "LF CR is two line ends", wire: "data: a\n\rdata: b\n\n", messages: [message("a"), message("b")] },
  {
    what: "other line ends of Unicode are characters",
    wire: "data: a\u2028b\u2029c\u0085d\x0Be\x0Cf\n\n",
    messages: [message("a\u2028b\u2029c\u0085d\x0Be\x0Cf")]
  },
  { what: "a comment is passed over", wire: ": a\n:\n::\ndata: b\n:data: c\n\n", messages: [message("b")] },
  {
    what: "unknown fields are passed over",
    wire: "foo: a\nda: b\ndatax: c\n data: d\ndata : e\n\ndata: f\n\n",
    messages: [message("f")]
  },
  {
    what: "names are told apart by case",
    wire: "Data: a\nDATA: b\nId: 1\nEvent: x\ndata: c\n\n",
    messages: [message("c")]
  },
  {
    what: "an event has the name of its last line",
    wire: "event: x\nevent: y\ndata: a\n\n",
    messages: [message("a", "", "y")]
  },
  {
    what: "an empty name is none",
    wire: "event: x\nevent\ndata: a\n\nevent:\ndata: b\n\n",
    messages: [message("a"), message("b")]
  },
  { what: "a name keeps its spaces", wire: "event:  x \ndata: a\n\n", messages: [message("a", "", " x ")] },
  {
    what: "the order of fields is free",
    wire: "data: a\nid: 1\nevent: x\n\n",
    messages: [message("a", "1", "x")],
    comesBackWith: "1"
  },
  {
    what: "an id goes over to the next events",
    wire: "id: 1\ndata: a\n\ndata: b\n\n",
    messages: [message("a", "1"), message("b", "1")],
    comesBackWith: "1"
  },
  { what: "an id without data counts", wire: "data: a\n\nid: 7\n\n", messages: [message("a")], comesBackWith: "7" },
  {
    what: "and is that of the next event",
    wire: "id: 7\n\ndata: a\n\n",
    messages: [message("a", "7")],
    comesBackWith: "7"
  },
  { what: "an id with a comment alone counts", wire: ": beat\nid: 9\n\n", messages: [], comesBackWith: "9" },
  {
    what: "an empty id takes it back",
    wire: "id: 1\ndata: a\n\nid\ndata: b\n\n",
    messages: [message("a", "1"), message("b")]
  },
  {
    what: "an id with NUL is passed over",
    wire: "id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
    messages: [message("a", "1"), message("b", "1")],
    comesBackWith: "1"
  },
  {
    what: "the last id of a block counts",
    wire: "id: 1\nid: 2\ndata: a\n\n",
    messages: [message("a", "2")],
    comesBackWith: "2"
  },
  {
    what: "an id keeps what looks like a number",
    wire: "id: 007\ndata: a\n\n",
    messages: [message("a", "007")],
    comesBackWith: "007"
  },
  {
    what: "an id in an unfinished block does not count",
    wire: "id: 1\ndata: a\n\nid: 2\ndata: b\n",
    messages: [message("a", "1")],
    comesBackWith: "1"
  },
  { what: "an unfinished event is discarded", wire: "data: a\n\ndata: b", messages: [message("a")] },
  { what: "so is one whose last line is complete", wire: "data: a\n\ndata: b\n", messages: [message("a")] },
  { what: "one byte order mark at the start is none of it", wire: "\uFEFFdata: a\n\n", messages: [message("a")] },
  { what: "a second one is", wire: "\uFEFF\uFEFFdata: a\n\ndata: b\n\n", messages: [message("b")] },
  { what: "and one later is", wire: "data: a\n\n\uFEFFdata: b\n\n", messages: [message("a")] },
  { what: "NUL in data is a character", wire: "data: a\0b\n\n", messages: [message("a\0b")] },
  {
    what: "characters beyond the first plane",
    wire: "event: \u{1F389}\ndata: \u{1F600}\n\n",
    messages: [message("\u{1F600}", "", "\u{1F389}")]
  },
  { what: "retry is digits", wire: "retry: 3000\n\ndata: a\n\n", messages: [message("a")], retry: 3000 },
  {
    what: "retry counts without a blank line behind it",
    wire: "retry:4000\ndata: a\n\n",
    messages: [message("a")],
    retry: 4000
  },
  {
    what: "retry with anything else is passed over",
    wire: "retry: 5000\nretry: 1e3\nretry: -1\nretry: 5 s\nretry:\nretry\nretry: 1000x\ndata: a\n\n",
    messages: [message("a")],
    retry: 5000
  },
  {
    what: "retry in digits of another script is passed over",
    wire: "retry: \u0663\u0660\u0660\u0660\ndata: a\n\n",
    messages: [message("a")],
    retry: 0
  },
  {
    what: "the last retry counts",
    wire: "retry: 9000\nretry: 2000\ndata: a\n\n",
    messages: [message("a")],
    retry: 2000
  }
]

const utf8 = new TextEncoder()

/** Every way to cut would be too many: whole, byte by byte, and in pieces of 2, 3 and 7. */
const cuts = [Infinity, 1, 2, 3, 7]

const pieces = (bytes: Uint8Array, size: number) =>
  Array.from(
    { length: size === Infinity ? 1 : Math.ceil(bytes.length / size) },
    (_, i) => size === Infinity ? bytes : bytes.slice(i * size, (i + 1) * size)
  )

const asRow = (one: Sse.Message) => [one.event, one.data, one.lastEventId] as const

describe("the event source of the HTML standard", () => {
  for (const { comesBackWith = "", messages, retry = 0, what, wire } of cases) {
    it.effect(what, () =>
      Effect.gen(function*() {
        for (const size of cuts) {
          const decoder = Sse.unsafeMakeDecoder()
          const got = pieces(utf8.encode(wire), size).flatMap((piece) => decoder.unsafeFeed(piece))
          assert.deepStrictEqual(got.flatMap((one) => one._tag === "Message" ? [asRow(one)] : []), messages)
        }
        // the same through a client, which then comes back
        const asked: Array<string | undefined> = []
        const client = HttpClient.make((request) => {
          asked.push(request.headers["last-event-id"])
          return Effect.succeed(HttpClientResponse.fromWeb(
            request,
            asked.length === 1
              ? new Response(utf8.encode(wire), { headers: { "content-type": "text/event-stream" } })
              : new Response(null, { status: 204 })
          ))
        })
        let delay = -1
        const reading = yield* SseClient.SseClient.pipe(
          Effect.flatMap((sse) =>
            Stream.runCollect(sse.messages("http://server/", {
              reconnect: Schedule.spaced(0),
              onDisconnect: (_, given) =>
                Effect.sync(() => {
                  delay = Duration.toMillis(given)
                })
            }))
          ),
          Effect.provide(SseClient.layer.pipe(Layer.provide(Layer.succeed(HttpClient.HttpClient, client)))),
          Effect.fork
        )
        yield* TestClock.adjust("1 minute")
        const read = Chunk.toReadonlyArray(yield* Fiber.join(reading))
        assert.deepStrictEqual(read.map(asRow), messages)
        assert.deepStrictEqual(asked, [undefined, comesBackWith === "" ? undefined : comesBackWith])
        assert.strictEqual(delay, retry)
      }))
  }
})

import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import type { Format } from "@holdfast/http/SessionSink"
import * as Sse from "@holdfast/http/Sse"
import type { Envelope } from "@holdfast/http/SseFormat"
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import * as WebSocketFormat from "@holdfast/http/WebSocketFormat"
import { Arbitrary, Duration, Effect, FastCheck, Schema } from "effect"
import * as fc from "fast-check"
import { settle, TestSink } from "./support/hub.js"

/** Infinity has no form in JSON. */
const Millis = Schema.DurationFromMillis.pipe(Schema.filter(Duration.isFinite))

class Point extends Schema.Class<Point>("Point")({ x: Schema.Int, at: Schema.DateFromNumber }) {}

/** One of each kind that has a form in JSON: what it is in the process differs from what it is on the wire. */
const kinds = {
  text: Schema.String,
  number: Schema.JsonNumber,
  flag: Schema.Boolean,
  nothing: Schema.Null,
  literal: Schema.Literal("a", "b"),
  template: Schema.TemplateLiteral("id-", Schema.String),
  branded: Schema.String.pipe(Schema.brand("Name")),
  refined: Schema.Int.pipe(Schema.between(0, 9)),
  duration: Millis,
  date: Schema.DateFromNumber.pipe(Schema.validDate()),
  big: Schema.BigInt,
  option: Schema.OptionFromNullOr(Millis),
  tagged: Schema.Option(Schema.Int),
  either: Schema.Either({ left: Schema.String, right: Schema.Int }),
  chunk: Schema.Chunk(Schema.Int),
  list: Schema.List(Millis),
  map: Schema.HashMap({ key: Schema.String, value: Schema.Int }),
  set: Schema.HashSet(Schema.Int),
  nativeMap: Schema.Map({ key: Schema.String, value: Schema.Int }),
  nativeSet: Schema.Set(Schema.Int),
  array: Schema.Array(Schema.OptionFromNullOr(Schema.Int)),
  tuple: Schema.Tuple(Schema.Int, Millis),
  record: Schema.Record({ key: Schema.String, value: Millis }),
  struct: Schema.Struct({
    a: Schema.optionalWith(Millis, { exact: true }),
    b: Schema.optionalWith(Schema.Int, { as: "Option" })
  }),
  union: Schema.Union(Schema.Int, Schema.TaggedStruct("Late", { by: Millis })),
  renamed: Schema.Struct({ inside: Schema.propertySignature(Schema.Int).pipe(Schema.fromKey("outside")) }),
  cause: Schema.Exit({ failure: Schema.String, success: Schema.Int, defect: Schema.String }),
  bytes: Schema.Uint8ArrayFromBase64,
  url: Schema.URL,
  class: Point
} as const

/** What one session in the format is sent for one event of a bus. */
const onWire = (schema: Schema.Schema<never, unknown>, event: never, format: Format<Envelope<never>>) =>
  Effect.scoped(Effect.gen(function*() {
    const bus = yield* EventBus.make({ name: "bus", schema, topic: () => "a" })
    const hub = yield* SseHub.make({ source: SseHub.fromBus(bus) })
    const sink = new TestSink()
    yield* hub.open({ sink, format: format as never, following: [{ topic: "a" }] })
    yield* bus.publish(event)
    yield* settle
    return sink.payloads.at(-1)!.bytes
  }))

describe("the wire is the schema", () => {
  for (const [kind, value] of Object.entries(kinds)) {
    it.effect(`${kind} comes back as it went in, over server-sent events and over a WebSocket`, () =>
      Effect.gen(function*() {
        const schema = Schema.TaggedStruct("Happened", { value: value as Schema.Schema<unknown, unknown> })
        const decode = Schema.decodeUnknownSync(schema)
        const encode = Schema.encodeSync(schema)
        for (const event of FastCheck.sample(Arbitrary.make(schema), { numRuns: 10, seed: 13 })) {
          const sse = yield* onWire(schema as never, event as never, SseFormat.make() as never)
          const [message] = Sse.unsafeMakeDecoder().unsafeFeed(sse).flatMap((one) =>
            one._tag === "Message" ? [one] : []
          )
          const ws = yield* onWire(schema as never, event as never, WebSocketFormat.make() as never)
          for (const json of [JSON.parse(message.data), JSON.parse(new TextDecoder().decode(ws)).event]) {
            const back = decode(json)
            assert.deepStrictEqual(encode(back), encode(event), `${kind}: ${JSON.stringify(json)}`)
          }
        }
      }))
  }

  it.effect("what the schema does not know does not go out", () =>
    Effect.gen(function*() {
      const schema = Schema.TaggedStruct("Said", { text: Schema.String })
      const event = { _tag: "Said", text: "a", secret: "s" }
      const sse = yield* onWire(schema as never, event as never, SseFormat.make() as never)
      assert.notInclude(new TextDecoder().decode(sse), "secret")
    }))
})

describe("names of events", () => {
  const tags = fc.oneof(
    fc.constantFrom(...SseFormat.reservedNames, "Said", "message", "gaps", "Gap"),
    fc.constantFrom(...SseFormat.reservedNames).chain((name) => fc.nat(3).map((n) => name + "_".repeat(n))),
    fc.string()
  )

  it("that mean something else are carried under another name, and no two become one", () => {
    fc.assert(fc.property(tags, tags, (one, other) => {
      assert.notInclude(SseFormat.reservedNames as ReadonlyArray<string>, SseFormat.eventName(one))
      assert.strictEqual(SseFormat.eventName(one) === SseFormat.eventName(other), one === other)
    }))
    assert.deepStrictEqual(["Said", "message", "gap", "gap_", "error", "open"].map(SseFormat.eventName), [
      "Said",
      "message",
      "gap_",
      "gap__",
      "error_",
      "open_"
    ])
  })

  it("also those that an application encodes itself", () => {
    const named = SseFormat.make<{ readonly name: string }>({
      encode: ({ event }) => ({ event: event.name, data: "" })
    })
    const text = (name: string) =>
      new TextDecoder().decode(named.event({ id: 1, at: 0, topic: "a", event: { name } }, 1, () => null))
    assert.include(text("farewell"), "event: farewell_\n")
    assert.include(text("Said"), "event: Said\n")
  })
})

/** What `publish` accepts is what `Schema.is` says, for every kind of schema, and a refusal says why. */
import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import { Arbitrary, Effect, FastCheck, Option, Schema } from "effect"

class Point extends Schema.Class<Point>("Point")({ x: Schema.Number }) {}
class Hit extends Schema.TaggedClass<Hit>()("Hit", { by: Schema.String }) {}

const A = Schema.TaggedStruct("A", { n: Schema.Number })
const B = Schema.TaggedStruct("B", { text: Schema.optional(Schema.String) })
/** A filter over a struct sees a copy without what the struct does not name. */
const Bare = Schema.Struct({ a: Schema.Number }).pipe(
  Schema.filter((value) => Object.keys(value).length === 1)
)
interface Tree {
  readonly children: ReadonlyArray<Tree>
}
const Tree: Schema.Schema<Tree> = Schema.Struct({ children: Schema.Array(Schema.suspend(() => Tree)) })

const schemas: Record<string, Schema.Schema.AnyNoContext> = {
  string: Schema.String,
  number: Schema.Number,
  boolean: Schema.Boolean,
  bigint: Schema.BigIntFromSelf,
  unknown: Schema.Unknown,
  object: Schema.Object,
  undefined: Schema.Undefined,
  "undefined or": Schema.UndefinedOr(Schema.String),
  null: Schema.NullOr(Schema.Number),
  literals: Schema.Literal("a", 1, true, null),
  enums: Schema.Enums({ one: 1, two: "two" } as const),
  template: Schema.TemplateLiteral("room.", Schema.Number),
  filter: Schema.Int.pipe(Schema.positive()),
  "filter of a filter": Schema.String.pipe(Schema.minLength(1), Schema.maxLength(2)),
  brand: Schema.String.pipe(Schema.brand("Name")),
  "filter over a struct": Bare,
  "filter over an array": Schema.Array(Schema.Number).pipe(Schema.maxItems(1)),
  array: Schema.Array(Schema.String),
  "array of structs": Schema.Array(A),
  "at least one": Schema.NonEmptyArray(Schema.String),
  tuple: Schema.Tuple(Schema.String, Schema.Number),
  "tuple with rest": Schema.Tuple([Schema.String], Schema.Number),
  empty: Schema.Struct({}),
  struct: Schema.Struct({ a: Schema.Number, b: Schema.String }),
  nested: Schema.Struct({ a: Schema.Struct({ a: Schema.Array(Schema.NullOr(Schema.Number)) }) }),
  "may be missing": Schema.Struct({ a: Schema.optional(Schema.Number) }),
  "missing, not undefined": Schema.Struct({ a: Schema.optionalWith(Schema.Number, { exact: true }) }),
  "undefined, not missing": Schema.Struct({ a: Schema.UndefinedOr(Schema.Number) }),
  "with a default": Schema.Struct({ a: Schema.optionalWith(Schema.Number, { default: () => 1 }) }),
  "as a key of Object.prototype": Schema.Struct({ toString: Schema.Unknown, constructor: Schema.Unknown }),
  record: Schema.Record({ key: Schema.String, value: Schema.Number }),
  "struct and record": Schema.Struct({ a: Schema.Number }, { key: Schema.String, value: Schema.Unknown }),
  "tagged union": Schema.Union(A, B),
  "tags twice": Schema.Union(A, Schema.TaggedStruct("A", { m: Schema.Number }), Hit),
  "tags and others": Schema.Union(A, Schema.String, Schema.Struct({ a: Schema.Number })),
  "a tag that may be missing": Schema.Union(
    Schema.Struct({ _tag: Schema.optionalWith(Schema.Literal("A"), { exact: true }) }),
    B
  ),
  class: Point,
  "tagged class": Hit,
  transformed: Schema.NumberFromString,
  date: Schema.Date,
  option: Schema.Option(Schema.String),
  suspended: Tree,
  "refuses what it does not name": A.annotations({ parseOptions: { onExcessProperty: "error" } }),
  "takes what is missing for undefined": Schema.Struct({ a: Schema.UndefinedOr(Schema.Number) }).annotations({
    parseOptions: { exact: false }
  }),
  "falls back": Schema.Number.annotations({ decodingFallback: () => Effect.succeed(0) })
}

const inherited = Object.create({ a: 1, b: "b", _tag: "A", n: 1 }) as object
const getters = new (class {
  get a() {
    return 1
  }
})()

/** What fits one of them, what nearly does, and what none has. */
const values: ReadonlyArray<unknown> = [
  undefined,
  null,
  0,
  1,
  2,
  -1,
  1.5,
  NaN,
  Infinity,
  "",
  "a",
  "two",
  "abc",
  "room.1",
  "room.x",
  true,
  false,
  1n,
  Symbol("a"),
  () => 1,
  new Date(0),
  new Date(NaN),
  Option.some("a"),
  Option.some(1),
  Option.none(),
  new Map(),
  [],
  ["a"],
  [1],
  ["a", 1],
  ["a", "b"],
  ["a", 1, 2],
  ["a", 1, "x"],
  [undefined],
  Array(1),
  [{ _tag: "A", n: 1 }],
  {},
  { a: 1 },
  { a: undefined },
  { a: 1, b: "b" },
  { a: 1, b: 2 },
  { a: 1, extra: 1 },
  { b: "b" },
  { a: "1" },
  { a: { a: [1, null] } },
  { a: { a: [undefined] } },
  inherited,
  getters,
  Object.create(null),
  [1, { a: 1 }],
  { _tag: "A" },
  { _tag: "A", n: 1 },
  { _tag: "A", n: 1, extra: 1 },
  { _tag: "A", n: "1" },
  { _tag: "A", m: 1 },
  { _tag: "B" },
  { _tag: "B", text: "x" },
  { _tag: "B", text: undefined },
  { _tag: "C" },
  { _tag: ["A"], n: 1 },
  new Point({ x: 1 }),
  { x: 1 },
  new Hit({ by: "me" }),
  { _tag: "Hit", by: "me" },
  { children: [] },
  { children: [{ children: [] }] },
  { children: [{ children: [1] }] },
  { toString: 1 },
  { toString: 1, constructor: 1 },
  Object.assign([1], { a: 1, b: "b" }),
  Object.assign(() => 1, { a: 1, b: "b" })
]

const check = (name: string, schema: Schema.Schema.AnyNoContext, payloads: ReadonlyArray<unknown>) =>
  Effect.gen(function*() {
    const Event = Schema.TaggedStruct("Event", { payload: schema })
    const isEvent = Schema.is(Event)
    const bus = yield* EventBus.make({ name: "events", schema: Event })
    const inputs = [...payloads.map((payload) => ({ _tag: "Event", payload })), { _tag: "Event" }, { _tag: "Other" }]
    for (const [index, input] of inputs.entries()) {
      const result = yield* Effect.either(bus.publish(input as never))
      assert.strictEqual(result._tag, isEvent(input) ? "Right" : "Left", `${name}: value ${index}`)
      if (result._tag === "Left") assert.strictEqual(result.left._tag, "InvalidEvent")
    }
  })

describe("EventBus, validation", () => {
  it.scoped("a table of schemas and values", () =>
    Effect.forEach(Object.entries(schemas), ([name, schema]) => check(name, schema, values), { discard: true }))

  it.scoped("of what a schema may be made to accept, everything", () =>
    Effect.forEach(
      Object.entries(schemas),
      ([name, schema]) =>
        check(name, schema, FastCheck.sample(Arbitrary.make(Schema.typeSchema(schema)), { numRuns: 20, seed: 1 })),
      { discard: true }
    ))

  it.scoped("events of many kinds, some of them classes", () =>
    Effect.gen(function*() {
      const Event = Schema.Union(A, B, Hit)
      const isEvent = Schema.is(Event)
      const bus = yield* EventBus.make({ name: "events", schema: Event })
      for (const input of values.filter((value) => typeof value === "object" && value !== null)) {
        const result = yield* Effect.either(bus.publish(input as never))
        assert.strictEqual(result._tag, isEvent(input) ? "Right" : "Left", JSON.stringify(input))
      }
    }))
})

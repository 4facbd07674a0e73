import { assert, describe, it } from "@effect/vitest"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import * as NatsSubject from "@holdfast/nats/NatsSubject"
import { Effect, Redacted, Schedule } from "effect"
import * as FastCheck from "fast-check"
import { api } from "./support/foreign.js"
import { missing, named, server } from "./support/server.js"

const fast = Schedule.spaced("10 millis")

const open = (url: string, options: Partial<NatsJournal.Options> = {}) =>
  Effect.flatMap(
    NatsConnection.make({ servers: [url] }),
    (connection) =>
      Effect.provideService(NatsJournal.make({ name: "world", ...options }), NatsConnection.NatsConnection, connection)
  )

describe("NatsSubject", () => {
  const texts = FastCheck.oneof(
    FastCheck.string({ maxLength: 40 }),
    FastCheck.string({ unit: "binary", maxLength: 40 }),
    FastCheck.string({
      unit: FastCheck.constantFrom(".", "*", ">", " ", "=", "h", "\0", "\ud800", "é", "A"),
      maxLength: 12
    })
  )
  const legal = /^[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*$/

  it("makes a legal subject of any text, and no two texts the same", () => {
    FastCheck.assert(
      FastCheck.property(texts, texts, (a, b) => {
        for (const make of [NatsSubject.fromTopic, NatsSubject.fromName]) {
          assert.match(make(a), legal)
          assert.strictEqual(make(a) === make(b), a === b)
        }
        assert.notInclude(NatsSubject.fromName(a), ".")
      }),
      { numRuns: 1000 }
    )
  })

  it("stays short, and as it was where it can", () => {
    assert.strictEqual(NatsSubject.fromTopic("room.kitchen_2-b"), "room.kitchen_2-b")
    assert.strictEqual(NatsSubject.fromTopic("a..*.>"), "a.=.=2A.=3E")
    const long = NatsSubject.fromTopic("é".repeat(1000))
    assert.isAtMost(long.length, 200)
    assert.notStrictEqual(long, NatsSubject.fromTopic("é".repeat(1001)))
  })
})

describe.skipIf(missing)(named("NatsStream"), () => {
  it.scoped("names each field of a stream that is one off, and alters nothing", () =>
    Effect.gen(function*() {
      const { url } = yield* server()
      yield* Effect.scoped(open(url))
      const { config } = yield* api(url, "STREAM.INFO.world")
      const good = config as Record<string, unknown>
      const wrong: ReadonlyArray<readonly [field: string, value: unknown, also?: Record<string, unknown>]> = [
        ["subjects", ["world.>", "other.>"]],
        ["retention", "interest"],
        ["discard", "new"],
        ["storage", "memory"],
        ["max_msgs", 10],
        ["max_bytes", 1_000_000],
        ["max_age", 3_600_000_000_000],
        ["max_msgs_per_subject", 5],
        ["max_msg_size", 1000],
        ["duplicate_window", 60_000_000_000],
        ["deny_delete", false],
        ["deny_purge", true],
        ["allow_rollup_hdrs", true],
        ["allow_atomic", false],
        ["allow_direct", false],
        ["no_ack", true],
        ["metadata", { somebody: "else" }],
        ["allow_msg_ttl", true],
        ["max_consumers", 3],
        ["republish", { src: "world.>", dest: "copy.>" }],
        ["subject_transform", { src: "world.>", dest: "world.x.>" }]
      ]
      for (const [field, value] of wrong) {
        yield* api(url, "STREAM.DELETE.world")
        // a busy server may still be about to remove the files of the one before
        const made = yield* Effect.repeat(api(url, "STREAM.CREATE.world", { ...good, [field]: value }), {
          until: ({ error }) => (error as { readonly err_code?: number } | undefined)?.err_code !== 10049
        })
        assert.isUndefined(made["error"], `${field}: ${JSON.stringify(made["error"])}`)
        const before = yield* api(url, "STREAM.INFO.world")
        const error = yield* Effect.flip(Effect.scoped(open(url)))
        assert.strictEqual(error._tag, "NatsUnfit", field)
        const fields = error._tag === "NatsUnfit" ? error.fields.map((one) => one.field) : []
        assert.deepStrictEqual(fields, [field])
        const after = yield* api(url, "STREAM.INFO.world")
        assert.deepStrictEqual({ ...after, ts: 0 }, { ...before, ts: 0 })
      }
    }), 60_000)

  it.scoped("creates nothing when it must not, and finds what others created", () =>
    Effect.gen(function*() {
      const { url } = yield* server()
      const error = yield* Effect.flip(open(url, { create: "never" }))
      assert.include(error.message, "stream is absent, expected to be there")
      const nodes = yield* Effect.all(Array.from({ length: 5 }, () => open(url)), { concurrency: "unbounded" })
      assert.strictEqual(new Set(nodes.map(({ journal }) => journal.epoch)).size, 1)
      yield* open(url, { create: "never" })
    }))

  it.scoped("refuses options that make no sense", () =>
    Effect.gen(function*() {
      const { url } = yield* server()
      for (
        const [option, options] of [
          ["name", { name: "a.b" }],
          ["replicas", { replicas: 2 as 3 }],
          ["maxEvents", { maxEvents: 0.5 }],
          ["maxAge", { maxAge: -1 }],
          ["patience", { patience: Number.NaN }],
          ["inFlight", { inFlight: 0 }],
          ["duplicateWindow", { duplicateWindow: "5 seconds", patience: "10 seconds" }]
        ] as const
      ) {
        const error = yield* Effect.flip(open(url, options))
        assert.strictEqual(error._tag === "InvalidOption" ? error.option : error._tag, `NatsJournal.${option}`)
      }
    }))

  it.scoped("says who does not let it in", () =>
    Effect.gen(function*() {
      const { url } = yield* server({ config: "authorization { user: anna, password: right }" })
      const connect = (password: string) =>
        NatsConnection.make({ servers: [url], credentials: { user: "anna", password: Redacted.make(password) } })
      yield* (yield* connect("right")).check
      const refused = yield* Effect.flip(connect("wrong"))
      assert.deepStrictEqual(refused._tag === "NatsConnectError" ? refused.reason : refused._tag, "Denied")
      const nobody = yield* Effect.flip(NatsConnection.make({ servers: ["nats://127.0.0.1:1"], reconnect: fast }))
      assert.deepStrictEqual(nobody._tag === "NatsConnectError" ? nobody.reason : nobody._tag, "Unreachable")
    }))
})

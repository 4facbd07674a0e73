import { assert, describe, it, vi } from "@effect/vitest"
import { assertNone } from "@effect/vitest/utils"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsEntries from "@holdfast/nats/NatsEntries"
import * as NatsLeadership from "@holdfast/nats/NatsLeadership"
import * as NatsPresence from "@holdfast/nats/NatsPresence"
import * as NatsTickerStore from "@holdfast/nats/NatsTickerStore"
import * as LeadershipConformance from "@holdfast/testing/LeadershipConformance"
import * as PresenceConformance from "@holdfast/testing/PresenceConformance"
import * as TickerStoreConformance from "@holdfast/testing/TickerStoreConformance"
import { Effect, Layer, Option } from "effect"
import { foreignLease } from "./support/foreign.js"
import { missing, named, server } from "./support/server.js"

// each test starts a server of its own, which takes its time on a busy machine
vi.setConfig({ testTimeout: 60_000 })

const join = <A, E, R>(url: string, node: string, make: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    NatsConnection.make({ servers: [url], node }),
    (connection) => Effect.provideService(make, NatsConnection.NatsConnection, connection)
  )

describe.skipIf(missing)(named("over a real server"), () => {
  LeadershipConformance.suite({
    name: "NATS",
    cluster: Effect.map(server(), ({ url }) => ({
      join: (node) => join(url, node, NatsLeadership.make({ name: "world", ttl: "1 second", storage: "memory" })),
      revoke: (name) => foreignLease(url, "world", name)
    }))
  })

  PresenceConformance.suite({
    name: "NATS",
    cluster: Effect.map(
      server(),
      ({ url }) => (node, about) => join(url, node, NatsPresence.make({ name: "world", about }))
    )
  })

  TickerStoreConformance.suite({
    name: "NATS",
    durable: true,
    medium: Effect.map(
      server(),
      ({ url }) => Layer.provide(NatsTickerStore.layer({ name: "world" }), NatsConnection.layer({ servers: [url] }))
    )
  })

  describe("NatsTickerStore", () => {
    it.scoped("refuses the save of a node whose state is not the newest", () =>
      Effect.gen(function*() {
        const { url } = yield* server()
        const [a, b] = [
          yield* join(url, "a", NatsTickerStore.make({ name: "world" })),
          yield* join(url, "b", NatsTickerStore.make({ name: "world" }))
        ]
        yield* a.load("tick")
        yield* a.save("tick", { number: 1, elapsedMillis: 1, at: 1 })
        yield* b.load("tick")
        yield* b.save("tick", { number: 2, elapsedMillis: 2, at: 2 })
        const error = yield* Effect.flip(a.save("tick", { number: 3, elapsedMillis: 3, at: 3 }))
        assert.include(error.message, "another node has saved it since")
        assert.strictEqual(Option.getOrThrow(yield* a.load("tick")).number, 2)
        yield* a.save("tick", { number: 3, elapsedMillis: 3, at: 3 })
      }))
  })

  describe("NatsEntries", () => {
    it.scoped("keeps values of any size, replaces them whole, and forgets them", () =>
      Effect.gen(function*() {
        const { url } = yield* server()
        const { store } = yield* join(url, "a", NatsEntries.make({ name: "world" }))
        const big = "é".repeat(1_000_000)
        for (const key of ["", "snapshot", "a.b c", "\ud800"]) {
          for (const value of ["", "text", big, "\ud800", "small"]) {
            yield* store.set(key, value)
            assert.strictEqual(Option.getOrThrow(yield* store.get(key)) === value, true, `${key} ${value.length}`)
          }
          const bytes = Buffer.alloc(1_500_000, 7)
          yield* store.set(key, bytes)
          assert.isTrue(Buffer.from(Option.getOrThrow(yield* store.getUint8Array(key))).equals(bytes))
        }
        assert.strictEqual(yield* store.size, 4)
        yield* store.remove("snapshot")
        assertNone(yield* store.get("snapshot"))
        assert.strictEqual(yield* store.size, 3)
        yield* store.clear
        assert.strictEqual(yield* store.size, 0)
      }))

    it.scoped("once gives every node what the first of them made", () =>
      Effect.gen(function*() {
        const { url } = yield* server()
        const nodes = yield* Effect.forEach(
          ["a", "b", "c"],
          (node) => join(url, node, NatsEntries.make({ name: "world" }))
        )
        const values = yield* Effect.forEach(
          nodes.flatMap((node) => [node, node]),
          ({ once }, index) => once("token-key", Effect.succeed(`key ${index}`)),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(values).size, 1)
        assert.strictEqual(yield* nodes[0].once("token-key", Effect.succeed("another")), values[0])
      }))
  })
})

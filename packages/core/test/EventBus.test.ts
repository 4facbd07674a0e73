import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import type * as Envelope from "@holdfast/core/Envelope"
import { Gap, isEnvelope } from "@holdfast/core/Envelope"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLog from "@holdfast/core/EventLog"
import { Effect, Schema } from "effect"

const Said = Schema.TaggedStruct("Said", { room: Schema.String, text: Schema.String })
const Moved = Schema.TaggedStruct("Moved", { room: Schema.String, steps: Schema.Int })
const WorldEvent = Schema.Union(Said, Moved)
type WorldEvent = typeof WorldEvent.Type

class WorldBus extends EventBus.Tag("test/WorldBus")<WorldBus, WorldEvent>() {}

const options = { schema: WorldEvent, topic: (event: WorldEvent) => `room.${event.room}` }
const said = (room: string, text = "x"): WorldEvent => ({ _tag: "Said", room, text })
const moved = (room: string, steps = 1): WorldEvent => ({ _tag: "Moved", room, steps })
const ids = (items: ReadonlyArray<Envelope.Envelope<unknown> | Envelope.Gap>) =>
  items.map((item) => isEnvelope(item) ? item.id : [item.firstId, item.lastId, item.count])

describe("EventBus", () => {
  it.scoped("delivers by topic, by prefix and by tag, in order", () =>
    Effect.gen(function*() {
      const bus = yield* WorldBus
      const all = yield* bus.subscribe()
      const hall = yield* bus.subscribe({ topics: ["room.hall"] })
      const rooms = yield* bus.subscribe({ topics: ["room.*", "room.hall"], tags: ["Moved"] })
      const none = yield* bus.subscribe({ topics: ["rooms"] })
      const first = yield* bus.publish(said("hall", "hello"))
      yield* bus.publishAll([moved("hall"), moved("attic"), said("attic")])
      assert.deepStrictEqual([first.id, first.topic, first.depth], [1, "room.hall", 0])
      assert.deepStrictEqual(ids(yield* all.takeBatch()), [1, 2, 3, 4])
      assert.deepStrictEqual(ids(yield* hall.takeBatch()), [1, 2])
      assert.deepStrictEqual(ids(yield* rooms.takeBatch(1)), [2])
      assert.deepStrictEqual(ids(yield* rooms.takeBatch()), [3])
      assert.deepStrictEqual(ids(yield* none.poll()), [])
    }).pipe(Effect.provide(WorldBus.layer(options))))

  it.scoped("continues from any id, history first", () =>
    Effect.gen(function*() {
      const bus = yield* WorldBus
      yield* bus.publishAll([said("hall"), moved("hall"), said("attic")])
      const sub = yield* bus.log.subscribeAfter(1, { topics: ["room.hall"] })
      yield* bus.publish(said("hall"))
      assert.deepStrictEqual(ids(yield* sub.takeBatch()), [2])
      assert.deepStrictEqual(ids(yield* sub.takeBatch()), [4])
      const page = yield* bus.log.after(0, { tags: ["Said"] })
      assert.deepStrictEqual([ids(page.items), page.cursor, page.done], [[1, 3, 4], 4, true])
    }).pipe(Effect.provide(WorldBus.layer(options))))

  it.scoped("handles", () =>
    Effect.gen(function*() {
      const bus = yield* WorldBus
      const seen: Array<number> = []
      yield* bus.handle({ name: "counter", tags: ["Moved"] }, (envelope) =>
        Effect.sync(() => seen.push(envelope.event.steps)))
      yield* bus.publishAll([moved("hall", 1), said("hall"), moved("hall", 2)])
      const report = yield* bus.drain("1 second")
      assert.deepStrictEqual([seen, report.undelivered], [[1, 2], []])
      assert.strictEqual((yield* Effect.flip(bus.publish(said("hall"))))._tag, "BusClosed")
    }).pipe(Effect.provide(WorldBus.layer(options))))

  it.scoped("is durable with a store", () =>
    Effect.gen(function*() {
      const store = yield* EventLog.Store
      const make = EventBus.make({ ...options, name: "durable", store })
      yield* Effect.scoped(Effect.flatMap(make, (bus) => bus.publishAll([said("hall"), said("attic")])))
      const bus = yield* make
      const sub = yield* bus.log.subscribeAfter(0)
      const third = yield* bus.publish(moved("hall"))
      assert.strictEqual(third.id, 3)
      assert.deepStrictEqual(ids(yield* sub.takeBatch()), [1, 2])
      assert.deepStrictEqual(ids(yield* sub.takeBatch()), [3])
    }).pipe(Effect.provide(EventLog.layerStoreMemory)))

  it.scoped("says what a lossy subscriber missed", () =>
    Effect.gen(function*() {
      const bus = yield* WorldBus
      const sliding = yield* bus.subscribe({ capacity: 2, policy: { _tag: "sliding" } })
      const dropping = yield* bus.subscribe({ capacity: 2, policy: { _tag: "dropping" }, tags: ["Said"] })
      yield* bus.publishAll([said("a"), moved("a"), said("a"), moved("a"), said("a")])
      deepStrictEqual(yield* sliding.takeBatch(1), [new Gap(1, 3, 3)])
      assert.deepStrictEqual(ids(yield* sliding.takeBatch()), [4, 5])
      assert.deepStrictEqual(ids(yield* dropping.takeBatch()), [1, 3, [5, 5, 1]])
    }).pipe(Effect.provide(WorldBus.layer(options))))
})

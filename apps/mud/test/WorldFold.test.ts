import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Effect, Fiber, Layer, TestClock } from "effect"
import { fileURLToPath } from "node:url"
import * as WorldLoader from "../src/data/WorldLoader.js"
import * as World from "../src/domain/World.js"
import type { WorldEvent } from "../src/domain/WorldEvent.js"
import * as Cluster from "./support/cluster.js"

const loaded = WorldLoader.load(fileURLToPath(new URL("../world", import.meta.url))).pipe(
  Effect.provide(Layer.merge(NodeFileSystem.layer, NodePath.layer))
)

const actor = { id: "ada", name: "Ada", kind: "player" as const }

describe("the fold of the world", () => {
  it.scoped("lets nobody wait for a state that cannot come any more", () =>
    Effect.gen(function*() {
      const cluster = yield* Cluster.make(yield* loaded)
      yield* cluster.faults.disable
      const { game, kill } = yield* cluster.start("a")
      const waiting = yield* Effect.fork(Effect.flip(game.reach(1_000_000)))
      yield* Effect.yieldNow()
      yield* kill
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "Unavailable")
      assert.strictEqual((yield* Effect.flip(game.reach(1_000_000)))._tag, "Unavailable")
    }))

  it.scoped("refuses who waits for the writer when the fold was stopped before it", () =>
    Effect.gen(function*() {
      const cluster = yield* Cluster.make(yield* loaded)
      yield* cluster.faults.disable
      const { game } = yield* cluster.start("a")
      const stop = (name: string) =>
        Effect.flatMap(FiberRegistry.FiberRegistry, (registry) =>
          Effect.flatMap(registry.census, (census) =>
            Fiber.interrupt(
              census.find((entry) =>
                entry.name === name
              )!.fiber!
            )))
      const join = Effect.uninterruptible(game.publish(() => [{ _tag: "Joined", actor, room: "quay" }]))
      yield* stop("world-fold")
      yield* Effect.exit(join)
      assert.strictEqual((yield* Effect.flip(join))._tag, "Unavailable")
      yield* stop("world-writer")
      assert.strictEqual((yield* Effect.flip(join))._tag, "Unavailable")
    }).pipe(Effect.provide(FiberRegistry.layer)))

  it.scoped("keeps the time of the node before, when another one drives it", () =>
    Effect.gen(function*() {
      const cluster = yield* Cluster.make(yield* loaded)
      yield* cluster.faults.disable
      const first = yield* cluster.start("a")
      const second = yield* cluster.start("b")
      /** Waits for so many minutes, and returns how long each one took, in tenths of a second. */
      const minutes = (count: number) =>
        Effect.gen(function*() {
          const took: Array<number> = []
          let { minute } = (yield* second.game.now).world
          for (let tenths = 0; took.length < count; tenths++) {
            const { world } = yield* second.game.now
            if (world.minute > minute) {
              took.push(tenths)
              tenths = 0
            }
            minute = world.minute
            yield* TestClock.adjust("100 millis")
            yield* Effect.repeatN(Effect.yieldNow(), 50)
          }
          return took
        })
      const [, before] = yield* minutes(2)
      assert.closeTo(before, 20, 1)
      yield* TestClock.adjust("1 second")
      yield* first.kill
      const [after, next] = yield* minutes(2)
      // the rest of the minute, and not a whole one from where the second node began
      assert.closeTo(after, 10, 2)
      assert.closeTo(next, 20, 1)
      yield* second.kill
    }))

  it.scoped("takes no snapshot of a log that has another event there, though that was written a moment ago", () =>
    Effect.gen(function*() {
      let write: Effect.Effect<unknown, unknown> = Effect.void
      const cluster = yield* Cluster.make(yield* loaded, {
        bus: (bus) => ({ ...bus, head: Effect.zipRight(Effect.orDie(Effect.suspend(() => write)), bus.head) })
      })
      yield* cluster.faults.disable
      yield* TestClock.adjust("1 day")
      const first = yield* cluster.start("a")
      yield* Effect.iterate(0, {
        while: (term) => term === 0,
        body: () => Effect.zipRight(Effect.yieldNow(), Effect.map(first.game.now, ({ world }) => world.term))
      })
      const { facts } = yield* first.game.publish(() => [{ _tag: "Joined", actor, room: "quay" }])
      cluster.leases.closed = true
      yield* first.kill

      // the log loses that event, and somebody else writes another one while a node begins
      const lost = (yield* cluster.log.current.read({ after: facts[0].id - 1, limit: 1 }))[0]
      yield* cluster.log.rollBack(1)
      const other = { ...lost, at: lost.at + 1, payload: lost.payload.replaceAll("ada", "bob") }
      write = Effect.suspend(() => {
        write = Effect.void
        return cluster.log.current.append([other], { attempt: "other" })
      })
      const second = yield* cluster.start("b")
      const { world } = yield* second.game.now
      assert.deepStrictEqual(
        ["ada", "bob"].map((id) => World.playerById(world, id) !== undefined),
        [false, true]
      )
      yield* second.kill
    }))

  it.effect("tells of a window that was opened and closed between two states", () =>
    Effect.gen(function*() {
      const initial = World.initial(yield* loaded)
      const evolve = (world: World.World, event: WorldEvent) =>
        World.evolve(world, { id: world.lastId + 1, at: 1_000, event })
      const joined = evolve(initial, { _tag: "Joined", actor, room: "quay" })
      const departed = (room: string, to: string): WorldEvent => ({ _tag: "Departed", actor, room, to })
      const walked = [departed("quay", "gate"), departed("gate", "courtyard")].reduce(evolve, joined)
      assert.deepStrictEqual(
        World.windowChanges(joined, walked, "ada").map(({ opened, window: { topic, upTo } }) => [topic, opened, upTo]),
        [["room.quay", false, 2], ["room.gate", true, 3], ["room.courtyard", true, undefined]]
      )
    }))
})

import { assert, describe } from "@effect/vitest"
import * as Leadership from "@holdfast/core/Leadership"
import * as Presence from "@holdfast/core/Presence"
import * as LeadershipConformance from "@holdfast/testing/LeadershipConformance"
import * as PresenceConformance from "@holdfast/testing/PresenceConformance"
import { it } from "@holdfast/testing/Vitest"
import { Effect, Exit, Scope } from "effect"

LeadershipConformance.suite({
  name: "memory",
  cluster: Effect.sync(() => {
    const seats = new Leadership.Seats()
    return {
      join: (node) => Effect.succeed(Leadership.makeMemory({ node, seats })),
      revoke: (name) => seats.revoke(name)
    }
  })
})

PresenceConformance.suite({
  name: "memory",
  cluster: Effect.sync(() => {
    const meeting = new Presence.Meeting()
    return (node, about) => Presence.makeMemory({ node, about, meeting })
  })
})

describe("Leadership under a seeded scheduler", () => {
  it.explore("never has two owners, and leaves nobody behind", { seeds: 60 }, () =>
    Effect.gen(function*() {
      const seats = new Leadership.Seats()
      let owners = 0
      let last = 0
      const owned = (term: number) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            assert.strictEqual(++owners, 1, "two owners at once")
            assert.isAbove(term, last)
            last = term
          }),
          () => Effect.never,
          () => Effect.zipRight(Effect.yieldNow(), Effect.sync(() => owners--))
        )
      const nodes = yield* Effect.forEach(["a", "b", "c"], (node) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const service = Leadership.makeMemory({ node, seats })
          yield* Scope.extend(service.whileOwner({ name: "world" }, owned), scope)
          return scope
        }))
      yield* Effect.yieldNow()
      yield* seats.revoke("world")
      yield* Effect.forEach(nodes, (scope) => Scope.close(scope, Exit.void), { concurrency: 2 })
      assert.strictEqual(owners, 0)
      const owner = yield* Leadership.makeMemory({ node: "x", seats }).owner("world")
      assert.strictEqual(owner._tag, "None")
    }))
})

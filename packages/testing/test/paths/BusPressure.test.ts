import { describe, it } from "@effect/vitest"
import type { Subscription } from "@holdfast/core/EventSubscription"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Exit, Fiber, Scope } from "effect"
import type { Said } from "./support/bus.js"
import { drink, makeBus, range, said } from "./support/bus.js"
import { ensure, seeds, soon, timeout } from "./support/explore.js"

describe("publishers that wait, under every interleaving", () => {
  it.effect(
    "no queue grows beyond its capacity, nobody waits in vain, who gives up has published nothing",
    () =>
      Explore.check(
        Effect.gen(function*() {
          const bus = yield* makeBus()
          const scope = yield* Scope.make()
          const subscribe = (name: string, capacity: number, topics: ReadonlyArray<string>) =>
            Scope.extend(
              bus.subscribe({ name, capacity, topics, policy: { _tag: "suspend", limit: "1 second" } }),
              scope
            )
          const one = yield* subscribe("one", 1, ["room.1"])
          const two = yield* subscribe("two", 1, ["*"])
          const stalls = yield* subscribe("stalls", 1, ["room.3"])
          let overfull = ""
          const check = Effect.forEach([one, two, stalls], ({ name, stats }) =>
            Effect.map(stats, ({ capacity, queued }) => {
              if (queued > capacity) {
                overfull = `${name} holds ${queued}`
              }
            }))
          const read = (subscription: Subscription<Said>) =>
            Effect.fork(drink(subscription, check, 1))
          const readers = yield* Effect.forEach([one, two], read)
          const published: Array<readonly [by: number, id: number]> = []
          const publish = (by: number) =>
            Effect.forEach([1, 2], (n) =>
              Effect.tap(bus.publish(said(by, n)), ({ id }) => published.push([by, id])))
          const patient = yield* Effect.forEach([1, 3], (by) => Effect.fork(publish(by)))
          const hasty = yield* Effect.fork(publish(1))
          yield* soon(40)
          yield* Fiber.interrupt(hasty)
          const before = yield* bus.lastId
          yield* Effect.forEach(patient, Fiber.join)
          // the one that takes nothing was cut off by now: it gets what it still has
          yield* drink(stalls, check)
          // once more without it
          yield* Effect.forEach([1, 1, 2], publish, { concurrency: "unbounded" })
          yield* bus.drain("1 minute")
          const [, all] = yield* Effect.forEach(readers, Fiber.join)
          yield* ensure(overfull === "", () => overfull)
          const last = yield* bus.lastId
          yield* ensure(all!.join() === range(1, last).join(), () => `of ${last} it got ${all!.join()}`)
          const after = published.filter(([, id]) => id > before).length
          yield* ensure(last - before === after, () =>
            `${last - before} events, of which ${after} by somebody who is there`)
          yield* Scope.close(scope, Exit.void)
        }),
        { seeds }
      ),
    timeout
  )

  it.effect(
    "a drain that is interrupted ends the bus all the same, and whoever else waits for it hears so",
    () =>
      Explore.check(
        Effect.gen(function*() {
          const bus = yield* makeBus()
          yield* bus.handle({ name: "slow" }, () => soon(10))
          const publishing = yield* Effect.forEach([1, 2], (by) => Effect.fork(Effect.exit(bus.publish(said(by, 1)))))
          const drains = yield* Effect.forEach([1, 2], () => Effect.fork(bus.drain("1 minute")))
          yield* soon()
          yield* Fiber.interrupt(drains[0]!)
          yield* Fiber.await(drains[1]!)
          yield* Effect.forEach(publishing, Fiber.join)
          const { state } = yield* bus.stats
          yield* ensure(state === "closed", () => `the bus is ${state}`)
        }),
        { seeds }
      ),
    timeout
  )
})

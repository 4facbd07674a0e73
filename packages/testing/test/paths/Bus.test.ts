import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import * as Faults from "@holdfast/testing/Faults"
import { Deferred, Effect, Exit, Fiber, Random, Scope } from "effect"
import { drink, flatten, makeBus, publishers, range, said } from "./support/bus.js"
import { ensure, seeds, soon, timeout } from "./support/explore.js"

describe("the bus under every interleaving", () => {
  it.effect("ids have no gap, a lossless subscriber misses nothing, a lossy one knows what", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* makeBus()
        const scope = yield* Scope.make()
        const lossless = yield* Scope.extend(bus.subscribe({ name: "lossless", capacity: 2 }), scope)
        const sliding = yield* Scope.extend(
          bus.subscribe({ name: "sliding", capacity: 2, policy: { _tag: "sliding" } }),
          scope
        )
        const dropping = yield* Scope.extend(
          bus.subscribe({ name: "dropping", capacity: 1, policy: { _tag: "dropping" } }),
          scope
        )
        const drinkers = yield* Effect.forEach([
          drink(lossless, Effect.yieldNow()),
          drink(sliding, Effect.sleep("1 second")),
          drink(dropping, Effect.sleep("1 second"))
        ], Effect.fork)
        // somebody comes and goes meanwhile
        const passer = yield* Effect.fork(
          Effect.scoped(
            Effect.flatMap(bus.subscribe({ capacity: 1 }), (subscription) => drink(subscription, Effect.void))
          )
        )
        const published = yield* Effect.fork(publishers(bus, 3, 3))
        yield* soon()
        yield* Fiber.interrupt(passer)
        const results = yield* Fiber.join(published)
        yield* bus.drain("1 minute")
        const ids = results.filter(Exit.isSuccess).map(({ value }) => value.id).sort((a, b) => a - b)
        yield* ensure(ids.join() === range(1, 9).join(), () => `ids ${ids.join()}`)
        const [all, slid, dropped] = yield* Effect.forEach(drinkers, Fiber.join)
        yield* ensure(all!.join() === range(1, 9).join(), () => `the lossless one got ${all!.join()}`)
        for (const [name, got] of [["sliding", slid!], ["dropping", dropped!]] as const) {
          const flat = flatten(got)
          yield* ensure(flat.join() === range(1, 9).join(), () => `the ${name} one got ${JSON.stringify(got)}`)
        }
        yield* Scope.close(scope, Exit.void)
      }),
      { seeds }
    ), timeout)

  it.effect("history, then live: each event once", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* makeBus()
        yield* publishers(bus, 1, 3)
        const after = yield* Random.nextIntBetween(0, 4)
        const resumed = yield* Deferred.make<void>()
        const resume = Effect.scoped(
          bus.log.subscribeAfter(after, { capacity: 2 }).pipe(
            Effect.zipLeft(Deferred.succeed(resumed, undefined)),
            Effect.flatMap((subscription) => drink(subscription, Effect.void))
          )
        )
        const publish = publishers(bus, 2, 3).pipe(
          Effect.zipRight(Deferred.await(resumed)),
          Effect.zipRight(bus.drain("1 minute"))
        )
        const [got] = yield* Effect.all([resume, publish], { concurrency: 2 })
        yield* ensure(got.join() === range(after + 1, 9).join(), () => `after ${after} it got ${JSON.stringify(got)}`)
      }),
      { seeds }
    ), timeout)

  it.effect("every accepted event is handled, or given up by name", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* makeBus()
        const handled: Array<number> = []
        const busy = new Set<string>()
        let overlap = ""
        yield* bus.handle({ name: "first", concurrency: 2, key: ({ topic }) => topic }, ({ id, topic }) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              if (busy.has(topic)) {
                overlap = topic
              }
              busy.add(topic)
            }),
            () =>
              Effect.zipRight(
                Effect.yieldNow(),
                Effect.sync(() =>
                  handled.push(id)
                )
              ).pipe(Faults.crash("handler")),
            () => Effect.sync(() => busy.delete(topic))
          ))
        const other: Array<number> = []
        yield* bus.handle({ name: "second" }, ({ id }) => Effect.sync(() => other.push(id)))
        const publishing = yield* Effect.fork(publishers(bus, 2, yield* Random.nextIntBetween(1, 4), soon(10)))
        yield* soon(60)
        const report = yield* bus.drain("1 minute")
        const open = [busy.size, other.length]
        yield* ensure(report.undelivered.length === 0, () => `it left ${JSON.stringify(report.undelivered)}`)
        yield* ensure(report.elapsedMillis === 0, () => `it waited ${report.elapsedMillis} ms for nothing`)
        yield* ensure(open[0] === 0, () => "a handler was still at work when the bus was drained")
        const results = yield* Fiber.join(publishing)
        const accepted = results.filter(Exit.isSuccess).map(({ value }) => value.id).sort((a, b) => a - b)
        yield* ensure(other.join() === accepted.join(), () => `accepted ${accepted.join()}, handled ${other.join()}`)
        yield* ensure(open[1] === accepted.length, () => "it was drained before everything was handled")
        yield* ensure(overlap === "", () => `two events of ${overlap} were handled at a time`)
        const letters = (yield* bus.deadLetters).filter(({ handler }) => handler === "first").map(({ envelope }) =>
          envelope.id
        )
        const both = [...handled, ...letters].sort((a, b) => a - b)
        yield* ensure(both.join() === accepted.join(), () =>
          `accepted ${accepted.join()}, handled or given up ${both.join()}`)
        const late = yield* Effect.exit(bus.publish(said(1, 1)))
        yield* ensure(Exit.isFailure(late), () =>
          "it accepted an event after it was drained")
      }).pipe(Effect.provide(Faults.layer({ only: true, points: { handler: 0.3 } }))),
      { seeds }
    ), timeout)

  it.effect("an event that comes as its handlers begin to wait is handled at once", () =>
    Explore.check(
      Effect.gen(function*() {
        const bus = yield* makeBus()
        let handled = 0
        yield* bus.handle({ name: "pair", concurrency: 2 }, () => Effect.sync(() => handled++))
        yield* soon(12)
        yield* bus.publish(said(1, 1))
        const report = yield* bus.drain("1 minute")
        yield* ensure(handled === 1, () => `it was handled ${handled} times`)
        yield* ensure(report.elapsedMillis === 0, () => `it took ${report.elapsedMillis} ms`)
      }),
      { seeds }
    ), timeout)

  it.effect("is deterministic", () =>
    Effect.gen(function*() {
      const report = yield* Explore.checkDeterminism(Effect.gen(function*() {
        const bus = yield* makeBus()
        yield* bus.handle({ name: "h" }, () => Effect.yieldNow())
        yield* publishers(bus, 2, 2)
        yield* bus.drain("1 second")
      }))
      assert.deepStrictEqual(report.escapes, [])
    }))
})

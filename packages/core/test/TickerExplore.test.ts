import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import type * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Ticker from "@holdfast/core/Ticker"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Exit, Fiber, Random, Schedule, Scope } from "effect"
import { sized } from "../../../scripts/sized.js"

/** Everybody turns the knobs of one ticker at once, from outside and from its handlers, until its scope closes. */
const everybody = Effect.gen(function*() {
  const saved: Array<number> = []
  const store: TickerStore.Service = {
    load: () => Effect.succeedNone,
    save: (_, { number }) => Effect.delay(Effect.sync(() => void saved.push(number)), "3 millis")
  }
  const scope = yield* Scope.make()
  const ticker = yield* Scope.extend(
    Ticker.make({
      name: "world",
      interval: "10 millis",
      store,
      save: (yield* Random.nextBoolean) ? "ahead" : "behind"
    }),
    scope
  )
  const seen: Record<string, Array<Ticker.Tick>> = {}
  const handle = (options: Ticker.HandlerOptions, run: Effect.Effect<unknown, unknown>) => {
    const ticks: Array<Ticker.Tick> = seen[options.name] = []
    let running = false
    return ticker.onTick(options, (tick) => {
      assert.isFalse(running, `${options.name} runs twice`)
      running = true
      ticks.push(tick)
      return Effect.ensuring(
        run,
        Effect.sync(() => {
          running = false
        })
      )
    })
  }
  const inner = yield* Scope.make()
  yield* Scope.extend(handle({ name: "all", overrun: { _tag: "catchUp", max: 1000 } }, Effect.void), scope)
  yield* Scope.extend(handle({ name: "slow", overrun: { _tag: "skip" } }, Effect.sleep("25 millis")), inner)
  yield* Scope.extend(handle({ name: "tired", every: 2, budget: "5 millis" }, Effect.sleep("50 millis")), scope)
  yield* Scope.extend(handle({ name: "control", every: 3 }, ticker.setInterval("7 millis")), scope)
  const knob = (self: Effect.Effect<void, InvalidOption.InvalidOption>) =>
    Effect.repeat(
      Effect.flatMap(Random.nextIntBetween(0, 30), (millis) => Effect.delay(self, `${millis} millis`)),
      Schedule.recurs(4)
    )
  yield* Effect.all([
    knob(ticker.pause),
    knob(ticker.resume),
    knob(ticker.setInterval("20 millis")),
    knob(ticker.setSchedule(Schedule.spaced("5 millis"))),
    Effect.delay(Scope.close(inner, Exit.void), "40 millis")
  ], { concurrency: "unbounded" })
  yield* ticker.resume
  yield* Effect.sleep("40 millis")
  const registry = yield* FiberRegistry.FiberRegistry
  const drivers = registry.unsafeCensus().filter((entry) => entry.kind === "ticker")
  // None, when it is being repaced at this very moment.
  assert.isAtMost(drivers.length, 1)
  yield* Scope.close(scope, Exit.void)
  const state = yield* ticker.state
  yield* Effect.sleep("1 second")
  assert.deepStrictEqual(yield* ticker.state, state)
  assert.strictEqual((yield* ticker.stats).phase, "stopped")
  assert.deepStrictEqual(registry.unsafeCensus(), [])

  // Nobody missed a slot, or got one twice; time only goes forth.
  assert.deepStrictEqual(
    seen.all.map((tick) => tick.number),
    Array.from({ length: seen.all.length }, (_, index) => index + 1)
  )
  assert.isAtLeast(seen.all.length, state.number - 1)
  assert.deepStrictEqual(seen.all.filter((tick) => tick.missed > 0), [])
  for (const ticks of Object.values(seen)) {
    for (const [index, tick] of ticks.entries()) {
      if (index === 0) continue
      const before = ticks[index - 1]
      assert.isAbove(tick.number, before.number)
      assert.isAbove(tick.at, before.at)
      assert.isAbove(tick.elapsedMillis, before.elapsedMillis)
      assert.isAtLeast(tick.at - before.at, tick.elapsedMillis - before.elapsedMillis)
    }
  }
  assert.strictEqual(saved[saved.length - 1], state.number)
  // A number that was saved ahead and not handed out, because the ticker was paused in between, is saved again; one that was not
  // handed out because the ticker has ended is taken back.
  const before = saved.slice(0, -1)
  assert.deepStrictEqual(before, before.slice().sort((left, right) => left - right))
}).pipe(Effect.provide(FiberRegistry.layer))

/** Who turns the knobs is interrupted, whenever that happens: the next one finds the ticker free. */
const interrupted = Effect.gen(function*() {
  const scope = yield* Scope.make()
  const ticker = yield* Scope.extend(Ticker.make({ name: "world", interval: "10 millis" }), scope)
  const knobs = [
    ticker.pause,
    ticker.resume,
    ticker.setInterval("7 millis"),
    ticker.setSchedule(Schedule.cron("* * * * * *", "UTC")),
    ticker.setSchedule(Schedule.spaced("5 millis"))
  ]
  const impatient = (knob: Effect.Effect<void, unknown>) =>
    Effect.gen(function*() {
      for (let round = 0; round < 5; round++) {
        const fiber = yield* Effect.fork(knob)
        if (yield* Random.nextBoolean) yield* Effect.yieldNow()
        yield* Fiber.interrupt(fiber)
      }
    })
  yield* Effect.all(knobs.map(impatient), { concurrency: "unbounded" })
  yield* ticker.pause
  yield* ticker.setInterval("10 millis")
  const { number } = yield* ticker.state
  yield* ticker.resume
  yield* Effect.sleep("35 millis")
  assert.isAtLeast((yield* ticker.state).number, number + 3)
  yield* Scope.close(scope, Exit.void)
  const registry = yield* FiberRegistry.FiberRegistry
  assert.deepStrictEqual(registry.unsafeCensus(), [])
}).pipe(Effect.provide(FiberRegistry.layer))

describe("Ticker, explored", () => {
  it.effect(
    "is free for the next one when who turns its knobs is interrupted",
    () => Explore.check(interrupted, { seeds: sized(100, 3000, 30), maxOperations: 200_000 }),
    120_000
  )

  it.effect(
    "keeps its promises in whatever order things happen",
    () => Explore.check(everybody, { seeds: sized(40, 1500, 15), maxOperations: 200_000 }),
    120_000
  )
})

import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Monotonic from "@holdfast/core/Monotonic"
import * as Ticker from "@holdfast/core/Ticker"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as LeakCheck from "@holdfast/testing/LeakCheck"
import { Deferred, Effect, Exit, Fiber, Logger, Metric, Schedule, Scope, TestClock } from "effect"

const collect = (
  ticker: Ticker.Service,
  options: Ticker.HandlerOptions,
  run: (tick: Ticker.Tick) => Effect.Effect<unknown, unknown> = () => Effect.void
) => {
  const ticks: Array<Ticker.Tick> = []
  return Effect.as(
    ticker.onTick(options, (tick) => {
      ticks.push(tick)
      return run(tick)
    }),
    ticks
  )
}

const numbers = (ticks: ReadonlyArray<Ticker.Tick>) => ticks.map((tick) => tick.number)

describe("Ticker", () => {
  it.scoped("numbers its slots from 1, the first one interval after the start", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
      const ticks = yield* collect(ticker, { name: "all" })
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(ticks, [])
      yield* TestClock.adjust("1 millis")
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(
        ticks,
        [1, 2, 3].map((number) => ({
          name: "world",
          number,
          at: number * 1000,
          elapsedMillis: number * 1000,
          lateMillis: 0,
          missed: 0
        }))
      )
      assert.deepStrictEqual(yield* ticker.state, { number: 3, elapsedMillis: 3000, at: 3000 })
    }))

  it.scoped("runs a handler on every n-th slot, at its offset", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
      const third = yield* collect(ticker, { name: "third", every: 3 })
      const shifted = yield* collect(ticker, { name: "shifted", every: 3, offset: 1 })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(numbers(third), [3, 6, 9])
      assert.deepStrictEqual(numbers(shifted), [1, 4, 7, 10])
    }))

  it.scoped("lets no slow, failing, dying or hanging handler delay another", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
      yield* collect(ticker, { name: "slow" }, () => Effect.sleep("10 seconds"))
      yield* collect(ticker, { name: "failing" }, () => Effect.fail("no"))
      yield* collect(ticker, { name: "dying" }, () => Effect.die(new Error("no")))
      yield* collect(ticker, { name: "throwing" }, () => {
        throw new Error("no")
      })
      const hang = Effect.uninterruptible(Effect.never).pipe(Effect.disconnect, LeakCheck.background)
      yield* collect(ticker, { name: "hanging" }, () => hang)
      const ticks = yield* collect(ticker, { name: "good" })
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(
        ticks.map((tick) => [tick.number, tick.lateMillis]),
        Array.from({ length: 20 }, (_, i) => [i + 1, 0])
      )
      const stats = yield* ticker.stats
      assert.deepStrictEqual(
        stats.handlers.map(({ failures, name, runs }) => [name, runs, failures]),
        [["slow", 1, 0], ["failing", 20, 20], ["dying", 20, 20], ["throwing", 20, 20], ["hanging", 0, 0], [
          "good",
          20,
          0
        ]]
      )
    }))

  it.scoped("skips, coalesces or catches up what comes due during a run", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second", overrun: { _tag: "skip" } })
      const slow = (tick: Ticker.Tick) => tick.number <= 1 ? Effect.sleep("4500 millis") : Effect.void
      const skip = yield* collect(ticker, { name: "skip" }, slow)
      const coalesce = yield* collect(ticker, { name: "coalesce", overrun: { _tag: "coalesce" } }, slow)
      const two = yield* collect(ticker, { name: "two", overrun: { _tag: "catchUp", max: 2 } }, slow)
      const all = yield* collect(ticker, { name: "all", overrun: { _tag: "catchUp", max: 100 } }, slow)
      yield* TestClock.adjust("7 seconds")
      const seen = (ticks: ReadonlyArray<Ticker.Tick>) =>
        ticks.map((tick) => [tick.number, tick.at, tick.lateMillis, tick.missed])
      assert.deepStrictEqual(seen(skip), [[1, 1000, 0, 0], [6, 6000, 0, 4], [7, 7000, 0, 0]])
      assert.deepStrictEqual(seen(coalesce), [[1, 1000, 0, 0], [5, 5000, 500, 3], [6, 6000, 0, 0], [7, 7000, 0, 0]])
      assert.deepStrictEqual(seen(two), [
        [1, 1000, 0, 0],
        [4, 4000, 1500, 2],
        [5, 5000, 500, 0],
        [6, 6000, 0, 0],
        [7, 7000, 0, 0]
      ])
      assert.deepStrictEqual(numbers(all), [1, 2, 3, 4, 5, 6, 7])
      assert.isTrue(all.every((tick) => tick.missed === 0))
    }))

  it.scoped("interrupts a run at its budget and goes on with the next slot", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
      let interrupted = 0
      const ticks = yield* collect(
        ticker,
        { name: "late", budget: "1500 millis" },
        () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      )
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(ticks.map((tick) => [tick.number, tick.lateMillis]), [[1, 0], [2, 500], [4, 0], [5, 500]])
      assert.strictEqual(interrupted, 3)
      assert.strictEqual((yield* ticker.stats).handlers[0].overBudget, 3)
    }))

  it.scoped("pauses, resumes and changes its rate", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
      const ticks = yield* collect(ticker, { name: "all" })
      yield* TestClock.adjust("2500 millis")
      yield* ticker.pause
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(numbers(ticks), [1, 2])
      yield* ticker.resume
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(numbers(ticks), [1, 2, 3, 4])
      assert.strictEqual(ticks[3].elapsedMillis, 4000)
      yield* ticker.setInterval("100 millis")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(ticks.length, 14)
      assert.strictEqual(ticks[13].elapsedMillis, 5000)
      yield* ticker.setInterval("10 seconds")
      yield* TestClock.adjust("9999 millis")
      assert.strictEqual(ticks.length, 14)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(ticks[14].elapsedMillis, 15_000)
    }))

  it.scoped("is driven by a schedule, without drift, and stops with it", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({
        name: "world",
        schedule: Schedule.intersect(Schedule.exponential("1 second"), Schedule.recurs(4))
      })
      const ticks = yield* collect(ticker, { name: "all" })
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(ticks.map((tick) => tick.at), [1000, 3000, 7000, 15_000])
      assert.strictEqual((yield* ticker.stats).phase, "stopped")
    }))

  it.scoped("keeps tick number and world clock over a restart", () =>
    Effect.gen(function*() {
      const store = yield* TickerStore.Store
      const run = Effect.gen(function*() {
        const ticker = yield* Ticker.make({ name: "world", interval: "1 second", store })
        const ticks = yield* collect(ticker, { name: "all" })
        yield* TestClock.adjust("3500 millis")
        return ticks
      }).pipe(Effect.scoped)
      assert.deepStrictEqual(numbers(yield* run), [1, 2, 3])
      yield* TestClock.adjust("1 day")
      const ticks = yield* run
      assert.deepStrictEqual(ticks.map((tick) => [tick.number, tick.elapsedMillis]), [[4, 4000], [5, 5000], [6, 6000]])
    }).pipe(Effect.provide(TickerStore.layerStoreMemory)))

  it.scoped("ends with its scope, and a handler with its own", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second" }).pipe(Scope.extend(scope))
      const inner = yield* Scope.make()
      const released = yield* Deferred.make<void>()
      const ticks = yield* collect(
        ticker,
        { name: "all" },
        (tick) => tick.number < 3 ? Effect.void : Effect.ensuring(Effect.never, Deferred.succeed(released, undefined))
      ).pipe(Scope.extend(inner))
      yield* TestClock.adjust("3 seconds")
      yield* Scope.close(inner, Exit.void)
      yield* Deferred.await(released)
      assert.deepStrictEqual((yield* ticker.stats).handlers, [])
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(numbers(ticks), [1, 2, 3])
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* ticker.stats).phase, "stopped")
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* ticker.state).number, 6)
      // What comes too late ends at once.
      yield* ticker.resume
      const late = yield* collect(ticker, { name: "late" })
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(late, [])
      assert.deepStrictEqual((yield* ticker.stats).handlers, [])
    }))

  it.scoped("never runs a handler twice at a time, even one that its budget cannot interrupt", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const ticker = yield* Scope.extend(Ticker.make({ name: "world", interval: "1 second" }), scope)
      let running = 0
      let most = 0
      const ticks = yield* collect(ticker, { name: "stubborn", budget: "500 millis" }, () =>
        Effect.uninterruptible(
          Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++running)
            }),
            () => Effect.sleep("2500 millis"),
            () => Effect.sync(() => running--)
          )
        )).pipe(Scope.extend(scope))
      yield* TestClock.adjust("8 seconds")
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("8 seconds")
      yield* Fiber.join(closing)
      assert.strictEqual(most, 1)
      assert.deepStrictEqual(ticks.map((tick) => [tick.number, tick.missed]), [[1, 0], [3, 1], [6, 2]])
    }))

  it.scoped("is in the census: one ticker, its handlers; interrupting the ticker stops it for good", () =>
    Effect.gen(function*() {
      const registry = yield* FiberRegistry.FiberRegistry
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
      const ticks = yield* collect(ticker, { name: "weather" })
      const kinds = () => registry.unsafeCensus().map((entry) => `${entry.kind}:${entry.name}`).sort()
      assert.deepStrictEqual(kinds(), ["handler:weather", "ticker:world"])
      yield* ticker.onTick({ name: "control", every: 2 }, () => ticker.setInterval("500 millis"))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(kinds(), ["handler:control", "handler:weather", "ticker:world"])
      const driver = registry.unsafeCensus().find((entry) => entry.kind === "ticker")
      assert.deepStrictEqual(driver?.owner, ["world"])
      yield* Effect.forEach(
        Fiber.unsafeRoots(),
        (fiber) => `#${fiber.id().id}` === driver?.id ? Fiber.interrupt(fiber) : Effect.void
      )
      const { length } = ticks
      yield* ticker.resume
      yield* ticker.setInterval("1 second")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* ticker.stats).phase, "stopped")
      assert.strictEqual(ticks.length, length)
    }).pipe(Effect.provide(FiberRegistry.layer)))

  it.scoped("goes on where another one stopped: an interval after its last tick, or at once", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second", paused: true })
      const seen: Array<number> = []
      yield* ticker.onTick({ name: "all" }, () => Effect.map(Monotonic.now, (now) => seen.push(now)))
      const start = yield* Monotonic.now
      const resumedAfter = (ago: number) =>
        Effect.gen(function*() {
          seen.length = 0
          const now = yield* Monotonic.now
          yield* ticker.resumeFrom(now - ago)
          yield* TestClock.adjust("2 seconds")
          yield* ticker.pause
          return seen.map((at) => at - now)
        })
      assert.deepStrictEqual(yield* resumedAfter(300), [700, 1700])
      assert.deepStrictEqual(yield* resumedAfter(1000), [0, 1000, 2000])
      assert.deepStrictEqual(yield* resumedAfter(3_600_000), [0, 1000, 2000])
      // what is to come is no last tick
      assert.deepStrictEqual(yield* resumedAfter(-5000), [1000, 2000])
      assert.isAbove(yield* Monotonic.now, start)
      const refused = yield* Effect.flip(ticker.resumeFrom(Number.NaN))
      assert.strictEqual(
        refused.message,
        "Ticker(world).resumeFrom is NaN: expected a reading of Monotonic, in milliseconds"
      )
    }))

  it.scoped("can be paused, resumed and repaced by its own handlers", () =>
    Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second", paused: true })
      const ticks = yield* collect(ticker, { name: "all" }, (tick) =>
        tick.number === 2
          ? ticker.setInterval("100 millis")
          : tick.number === 4
          ? Effect.zipRight(ticker.pause, Effect.delay(ticker.resume, "1 minute"))
          : Effect.void)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(ticks, [])
      yield* ticker.resume
      yield* TestClock.adjust("2 seconds")
      yield* TestClock.adjust("61 seconds")
      assert.deepStrictEqual(ticks.slice(0, 6).map((tick) => [tick.number, tick.at - 3_600_000, tick.elapsedMillis]), [
        [1, 1000, 1000],
        [2, 2000, 2000],
        [3, 2100, 2100],
        [4, 2200, 2200],
        [5, 62_300, 2300],
        [6, 62_400, 2400]
      ])
      assert.strictEqual((yield* ticker.stats).rate, 10)
    }))

  it.scoped("saves behind the tick: a store that hangs or fails delays nothing", () =>
    Effect.gen(function*() {
      const saved: Array<number> = []
      let mode: "hang" | "fail" | "work" = "fail"
      const store: TickerStore.Service = {
        load: () => Effect.succeedNone,
        save: (ticker, { number }) =>
          Effect.suspend(() =>
            mode === "hang"
              ? Effect.never
              : mode === "fail"
              ? new TickerStore.StoreError({ ticker, operation: "save", reason: "full", cause: undefined })
              : Effect.sync(() => void saved.push(number))
          )
      }
      const scope = yield* Scope.make()
      const ticker = yield* Scope.extend(Ticker.make({ name: "world", interval: "1 second", store }), scope)
      const ticks = yield* collect(ticker, { name: "all" })
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(numbers(ticks), [1, 2, 3])
      assert.strictEqual((yield* ticker.stats).saveFailures, 3)
      mode = "work"
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(saved, [4, 5])
      mode = "hang"
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(numbers(ticks), [1, 2, 3, 4, 5, 6, 7, 8])
      mode = "work"
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(saved, [4, 5, 8])
    }))

  it.scoped("saves ahead of the tick: no number is handed out before it is saved", () =>
    Effect.gen(function*() {
      const saved: Array<number> = []
      let broken = false
      const store: TickerStore.Service = {
        load: () => Effect.succeedSome({ number: 10, elapsedMillis: 10_000, at: 0 }),
        save: (ticker, { number }) =>
          Effect.suspend(() =>
            broken
              ? new TickerStore.StoreError({ ticker, operation: "save", reason: "full", cause: undefined })
              : Effect.sync(() => void saved.push(number))
          )
      }
      const ticker = yield* Ticker.make({ name: "world", interval: "1 second", store, save: "ahead" })
      const ticks = yield* collect(ticker, { name: "all" }, (tick) =>
        Effect.sync(() =>
          assert.include(saved, tick.number)
        ))
      yield* TestClock.adjust("2 seconds")
      broken = true
      yield* TestClock.adjust("3 seconds")
      broken = false
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(ticks.map((tick) => [tick.number, tick.missed, tick.elapsedMillis]), [
        [11, 0, 11_000],
        [12, 0, 12_000],
        [16, 3, 16_000],
        [17, 0, 17_000]
      ])
      assert.strictEqual((yield* ticker.stats).handlers[0].failures, 0)
    }))

  it.scoped("does not start when its state cannot be read", () =>
    Effect.gen(function*() {
      const store: TickerStore.Service = {
        load: (ticker) =>
          new TickerStore.StoreError({ ticker, operation: "load", reason: "damaged", cause: undefined }),
        save: () => Effect.void
      }
      const error = yield* Effect.flip(Ticker.make({ name: "world", interval: "1 second", store }))
      assert.strictEqual(error.message, "Ticker \"world\": cannot load its state: damaged")
    }))

  it.scoped("counts slots, lag, runs, failures and misses in metrics", () =>
    Effect.gen(function*() {
      const name = `metered-${Math.random()}`
      const ticker = yield* Ticker.make({ name, interval: "1 second" })
      yield* collect(ticker, { name: "slow" }, () => Effect.sleep("1500 millis"))
      yield* collect(ticker, { name: "failing" }, () => Effect.fail("no"))
      yield* TestClock.adjust("10 seconds")
      const pairs = yield* Metric.snapshot
      const state = (metric: string, handler?: string) => {
        const wanted = handler === undefined ? [name] : [name, handler]
        const pair = pairs.find(({ metricKey }) =>
          metricKey.name === metric &&
          wanted.every((value) => Array.from(metricKey.tags).some((tag) => tag.value === value))
        )
        assert.isDefined(pair)
        return pair.metricState as unknown as { readonly count: number; readonly sum: number }
      }
      assert.strictEqual(state("holdfast_ticker_ticks_total").count, 10)
      assert.strictEqual(state("holdfast_ticker_lag_seconds").count, 10)
      assert.strictEqual(state("holdfast_ticker_lag_seconds").sum, 0)
      assert.strictEqual(state("holdfast_ticker_handler_failures_total", "failing").count, 10)
      assert.strictEqual(state("holdfast_ticker_handler_duration_seconds", "failing").count, 10)
      assert.strictEqual(state("holdfast_ticker_handler_duration_seconds", "slow").sum, 6 * 1.5)
      assert.strictEqual(state("holdfast_ticker_handler_missed_total", "slow").count, 3)
    }))

  it.scoped("ticks on a schedule at the instants that the schedule names (daily)", () =>
    Effect.gen(function*() {
      const spaced = yield* Ticker.make({ name: "spaced", schedule: Schedule.spaced("700 millis") })
      const fixed = yield* Ticker.make({ name: "fixed", schedule: Schedule.fixed("1 second") })
      const cron = yield* Ticker.make({ name: "cron", schedule: Schedule.cron("*/5 * * * *", "UTC") })
      const eager = yield* Ticker.make({ name: "eager", schedule: Schedule.recurs(3) })
      const all = yield* Effect.forEach([spaced, fixed, cron, eager], (ticker) => collect(ticker, { name: "all" }))
      yield* TestClock.adjust("6 minutes")
      const [spacedTicks, fixedTicks, cronTicks, eagerTicks] = all.map((ticks) => ticks.map((tick) => tick.at))
      assert.deepStrictEqual(spacedTicks, Array.from({ length: 514 }, (_, i) => (i + 1) * 700))
      assert.deepStrictEqual(fixedTicks, Array.from({ length: 360 }, (_, i) => (i + 1) * 1000))
      assert.deepStrictEqual(cronTicks, [300_000])
      assert.deepStrictEqual(eagerTicks, [0, 1, 2])
    }), 60_000)

  it.scoped("reports a handler that keeps failing now and then, and when it works again", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        lines.push(`${logLevel.label} ${String(Array.isArray(message) ? message[0] : message)}`)
      })
      yield* Effect.gen(function*() {
        const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
        yield* collect(ticker, { name: "weather", budget: "100 millis" }, (tick) =>
          tick.number === 1 ? Effect.never : tick.number <= 20 ? Effect.fail("no") : Effect.void)
        yield* TestClock.adjust("25 seconds")
      }).pipe(Effect.scoped, Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      const handler = "Handler \"weather\" of ticker \"world\""
      assert.deepStrictEqual(lines, [
        `WARN ${handler} ran over its budget of 100ms at tick 1`,
        `ERROR ${handler} failed at tick 2, 2 times in a row`,
        `ERROR ${handler} failed at tick 4, 4 times in a row`,
        `ERROR ${handler} failed at tick 8, 8 times in a row`,
        `ERROR ${handler} failed at tick 16, 16 times in a row`,
        `INFO ${handler} works again at tick 21, after 20 runs that did not`
      ])
    }))

  describe("refuses options that make no sense, and names them", () => {
    const policies = [
      null,
      "skip",
      {},
      { _tag: "drop" },
      { _tag: "catchUp" },
      ...[0, -5, 1.5, Number.NaN, Infinity, 65_537]
        .map((max) => ({ _tag: "catchUp", max }))
    ]
    const tickers: Record<string, ReadonlyArray<unknown>> = {
      name: ["", null, 7],
      interval: [0, -1, -5, 0.5, Number.NaN, Infinity, "soon", "0 seconds", "-5 seconds", null, {}],
      overrun: policies,
      paused: ["yes", null, 1],
      save: ["never", null, true],
      schedule: [null, "0 3 * * *", Schedule.spaced("1 second")]
    }
    for (const [option, values] of Object.entries(tickers)) {
      it.scoped(`make: ${option}`, () =>
        Effect.gen(function*() {
          for (const value of values) {
            const options = { name: "world", interval: "1 second", [option]: value } as unknown as Ticker.Options
            const error = yield* Effect.flip(Ticker.make(options))
            assert.strictEqual(error._tag, "InvalidOption", String(value))
            if (error._tag !== "InvalidOption") continue
            const named = option === "name"
              ? "Ticker.name"
              : `Ticker(world).${option === "schedule" ? "interval" : option}`
            assert.strictEqual(error.option, named)
          }
        }))
    }
    const handlers: Record<string, ReadonlyArray<unknown>> = {
      name: ["", null],
      every: [0, -1, 1.5, Number.NaN, Infinity, "2"],
      offset: [-1, 1, 0.5, Number.NaN, Infinity],
      budget: [0, -5, Number.NaN, "soon", "-1 second"],
      overrun: policies
    }
    for (const [option, values] of Object.entries(handlers)) {
      it.scoped(`onTick: ${option}`, () =>
        Effect.gen(function*() {
          const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
          for (const value of values) {
            const options = { name: "weather", [option]: value } as unknown as Ticker.HandlerOptions
            const error = yield* Effect.flip(ticker.onTick(options, () => Effect.void))
            assert.strictEqual(error._tag, "InvalidOption", String(value))
            const named = option === "name" ? "Ticker(world).onTick.name" : `Ticker(world).onTick(weather).${option}`
            assert.strictEqual(error.option, named)
          }
          assert.deepStrictEqual((yield* ticker.stats).handlers, [])
          assert.strictEqual((yield* Effect.flip(ticker.setInterval(0)))._tag, "InvalidOption")
        }))
    }
  })

  describe("handles nothing more for a handler that closes its own scope", () => {
    const ways: Record<string, Ticker.HandlerOptions> = {
      plainly: { name: "thrice" },
      "within a budget": { name: "thrice", budget: "1 minute" },
      "with slots to catch up": { name: "thrice", overrun: { _tag: "catchUp", max: 100 } }
    }
    for (const [how, options] of Object.entries(ways)) {
      it.scoped(how, () =>
        Effect.gen(function*() {
          const registry = yield* FiberRegistry.FiberRegistry
          const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
          const scope = yield* Scope.make()
          let released = 0
          yield* Scope.addFinalizer(scope, Effect.sync(() => released++))
          let after = false
          const ticks = yield* Scope.extend(
            collect(ticker, options, ({ number }) =>
              number === 1
                ? Effect.sleep("2500 millis")
                : number < 3
                ? Effect.void
                : Effect.zipRight(
                  Scope.close(scope, Exit.void),
                  Effect.delay(
                    Effect.sync(() => {
                      after = true
                    }),
                    "500 millis"
                  )
                )),
            scope
          )
          yield* Scope.addFinalizer(scope, Effect.sync(() => released++))
          yield* TestClock.adjust("10 seconds")
          assert.strictEqual(numbers(ticks).at(-1), 3)
          assert.isTrue(after, "its last run goes on to its end")
          assert.strictEqual(released, 2)
          assert.deepStrictEqual((yield* ticker.stats).handlers, [])
          assert.deepStrictEqual(registry.unsafeCensus().map(({ name }) => name), ["world"])
        }).pipe(Effect.provide(FiberRegistry.layer)))
    }

    it.scoped("and interrupts the others of that scope", () =>
      Effect.gen(function*() {
        const registry = yield* FiberRegistry.FiberRegistry
        const ticker = yield* Ticker.make({ name: "world", interval: "1 second" })
        const scope = yield* Scope.make()
        let interrupted = 0
        const other = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
        yield* Scope.extend(collect(ticker, { name: "other" }, () => other), scope)
        yield* Scope.extend(
          collect(ticker, { name: "closer", offset: 0, every: 2 }, () => Scope.close(scope, Exit.void)),
          scope
        )
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(interrupted, 1)
        assert.deepStrictEqual(registry.unsafeCensus().map(({ name }) => name), ["world"])
        // A fiber that is not waited for by the run may close the scope, too: the run is interrupted.
        const inner = yield* Scope.make()
        yield* Scope.extend(
          collect(ticker, { name: "forks" }, () =>
            Effect.zipRight(Effect.forkDaemon(Effect.delay(Scope.close(inner, Exit.void), "1 second")), other)),
          inner
        )
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(interrupted, 2)
        assert.deepStrictEqual(
          registry.unsafeCensus().map(({ name }) =>
            name
          ),
          ["world"]
        )
      }).pipe(Effect.provide(FiberRegistry.layer)))
  })
})

import { assert, describe, it } from "@effect/vitest"
import * as Ticker from "@holdfast/core/Ticker"
import { Clock, Duration, Effect, FastCheck } from "effect"
import { sized } from "../../../scripts/sized.js"

/**
 * A clock that runs by itself, as fast as the machine can, and is never on time: every sleeper wakes late by what `late`
 * says, in milliseconds.
 */
class LateClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  private sleepers: Array<{ readonly at: number; readonly wake: () => void }> = []
  private running = false
  constructor(private readonly late: () => number, private now = 1_700_000_000_000.25) {}
  unsafeCurrentTimeMillis() {
    return Math.floor(this.now)
  }
  unsafeCurrentTimeNanos() {
    return BigInt(Math.round(this.now * 1e6))
  }
  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())
  block(millis: number) {
    this.now += millis
  }
  sleep(duration: Duration.Duration) {
    return Effect.async<void>((resume) => {
      const sleeper = { at: this.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
      this.sleepers.push(sleeper)
      if (!this.running) {
        this.running = true
        setImmediate(() => this.step())
      }
      return Effect.sync(() => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper)
      })
    })
  }
  private step() {
    this.sleepers.sort((left, right) => left.at - right.at)
    const next = this.sleepers.shift()
    this.running = this.sleepers.length > 0
    if (next === undefined) return
    this.now = Math.max(this.now, next.at + this.late())
    next.wake()
    if (this.running) setImmediate(() => this.step())
  }
}

const random = (seed: number) => () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
  return seed / 2_147_483_648
}

interface Scenario {
  readonly interval: number
  readonly every: number
  readonly offset: number
  readonly overrun: Ticker.Overrun
  /** Of the runs, over and over. */
  readonly durations: ReadonlyArray<number>
}

const length = 100_500

type Seen = readonly [number: number, late: number, missed: number]

const model = ({ durations, every, interval, offset, overrun }: Scenario): ReadonlyArray<Seen> => {
  const seen: Array<Seen> = []
  const pending: Array<number> = []
  const most = overrun._tag === "catchUp" ? overrun.max : 1
  let lost = 0
  let busyUntil: number | undefined
  const begin = (now: number) => {
    const number = pending.shift()
    if (number === undefined) return undefined
    busyUntil = now + durations[seen.length % durations.length]
    seen.push([number, now - number * interval, lost])
    lost = 0
    return busyUntil
  }
  const runUntil = (now: number) => {
    while (busyUntil !== undefined && busyUntil < now) busyUntil = begin(busyUntil)
  }
  for (let number = 1; number * interval <= length; number++) {
    const now = number * interval
    runUntil(now)
    if (number % every !== offset) continue
    if (overrun._tag === "skip" && busyUntil !== undefined) {
      lost++
      continue
    }
    pending.push(number)
    if (pending.length > most) {
      pending.shift()
      lost++
    }
    if (busyUntil === undefined) begin(now)
  }
  runUntil(length)
  return seen
}

const agrees = (scenario: Scenario): Effect.Effect<void, unknown> =>
  Effect.gen(function*() {
    const ticker = yield* Ticker.make({ name: "world", interval: scenario.interval })
    const seen: Array<Seen> = []
    yield* ticker.onTick({ name: "all", ...scenario }, (tick) => {
      const duration = scenario.durations[seen.length % scenario.durations.length]
      seen.push([tick.number, tick.lateMillis, tick.missed])
      return Effect.sleep(Duration.millis(duration))
    })
    yield* Effect.sleep(Duration.millis(length))
    assert.deepStrictEqual(seen, model(scenario))
  }).pipe(Effect.scoped, Effect.withClock(new LateClock(() => 0, 0)))

describe("Ticker on a clock that is never on time", () => {
  it.live("does not drift over 10,000 ticks", () => {
    const jitter = random(7)
    const clock = new LateClock(() => jitter() * 30)
    return Effect.scoped(Effect.gen(function*() {
      const started = Math.ceil(yield* Clock.currentTimeMillis)
      // A third of a second is no whole number of milliseconds, and no binary fraction. Durations have nanoseconds.
      const interval = Duration.toMillis(Duration.millis(1000 / 3))
      const ticker = yield* Ticker.make({ name: "world", interval })
      let ticks = 0
      let worst = 0
      let latest = 0
      yield* ticker.onTick({ name: "all", overrun: { _tag: "catchUp", max: 100 } }, (tick) =>
        Effect.sync(() => {
          ticks++
          assert.strictEqual(tick.number, ticks)
          assert.strictEqual(tick.missed, 0)
          worst = Math.max(worst, Math.abs(tick.at - (started + 1 + ticks * interval)))
          latest = Math.max(latest, tick.lateMillis)
        }))
      const done = () => ticks >= 10_000
      while (!done()) yield* Effect.sleep("10 seconds")
      assert.isBelow(worst, 0.001)
      assert.isAbove(latest, 20)
      assert.isBelow(latest, 32)
      const { elapsedMillis, maxLateMillis } = yield* ticker.stats
      assert.isBelow(maxLateMillis, 32)
      assert.approximately(elapsedMillis, (yield* ticker.state).number * interval, 0.001)
    })).pipe(Effect.withClock(clock))
  })

  it.live("hands out what came due while the process stood still as the policy says", () => {
    const clock = new LateClock(() => 0)
    return Effect.scoped(Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "100 millis" })
      const seen: Record<string, Array<readonly [number: number, missed: number]>> = {}
      const handlers: ReadonlyArray<Ticker.HandlerOptions> = [
        { name: "skip", overrun: { _tag: "skip" } },
        { name: "coalesce", overrun: { _tag: "coalesce" } },
        { name: "three", overrun: { _tag: "catchUp", max: 3 } },
        { name: "all", overrun: { _tag: "catchUp", max: 65_536 } },
        { name: "tenth", every: 10, overrun: { _tag: "catchUp", max: 2 } }
      ]
      for (const handler of handlers) {
        const list: Array<readonly [number, number]> = seen[handler.name] = []
        yield* ticker.onTick(handler, (tick) => Effect.sync(() => list.push([tick.number, tick.missed])))
      }
      yield* Effect.sleep("250 millis")
      clock.block(10_000_000)
      yield* Effect.sleep("160 millis")
      const { number } = yield* ticker.state
      assert.strictEqual(number, 100_004)
      assert.deepStrictEqual(seen.skip, [[1, 0], [2, 0], [100_002, 99_999], [100_003, 0], [100_004, 0]])
      assert.deepStrictEqual(seen.coalesce, seen.skip)
      assert.deepStrictEqual(seen.three, [
        [1, 0],
        [2, 0],
        [100_000, 99_997],
        [100_001, 0],
        [100_002, 0],
        [100_003, 0],
        [100_004, 0]
      ])
      assert.strictEqual(seen.all.length, 2 + 65_536 + 2)
      assert.deepStrictEqual(seen.all[2], [100_002 - 65_535, 99_999 - 65_535])
      assert.deepStrictEqual(seen.tenth, [[99_990, 9998], [100_000, 0]])
    })).pipe(Effect.withClock(clock))
  })

  it.live(
    "agrees with a model, whatever the policy and however long the runs take",
    () =>
      Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            FastCheck.record({
              interval: FastCheck.integer({ min: 1, max: 5 }).map((seconds) => seconds * 1000),
              every: FastCheck.integer({ min: 1, max: 4 }),
              offset: FastCheck.nat(3),
              overrun: FastCheck.oneof(
                FastCheck.constantFrom({ _tag: "skip" } as const, { _tag: "coalesce" } as const),
                FastCheck.record({
                  _tag: FastCheck.constant("catchUp" as const),
                  max: FastCheck.integer({ min: 1, max: 4 })
                })
              ),
              // One millisecond more than whole seconds: no run ends at the instant of a slot.
              durations: FastCheck.array(FastCheck.nat(15).map((seconds) => seconds * 1000 + 1), {
                minLength: 1,
                maxLength: 10
              })
            }).map((scenario) => ({ ...scenario, offset: scenario.offset % scenario.every })),
            // edge: fast-check awaits each run of a property
            (scenario) => Effect.runPromise(agrees(scenario))
          ),
          { numRuns: sized(300, 10_000, 100) }
        )
      ),
    300_000
  )

  it.live("keeps time on the clock of the machine", () =>
    Effect.scoped(Effect.gen(function*() {
      const ticker = yield* Ticker.make({ name: "world", interval: "4 millis" })
      const ats: Array<number> = []
      yield* ticker.onTick({ name: "all", overrun: { _tag: "catchUp", max: 1000 } }, (tick) =>
        Effect.sync(() => ats.push(tick.at)))
      while (ats.length < 100) {
        yield* Effect.sleep("20 millis")
      }
      assert.deepStrictEqual(
        ats,
        ats.map((_, index) =>
          ats[0] + index * 4
        )
      )
      assert.approximately(ats[ats.length - 1], yield* Clock.currentTimeMillis, 5000)
    })))
})

import { assert, describe, it } from "@effect/vitest"
import * as Ticker from "@holdfast/core/Ticker"
import { Clock, Cron, DateTime, Duration, Effect, FastCheck, Schedule } from "effect"
import { sized } from "../../../scripts/sized.js"

/** A clock that runs by itself, as fast as the machine can, and whose wall time can be set apart from its monotonic time. */
class TwoClocks implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  private sleepers: Array<{ readonly at: number; readonly wake: () => void }> = []
  private running = false
  private now = 0
  private wallAhead: number
  constructor(private readonly origin: number) {
    this.wallAhead = origin
  }
  unsafeCurrentTimeMillis() {
    return Math.floor(this.now + this.wallAhead)
  }
  unsafeCurrentTimeNanos() {
    return BigInt(Math.round((this.origin + this.now) * 1e6))
  }
  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())
  /** By NTP or a person; a machine that was suspended for as long looks the same. */
  setBy(millis: number) {
    this.wallAhead += millis
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
    this.now = Math.max(this.now, next.at)
    next.wake()
    if (this.running) setImmediate(() => this.step())
  }
}

const hour = 3_600_000
const day = 24 * hour

const timeout = sized(120_000, 7_200_000)

interface Seen {
  readonly at: string
  readonly wall: string
  readonly number: number
  readonly missed: number
}

const short = (millis: number) => new Date(millis).toISOString().slice(5, 16)

/** What a ticker of this expression hands out while `story` goes on, from `start` by the wall clock. */
const watch = (
  expression: string,
  zone: string,
  start: string,
  story: (clock: TwoClocks) => Effect.Effect<void>
): Effect.Effect<ReadonlyArray<Seen>, unknown> => {
  const clock = new TwoClocks(Date.parse(start))
  return Effect.gen(function*() {
    const ticker = yield* Ticker.make({ name: "cron", schedule: Schedule.cron(expression, zone) })
    const seen: Array<Seen> = []
    yield* ticker.onTick({ name: "job" }, ({ at, missed, number }) =>
      Effect.sync(() => {
        const wall = clock.unsafeCurrentTimeMillis()
        assert.isAtMost(at, wall, "early")
        seen.push({ at: short(at), wall: short(wall), number, missed })
      }))
    yield* story(clock)
    return seen
  }).pipe(Effect.scoped, Effect.withClock(clock))
}

const ats = (seen: ReadonlyArray<Seen>) => seen.map(({ at }) => at)
const walls = (seen: ReadonlyArray<Seen>) => seen.map(({ wall }) => wall)

describe("A ticker on a schedule of wall-clock time", () => {
  it.live("stays on time over a machine that slept", () =>
    Effect.gen(function*() {
      const seen = yield* watch("0 3 * * *", "UTC", "2026-01-10T00:00:00Z", (clock) =>
        Effect.sleep("20 hours").pipe(
          Effect.zipRight(Effect.sync(() => clock.setBy(8 * hour))),
          Effect.zipRight(Effect.sleep("2 days"))
        ))
      // What came due while it slept is run when it wakes; then all is as before.
      assert.deepStrictEqual(ats(seen), ["01-10T03:00", "01-11T03:00", "01-12T03:00", "01-13T03:00"])
      assert.deepStrictEqual(walls(seen), ["01-10T03:00", "01-11T04:00", "01-12T03:00", "01-13T03:00"])
    }))

  it.live("stays on time when the clock is set right after the start", () =>
    Effect.gen(function*() {
      const seen = yield* watch("0 3 * * *", "UTC", "2026-01-10T05:00:00Z", (clock) =>
        Effect.sleep("1 minute").pipe(
          Effect.zipRight(Effect.sync(() => clock.setBy(5 * hour))),
          Effect.zipRight(Effect.sleep("2 days"))
        ))
      assert.deepStrictEqual(walls(seen), ["01-11T03:00", "01-12T03:00"])
    }))

  it.live("repeats nothing when the clock goes back by less than the time between two slots", () =>
    Effect.gen(function*() {
      const seen = yield* watch("0 3 * * *", "UTC", "2026-01-10T00:00:00Z", (clock) =>
        Effect.sleep("4 hours").pipe(
          Effect.zipRight(Effect.sync(() => clock.setBy(-2 * hour))),
          Effect.zipRight(Effect.sleep("2 days"))
        ))
      assert.deepStrictEqual(walls(seen), ["01-10T03:00", "01-11T03:00", "01-12T03:00"].slice(0, seen.length))
      assert.isAtLeast(seen.length, 2)
    }))

  it.live("follows a clock that goes back by more, at once", () =>
    Effect.gen(function*() {
      const often = yield* watch("*/20 * * * *", "UTC", "2026-01-10T10:10:00Z", (clock) =>
        Effect.sleep("40 minutes").pipe(
          Effect.zipRight(Effect.sync(() =>
            clock.setBy(-2 * hour)
          )),
          Effect.zipRight(Effect.sleep("45 minutes"))
        ))
      assert.deepStrictEqual(walls(often), ["01-10T10:20", "01-10T10:40", "01-10T09:00", "01-10T09:20"])
      const daily = yield* watch("0 3 * * *", "UTC", "2030-01-10T00:00:00Z", (clock) =>
        Effect.sleep("4 hours").pipe(
          Effect.zipRight(Effect.sync(() =>
            clock.setBy(-4 * 365 * day)
          )),
          Effect.zipRight(Effect.sleep("1 days"))
        ))
      assert.strictEqual(daily.length, 2)
      assert.deepStrictEqual(daily.map(({ number }) => number), [1, 2])
    }))

  it.live("passes over what the clock passed over, and counts it", () =>
    Effect.gen(function*() {
      const seen = yield* watch("* * * * *", "UTC", "2026-01-10T00:00:30Z", (clock) =>
        Effect.sleep("1 minute").pipe(
          Effect.zipRight(Effect.sync(() => clock.setBy(3 * hour))),
          Effect.zipRight(Effect.sleep("2 minutes"))
        ))
      assert.deepStrictEqual(seen.map(({ missed, number }) => [number, missed]).slice(0, 3), [[1, 0], [181, 179], [
        182,
        0
      ]])
      // A machine without a battery starts in 1970: it is not numbered minute by minute.
      const since = performance.now()
      const boot = yield* watch("* * * * *", "UTC", "1970-01-01T00:00:30Z", (clock) =>
        Effect.sleep("1 minute").pipe(
          Effect.zipRight(Effect.sync(() => clock.setBy(Date.parse("2026-01-10T00:00:00Z")))),
          Effect.zipRight(Effect.sleep("3 minutes"))
        ))
      assert.deepStrictEqual(walls(boot).slice(-2), ["01-10T00:03", "01-10T00:04"])
      assert.isBelow(performance.now() - since, 60_000)
    }), 90_000)

  it.live("over a change to summer time and back: what the documentation says", () =>
    Effect.gen(function*() {
      const half = (start: string, hours: number) =>
        Effect.map(watch("*/30 * * * *", "America/New_York", start, () => Effect.sleep(Duration.hours(hours))), ats)
      // 02:00 to 03:00 does not exist: 06:30Z is 01:30, 07:00Z is 03:00.
      assert.deepStrictEqual(
        (yield* half("2026-03-08T05:10:00Z", 3)).map((at) => at.slice(6)),
        ["05:30", "06:00", "06:30", "07:00", "07:30", "08:00"]
      )
      // 01:00 to 02:00 comes twice, from 05:00Z and from 06:00Z: the second time is passed over.
      const back = (yield* half("2026-11-01T04:10:00Z", 4)).map((at) => at.slice(6))
      assert.deepStrictEqual(back, ["04:30", "05:00", "05:30", "07:00", "07:30", "08:00"])
      const daily = (expression: string, start: string) =>
        Effect.map(watch(expression, "America/New_York", start, () => Effect.sleep("4 days")), ats)
      assert.deepStrictEqual(yield* daily("30 2 * * *", "2026-03-06T12:00:00Z"), [
        "03-07T07:30",
        "03-08T07:30",
        "03-09T06:30",
        "03-10T06:30"
      ])
      assert.deepStrictEqual(yield* daily("30 1 * * *", "2026-10-30T12:00:00Z"), [
        "10-31T05:30",
        "11-01T05:30",
        "11-02T06:30",
        "11-03T06:30"
      ])
    }))

  it.live(
    "is never early, skips no slot, and is right again, whatever is done to the clock (daily)",
    () =>
      Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            FastCheck.constantFrom("*/5 * * * *", "0 * * * *", "0 3 * * *", "15,45 */6 * * *"),
            FastCheck.array(
              FastCheck.record({
                wait: FastCheck.integer({ min: 1, max: 12 * 60 }),
                by: FastCheck.integer({ min: -3 * 24 * 60, max: 3 * 24 * 60 })
              }),
              { maxLength: 3 }
            ),
            // edge: fast-check awaits each run of a property
            (expression, steps) => Effect.runPromise(survives(expression, steps))
          ),
          { numRuns: sized(15, 500, 5) }
        )
      ),
    timeout
  )

  it.live("leaves an interval, and a schedule that counts from the last slot, alone", () =>
    Effect.gen(function*() {
      for (
        const pace of [
          { interval: "1 minute" },
          { schedule: Schedule.spaced("1 minute") },
          { schedule: Schedule.fixed("1 minute") },
          { schedule: Schedule.jittered(Schedule.spaced("1 minute")) }
        ] as const
      ) {
        for (const by of [-hour, hour, -10 * day]) {
          const clock = new TwoClocks(Date.parse("2026-01-10T00:00:00Z"))
          const seen: Array<number> = []
          yield* Effect.gen(function*() {
            const ticker = yield* Ticker.make({ name: "steady", ...pace })
            yield* ticker.onTick({ name: "all" }, ({ missed, number }) => Effect.sync(() => seen.push(number, missed)))
            yield* Effect.sleep("150 seconds")
            clock.setBy(by)
            yield* Effect.sleep("180 seconds")
          }).pipe(Effect.scoped, Effect.withClock(clock))
          assert.isAtLeast(seen.length, 8)
          assert.isAtMost(seen.length, 14)
          assert.deepStrictEqual(seen, seen.map((_, index) => index % 2 === 0 ? index / 2 + 1 : 0))
        }
      }
    }))

  it.live("is refused when its expression can never be", () =>
    Effect.gen(function*() {
      for (const expression of ["nonsense", "0 3 * *", "61 * * * *", "0 0 31 2 *"]) {
        const error = yield* Effect.flip(
          Effect.scoped(Ticker.make({ name: "cron", schedule: Schedule.cron(expression, "UTC") }))
        )
        assert.strictEqual(error._tag, "InvalidOption")
        assert.include(error.message, "Ticker(cron).schedule")
      }
      const ticker = yield* Ticker.make({ name: "cron", interval: "1 hour" })
      const error = yield* Effect.flip(ticker.setSchedule(Schedule.cron("nonsense")))
      assert.strictEqual(error._tag, "InvalidOption")
    }).pipe(Effect.scoped))
})

const survives = (
  expression: string,
  steps: ReadonlyArray<{ readonly wait: number; readonly by: number }>
): Effect.Effect<void, unknown> => {
  const clock = new TwoClocks(Date.parse("2026-01-10T00:00:10Z"))
  const cron = Cron.unsafeParse(expression, "UTC")
  return Effect.gen(function*() {
    const ticker = yield* Ticker.make({ name: "cron", schedule: Schedule.cron(expression, "UTC") })
    const ticks: Array<Ticker.Tick> = []
    yield* ticker.onTick({ name: "job", overrun: { _tag: "catchUp", max: 65_536 } }, (tick) =>
      Effect.sync(() => {
        assert.isAtMost(tick.at, clock.unsafeCurrentTimeMillis())
        assert.isTrue(Cron.match(cron, DateTime.unsafeMake(tick.at)))
        ticks.push(tick)
      }))
    for (const { by, wait } of steps) {
      yield* Effect.sleep(Duration.minutes(wait))
      clock.setBy(by * 60_000)
    }
    // Two gaps at most have to go by before all is as it should be.
    yield* Effect.sleep("60 hours")
    const settled = ticks.length
    yield* Effect.sleep("30 hours")
    const expected: Array<number> = []
    let at = ticks[settled - 1].at
    while (expected.length < ticks.length - settled + 1) {
      at = Cron.next(cron, new Date(at)).getTime()
      expected.push(at)
    }
    assert.deepStrictEqual(ticks.slice(settled).map((tick) => tick.at), expected.slice(0, -1))
    assert.isAbove(expected[expected.length - 1], clock.unsafeCurrentTimeMillis())
    assert.deepStrictEqual(ticks.map((tick) => tick.number), ticks.map((_, index) => index + 1))
    for (const [index, tick] of ticks.entries()) {
      if (index > 0) assert.isAtLeast(tick.elapsedMillis, ticks[index - 1].elapsedMillis)
    }
  }).pipe(Effect.scoped, Effect.withClock(clock))
}

/**
 * What a run of a handler costs, and where the clock is after 300 ticks: one `Ticker` for all handlers, against one
 * `setInterval` and one fiber with `Schedule.fixed` for each. The fibers and the timers do nothing; the processor time of
 * the whole process is divided by the number of runs.
 */
import * as Ticker from "@holdfast/core/Ticker"
import { Effect, Schedule } from "effect"
import { quick, report } from "./shared/measure.js"

const handlers = 200
const interval = 10
const ticks = quick ? 100 : 300

interface Result {
  readonly name: string
  readonly micros: number
  readonly runs: number
  readonly drift: number
}

/** Counts runs, and how late the last one of the first handler was against the one that was first. */
class Meter {
  runs = 0
  private firstAt = 0
  private lastAt = 0
  private mine = 0
  private readonly cpu = process.cpuUsage()
  constructor(private readonly name: string) {}
  run(handler: number): void {
    this.runs++
    if (handler > 0) return
    this.lastAt = performance.now()
    if (this.mine++ === 0) this.firstAt = this.lastAt
  }
  get done(): boolean {
    return this.mine > ticks
  }
  result(): Result {
    const { system, user } = process.cpuUsage(this.cpu)
    return {
      name: this.name,
      micros: (user + system) / this.runs,
      runs: this.runs,
      drift: this.lastAt - this.firstAt - (this.mine - 1) * interval
    }
  }
}

const finished = (meter: Meter): Effect.Effect<Result> =>
  Effect.suspend(() => meter.done ? Effect.sync(() => meter.result()) : Effect.delay(finished(meter), "20 millis"))

const all = Array.from({ length: handlers }, (_, index) => index)

const timers = Effect.scoped(Effect.gen(function*() {
  const meter = new Meter("setInterval each")
  yield* Effect.forEach(all, (index) =>
    Effect.acquireRelease(
      Effect.sync(() => setInterval(() => meter.run(index), interval)),
      (timer) => Effect.sync(() => clearInterval(timer))
    ))
  return yield* finished(meter)
}))

const schedules = Effect.scoped(Effect.gen(function*() {
  const meter = new Meter("Schedule.fixed each")
  yield* Effect.forEach(
    all,
    (index) => Effect.forkScoped(Effect.repeat(Effect.sync(() => meter.run(index)), Schedule.fixed(interval)))
  )
  return yield* finished(meter)
}))

const ticker = Effect.scoped(Effect.gen(function*() {
  const meter = new Meter("one Ticker")
  const world = yield* Ticker.make({ name: "world", interval })
  yield* Effect.forEach(
    all,
    (index) =>
      world.onTick(
        { name: `handler-${index}`, overrun: { _tag: "catchUp", max: 1000 } },
        () => Effect.sync(() => meter.run(index))
      )
  )
  return yield* finished(meter)
}))

const program = Effect.gen(function*() {
  const results: Array<Result> = []
  for (const contender of [timers, schedules, ticker]) results.push(yield* contender)
  const own = results[results.length - 1].micros
  const title = `${handlers} handlers, ${1000 / interval} Hz, ${ticks} ticks: us of CPU per run`
  process.stdout.write(`${title}\n`)
  for (const { micros, name } of results) report({ title, contender: name, value: micros, ratio: micros / own })
  process.stdout.write("after the last tick, ms late\n")
  for (const { drift, name } of results) process.stdout.write(`  ${name.padEnd(44)}${drift.toFixed(1).padStart(12)}\n`)
})

await Effect.runPromise(program)

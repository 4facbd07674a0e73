/**
 * The slots of a ticker, as its handlers get them: which are due, and which a handler has yet to take.
 */
import * as Signal from "../../Signal.js"
import type { Plan } from "./plan.js"

/**
 * One slot of a ticker, as one handler gets it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tick {
  /** Name of the ticker. */
  readonly name: string
  /** Number of the slot, from 1. It goes up by one per slot, whether or not anybody ran. */
  readonly number: number
  /** The instant of the slot, in milliseconds since the epoch. */
  readonly at: number
  /** The time that this ticker has been running, at the slot and over all restarts. Pauses and downtime do not count. */
  readonly elapsedMillis: number
  /** How long after the instant of the slot the handler was started. */
  readonly lateMillis: number
  /** Slots of this handler since its previous run that it did not get. */
  readonly missed: number
}

/**
 * What happens to the slots that came due while their handler was busy.
 *
 * - `skip`: dropped. The handler continues with the next slot on the grid.
 * - `coalesce`: merged. The handler runs once, at once, with the newest of them.
 * - `catchUp`: run one after the other, in order; only the newest `max` are kept, 1 to 65536.
 *
 * Slots that were dropped or merged are counted in `missed` of the next tick.
 *
 * @since 0.1.0
 * @category models
 */
export type Overrun =
  | { readonly _tag: "skip" }
  | { readonly _tag: "coalesce" }
  | { readonly _tag: "catchUp"; readonly max: number }

/**
 * The numbers of one handler, counted since it was added.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlerStats {
  readonly name: string
  readonly every: number
  readonly running: boolean
  /** Runs that ended, in whatever way. */
  readonly runs: number
  readonly failures: number
  /** Runs that took longer than their budget and were interrupted. */
  readonly overBudget: number
  /** Slots that were skipped or merged. */
  readonly missed: number
  /** Number of the last tick that it was started with, 0 before the first. */
  readonly lastNumber: number
}

const keptSlots = (overrun: Overrun): number => overrun._tag === "catchUp" ? overrun.max : 1

const modulo = (value: number, by: number): number => ((value % by) + by) % by

/** The slots of one handler that are due and not yet taken: a ring that forgets the oldest. */
export class Slots {
  readonly numbers: Float64Array
  readonly ats: Float64Array
  readonly dues: Float64Array
  readonly elapsed: Float64Array
  readonly skip: boolean
  running = false
  closed = false
  size = 0
  /** Slots lost since the last tick that was taken. */
  lost = 0
  readonly changed = new Signal.Signal()
  runs = 0
  failures = 0
  overBudget = 0
  missed = 0
  lastNumber = 0
  private head = 0

  constructor(readonly name: string, readonly every: number, readonly offset: number, overrun: Overrun) {
    const kept = keptSlots(overrun)
    this.skip = overrun._tag === "skip"
    this.numbers = new Float64Array(kept)
    this.ats = new Float64Array(kept)
    this.dues = new Float64Array(kept)
    this.elapsed = new Float64Array(kept)
  }

  lose(count: number): void {
    this.lost += count
    this.missed += count
  }

  /** The slots `from` to `to` are due. */
  offer(from: number, to: number, plan: Plan): void {
    const newest = to - modulo(to - this.offset, this.every)
    const oldest = from + modulo(this.offset - from, this.every)
    if (newest < oldest) return
    const count = (newest - oldest) / this.every + 1
    if (this.skip && (this.running || this.size > 0)) {
      this.lose(count)
      return
    }
    const kept = Math.min(count, this.numbers.length)
    let dropped = count - kept
    for (let number = newest - (kept - 1) * this.every; number <= newest; number += this.every) {
      if (this.size === this.numbers.length) dropped++
      else this.size++
      this.numbers[this.head] = number
      this.ats[this.head] = plan.at(number)
      this.dues[this.head] = plan.due(number)
      this.elapsed[this.head] = plan.elapsed(number)
      this.head = (this.head + 1) % this.numbers.length
    }
    if (dropped > 0) this.lose(dropped)
    this.changed.wake()
  }

  /** The slots `from` to `to` will not be handed out. */
  drop(from: number, to: number): void {
    const newest = to - modulo(to - this.offset, this.every)
    const oldest = from + modulo(this.offset - from, this.every)
    if (newest >= oldest) this.lose((newest - oldest) / this.every + 1)
  }

  /** `now` is monotonic, as what is due is. */
  take(ticker: string, now: number): Tick | undefined {
    if (this.size === 0) return undefined
    const index = (this.head + this.numbers.length - this.size) % this.numbers.length
    this.size--
    const missed = this.lost
    this.lost = 0
    const number = this.numbers[index]
    this.lastNumber = number
    return {
      name: ticker,
      number,
      at: this.ats[index],
      elapsedMillis: this.elapsed[index],
      lateMillis: Math.max(0, now - this.dues[index]),
      missed
    }
  }

  close(): void {
    this.closed = true
    this.size = 0
    this.changed.wake()
  }

  stats(): HandlerStats {
    return {
      name: this.name,
      every: this.every,
      running: this.running,
      runs: this.runs,
      failures: this.failures,
      overBudget: this.overBudget,
      missed: this.missed,
      lastNumber: this.lastNumber
    }
  }
}

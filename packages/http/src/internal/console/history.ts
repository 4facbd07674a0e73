/** An hour of one number, at a resolution that falls with age. */
import type { Ring } from "../../ConsoleFeed.js"

/** Samples per point, and points. Of samples that come once a second: 2 minutes, a quarter of an hour, an hour. */
const levels = [{ every: 1, size: 120 }, { every: 5, size: 180 }, { every: 30, size: 120 }] as const

class Level {
  private readonly means: Float64Array
  private readonly tops: Float64Array
  private written = 0
  private sum = 0
  private top = Number.NEGATIVE_INFINITY
  private known = 0
  private seen = 0

  constructor(readonly every: number, readonly size: number) {
    this.means = new Float64Array(size).fill(Number.NaN)
    this.tops = new Float64Array(size).fill(Number.NaN)
  }

  push(value: number) {
    if (Number.isFinite(value)) {
      this.sum += value
      this.known++
      if (value > this.top) this.top = value
    }
    if (++this.seen < this.every) return
    const at = this.written++ % this.size
    this.means[at] = this.known === 0 ? Number.NaN : this.sum / this.known
    this.tops[at] = this.known === 0 ? Number.NaN : this.top
    this.sum = this.known = this.seen = 0
    this.top = Number.NEGATIVE_INFINITY
  }

  points(): Ring["points"] {
    const length = Math.min(this.written, this.size)
    return Array.from({ length }, (_, index) => {
      const at = (this.written - length + index) % this.size
      return Number.isNaN(this.means[at]) ? null : [round(this.means[at]), round(this.tops[at])] as const
    })
  }
}

/** Three digits are more than a graph shows. */
export const round = (value: number): number => value === 0 ? 0 : Number(value.toPrecision(4))

export class History {
  private readonly levels = levels.map(({ every, size }) => new Level(every, size))
  /** The latest samples, newest last. */
  readonly latest: Array<number> = []

  /** `NaN` where nothing is known. */
  push(value: number) {
    for (const level of this.levels) level.push(value)
    this.latest.push(value)
    if (this.latest.length > 30) this.latest.shift()
  }

  rings(at: number, stepMillis: number): ReadonlyArray<Ring> {
    return this.levels.map((level) => ({ step: stepMillis * level.every, at, points: level.points() }))
  }
}

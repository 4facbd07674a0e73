/** Rates per second of counters, and whether they grow, by name, on a monotonic clock. */
import { round } from "./history.js"

interface Known {
  at: number
  count: number
  rate: number
  told: number
}

/** What differs by less from what was told last is told as before, so that a row does not change at every look. */
const noticeable = 0.1

/** No two readings are nearer to each other. */
const least = 500

/** Names that were not asked for in so long are forgotten. */
const forgetAfter = 60_000

export class Rates {
  private readonly known = new Map<string, Known>()
  private readonly windows = new Map<string, Array<{ readonly at: number; readonly count: number }>>()
  private swept = 0

  /** Since the reading before. */
  of(name: string, count: number): number {
    const now = performance.now()
    const before = this.known.get(name)
    if (before !== undefined && now - before.at < least) return before.rate
    if (now - this.swept > forgetAfter) {
      this.swept = now
      for (const [other, { at }] of this.known) if (now - at > forgetAfter) this.known.delete(other)
    }
    if (before === undefined) {
      this.known.set(name, { at: now, count, rate: 0, told: 0 })
      return 0
    }
    before.rate = round(Math.max(0, count - before.count) * 1000 / (now - before.at))
    before.at = now
    before.count = count
    return before.rate
  }

  /** `of`, for a row among many. */
  steady(name: string, count: number): number {
    const rate = this.of(name, count)
    const known = this.known.get(name)!
    if (Math.abs(rate - known.told) > noticeable * known.told) known.told = rate
    return known.told
  }

  /** Over the last ten seconds. */
  recent(name: string, count: number): number {
    const now = performance.now()
    const window = this.windows.get(name) ?? []
    this.windows.set(name, window)
    window.push({ at: now, count })
    while (window.length > 2 && now - window[1].at > 10_000) window.shift()
    const first = window[0]
    return now - first.at < least ? 0 : Math.max(0, count - first.count) * 1000 / Math.max(1000, now - first.at)
  }
}

/** How long a counter that has grown is spoken of. */
const recently = 60_000

/** Which counters have grown in the last minute; what a counter stood at when it was first seen is known, if it is not 0. */
export class Recent {
  private readonly known = new Map<string, { readonly count: number; readonly at: number }>()

  grew(name: string, count: number): boolean {
    const now = performance.now()
    const before = this.known.get(name)
    if (before === undefined || before.count !== count) {
      this.known.set(name, { count, at: count === 0 ? Number.NEGATIVE_INFINITY : now })
    }
    return count > 0 && now - this.known.get(name)!.at < recently
  }
}

/** Rates per second of counters, and whether they grow, by name, on a monotonic clock. */
import { round } from "./history.js"

interface Known {
  readonly at: number
  readonly count: number
  readonly rate: number
  readonly seen: number
}

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
    const rate = before === undefined ? 0 : round(Math.max(0, count - before.count) * 1000 / (now - before.at))
    this.known.set(name, { at: now, count, rate, seen: now })
    if (now - this.swept > forgetAfter) {
      this.swept = now
      for (const [other, { seen }] of this.known) if (now - seen > forgetAfter) this.known.delete(other)
    }
    return rate
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

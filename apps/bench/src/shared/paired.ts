/**
 * Whether one of two programs needs more processor time, told from short slices of the same work that they do in turns.
 *
 * A busy machine slows both alike as long as they are measured close to each other, so only the ratio of two neighbours counts.
 * Processes of one and the same program differ by some per cent for their whole life (layout of memory, what the compiler did
 * first): several pairs of processes, called forks here, are needed, and the interval comes from a bootstrap over both.
 */

/** Processor time of one slice each, in microseconds. */
export interface Pair {
  readonly old: number
  readonly new: number
}

export interface Comparison {
  /** The median of new / old: above 1, the new one needs more. */
  readonly ratio: number
  /** In 95 of 100 bootstrap samples the ratio lies from here … */
  readonly low: number
  /** … to here. */
  readonly high: number
  readonly pairs: number
  /** Microseconds of the old one for a slice, the median. */
  readonly old: number
}

export const median = (values: ReadonlyArray<number>): number => {
  if (values.length === 0) return Number.NaN
  const sorted = Float64Array.from(values).sort()
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Who comes when: old, new, new, old. Whatever changes evenly over time hits both alike. */
export const order = (slice: number): "old" | "new" => slice % 4 === 0 || slice % 4 === 3 ? "old" : "new"

/** Chance from a seed (mulberry32), so that the same slices have the same interval. */
const chance = (seed: number) => {
  let state = seed >>> 0
  return (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

const samples = 500

/** The pairs of each fork, compared. Forks are drawn first and then their pairs, since pairs of one fork are alike. */
export const compare = (forks: ReadonlyArray<ReadonlyArray<Pair>>): Comparison => {
  const ratios = forks.filter((fork) => fork.length > 0).map((fork) => fork.map((pair) => pair.new / pair.old))
  const next = chance(1)
  const draw = <A>(from: ReadonlyArray<A>): A => from[Math.floor(next() * from.length)]!
  const drawn = ratios.length === 0 ? [] : Array.from({ length: samples }, () =>
    median(
      Array.from(ratios, () => {
        const fork = draw(ratios)
        return Array.from(fork, () => draw(fork))
      }).flat()
    )).sort((a, b) => a - b)
  return {
    ratio: median(ratios.flat()),
    low: drawn[Math.floor(samples * 0.025)] ?? Number.NaN,
    high: drawn[Math.ceil(samples * 0.975) - 1] ?? Number.NaN,
    pairs: ratios.flat().length,
    old: median(forks.flat().map((pair) => pair.old))
  }
}

/** More than this is a loss: the share by which the new one may need more than the old one. */
export const tolerated = 0.05

/** Beyond what is tolerated, and not by chance: the whole interval is above 1. */
export const isLoss = ({ low, ratio }: Comparison, limit = tolerated): boolean => ratio > 1 + limit && low > 1

export const verdict = (comparison: Comparison): "slower" | "faster" | "no difference" | "within limits" => {
  if (isLoss(comparison)) return "slower"
  if (comparison.low > 1) return "within limits"
  return comparison.high < 1 ? "faster" : "no difference"
}

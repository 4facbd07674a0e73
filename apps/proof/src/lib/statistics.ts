/**
 * Whether something grows: the Mann-Kendall test, which asks only how often a later sample is above an earlier one, and the
 * Theil-Sen slope, the median of all slopes between two samples. Neither assumes a distribution, and single spikes do not
 * move them.
 */

export interface Sample {
  /** the x axis: rounds, or minutes */
  readonly at: number
  readonly value: number
}

export interface Trend {
  /** probability that so much growth comes about by chance, one-sided: small means that it grows */
  readonly probability: number
  /** growth for one unit of x */
  readonly slope: number
  /** samples that were compared */
  readonly samples: number
}

/** The upper tail of the normal distribution: Abramowitz and Stegun 7.1.26, with an error below 1.5e-7. */
const upperTail = (z: number): number => {
  const x = Math.abs(z) / Math.SQRT2
  const t = 1 / (1 + 0.3275911 * x)
  const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
  const tail = series * Math.exp(-x * x) / 2
  return z >= 0 ? tail : 1 - tail
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = Array.from(values).sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** How S scatters when nothing grows; groups of equal values scatter less. */
const varianceOf = (values: ReadonlyArray<number>): number => {
  const scatter = (n: number) => n * (n - 1) * (2 * n + 5)
  const groups = new Map<number, number>()
  for (const value of values) groups.set(value, (groups.get(value) ?? 0) + 1)
  let sum = scatter(values.length)
  for (const count of groups.values()) sum -= scatter(count)
  return sum / 18
}

/**
 * The trend of several series, which are compared within themselves only: a process that was started anew begins a series of
 * its own (the seasonal Kendall test).
 */
export const trend = (series: ReadonlyArray<ReadonlyArray<Sample>>): Trend => {
  let s = 0
  let variance = 0
  let samples = 0
  const slopes: Array<number> = []
  for (const one of series) {
    samples += one.length
    variance += varianceOf(one.map(({ value }) => value))
    for (let i = 0; i < one.length; i++) {
      for (let j = i + 1; j < one.length; j++) {
        const rise = one[j].value - one[i].value
        s += Math.sign(rise)
        if (one[j].at !== one[i].at) slopes.push(rise / (one[j].at - one[i].at))
      }
    }
  }
  const z = variance <= 0 ? 0 : (s - Math.sign(s)) / Math.sqrt(variance)
  return { probability: upperTail(z), slope: slopes.length === 0 ? 0 : median(slopes), samples }
}

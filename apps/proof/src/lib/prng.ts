/** Chance from a seed (mulberry32): the same seed asks the server for the same things. */
export interface Prng {
  readonly float: () => number
  /** an integer from 0 to `bound - 1` */
  readonly below: (bound: number) => number
  readonly pick: <A>(values: ReadonlyArray<A>) => A
}

export const make = (seed: number): Prng => {
  let state = seed >>> 0
  const float = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000
  }
  const below = (bound: number) => Math.floor(float() * bound)
  return { float, below, pick: (values) => values[below(values.length)] }
}

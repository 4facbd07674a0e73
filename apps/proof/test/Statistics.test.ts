import { assert, describe, it } from "@effect/vitest"
import * as Prng from "../src/lib/prng.js"
import { type Sample, trend } from "../src/lib/statistics.js"

const series = (count: number, value: (at: number) => number): ReadonlyArray<Sample> =>
  Array.from({ length: count }, (_, at) => ({ at, value: value(at) }))

const noise = (seed: number, width: number) => {
  const chance = Prng.make(seed)
  return () => (chance.float() - 0.5) * width
}

describe("trend", () => {
  it("finds a slope below the noise, and its size", () => {
    const wobble = noise(1, 40)
    const { probability, slope } = trend([series(100, (at) => 1_000 + at * 0.5 + wobble())])
    assert.isBelow(probability, 0.001)
    assert.closeTo(slope, 0.5, 0.15)
  })

  it("takes noise for noise: of 400 series without a slope about one in a thousand is doubted", () => {
    let doubted = 0
    for (let seed = 1; seed <= 400; seed++) {
      const wobble = noise(seed, 40)
      if (trend([series(40, () => 1_000 + wobble())]).probability < 0.001) doubted++
    }
    assert.isAtMost(doubted, 3)
  })

  it("is not moved by a spike, nor by what becomes less", () => {
    const wobble = noise(7, 10)
    assert.isAbove(trend([series(60, (at) => (at === 55 ? 90_000 : 1_000) + wobble())]).probability, 0.01)
    const less = trend([series(60, (at) => 1_000 - at * 3 + wobble())])
    assert.isAbove(less.probability, 0.99)
    assert.isBelow(less.slope, 0)
  })

  it("compares a process with itself only: a new one begins lower", () => {
    const wobble = noise(3, 4)
    const life = (from: number) => series(15, (at) => from + at + wobble())
    const { probability, samples } = trend([life(100), life(60), life(20)])
    assert.isBelow(probability, 0.001)
    assert.strictEqual(samples, 45)
  })

  it("says nothing of values that are all the same, or of none", () => {
    assert.closeTo(trend([series(50, () => 31)]).probability, 0.5, 1e-6)
    assert.deepInclude(trend([[]]), { slope: 0, samples: 0 })
  })
})

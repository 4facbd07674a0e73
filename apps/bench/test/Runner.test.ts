import { assert, describe, it } from "@effect/vitest"
import { parse, usual } from "../src/run/options.js"
import { svg } from "../src/run/plot.js"
import type { Pair } from "../src/shared/paired.js"
import { compare, isLoss, median, order, verdict } from "../src/shared/paired.js"

/** Chance that is the same in each run. */
const chance = (seed: number) => () => {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
  return seed / 2 ** 32
}

/**
 * Slices on a machine whose speed wanders, with a spike now and then that hits one side alone: `truth` is what the new one needs
 * more, and each pair of processes has its own luck.
 */
const noisy = (truth: number, seed: number): ReadonlyArray<ReadonlyArray<Pair>> => {
  const next = chance(seed)
  return Array.from({ length: 8 }, () => {
    const luck = 1 + (next() - 0.5) * 0.04
    return Array.from({ length: 30 }, (_, index) => {
      const speed = 100 * (1.5 + Math.sin(index / 5))
      const slice = () => speed * (1 + next() * 0.1) * (next() < 0.1 ? 3 : 1)
      return { old: slice(), new: slice() * truth * luck }
    })
  })
}

describe("what a comparison says", () => {
  it("the median of an even number of values is between the two in the middle", () => {
    assert.strictEqual(median([4, 1, 3, 2]), 2.5)
    assert.strictEqual(median([3, 1, 2]), 2)
    assert.isNaN(median([]))
  })

  it("slices alternate: what changes evenly hits both alike", () => {
    const slices = Array.from({ length: 8 }, (_, index) => order(index))
    assert.deepStrictEqual(slices, ["old", "new", "new", "old", "old", "new", "new", "old"])
    const places = (side: string) => slices.reduce((sum, at, index) => at === side ? sum + index : sum, 0)
    assert.strictEqual(places("old"), places("new"))
  })

  it("the same program is not called slower, on a machine that is anything but quiet", () => {
    for (let seed = 1; seed <= 4; seed++) {
      const result = compare(noisy(1, seed))
      assert.isFalse(isLoss(result), `seed ${seed}: ${JSON.stringify(result)}`)
      assert.closeTo(result.ratio, 1, 0.02, `seed ${seed}`)
    }
  })

  it("a tenth more is called slower, a tenth less faster", () => {
    for (let seed = 1; seed <= 4; seed++) {
      assert.strictEqual(verdict(compare(noisy(1.1, seed))), "slower", `seed ${seed}`)
      assert.strictEqual(verdict(compare(noisy(0.9, seed))), "faster", `seed ${seed}`)
    }
  })

  it("a loss within limits, or whose interval has 1 in it, is none", () => {
    const base = { pairs: 10, old: 1 }
    assert.strictEqual(verdict({ ...base, ratio: 1.04, low: 1.02, high: 1.06 }), "within limits")
    assert.strictEqual(verdict({ ...base, ratio: 1.2, low: 0.99, high: 1.5 }), "no difference")
    assert.strictEqual(verdict({ ...base, ratio: 1.06, low: 1.01, high: 1.1 }), "slower")
  })

  it("pairs of one pair of processes prove less than pairs of many", () => {
    const one = [Array.from({ length: 40 }, () => ({ old: 1, new: 1.1 }))]
    const two = [...one, Array.from({ length: 40 }, () => ({ old: 1, new: 0.95 }))]
    assert.isTrue(compare(one).low > 1)
    assert.isFalse(isLoss(compare(two)))
  })

  it("nothing measured is no verdict of slower", () => {
    assert.isFalse(isLoss(compare([])))
  })
})

describe("what the runner is asked for", () => {
  it("without a name the usual ones, with names these", () => {
    assert.deepStrictEqual(parse([]).benches, usual)
    assert.deepStrictEqual(parse(["sse", "--quick", "bus"]).benches, ["sse", "bus"])
    assert.isTrue(parse(["sse", "--quick", "bus"]).quick)
  })

  it("flags of one bench go to it", () => {
    assert.deepStrictEqual(parse(["bots", "--players", "5"]).rest, ["--players", "5"])
    assert.deepStrictEqual(parse(["sse", "churn", "100", "--json", "x"]), {
      ...parse(["sse"]),
      rest: ["churn", "100"],
      json: "x"
    })
    assert.deepStrictEqual(parse(["bots", "--help"]).rest, ["--help"])
    assert.isTrue(parse(["--help"]).help)
  })

  it("what nobody understands is refused, and named", () => {
    for (
      const [args, reason] of [
        [["buss"], /"buss": expected one of bus, fibers/],
        [["--players", "5"], /"--players": expected one of/],
        [["bus", "sse", "--players", "5"], /"--players": expected one of/],
        [["bots", "--players", "5", "--against", "x"], /with --against a bench has no flags/],
        [["--forks", "none"], /--forks: expected a number from 1, received "none"/],
        [["--pairs", "0"], /--pairs: expected a number from 1/],
        [["--against"], /argument missing|expected/i]
      ] as const
    ) {
      assert.throws(() => parse(args), reason)
    }
  })
})

it("the plot shows each contender, and no mark-up of theirs", () => {
  const text = svg("a machine", [
    { title: "a < b", contender: "x & y", value: 1, ratio: 1 },
    { title: "a < b", contender: "EventBus", value: 2, ratio: 2 }
  ])
  assert.include(text, "a &lt; b")
  assert.include(text, "x &amp; y")
  assert.include(text, "2.00, 2.00 x")
})

import { afterEach, assert, describe, it, vi } from "@effect/vitest"
import { Rates } from "../src/internal/console/rates.js"

const clock = vi.spyOn(performance, "now")

afterEach(() => clock.mockReset())

/** What is told of a counter that has grown by each of these, a second after the other. */
const told = (growth: ReadonlyArray<number>, how: "of" | "steady"): ReadonlyArray<number> => {
  const rates = new Rates()
  let count = 0
  return [0, ...growth].map((more, second) => {
    clock.mockReturnValue(1000 * second)
    count += more
    return rates[how]("one", count)
  })
}

describe("rates of the console", () => {
  it("are those since the reading before", () => {
    assert.deepStrictEqual(told([100, 105, 0, 0, 50], "of"), [0, 100, 105, 0, 0, 50])
  })

  it("in a table are told anew when they differ by more than a tenth from what was told last", () => {
    assert.deepStrictEqual(told([100, 105, 110, 112, 108, 100], "steady"), [0, 100, 100, 100, 112, 112, 100])
  })

  it("in a table end and begin at once", () => {
    assert.deepStrictEqual(told([100, 0, 0, 1, 0], "steady"), [0, 100, 0, 0, 1, 0])
  })

  it("do not creep away from what was told, a little at a time", () => {
    assert.deepStrictEqual(told([100, 104, 108, 112, 116, 120, 124], "steady"), [0, 100, 100, 100, 112, 112, 112, 124])
  })
})

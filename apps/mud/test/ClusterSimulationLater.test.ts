// The other half of `ClusterSimulation.test.ts`.
import { describe } from "@effect/vitest"
import { sized } from "../../../scripts/sized.js"
import { sameWorld, together } from "./support/sameWorld.js"

const first = 2_001
const seeds = sized(1_000, 2_000, 1)

describe("three nodes of one world, simulated", () => {
  for (let done = 0; done < seeds; done += together) {
    sameWorld(first + done, Math.min(together, seeds - done))
  }
})

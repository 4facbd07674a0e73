import { defineProject } from "vitest/config"

export default defineProject({
  test: { name: "examples", include: ["*.test.mjs"], testTimeout: 60_000, hookTimeout: 120_000 }
})

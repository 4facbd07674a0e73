import { defineConfig, mergeConfig } from "vitest/config"
import { project } from "../vitest.project.js"

export default mergeConfig(
  project("examples"),
  defineConfig({ test: { include: ["*.test.mjs"], testTimeout: 240_000, hookTimeout: 120_000 } })
)

import { defineConfig, mergeConfig } from "vitest/config"
import { project } from "../vitest.project.js"

export default mergeConfig(
  project("evidence"),
  defineConfig({ test: { include: ["*.test.mjs"], testTimeout: 60_000, hookTimeout: 120_000 } })
)

import { defineConfig, mergeConfig } from "vitest/config"
import { project } from "../vitest.project.js"

export default mergeConfig(
  project("packages"),
  defineConfig({ test: { include: ["*.test.mjs"], testTimeout: 300_000, hookTimeout: 120_000 } })
)

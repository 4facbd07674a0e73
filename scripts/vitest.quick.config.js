import { fileURLToPath } from "node:url"
import { defineConfig, mergeConfig } from "vitest/config"
import { project } from "./vitest.project.js"

/**
 * All tests as one project, whose files share processes and what they import: with a project for each package, and a process for
 * each file, half of the time is imports, and each project waits for the last file of the one before.
 */
export default mergeConfig(
  project("quick", ["packages/*/test/**/*.test.ts", "apps/*/test/**/*.test.ts", "scripts/*/*.test.mjs"]),
  defineConfig({
    root: fileURLToPath(new URL("..", import.meta.url)),
    test: {
      testNamePattern: /^(?!.*\(daily\))/,
      isolate: false,
      testTimeout: 60_000,
      hookTimeout: 120_000
    }
  })
)

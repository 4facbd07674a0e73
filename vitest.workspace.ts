import { defineWorkspace } from "vitest/config"

export default defineWorkspace([
  "packages/*/vitest.config.ts",
  "apps/*/vitest.config.ts",
  "scripts/evidence/vitest.config.js",
  "scripts/examples/vitest.config.js",
  "scripts/packages/vitest.config.js",
  "scripts/site/vitest.config.js"
])

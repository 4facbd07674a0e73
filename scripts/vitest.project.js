import { fileURLToPath } from "node:url"
import { defineProject } from "vitest/config"

const root = fileURLToPath(new URL("..", import.meta.url))

/**
 * One vitest project: package sources are resolved directly, so that a test never runs against a stale build.
 *
 * Tests whose processes share the processor with everything else may be tried once more: `retry` says how often.
 *
 * @param {string} name
 * @param {number} [retry]
 */
export const project = (name, retry = 0) =>
  defineProject({
    resolve: {
      alias: [
        { find: /^@holdfast\/([a-z]+)$/, replacement: `${root}packages/$1/src/index.ts` },
        { find: /^@holdfast\/([a-z]+)\/(.+)$/, replacement: `${root}packages/$1/src/$2.ts` }
      ]
    },
    test: {
      name,
      retry,
      include: ["test/**/*.test.ts"],
      // every test runs leak-checked
      setupFiles: [`${root}packages/testing/src/setup.ts`],
      testTimeout: 20_000,
      hookTimeout: 20_000
    }
  })

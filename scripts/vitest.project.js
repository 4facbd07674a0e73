import { fileURLToPath } from "node:url"
import { defineProject } from "vitest/config"

const root = fileURLToPath(new URL("..", import.meta.url))

/**
 * One vitest project: package sources are resolved directly, so that a test never runs against a stale build.
 *
 * @param {string} name
 */
export const project = (name, include = ["test/**/*.test.ts"]) =>
  defineProject({
    resolve: {
      alias: [
        { find: /^@holdfast\/([a-z]+)$/, replacement: `${root}packages/$1/src/index.ts` },
        { find: /^@holdfast\/([a-z]+)\/(.+)$/, replacement: `${root}packages/$1/src/$2.ts` }
      ]
    },
    test: {
      name,
      include,
      // every test runs leak-checked
      setupFiles: [`${root}packages/testing/src/setup.ts`],
      testTimeout: 20_000,
      hookTimeout: 20_000
    }
  })

// Runs the tests of core and node on other versions of Node.js: `node scripts/node-versions.mjs [major…]`, 22 and 24 unless
// told otherwise. What runs is what `tsc -b` has built last. Further arguments behind `--` are vitest's.
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { nodeBinary } from "./node-binary.mjs"
import { workers } from "./workers.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))
const separator = process.argv.indexOf("--")
const asked = process.argv.slice(2, separator === -1 ? undefined : separator)
const further = separator === -1 ? [] : process.argv.slice(separator + 1)

const say = (line) => process.stderr.write(`[holdfast] ${line}\n`)

const run = (command, argv, options) => {
  const { error, status } = spawnSync(command, argv, { stdio: "inherit", cwd: root, ...options })
  if (error) throw error
  return status ?? 1
}

const failed = []
for (const major of asked.length > 0 ? asked : ["22", "24"]) {
  const node = nodeBinary(major)
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs")
  say(`core and node on ${spawnSync(node, ["--version"], { encoding: "utf8" }).stdout.trim()}`)
  const argv = [vitest, "run", "--project", "core", "--project", "node", ...workers, ...further]
  if (run(node, argv) !== 0) failed.push(major)
}
if (failed.length > 0) {
  say(`failed on Node.js ${failed.join(" and ")}`)
  process.exitCode = 1
}

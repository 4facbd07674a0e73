/** Other versions of Node.js. Each one comes from npm, where it is a package with one binary, into .cache, and is kept there. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

/** The path of the binary. The package `node` fetches it by an install script; this is what that script fetches. */
export const nodeBinary = (major) => {
  const folder = join(root, ".cache", "node", major)
  const name = `node-${process.platform}-${process.arch}`
  const path = join(folder, "node_modules", name, "bin", "node")
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "package.json"), "{ \"private\": true }\n")
  const { error, status } = spawnSync("npm", ["install", "--no-audit", "--no-fund", `${name}@${major}`], {
    cwd: folder,
    stdio: ["ignore", 2, 2]
  })
  if (error) throw error
  if (status !== 0) throw new Error(`npm could not install ${name}@${major} (exit code ${status})`)
  return path
}

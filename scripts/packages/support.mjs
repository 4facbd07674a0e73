/** What the tests of packages as their users get them share. */
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))
export const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
export const catalog = Object.fromEntries(
  [...readFileSync(join(root, "pnpm-workspace.yaml"), "utf8").matchAll(/^ {2}"?([^":]+)"?: (\S+)$/gm)].map((
    [, name, version]
  ) => [name, version])
)
export const bin = (name) => join(root, "node_modules", ".bin", name)

/** They install from the registry, which a run without the flag may not reach. */
export const integration = process.env.HOLDFAST_REQUIRE_INTEGRATION === "1"
export const named = (suite) => integration ? suite : `${suite} (skipped: runs under HOLDFAST_REQUIRE_INTEGRATION=1)`

/** What a program prints; its error says what it printed instead. */
export const exec = (file, args, options) =>
  Effect.async((resume) => {
    const child = execFile(
      file,
      args,
      { maxBuffer: 64 * 1024 * 1024, ...options },
      (error, stdout, stderr) =>
        resume(error === null ? Effect.succeed(stdout) : Effect.fail(new Error(`${stdout}${stderr}`, { cause: error })))
    )
    return Effect.sync(() => child.kill())
  })

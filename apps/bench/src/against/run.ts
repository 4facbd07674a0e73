/** Two commits, compared: `npm run bench -- --against REV`. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join, resolve } from "node:path"
import type { Options } from "../run/options.js"
import type { Comparison } from "../shared/paired.js"
import { compare, isLoss, verdict } from "../shared/paired.js"
import { pairsOf } from "./forks.js"
import { workloads } from "./workloads.js"

export interface Compared extends Comparison {
  readonly workload: string
}

/** Runs a step of building the other commit; its output goes to stderr. */
const step = (folder: string, command: string, args: ReadonlyArray<string>) => {
  const { error, status } = spawnSync(command, args, {
    cwd: folder,
    stdio: ["ignore", 2, 2],
    env: { ...process.env, CI: "true" }
  })
  if (error !== undefined || status !== 0) {
    throw new Error(`${command} ${args.join(" ")} in ${folder}: ${error?.message ?? `exit code ${status}`}`)
  }
}

/** The folder of a revision, built: a work tree under `.cache`, which stays for the next time. */
export const folderOf = (root: string, revision: string): string => {
  const packagesIn = (folder: string) => join(folder, "packages", "core", "dist", "EventBus.js")
  if (existsSync(packagesIn(resolve(root, revision)))) return resolve(root, revision)
  const { status, stdout } = spawnSync("git", ["rev-parse", "--verify", `${revision}^{commit}`], {
    cwd: root,
    encoding: "utf8"
  })
  if (status !== 0) {
    throw new Error(`--against ${revision}: expected a revision of this repository, or a folder that is built`)
  }
  const commit = stdout.trim()
  const folder = join(root, ".cache", "against", commit.slice(0, 12))
  const built = join(folder, "packages", "node", "dist", "NodeServer.js")
  if (existsSync(built)) return folder
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(root, ".cache", "against"), { recursive: true })
  step(root, "git", ["worktree", "prune"])
  step(root, "git", ["worktree", "add", "--detach", folder, commit])
  const { packageManager } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    packageManager: string
  }
  step(folder, "npx", ["--yes", packageManager, "install", "--frozen-lockfile", "--prefer-offline"])
  const projects = readdirSync(join(folder, "packages")).map((name) => `packages/${name}/tsconfig.src.json`)
  step(folder, join(folder, "node_modules", ".bin", "tsc"), ["-b", ...projects])
  return folder
}

/** Short, so that two neighbours meet the same machine. Processor time. */
const sliceMillis = 5

const cell = (value: number) => value.toFixed(3)

/** Compares, prints a row for each workload, and says how many are losses. */
export const against = async (root: string, options: Options): Promise<ReadonlyArray<Compared>> => {
  const old = folderOf(root, options.against!)
  const names = Object.keys(workloads).filter((name) =>
    options.benches.some((bench) => name.startsWith(`${bench}:`)) && name.includes(options.only)
  )
  if (names.length === 0) {
    throw new Error(`--only "${options.only}": expected a part of one of ${Object.keys(workloads).join("; ")}`)
  }
  const results: Array<Compared> = []
  process.stdout.write(
    `processor time of this commit / ${options.against}, ${options.forks} pairs of processes, ${options.pairs} pairs of slices each\n`
  )
  for (const workload of names) {
    const plan = { workload, old, new: root, pairs: options.pairs, sliceMillis }
    const forks = []
    for (let index = 0; index < options.forks; index++) forks.push(await pairsOf(plan, index))
    const result = { workload, ...compare(forks) }
    results.push(result)
    process.stdout.write(
      `  ${workload.padEnd(42)}${cell(result.ratio).padStart(7)} x  [${cell(result.low)}, ${cell(result.high)}]  ${
        verdict(result).padEnd(14)
      }${result.old.toFixed(2).padStart(10)} us before\n`
    )
  }
  const losses = results.filter((result) => isLoss(result))
  process.stdout.write(`${losses.length} of ${results.length} need more than 5 % more, and not by chance\n`)
  return results
}

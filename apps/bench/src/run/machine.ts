/** Where the figures come from: figures of two machines, or of two versions, are not compared. */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { availableParallelism, cpus, loadavg, release, totalmem, type } from "node:os"

const manifestOf = (path: string): string =>
  (JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8")) as { readonly version: string }).version

export interface Machine {
  readonly processor: string
  readonly processors: number
  readonly memoryGiB: number
  readonly system: string
  /** Of the last minute, when the run began: above the number of processors, only ratios mean something. */
  readonly load: number
  readonly node: string
  readonly effect: string
  readonly commit: string
}

export const machine = (): Machine => ({
  processor: cpus()[0]?.model.trim() ?? "unknown",
  processors: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  system: `${type()} ${release()}`,
  load: loadavg()[0]!,
  node: process.version,
  effect: manifestOf("../../node_modules/effect/package.json"),
  commit: spawnSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8" }).stdout?.trim() || "unknown"
})

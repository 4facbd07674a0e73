/** Two processes that stay, one for each commit, and the slices that they do in turns. */
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { cpuMicros } from "../shared/measure.js"
import type { Pair } from "../shared/paired.js"
import { order } from "../shared/paired.js"
import { driverOf } from "./drivers.js"

export interface Plan {
  readonly workload: string
  /** Folders of the two commits, built. */
  readonly old: string
  readonly new: string
  /** Pairs of slices, an even number. */
  readonly pairs: number
  /** Processor time of a slice. */
  readonly sliceMillis: number
}

interface Side {
  /** Microseconds of processor time for so many operations. */
  readonly slice: (operations: number) => Promise<number>
  readonly stop: () => Promise<void>
}

/**
 * What the two must have alike. Without it processes of one and the same commit differed by 10 to 30 %: on cores of their own, whose
 * other half somebody else uses, and with threads for compiler and garbage collection, which come late when the machine is
 * busy. With it a pair of processes differs by 2 to 5 %, and the median of eight pairs by 1 to 2 %.
 */
const alike = (index: number): ReadonlyArray<string> => [
  "--single-threaded",
  `--hash-seed=${index + 1}`,
  `--random-seed=${index + 1}`,
  "--min-semi-space-size=16",
  "--max-semi-space-size=16"
]

/** Both on one core, where the machine can do that. */
const pinned = (index: number): ReadonlyArray<string> =>
  existsSync("/usr/bin/taskset") ? ["/usr/bin/taskset", "-c", String(index % availableParallelism())] : []

const worker = fileURLToPath(new URL("./worker.js", import.meta.url))

const begin = async (folder: string, workload: string, index: number): Promise<Side> => {
  const [command, ...args] = [...pinned(index), process.execPath, ...alike(index), worker, folder, workload]
  const child = spawn(command!, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] })
  const next = () =>
    new Promise<{ readonly port?: number; readonly micros: number }>((resolve, reject) => {
      const gone = (code: number | null) => reject(new Error(`${workload} in ${folder} ended with ${code}`))
      child.once("exit", gone)
      child.once("message", (message) => {
        child.off("exit", gone)
        resolve(message as { readonly port?: number; readonly micros: number })
      })
    })
  const ask = (operations: number) => {
    const answer = next()
    child.send(operations)
    return answer
  }
  const { port } = await next()
  const driver = port === undefined ? undefined : await driverOf(workload)?.(port)
  return {
    slice: async (operations) => {
      if (driver === undefined) return (await ask(operations)).micros
      const since = cpuMicros(child.pid!)
      await driver.run(operations, ask)
      return cpuMicros(child.pid!) - since
    },
    stop: async () => {
      driver?.close()
      const gone = new Promise((resolve) => child.once("exit", resolve))
      if (child.connected) child.disconnect()
      const impatient = setTimeout(() => child.kill("SIGKILL"), 3000)
      await gone
      clearTimeout(impatient)
    }
  }
}

/** A second of work, after which the compiler has done its part. */
const warmMillis = 1000

/**
 * Operations that take about a slice once the compiler has done its part. Asked in a process of its own: what the compiler makes of
 * a program depends on how it was called at first, so the processes that are compared must be called alike.
 */
export const calibrate = async ({ old, sliceMillis, workload }: Plan): Promise<number> => {
  const side = await begin(old, workload, 0)
  try {
    let operations = 1
    let millis = 0
    for (let warm = 0; millis < sliceMillis / 2 || warm < warmMillis; warm += millis) {
      if (millis < sliceMillis / 2) operations *= 2
      millis = await side.slice(operations) / 1000
    }
    return Math.max(1, Math.round(operations * sliceMillis / millis))
  } finally {
    await side.stop()
  }
}

/** The pairs of one fork. Which of the two starts first changes with the fork, and so does the size of a slice, a little. */
export const pairsOf = async (plan: Plan, operationsAbout: number, index: number): Promise<ReadonlyArray<Pair>> => {
  const operations = Math.max(1, Math.round(operationsAbout * (0.85 + 0.1 * (index % 4))))
  const first = index % 2 === 0 ? "old" : "new"
  const one = await begin(plan[first], plan.workload, index)
  const other = await begin(plan[first === "old" ? "new" : "old"], plan.workload, index)
  const sides = first === "old" ? { old: one, new: other } : { old: other, new: one }
  const warm = 2 * Math.ceil(warmMillis / plan.sliceMillis / 2)
  try {
    const taken = { old: [] as Array<number>, new: [] as Array<number> }
    for (let slice = 0; slice < (warm + plan.pairs) * 2; slice++) {
      const side = order(slice)
      const micros = await sides[side].slice(operations)
      if (slice >= warm * 2) taken[side].push(micros)
    }
    return taken.old.map((micros, pair) => ({ old: micros / operations, new: taken.new[pair]! / operations }))
  } finally {
    await sides.old.stop()
    await sides.new.stop()
  }
}

/**
 * The slices that two commits do in turns: in one process, or, for servers, whose processor time must be theirs alone, in a process
 * for each.
 */
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

interface Answer {
  readonly port?: number
  readonly micros: number
  readonly pairs: ReadonlyArray<Pair>
}

/** No helper threads, which come late when the machine is busy, and a heap that does not change its size. */
const flags = (index: number): ReadonlyArray<string> => [
  "--single-threaded",
  `--hash-seed=${index + 1}`,
  `--random-seed=${index + 1}`,
  "--min-semi-space-size=16",
  "--max-semi-space-size=16"
]

/** On one core, where the machine can do that. */
const pinned = (index: number): ReadonlyArray<string> =>
  existsSync("/usr/bin/taskset") ? ["/usr/bin/taskset", "-c", String(index % availableParallelism())] : []

const module = fileURLToPath(new URL("./worker.js", import.meta.url))

/** A worker that has said that it is ready. */
const begin = async (index: number, workload: string, ...folders: ReadonlyArray<string>) => {
  const [command, ...args] = [...pinned(index), process.execPath, ...flags(index), module, workload, ...folders]
  const child = spawn(command!, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] })
  const next = () =>
    new Promise<Answer>((resolve, reject) => {
      const gone = (code: number | null) => reject(new Error(`${workload} in ${folders.join(", ")} ended with ${code}`))
      child.once("exit", gone)
      child.once("message", (message) => {
        child.off("exit", gone)
        resolve(message as Answer)
      })
    })
  const { port } = await next()
  return {
    pid: child.pid!,
    port,
    ask: (order: object) => {
      const answer = next()
      child.send(order)
      return answer
    },
    stop: async () => {
      const gone = new Promise((resolve) => child.once("exit", resolve))
      if (child.connected) child.disconnect()
      const impatient = setTimeout(() => child.kill("SIGKILL"), 3000)
      await gone
      clearTimeout(impatient)
    }
  }
}

/** A server and its clients. */
const served = async (index: number, workload: string, folder: string) => {
  const worker = await begin(index, workload, folder)
  const driver = await driverOf(workload)!(worker.port!)
  return {
    slice: async (operations: number): Promise<number> => {
      const since = cpuMicros(worker.pid)
      await driver.run(operations, (count) => worker.ask({ operations: count }))
      return cpuMicros(worker.pid) - since
    },
    stop: () => {
      driver.close()
      return worker.stop()
    }
  }
}

/** Both warm up alike, in turns, until a second has gone into each. */
const ofServers = async ({ new: newer, old, pairs, sliceMillis, workload }: Plan, index: number) => {
  const sides = { old: await served(index, workload, old), new: await served(index, workload, newer) }
  try {
    let operations = 1
    let last = 0
    for (let millis = 0; millis < 1000; millis += last) {
      if (last < sliceMillis / 2) operations *= 2
      last = await sides.old.slice(operations) / 1000
      await sides.new.slice(operations)
    }
    operations = Math.max(1, Math.round(operations * sliceMillis / last))
    const taken = { old: [] as Array<number>, new: [] as Array<number> }
    for (let slice = 0; slice < pairs * 2; slice++) {
      const side = order(slice)
      taken[side].push(await sides[side].slice(operations) / operations)
    }
    return taken.old.map((micros, pair) => ({ old: micros, new: taken.new[pair]! }))
  } finally {
    await sides.old.stop()
    await sides.new.stop()
  }
}

/** The pairs of one fork. */
export const pairsOf = async (plan: Plan, index: number): Promise<ReadonlyArray<Pair>> => {
  if (driverOf(plan.workload) !== undefined) return ofServers(plan, index)
  const worker = await begin(index, plan.workload, plan.old, plan.new)
  try {
    return (await worker.ask({ pairs: plan.pairs, sliceMillis: plan.sliceMillis })).pairs
  } finally {
    await worker.stop()
  }
}

/**
 * `node worker.js WORKLOAD FOLDER`: one commit under one workload that another process drives; told over IPC how many operations to
 * run. `node worker.js WORKLOAD OLD NEW`: two commits in one process, which do their slices in turns; told how many pairs.
 *
 * In one process they have the same core, the same heap and the same moment: two processes of one and the same commit differ
 * by 5 to 50 % on a busy machine, two copies in one process by 1 to 7 %.
 */
import type { Pair } from "../shared/paired.js"
import { order } from "../shared/paired.js"
import type { Workload } from "./workloads.js"
import { Commit, workloads } from "./workloads.js"

const [name, ...folders] = process.argv.slice(2) as [string, string, ...Array<string>]
const sides: Array<Workload> = []
for (const folder of folders) sides.push(await workloads[name]!(new Commit(folder)))

const microsOf = async (side: Workload, operations: number): Promise<number> => {
  const since = process.cpuUsage()
  await side.run(operations)
  const { system, user } = process.cpuUsage(since)
  return system + user
}

/** Both warm up alike, in turns; the operations of a slice are those that the old one needs its time for. */
const calibrated = async (sliceMillis: number, warmMillis: number): Promise<number> => {
  let operations = 1
  let last = 0
  for (let millis = 0; millis < warmMillis; millis += last) {
    if (last < sliceMillis / 2) operations *= 2
    last = await microsOf(sides[0]!, operations) / 1000
    await microsOf(sides[1]!, operations)
  }
  return Math.max(1, Math.round(operations * sliceMillis / last))
}

const pairsOf = async (count: number, sliceMillis: number): Promise<ReadonlyArray<Pair>> => {
  const operations = await calibrated(sliceMillis, 1000)
  const taken = { old: [] as Array<number>, new: [] as Array<number> }
  for (let slice = 0; slice < count * 2; slice++) {
    const side = order(slice)
    taken[side].push(await microsOf(sides[side === "old" ? 0 : 1]!, operations) / operations)
  }
  return taken.old.map((old, pair) => ({ old, new: taken.new[pair]! }))
}

type Order = { readonly operations: number } | { readonly pairs: number; readonly sliceMillis: number }

process.on("message", async (order: Order) => {
  process.send!(
    "pairs" in order
      ? { pairs: await pairsOf(order.pairs, order.sliceMillis) }
      : { micros: await microsOf(sides[0]!, order.operations) }
  )
})
process.on("disconnect", () => {
  for (const side of sides) side.close?.()
  process.exit(0)
})
process.send!({ port: sides[0]!.port })

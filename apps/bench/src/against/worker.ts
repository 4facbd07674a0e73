/**
 * One commit under one workload, in a process that stays: `node worker.js FOLDER WORKLOAD`. Told over IPC how many operations
 * to run, it answers what they took of its own processor time.
 */
import { Commit, workloads } from "./workloads.js"

const [folder, name] = process.argv.slice(2) as [string, string]
const workload = await workloads[name]!(new Commit(folder))

process.on("message", async (operations: number) => {
  const since = process.cpuUsage()
  await workload.run(operations)
  const { system, user } = process.cpuUsage(since)
  process.send!({ micros: system + user })
})
process.on("disconnect", () => {
  workload.close?.()
  process.exit(0)
})
process.send!({ port: workload.port })

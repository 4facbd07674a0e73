/**
 * What the console costs an application with many event streams: without one, with one that nobody looks at, and with one
 * viewer, in turns. Processor time as the operating system counts it, in per cent of one core.
 *
 * `npm run bench console` takes five minutes.
 */
import { type ChildProcess, fork } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { cpuMicros, quick, reportRounds, start } from "./shared/measure.js"
import { median } from "./shared/paired.js"

const sessions = quick ? 300 : 1000
const seconds = quick ? 4 : 16
const rounds = quick ? 2 : 4

const answer = (child: ChildProcess, order?: object) =>
  new Promise<unknown>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the readers ended with ${code}`)))
    child.once("message", resolve)
    if (order !== undefined) child.send(order)
  })

const server = async (name: string) => {
  const child = await start(new URL("./console/server.js", import.meta.url), name)
  const readers = fork(fileURLToPath(new URL("./sessions/client.js", import.meta.url)))
  await answer(readers)
  await answer(readers, { _tag: "Connect", port: child.port, count: sessions })
  return { child, readers }
}

interface Figure {
  readonly all: number
  readonly user: number
}

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

/** Time outside of the kernel, of all threads, in microseconds; the kernel counts it in hundredths of a second. */
const userMicros = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[11]) * 10_000
}

/**
 * Per cent of a core, in all and outside of the kernel. Ten thousand writes a second take time in the kernel that differs from
 * one window to the next by more than a viewer takes, who causes one write a second.
 */
const measure = async (pid: number) => {
  const before = { all: cpuMicros(pid), user: userMicros(pid) }
  const from = performance.now()
  await pause(seconds * 1000)
  const elapsed = performance.now() - from
  return {
    all: (cpuMicros(pid) - before.all) / elapsed / 10,
    user: (userMicros(pid) - before.user) / elapsed / 10
  }
}

const between = (before: Figure, after: Figure): Figure => ({
  all: (before.all + after.all) / 2,
  user: (before.user + after.user) / 2
})

/** Reads the feed as the page does, and counts it. */
const look = async (port: number) => {
  const abort = new AbortController()
  const response = await fetch(`http://127.0.0.1:${port}/console/feed`, {
    headers: { authorization: "Bearer a-token-for-the-operator" },
    signal: abort.signal
  })
  let bytes = 0
  const reading = (async () => {
    for await (const chunk of response.body!) bytes += chunk.byteLength
  })().catch(() => {})
  return {
    bytes: () => bytes,
    leave: async () => {
      abort.abort()
      await reading
    }
  }
}

const without = await server("without")
const withIt = await server("with")
await pause(quick ? 2000 : 10_000)
const found: Record<"without a console" | "with one, no viewer" | "with one viewer", Array<number>> = {
  "without a console": [],
  "with one, no viewer": [],
  "with one viewer": []
}
const cost: Array<number> = []
const costInAll: Array<number> = []
const rates: Array<number> = []
if (!quick) {
  // What a viewer makes the server run is compiled in the first half minute, by other threads, at up to twice the cost.
  const first = await look(withIt.child.port)
  await pause(45_000)
  await first.leave()
}
let before = await measure(withIt.child.pid)
for (let round = 0; round < rounds; round++) {
  found["without a console"].push((await measure(without.child.pid)).user)
  const viewer = await look(withIt.child.port)
  // The first picture is not what it costs to go on looking.
  await pause(quick ? 1500 : 4000)
  const bytes = viewer.bytes()
  const looked = await measure(withIt.child.pid)
  rates.push((viewer.bytes() - bytes) / seconds / 1024)
  await viewer.leave()
  await pause(500)
  const after = await measure(withIt.child.pid)
  // The rest of it drifts, as it is compiled further: what was before and what came after count the same.
  const alone = between(before, after)
  before = after
  found["with one, no viewer"].push(alone.user)
  found["with one viewer"].push(looked.user)
  cost.push(looked.user - alone.user)
  costInAll.push(looked.all - alone.all)
  process.stdout.write(
    `  round ${round + 1}: ${alone.user.toFixed(2)} % alone, ${
      looked.user.toFixed(2)
    } % with one viewer; with the kernel's ${alone.all.toFixed(2)} and ${looked.all.toFixed(2)} %\n`
  )
}
reportRounds(
  `${sessions} sessions, 10 events a second, per cent of a core outside of the kernel`,
  new Map(Object.entries(found))
)
process.stdout.write(
  `\none viewer costs ${median(cost).toFixed(2)} % of a core (${
    cost.map((one) => one.toFixed(2)).join(", ")
  }; with the kernel's time ${median(costInAll).toFixed(2)}: ${
    costInAll.map((one) => one.toFixed(2)).join(", ")
  }), and reads ${median(rates).toFixed(0)} KiB a second\n`
)
for (const { child, readers } of [without, withIt]) {
  readers.kill()
  await child.stop()
}
process.exit(0)

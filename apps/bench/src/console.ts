/**
 * What the console costs an application with many event streams: without one, with one that nobody looks at, and with one
 * viewer, in turns. Processor time as the operating system counts it, in per cent of one core.
 *
 * `npm run bench console` takes a minute and a half.
 */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { cpuMicros, quick, reportRounds, start } from "./shared/measure.js"
import { median } from "./shared/paired.js"

const sessions = quick ? 300 : 1000
const seconds = quick ? 4 : 6
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

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

/** Per cent of a core. */
const measure = async (pid: number) => {
  const before = cpuMicros(pid)
  const from = performance.now()
  await pause(seconds * 1000)
  return (cpuMicros(pid) - before) / (performance.now() - from) / 10
}

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
await pause(2000)
const found: Record<"without a console" | "with one, no viewer" | "with one viewer", Array<number>> = {
  "without a console": [],
  "with one, no viewer": [],
  "with one viewer": []
}
const cost: Array<number> = []
const rates: Array<number> = []
for (let round = 0; round < rounds; round++) {
  found["without a console"].push(await measure(without.child.pid))
  const alone = await measure(withIt.child.pid)
  const viewer = await look(withIt.child.port)
  // The first picture is not what it costs to go on looking.
  await pause(1500)
  const before = viewer.bytes()
  const looked = await measure(withIt.child.pid)
  rates.push((viewer.bytes() - before) / seconds / 1024)
  await viewer.leave()
  found["with one, no viewer"].push(alone)
  found["with one viewer"].push(looked)
  cost.push(looked - alone)
  process.stdout.write(`  round ${round + 1}: ${alone.toFixed(2)} % alone, ${looked.toFixed(2)} % with one viewer\n`)
  await pause(500)
}
reportRounds(`${sessions} sessions, 10 events a second, per cent of a core`, new Map(Object.entries(found)))
process.stdout.write(
  `\none viewer costs ${median(cost).toFixed(2)} % of a core (${
    cost.map((one) => one.toFixed(2)).join(", ")
  }), and reads ${median(rates).toFixed(0)} KiB a second\n`
)
for (const { child, readers } of [without, withIt]) {
  readers.kill()
  await child.stop()
}
process.exit(0)

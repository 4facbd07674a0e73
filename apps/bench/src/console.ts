/**
 * What the console costs an application with many event streams: without one, with one that nobody looks at, with one viewer of
 * its first page, and with one who has the largest section open, in turns. Processor time as the operating system counts it, in
 * per cent of one core.
 *
 * `npm run bench console` takes seven minutes.
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

const headers = { authorization: "Bearer a-token-for-the-operator" }

/** Reads the feed as the page does, with that section open, and counts it. */
const look = async (port: number, section?: string) => {
  const abort = new AbortController()
  const base = `http://127.0.0.1:${port}/console`
  const response = await fetch(`${base}/feed`, { headers, signal: abort.signal })
  const open = async () => {
    if (section !== undefined) await fetch(`${base}/watch/${section}`, { method: "POST", headers })
  }
  await open()
  const again = setInterval(open, 30_000)
  let bytes = 0
  const reading = (async () => {
    for await (const chunk of response.body!) bytes += chunk.byteLength
  })().catch(() => {})
  return {
    bytes: () => bytes,
    leave: async () => {
      clearInterval(again)
      abort.abort()
      await reading
    }
  }
}

const without = await server("without")
const withIt = await server("with")
await pause(quick ? 2000 : 10_000)
const views = { "a viewer of the first page": undefined, "a viewer of all sessions": "sessions" }
const found = new Map<string, Array<number>>()
const costs = new Map<
  string,
  { readonly user: Array<number>; readonly all: Array<number>; readonly rate: Array<number> }
>()
const add = (name: string, value: number) => {
  const values = found.get(name) ?? []
  found.set(name, values)
  values.push(value)
}
if (!quick) {
  // What a viewer makes the server run is compiled in the first half minute, by other threads, at up to twice the cost.
  const first = await look(withIt.child.port, "sessions")
  await pause(45_000)
  await first.leave()
  // what was open counts as open for a while
  await pause(45_000)
}
let before = await measure(withIt.child.pid)
for (let round = 0; round < rounds; round++) {
  add("without a console", (await measure(without.child.pid)).user)
  for (const [name, section] of Object.entries(views)) {
    const viewer = await look(withIt.child.port, section)
    // The first picture is not what it costs to go on looking.
    await pause(quick ? 1500 : 4000)
    const bytes = viewer.bytes()
    const looked = await measure(withIt.child.pid)
    const rate = (viewer.bytes() - bytes) / seconds / 1024
    await viewer.leave()
    await pause(500)
    const after = await measure(withIt.child.pid)
    // The rest of it drifts, as it is compiled further: what was before and what came after count the same.
    const alone = between(before, after)
    before = after
    if (section === undefined) add("with one, no viewer", alone.user)
    add(`with ${name}`, looked.user)
    const cost = costs.get(name) ?? { user: [], all: [], rate: [] }
    costs.set(name, cost)
    cost.user.push(looked.user - alone.user)
    cost.all.push(looked.all - alone.all)
    cost.rate.push(rate)
    process.stdout.write(
      `  round ${round + 1}, ${name}: ${alone.user.toFixed(2)} % alone, ${
        looked.user.toFixed(2)
      } % with; with the kernel's ${alone.all.toFixed(2)} and ${looked.all.toFixed(2)} %\n`
    )
  }
}
reportRounds(
  `${sessions} sessions, 10 events a second, per cent of a core outside of the kernel`,
  found
)
const list = (values: ReadonlyArray<number>) => values.map((one) => one.toFixed(2)).join(", ")
for (const [name, { all, rate, user }] of costs) {
  process.stdout.write(
    `\n${name} costs ${median(user).toFixed(2)} % of a core (${list(user)}; with the kernel's time ${
      median(all).toFixed(2)
    }: ${list(all)}), and reads ${median(rate).toFixed(0)} KiB a second\n`
  )
}
for (const { child, readers } of [without, withIt]) {
  readers.kill()
  await child.stop()
}
process.exit(0)

/**
 * Server-sent events to many connections: CPU per delivery, heap per idle session, stalled readers, churn and drain.
 *
 * Each server runs in a process of its own and measures its own CPU; the readers run in another. All servers of one run
 * get the same events at the same pace, so the ratios compare, the microseconds do not travel.
 *
 * `npm run bench sse` takes half a minute. `npm run bench sse churn 100000` and `npm run bench sse drain 10000` measure one
 * of the last two lines alone, at another size.
 */
import type { ChildProcess } from "node:child_process"
import { ask, next, startClient, startServer } from "./sessions/processes.js"
import { quick, report } from "./shared/measure.js"

const [only, size] = process.argv.slice(2)
const connections = quick ? 300 : 1000
const some = (bursts: number) => quick ? Math.ceil(bursts / 3) : bursts
const out = (line = "") => process.stdout.write(`${line}\n`)

interface Row {
  readonly name: string
  readonly burst1: number
  readonly burst16: number
  readonly heap: number
  readonly p99: number
  readonly p99Stalled: number
}

/** Microseconds of the server's CPU per delivered event. */
const perDelivery = async (
  server: ChildProcess,
  client: ChildProcess,
  bursts: number,
  size: number,
  readers: number
) => {
  const deliveries = bursts * size * readers
  await ask(client, { _tag: "Expect", events: deliveries, sample: size === 1 })
  const done = next(client)
  server.send({ _tag: "Publish", bursts, size, pause: 25 })
  const { p99 } = await done
  const { cpu } = await ask(server, { _tag: "Stats" })
  return { cpu: cpu / deliveries, p99 }
}

const measure = async (name: string): Promise<Row> => {
  const { port, process: server } = await startServer(name)
  const client = await startClient()
  // one session more than measured, so that what is made once is there before
  await ask(client, { _tag: "Connect", port, count: 50 })
  const empty = await ask(server, { _tag: "Heap" })
  await ask(client, { _tag: "Connect", port, count: connections - 50 })
  const idle = await ask(server, { _tag: "Heap" })
  // warm up
  await perDelivery(server, client, some(20), 1, connections)
  await perDelivery(server, client, some(5), 16, connections)
  const one = await perDelivery(server, client, some(name === "naive" ? 20 : 60), 1, connections)
  const sixteen = await perDelivery(server, client, some(name === "naive" ? 5 : 40), 16, connections)
  let p99Stalled = Number.NaN
  if (name === "holdfast") {
    await ask(client, { _tag: "Connect", port, count: 2, stalled: 2 })
    // enough to fill what the kernel holds for them, so that they really stall
    await perDelivery(server, client, 60, 16, connections)
    p99Stalled = (await perDelivery(server, client, some(60), 1, connections)).p99
  }
  await ask(client, { _tag: "Leave" })
  client.kill()
  server.send({ _tag: "Stop" })
  await new Promise((resolve) => server.once("exit", resolve))
  return {
    name,
    burst1: one.cpu,
    burst16: sixteen.cpu,
    heap: (idle.heap + idle.external - empty.heap - empty.external) / (connections - 50),
    p99: one.p99,
    p99Stalled
  }
}

const compare = async () => {
  const names = ["raw", "raw-buffer", "holdfast", "holdfast-portable", "better-sse", "naive"]
  const rows: Array<Row> = []
  out(`${connections} connections, CPU of the server per delivered event, ratios to the better raw loop`)
  for (const name of names) {
    rows.push(await measure(name))
  }
  const raw1 = Math.min(rows[0].burst1, rows[1].burst1)
  const raw16 = Math.min(rows[0].burst16, rows[1].burst16)
  const tables = [
    ["events one by one, us of CPU per delivery", ({ burst1 }: Row) => burst1, raw1],
    ["bursts of 16 events, us of CPU per delivery", ({ burst16 }: Row) => burst16, raw16],
    ["an idle session, KiB of heap", ({ heap }: Row) => heap / 1024, rows[0].heap / 1024],
    ["events one by one, p99 in ms", ({ p99 }: Row) => p99, rows[0].p99]
  ] as const
  for (const [title, value, base] of tables) {
    out(`\n${title}`)
    for (const row of rows) report({ title, contender: row.name, value: value(row), ratio: value(row) / base })
  }
  const hub = rows.find((row) => row.name === "holdfast")!
  out()
  out(
    `two stalled readers among ${connections}: p99 of the others ${hub.p99Stalled.toFixed(1)} ms, without ${
      hub.p99.toFixed(1)
    } ms`
  )
}

const churn = async (cycles: number) => {
  const { port, process: server } = await startServer("holdfast")
  const client = await startClient()
  await ask(client, { _tag: "Churn", port, cycles: 2000, parallel: 100 })
  await new Promise((resolve) => setTimeout(resolve, 300))
  const before = await ask(server, { _tag: "Heap" })
  const began = performance.now()
  await ask(client, { _tag: "Churn", port, cycles, parallel: 100 })
  const seconds = (performance.now() - began) / 1000
  await new Promise((resolve) => setTimeout(resolve, 500))
  const after = await ask(server, { _tag: "Heap" })
  const { hub } = await ask(server, { _tag: "Stats" })
  out(
    `${cycles} connections that came and went in ${seconds.toFixed(1)} s: ${hub.open} sessions open, ` +
      `heap ${((after.heap - before.heap) / 1024).toFixed(0)} KiB more, ${after.handles - before.handles} handles more`
  )
  client.kill()
  server.send({ _tag: "Stop" })
  await new Promise((resolve) => server.once("exit", resolve))
}

const drain = async (count: number) => {
  const { port, process: server } = await startServer("holdfast")
  const client = await startClient()
  await ask(client, { _tag: "Connect", port, count })
  const began = performance.now()
  const closed = ask(client, { _tag: "AwaitClosed" })
  server.send({ _tag: "Drain" })
  const { farewells } = await closed
  const seconds = (performance.now() - began) / 1000
  out(`drain of ${count} sessions: ${farewells} farewells, all closed after ${seconds.toFixed(2)} s`)
  client.kill()
  server.send({ _tag: "Stop" })
  await new Promise((resolve) => server.once("exit", resolve))
}

if (only === undefined) {
  await compare()
}
if (only !== "drain") {
  await churn(Number(size ?? (quick ? 1000 : 4000)))
}
if (only !== "churn") {
  await drain(Number(size ?? connections))
}

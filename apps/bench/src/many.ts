/**
 * 10,000 event streams (`npm run bench many 20000` for another number; each needs a file descriptor on either side): heap of
 * each, how long an event of a burst takes to the slowest readers, and how long the farewell to all takes, beside the same by
 * hand on `node:http`.
 *
 * Each server is a process of its own, and so are its readers. Rounds take turns.
 */
import type { ChildProcess } from "node:child_process"
import { ask, next, startClient, startServer } from "./sessions/processes.js"
import type { Child } from "./shared/measure.js"
import { quick, report, reportRounds } from "./shared/measure.js"

const count = Number(process.argv[2] ?? (quick ? 2000 : 10_000))
if (!Number.isInteger(count) || count <= 100) {
  throw new Error(`npm run bench many N: expected a whole number above 100, got ${process.argv[2]}`)
}
const rounds = quick ? 5 : 7
const burst = 16

interface Contender {
  readonly name: string
  readonly server: Child
  readonly client: ChildProcess
  readonly heap: number
}

const begin = async (name: string): Promise<Contender> => {
  const server = await startServer(name)
  const client = await startClient()
  await ask(client, { _tag: "Connect", port: server.port, count: 100 })
  const few = await ask(server.process, { _tag: "Heap" })
  await ask(client, { _tag: "Connect", port: server.port, count: count - 100 })
  const many = await ask(server.process, { _tag: "Heap" })
  const heap = (many.heap + many.external - few.heap - few.external) / (count - 100) / 1024
  return { name, server, client, heap }
}

/** Milliseconds until the last but one per cent of a burst was read. */
const p99 = async ({ client, server }: Contender): Promise<number> => {
  await ask(client, { _tag: "Expect", events: burst * count, sample: true })
  const done = next(client)
  server.process.send({ _tag: "Publish", bursts: 1, size: burst, pause: 0 })
  return (await done).p99
}

/** Milliseconds until all connections are closed, each after its farewell. */
const drain = async ({ client, server }: Contender): Promise<number> => {
  const since = performance.now()
  const closed = ask(client, { _tag: "AwaitClosed" })
  server.process.send({ _tag: "Drain" })
  const { farewells } = await closed
  if (farewells !== count) throw new Error(`expected ${count} farewells, received ${farewells}`)
  return performance.now() - since
}

const reportAll = (title: string, values: ReadonlyArray<readonly [string, number]>) => {
  process.stdout.write(`\n${title}\n`)
  for (const [contender, value] of values) report({ title, contender, value, ratio: value / values[0]![1] })
}

const contenders: Array<Contender> = []
for (const name of ["raw", "holdfast"]) contenders.push(await begin(name))
reportAll(`${count} idle sessions, KiB of heap each`, contenders.map(({ heap, name }) => [name, heap]))
const taken = new Map(contenders.map(({ name }) => [name, [] as Array<number>]))
for (let round = -2; round < rounds; round++) {
  for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
    const millis = await p99(contender)
    if (round >= 0) taken.get(contender.name)!.push(millis)
  }
}
reportRounds(`a burst of ${burst} events to ${count} sessions, p99 in ms`, taken)
const drained: Array<readonly [string, number]> = []
for (const contender of contenders) drained.push([contender.name, await drain(contender)])
reportAll(`the farewell to ${count} sessions, ms`, drained)
for (const { client, server } of contenders) {
  client.kill()
  await server.stop()
}
process.exit(0)

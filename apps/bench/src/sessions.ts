/**
 * What a session costs: CPU per connect, which is what a reconnect storm costs, and heap while it is idle, of event streams
 * and of WebSockets; and for WebSockets the CPU per delivered event.
 *
 * Each server is a process of its own, and so are its readers. Rounds take turns; CPU is that of the server as the operating
 * system counts it. `npm run bench sse` has the deliveries of event streams.
 */
import type { ChildProcess } from "node:child_process"
import type { Answer } from "./sessions/processes.js"
import { ask, next, startClient, startServer } from "./sessions/processes.js"
import type { Child } from "./shared/measure.js"
import { cpuMicros, quick, report, reportRounds } from "./shared/measure.js"

const [only] = process.argv.slice(2)
const connections = quick ? 300 : 1000
const rounds = quick ? 5 : 9

interface Contender {
  readonly name: string
  readonly server: Child
  readonly client: ChildProcess
  readonly webSocket: boolean
}

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const connect = ({ client, server, webSocket }: Contender, count: number): Promise<Answer> =>
  ask(client, { _tag: "Connect", port: server.port, count, webSocket })

/** CPU per connect: the connections of each round are new ones. The first two rounds are not counted. */
const connects = async (contender: Contender): Promise<number> => {
  const since = cpuMicros(contender.server.pid)
  await connect(contender, connections)
  await pause(100)
  const taken = cpuMicros(contender.server.pid) - since
  await ask(contender.client, { _tag: "Leave" })
  await pause(100)
  return taken / connections
}

/** CPU per delivery. */
const deliveries = (bursts: number, size: number) => async ({ client, server }: Contender): Promise<number> => {
  const events = bursts * size * connections
  await ask(client, { _tag: "Expect", events })
  const done = next(client)
  const since = cpuMicros(server.pid)
  server.process.send({ _tag: "Publish", bursts, size, pause: 25 })
  await done
  return (cpuMicros(server.pid) - since) / events
}

/** Rounds in turns, after two that warm up. */
const inTurns = async (
  title: string,
  contenders: ReadonlyArray<Contender>,
  measure: (contender: Contender) => Promise<number>
) => {
  const taken = new Map(contenders.map(({ name }) => [name, [] as Array<number>]))
  for (let round = -2; round < rounds; round++) {
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
      const value = await measure(contender)
      if (round >= 0) taken.get(contender.name)!.push(value)
    }
  }
  reportRounds(title, taken)
}

/** Connects them all, and says what each takes. */
const heap = async (title: string, contenders: ReadonlyArray<Contender>) => {
  const found: Array<readonly [string, number]> = []
  for (const contender of contenders) {
    await connect(contender, 50)
    const few = await ask(contender.server.process, { _tag: "Heap" })
    await connect(contender, connections - 50)
    const many = await ask(contender.server.process, { _tag: "Heap" })
    found.push([
      contender.name,
      (many.heap + many.external - few.heap - few.external) / (connections - 50) / 1024
    ])
  }
  process.stdout.write(`\n${title}\n`)
  for (const [contender, value] of found) report({ title, contender, value, ratio: value / found[0]![1] })
}

const together = async (
  names: ReadonlyArray<string>,
  webSocket: boolean,
  run: (contenders: ReadonlyArray<Contender>) => Promise<void>
) => {
  const contenders: Array<Contender> = []
  for (const name of names) {
    contenders.push({ name, server: await startServer(name), client: await startClient(), webSocket })
  }
  await run(contenders)
  for (const { client, server } of contenders) {
    client.kill()
    await server.stop()
  }
}

if (only !== "websockets") {
  await together(["better-sse", "raw", "naive", "holdfast"], false, async (contenders) => {
    await inTurns("an event stream connects, us of CPU", contenders, connects)
    await heap("an idle event stream, KiB of heap", contenders)
  })
}
if (only !== "streams") {
  await together(["ws", "holdfast WebSocket"], true, async (contenders) => {
    await inTurns("a WebSocket connects, us of CPU", contenders, connects)
    await heap("an idle WebSocket, KiB of heap", contenders)
  })
  await together(["ws, one frame for all", "ws", "holdfast WebSocket"], true, async (contenders) => {
    for (const contender of contenders) await connect(contender, connections)
    const to = `to ${connections} WebSockets, us of CPU per delivery`
    await inTurns(`events one by one ${to}`, contenders, deliveries(10, 1))
    await inTurns(`bursts of 16 events ${to}`, contenders, deliveries(4, 16))
  })
}
process.exit(0)

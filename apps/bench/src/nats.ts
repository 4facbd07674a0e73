/**
 * What the journal over NATS JetStream costs beside a bare client: publish, acknowledge and see it come by the own tail.
 *
 * Method: one server, one process. In each round the contenders take turns, in an order that turns, too; ratios are medians of the
 * ratios within a round, the first round is warm-up. A: one event after the other, median of the round. B: 256 on their way at a
 * time, processor time and events per second. C: an atomic batch of 8 and of 64. Bare is the client of NATS as its makers show
 * it: `js.publish` with a message id, an ordered push consumer whose callback reads the JSON, batches with headers by hand.
 *
 * `npm run bench nats [-- always]`: with `sync_interval: always` throughput is that of the disk.
 */
import * as EventBus from "@holdfast/core/EventBus"
import { EventJournal } from "@holdfast/core/EventJournal"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import { DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream"
import { headers, nuid } from "@nats-io/nats-core"
import { connect } from "@nats-io/transport-node"
import { Effect, Schema } from "effect"
import type { Scope } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { connect as dial, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { quick, reportRounds } from "./shared/measure.js"
import { median } from "./shared/paired.js"

const Said = Schema.TaggedStruct("Said", { room: Schema.String, text: Schema.String })
type Said = typeof Said.Type

const event: Said = { _tag: "Said", room: "kitchen", text: "x".repeat(120) }
const rounds = quick ? 2 : 5
const warmup = 1
const sequential = 300
const flood = quick ? 2_000 : 6_000
const batches = 40

interface Contender {
  readonly name: string
  /** Publishes so many events at once, and returns when they were acknowledged and have come by the tail. */
  readonly publish: (count: number) => Promise<unknown>
}

const print = (line: string) => process.stdout.write(`${line}\n`)
const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer()
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

const listens = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = dial(port, "127.0.0.1")
    socket.once("data", () => {
      socket.destroy()
      resolve(true)
    })
    socket.once("error", () => resolve(false))
  })

/** A server of its own, in a directory that goes with the scope. */
const server = (always: boolean): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const directory = mkdtempSync(join(tmpdir(), "holdfast-bench-"))
        const port = await freePort()
        writeFileSync(
          join(directory, "nats.conf"),
          `server_name: bench
listen: "127.0.0.1:${port}"
jetstream { store_dir: "${join(directory, "store")}"${always ? ", sync_interval: always" : ""} }
`
        )
        const binary = process.env["HOLDFAST_NATS_SERVER"] ?? "nats-server"
        const child = spawn(binary, ["-c", join(directory, "nats.conf")], { stdio: "ignore" })
        child.on("error", () => {
          print(`cannot start ${binary}: scripts/get-nats.sh brings one, HOLDFAST_NATS_SERVER names it`)
          process.exit(1)
        })
        while (!await listens(port)) await sleep(50)
        return { child, directory, url: `nats://127.0.0.1:${port}` }
      }),
      ({ child, directory }) =>
        Effect.promise(async () => {
          const ended = new Promise((resolve) => child.once("exit", resolve))
          child.kill("SIGKILL")
          await ended
          rmSync(directory, { recursive: true, force: true })
        })
    ),
    ({ url }) => url
  )

/** Waits for ids of a tail. */
class Reached {
  last = 0
  private waiting: Array<() => void> = []

  see(id: number) {
    this.last = id
    const { waiting } = this
    this.waiting = []
    for (const resume of waiting) resume()
  }

  async reach(id: number) {
    while (this.last < id) await new Promise<void>((resume) => this.waiting.push(resume))
  }
}

const bare = (url: string): Effect.Effect<Contender, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const publisher = await connect({ servers: url })
        const follower = await connect({ servers: url })
        const js = jetstream(publisher)
        const manager = await jetstreamManager(publisher)
        await manager.streams.add({
          name: "bare",
          subjects: ["bare.>"],
          allow_atomic: true,
          allow_direct: true,
          deny_delete: true
        })
        const reached = new Reached()
        const consumer = await jetstream(follower).consumers.getPushConsumer("bare", {
          deliver_policy: DeliverPolicy.All
        })
        await consumer.consume({
          callback: (message) => {
            message.json()
            reached.see(message.seq)
          }
        })
        const body = () =>
          JSON.stringify({ at: Date.now(), topic: "room.kitchen", tag: "Said", meta: { depth: 0 }, event })
        const batch = async (count: number) => {
          const id = nuid.next()
          for (let n = 1; n < count; n++) {
            const lines = headers()
            lines.set("Nats-Batch-Id", id)
            lines.set("Nats-Batch-Sequence", String(n))
            if (n === 1) lines.set("Nats-Msg-Id", id)
            publisher.publish("bare.room.kitchen", body(), { headers: lines })
          }
          const lines = headers()
          lines.set("Nats-Batch-Id", id)
          lines.set("Nats-Batch-Sequence", String(count))
          lines.set("Nats-Batch-Commit", "1")
          const answer = await publisher.request("bare.room.kitchen", body(), { headers: lines, timeout: 10_000 })
          return answer.json<{ seq: number }>().seq
        }
        const publish = async (count: number) => {
          const seq = count === 1
            ? (await js.publish("bare.room.kitchen", body(), { msgID: nuid.next(), timeout: 10_000 })).seq
            : await batch(count)
          await reached.reach(seq)
        }
        return { name: "bare", publish, close: () => Promise.all([publisher.close(), follower.close()]) }
      }),
      ({ close }) => Effect.promise(close)
    ),
    ({ name, publish }) => ({ name, publish })
  )

const connected = (url: string, name: string) =>
  Effect.flatMap(
    NatsConnection.make({ servers: [url] }),
    (connection) =>
      Effect.provideService(
        NatsJournal.make({ name, patience: "60 seconds" }),
        NatsConnection.NatsConnection,
        connection
      )
  )

const overJournal = (url: string) =>
  Effect.gen(function*() {
    const { journal } = yield* connected(url, "journal")
    const reached = new Reached()
    yield* Effect.forkScoped(journal.follow(0, (rows) => {
      for (const row of rows) if (!("_tag" in row)) reached.see(row.id)
    }))
    const payload = JSON.stringify(event)
    const draft = () => ({ at: Date.now(), topic: "room.kitchen", tag: "Said", payload, meta: "{\"depth\":0}" })
    let attempts = 0
    return {
      name: "journal",
      publish: async (count: number) => {
        const rows = Array.from({ length: count }, draft)
        await reached.reach(count - 1 + await Effect.runPromise(journal.append(rows, { attempt: `a-${++attempts}` })))
      }
    }
  })

const overBus = (url: string) =>
  Effect.gen(function*() {
    const { journal } = yield* connected(url, "bus")
    const bus = yield* EventBus.make({
      name: "bus",
      schema: Said,
      topic: ({ room }) => `room.${room}`,
      journal: EventJournal.of(journal)
    })
    return {
      name: "bus",
      publish: (count: number): Promise<unknown> =>
        count === 1
          ? Effect.runPromise(bus.publish(event))
          : Effect.runPromise(bus.publishAll(Array.from({ length: count }, () => event)))
    }
  })

/** Milliseconds, the median of so many tries. */
const latency = async ({ publish }: Contender, tries: number, size: number) => {
  const taken: Array<number> = []
  for (let n = 0; n < tries; n++) {
    const from = performance.now()
    await publish(size)
    taken.push(performance.now() - from)
  }
  return median(taken)
}

/** Microseconds of processor time for one event, and events per second. */
const throughput = async ({ publish }: Contender) => {
  let left = flood
  const before = process.cpuUsage()
  const from = performance.now()
  await Promise.all(Array.from({ length: 256 }, async () => {
    while (left-- > 0) await publish(1)
  }))
  const millis = performance.now() - from
  const { system, user } = process.cpuUsage(before)
  return { cpu: (system + user) / flood, rate: flood / millis * 1000 }
}

const measure = async (contender: Contender) => {
  const a = await latency(contender, sequential, 1)
  const { cpu, rate } = await throughput(contender)
  return {
    "A: p50, ms": a,
    "B: CPU, us an event": cpu,
    "B: events/s": rate,
    "C: batch of 8, p50, ms": await latency(contender, batches, 8),
    "C: batch of 64, p50, ms": await latency(contender, batches, 64)
  }
}

type Figures = Awaited<ReturnType<typeof measure>>

const program = Effect.gen(function*() {
  const always = process.argv.includes("always")
  const url = yield* server(always)
  const contenders = [yield* bare(url), yield* overJournal(url), yield* overBus(url)]
  const figures = new Map<string, Array<Figures>>(contenders.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds + warmup; round++) {
    const turned = contenders.map((_, index) => contenders[(index + round) % contenders.length]!)
    for (const contender of turned) {
      const found = yield* Effect.promise(() => measure(contender))
      if (round >= warmup) figures.get(contender.name)!.push(found)
    }
  }
  print(`sync_interval ${always ? "always" : "default"}; medians of ${rounds} rounds, and the ratio to the bare client`)
  for (const key of Object.keys(figures.get("bare")![0]!) as Array<keyof Figures>) {
    const taken = Array.from(figures, ([name, all]) => [name, all.map((one) => one[key])] as const)
    reportRounds(key, new Map(taken), !key.endsWith("/s"))
  }
})

await Effect.runPromise(Effect.scoped(program))

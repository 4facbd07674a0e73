// edge: processes, sockets and their times are what is tested
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { sized } from "../../../scripts/sized.js"
import * as World from "../src/domain/World.js"
import { digestOf } from "../src/Nodes.js"
import { missing, named, natsServer } from "./support/natsServer.js"
import {
  factsOf,
  lease,
  loadWorld,
  makeCluster,
  makeControl,
  makeParticipants,
  observe,
  Times
} from "./support/realCluster.js"
import { eventually, sleep, stopAll } from "./support/server.js"
import { checkLog, compare, factOf } from "./support/simulation.js"

/** Every participant says this much; at night ten thousand events and more come of it, and times are held to the promise. */
const count = sized(9, 60)
const sayings = sized(25, 150)
const timeout = sized(240_000, 1_800_000)

describe.skipIf(missing)(named("three processes of one world"), () => {
  it(
    "are one world for everybody while a node is killed, one ends and comes back, and the server is killed (daily)",
    async () => {
      const nats = await natsServer()
      const cluster = makeCluster(nats.url)
      const times = new Times()
      const control = makeControl()
      try {
        await Promise.all(["a", "b", "c"].map(cluster.start))
        const log = await observe(nats.url)
        const { hop, participants, talk } = await makeParticipants(cluster, count, control)
        const pages = Promise.all(participants.map((one) => hop(one, 2_000)))
        const talking = Promise.all(participants.map((one) => talk(one, sayings, 300)))
        const said = () => participants.reduce((sum, one) => sum + one.said.size, 0)
        const reached = (part: number) =>
          eventually(`${part} of all is said`, () => said() >= part * count * sayings, 600_000)

        // The owner is killed.
        await reached(0.2)
        const owner = await eventually(
          "somebody drives the world",
          async () => (await factsOf(await cluster.any())).owner
        )
        const killed = cluster.nodes.get(owner)!
        cluster.nodes.delete(owner)
        const killedAt = performance.now()
        killed.process.kill("SIGKILL")
        const presence = sleep(8_000).then(async () => factsOf(await cluster.any()))
        times.took("next tick after -9 of the owner", await log.next("Ticked", killedAt), (lease + 2) * 1_000)
        assert.notInclude((await presence).nodes.split(", "), owner, "presence 8 s after -9")
        await cluster.start(owner)

        // The next owner ends in order, and comes back.
        await reached(0.4)
        const next = await eventually(
          "somebody drives the world",
          async () => (await factsOf(await cluster.any())).owner
        )
        const ending = cluster.nodes.get(next)!
        cluster.nodes.delete(next)
        const { code, millis } = await ending.stop("SIGTERM")
        const endedAt = performance.now()
        assert.strictEqual(code, 0, ending.err.join("\n"))
        times.took("SIGTERM of the owner", millis, 2_000)
        times.took("next tick after its end", await log.next("Ticked", endedAt), 1_000)
        await sleep(500)
        assert.notInclude((await factsOf(await cluster.any())).nodes.split(", "), next, "presence 0.5 s after SIGTERM")
        await cluster.start(next)

        // The server is killed, and comes back.
        await reached(0.6)
        await nats.kill()
        await sleep(1_000)
        await nats.start()
        const listensAt = performance.now()
        const accepted = await eventually("something is accepted", () => control.accepted.find((at) => at > listensAt))
        times.took("first accepted publish after the server listens", accepted - listensAt, 1_500)

        control.isCalm = true
        await talking
        const end = log.rows.length
        await eventually("every page has come to the end", () => participants.every(({ last }) => last >= end))
        // All at the same event: the world ticks on, so they are asked until they are.
        const facts = await eventually("all nodes are at one event", async () => {
          const all = await Promise.all([...cluster.nodes.values()].map(factsOf))
          return all.every(({ event }) => event === all[0].event) ? all : undefined
        })
        control.over = true
        await pages

        const data = await Effect.runPromise(loadWorld)
        await eventually("the observer has come as far", () => log.rows.length >= facts[0].event)
        const rows = log.rows.map(factOf)
        assert.deepStrictEqual(log.problems, [])
        assert.deepStrictEqual(rows.map(({ id }) => id), rows.map((_, index) => index + 1))
        assert.isUndefined(checkLog(rows, Infinity, World.initial(data).minute))
        const folded = (upTo: number) => rows.slice(0, upTo).reduce<World.World>(World.evolve, World.initial(data))
        assert.deepStrictEqual(facts.map(({ digest }) => digest), facts.map(() => digestOf(folded(facts[0].event))))

        const texts = new Map<string, number>()
        for (const { event } of rows) {
          if (event._tag === "Said") texts.set(event.text, (texts.get(event.text) ?? 0) + 1)
        }
        const life = { facts: rows, world: folded(rows.length) }
        for (const one of participants) {
          assert.deepStrictEqual(one.problems, [], one.id)
          for (const [text, isTold] of one.said) {
            const found = texts.get(text) ?? 0
            assert.isTrue(isTold ? found === 1 : found <= 1, `"${text}" is there ${found} times, told: ${isTold}`)
          }
          const shown = { epoch: "", from: one.from, upTo: one.last, events: one.events }
          assert.isUndefined(compare(life, one.id, shown, one.last), one.id)
        }
        times.lines.push(
          `${rows.length} events, ${participants.reduce((sum, one) => sum + one.events.size, 0)} shown`,
          `refused: ${JSON.stringify(Object.fromEntries(control.refused))}`
        )
        times.check()
        await log.close()
      } finally {
        control.over = control.isCalm = true
        await stopAll()
        await nats.remove()
      }
    },
    timeout
  )
})

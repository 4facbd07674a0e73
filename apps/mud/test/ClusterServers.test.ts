// edge: processes, sockets and their times are what is tested
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { sized } from "../../../scripts/sized.js"
import * as World from "../src/domain/World.js"
import { digestOf } from "../src/Nodes.js"
import { missing, named, natsCluster } from "./support/natsServer.js"
import {
  factsOf,
  loadWorld,
  makeCluster,
  makeControl,
  makeParticipants,
  observe,
  Times
} from "./support/realCluster.js"
import { eventually, stopAll } from "./support/server.js"
import { checkLog, factOf } from "./support/simulation.js"

describe.skipIf(missing)(named("three servers that keep everything three times"), () => {
  it.runIf(sized(false, true))(
    "go on when the leader of the log is killed, and lose nothing that was acknowledged (with HOLDFAST_SIZE=nightly)",
    async () => {
      const nats = await natsCluster()
      // With replicas a lease is longer than an election.
      const cluster = makeCluster(nats.url, ["--nats-replicas", "3", "--lease", "10"])
      const control = makeControl()
      const times = new Times()
      try {
        await Promise.all(["a", "b", "c"].map(cluster.start))
        const log = await observe(nats.url, 3)
        const { participants, talk } = await makeParticipants(cluster, 20, control)
        const talking = Promise.all(participants.map((one) => talk(one, 10, 300)))
        for (let round = 0; round < 3; round++) {
          const enough = control.accepted.length + 100
          await eventually("a hundred more are accepted", () => control.accepted.length >= enough)
          const leader = await eventually("a leader", async () => {
            const found = await nats.leaderOf("mud")
            return found === undefined ? undefined : { found }
          })
          const server = nats.servers[leader.found]
          await server.kill()
          const killedAt = performance.now()
          const accepted = await eventually("something is accepted", () => control.accepted.find((at) => at > killedAt))
          times.took("first accepted publish after the leader of three is lost", accepted - killedAt, 10_000)
          await server.start()
        }
        control.isCalm = true
        await talking
        const facts = await eventually("all nodes are at one event", async () => {
          const all = await Promise.all([...cluster.nodes.values()].map(factsOf))
          return all.every(({ event }) => event === all[0].event) ? all : undefined
        })
        await eventually("the observer has come as far", () => log.rows.length >= facts[0].event)
        const data = await Effect.runPromise(loadWorld)
        const rows = log.rows.map(factOf)
        assert.deepStrictEqual(log.problems, [])
        assert.deepStrictEqual(rows.map(({ id }) => id), rows.map((_, index) => index + 1))
        assert.isUndefined(checkLog(rows, Infinity, World.initial(data).minute))
        const folded = rows.slice(0, facts[0].event).reduce<World.World>(World.evolve, World.initial(data))
        assert.deepStrictEqual(facts.map(({ digest }) => digest), facts.map(() => digestOf(folded)))
        const texts = new Map<string, number>()
        for (const { event } of rows) {
          if (event._tag === "Said") texts.set(event.text, (texts.get(event.text) ?? 0) + 1)
        }
        for (const one of participants) {
          for (const [text, isTold] of one.said) {
            const found = texts.get(text) ?? 0
            assert.isTrue(isTold ? found === 1 : found <= 1, `"${text}" is there ${found} times, told: ${isTold}`)
          }
        }
        times.lines.push(`${rows.length} events, ${control.accepted.length} accepted`)
        times.lines.push(`refused: ${JSON.stringify(Object.fromEntries(control.refused))}`)
        times.check()
        await log.close()
      } finally {
        control.over = control.isCalm = true
        await stopAll()
        await nats.remove()
      }
    },
    600_000
  )
})

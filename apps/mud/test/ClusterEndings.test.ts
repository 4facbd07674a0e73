// edge: processes, sockets and their times are what is tested
import { assert, describe, it } from "@effect/vitest"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { sized } from "../../../scripts/sized.js"
import { missing, named, natsLink, natsServer } from "./support/natsServer.js"
import { makeCluster, makeControl, makeParticipants, Times } from "./support/realCluster.js"
import { eventually, join, listen, request, sleep, stopAll } from "./support/server.js"

describe.skipIf(missing)(named("processes of one world"), () => {
  it("say that the log lost its end, end with 1, and begin anew, and pages are told (daily)", async () => {
    const nats = await natsServer()
    const cluster = makeCluster(nats.url)
    try {
      await Promise.all(["a", "b"].map(cluster.start))
      const player = await join(await cluster.any(), "Ada")
      await nats.kill()
      nats.keep()
      await nats.start()
      // ten events more than what was kept
      const say = (text: string) =>
        eventually("it is said", async () => {
          const answer = await request(await cluster.any(), "POST", "/api/say", { token: player.token, body: { text } })
          return answer.status === 200
        })
      for (let index = 0; index < 10; index++) await say(`lost ${index}`)
      await player.hear("lost 9")
      const last = player.stream.frames.findLast(({ id }) => id !== undefined)!.id!
      player.stream.close()
      await nats.kill()
      nats.giveBack()
      await nats.start()
      const listensAt = performance.now()
      const codes = await Promise.all(
        Array.from(cluster.nodes.values(), async (server) => {
          const told = await eventually("Diverged", () => {
            const index = [...server.out, ...server.err].findIndex((line) => line.includes("Diverged"))
            return index === -1 ? undefined : performance.now() - listensAt
          })
          return { told, code: await server.exited }
        })
      )
      assert.deepStrictEqual(codes.map(({ code }) => code), [1, 1])
      const times = new Times()
      for (const { told } of codes) times.took("Diverged after the server listens", told, 1_000)
      cluster.nodes.clear()
      await cluster.start("a")
      const again = await listen(await cluster.any(), "/events", { token: player.token, lastEventId: last })
      const gap = await again.next("the gap", ({ event }) => event === "gap")
      assert.strictEqual(gap.data.reason, "reset")
      assert.notStrictEqual(gap.id!.split(".")[0], last.split(".")[0])
      assert.isFalse(again.frames.some(({ data }) => String(data?.text).startsWith("lost")))
      again.close()
      times.check()
    } finally {
      await stopAll()
      await nats.remove()
    }
  }, 240_000)

  it("end in time by SIGTERM, with a thousand streams and commands under way (daily)", async () => {
    const nats = await natsServer()
    const cluster = makeCluster(nats.url)
    const control = makeControl()
    try {
      await cluster.start("a")
      const { participants, say, open } = await makeParticipants(cluster, sized(20, 150), control)
      const streams = await Promise.all(participants.flatMap((one) => [1, 2, 3, 4, 5, 6, 7].map(() => open(one))))
      const server = await cluster.any()
      const saying = participants.map((one) => say(one, "the last word").catch(() => 0))
      await sleep(50)
      const { code, millis } = await server.stop("SIGTERM")
      await Promise.all([...saying, ...streams.map(({ closed }) => closed)])
      const times = new Times()
      times.took(`end with commands under way, ${streams.length} streams, exit ${code}:`, millis, 2_000)
      assert.strictEqual(code, 0, [...server.out, ...server.err].join("\n"))
      times.check()
    } finally {
      await stopAll()
      await nats.remove()
    }
  }, 240_000)

  for (const isGone of [true, false]) {
    const what = isGone ? "whose server is gone" : "whose server does not answer (daily)"
    it(`end by their own means by SIGTERM, ${what}, and name what nobody confirmed`, async () => {
      const nats = await natsServer()
      const link = await natsLink(nats.url)
      const cluster = makeCluster(link.url)
      const control = makeControl()
      try {
        await cluster.start("a")
        const { participants: [one], open, say } = await makeParticipants(cluster, 1, control)
        const streams = await Promise.all([open(one), open(one)])
        const server = await cluster.any()
        const isSent = link.swallow("the last word")
        const saying = say(one, "the last word").catch(() => 0)
        await isSent
        if (isGone) link.cut()
        const { code, millis } = await server.stop("SIGTERM")
        await Promise.all([saying, ...streams.map(({ closed }) => closed)])
        const times = new Times()
        times.took(`end, ${what}:`, millis, 5_500)
        const report = ShutdownReport.fromJson(server.out.findLast((line) => line.includes("\"reason\""))!)
        assert.strictEqual(report.verdict, "failed", ShutdownReport.renderDetails(report))
        assert.strictEqual(code, 1)
        assert.deepStrictEqual(report.items("abandoned"), [])
        const events = report.items("failed").find(({ kind }) => kind === "events")
        assert.strictEqual(events?.label, "@holdfast/mud/WorldBus")
        // what was said, and behind it perhaps a minute of the world
        const [first, ...others] = events!.unconfirmed!
        assert.match(first.topics.join(), /^room\.[a-z]+$/)
        assert.strictEqual(first.events, 1)
        assert.isAtMost(others.length, 2)
        assert.match(events!.detail!, /^\d+ unconfirmed, of room\.[^:]+: they may be in the log or not; look there/)
        times.check()
      } finally {
        await stopAll()
        link.cut()
        await nats.remove()
      }
    }, 120_000)
  }
})

/** What happens to the servers of a world on several nodes: they are lost, stand still, and come back. */
import { spawn } from "node:child_process"
import { existsSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { homedir } from "node:os"
import { delimiter, join } from "node:path"
import * as Mud from "../lib/mud.js"
import type { Ended, Server } from "../lib/server.js"
import { eventually, sleep } from "../lib/wait.js"
import { expect, raw, type Row, type Setting } from "./row.js"

const executable = [
  process.env["HOLDFAST_NATS_SERVER"],
  ...(process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "nats-server")),
  join(homedir(), ".cache", "holdfast", "nats", "usr", "sbin", "nats-server")
].find((path) => path !== undefined && path !== "" && existsSync(path))

const missing = () => executable === undefined ? "there is no nats-server: scripts/get-nats.sh brings one" : undefined

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer()
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

/** A server of NATS on files of its own, which is killed after the row. */
const natsServer = async ({ folder, keep }: Setting) => {
  const port = await freePort()
  const file = join(folder, "nats-server.conf")
  writeFileSync(
    file,
    `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${join(folder, "nats")}", sync_interval: always }\n`
  )
  const start = async () => {
    const child = spawn(executable!, ["-c", file], { stdio: "ignore" })
    // also when the tool itself ends by a fault
    process.once("exit", () => child.kill("SIGKILL"))
    const ended = new Promise<Ended>((resolve) => void child.once("close", (code, signal) => resolve({ code, signal })))
    await eventually("NATS listens", async () => {
      const peer = await raw(port, "").catch(() => undefined)
      if (peer === undefined) return false
      await sleep(20)
      peer.socket.destroy()
      return peer.text().startsWith("INFO")
    })
    const stop = (signal: NodeJS.Signals) => {
      child.kill(signal)
      return ended
    }
    return keep({ signal: (signal: NodeJS.Signals) => child.kill(signal), stop: stop as Server["stop"] })
  }
  return { url: `nats://127.0.0.1:${port}`, start }
}

const node = ({ keep }: Setting, url: string, name: string): Promise<Server> =>
  Mud.start({ flags: ["--nats", url, "--node", name, "--lease", "3"] }).then(keep)

type Nats = Awaited<ReturnType<Awaited<ReturnType<typeof natsServer>>["start"]>>

/** Two nodes, and a player on each: what one says while `fault` is done to the server, the other one must hear once. */
const under = (
  name: string,
  fault: (nats: Nats, start: () => Promise<Nats>, setting: Setting) => Promise<Nats>
): Row => ({
  name,
  holds: "what was confirmed is heard once on the other node, in order; nothing else twice; both go on by themselves",
  missing,
  run: async (setting) => {
    const { start, url } = await natsServer(setting)
    let nats = await start()
    const nodes = [await node(setting, url, "a"), await node(setting, url, "b")]
    const { body: ada } = await Mud.request(nodes[0].url, "POST", "/api/join", { body: { name: "Ada" } })
    const { body: ben } = await Mud.request(nodes[1].url, "POST", "/api/join", { body: { name: "Ben" } })
    const listener = new Mud.Listener(nodes[1].url, ben.token, ben.after)
    await listener.open()
    const confirmed: Array<string> = []
    const control = { isOver: false }
    let count = 0
    let refused = 0
    let problem: Error | undefined
    const talk = async () => {
      while (!control.isOver) {
        // a player who says more in a second is refused with 429
        await sleep(150)
        const text = `word ${++count}`
        const { status } = await Mud.request(nodes[0].url, "POST", "/api/say", { token: ada.token, body: { text } })
        if (status === 200) confirmed.push(text)
        else {
          expect(status === 503, `say: ${status}`)
          refused++
        }
      }
    }
    const talking = talk().catch((error: Error) => {
      problem = error
    })
    const more = async (what: string) => {
      const enough = confirmed.length + 10
      await eventually(what, () => {
        if (problem !== undefined) throw problem
        return confirmed.length >= enough
      })
    }
    await more("it is heard")
    const times = 2 + setting.chance.below(2)
    let slowest = 0
    for (let round = 0; round < times; round++) {
      await sleep(setting.chance.below(300))
      nats = await fault(nats, start, setting)
      const from = performance.now()
      await more("it goes on")
      slowest = Math.max(slowest, performance.now() - from)
    }
    control.isOver = true
    await talking
    await eventually("the other one has heard it all", () => listener.texts.includes(confirmed[confirmed.length - 1]!))
    const heard = listener.texts.filter((text) => text.startsWith("word "))
    const twice = heard.filter((text, index) => heard.indexOf(text) !== index)
    expect(twice.length === 0, `heard twice: ${twice.join(", ")}`)
    const lost = confirmed.filter((text) => !heard.includes(text))
    expect(lost.length === 0, `confirmed and not heard: ${lost.join(", ")}`)
    expect(listener.problems.length === 0, listener.problems.join("; "))
    listener.close()
    const codes: Array<number | null> = []
    for (const one of nodes) codes.push((await one.stop("SIGTERM")).code)
    expect(codes.every((code) => code === 0), `SIGTERM: exit codes ${codes.join(" and ")}`)
    return `${times} times: ${confirmed.length} of ${count} confirmed and heard once, ${refused} refused with 503; ` +
      `ten more within ${Math.round(slowest)} ms after it was back; exit codes 0`
  }
})

const lost = under("NATS lost and back", async (nats, start, { chance }) => {
  await nats.stop("SIGKILL")
  await sleep(200 + chance.below(1_500))
  return start()
})

const still = under("NATS cannot be reached for a while", async (nats, _, { chance }) => {
  nats.signal("SIGSTOP")
  await sleep(500 + chance.below(3_000))
  nats.signal("SIGCONT")
  return nats
})

const ending: Row = {
  name: "SIGTERM while NATS is lost",
  holds: "the node ends by its own means within its time, and says what it could not write down",
  missing,
  run: async (setting) => {
    const { start, url } = await natsServer(setting)
    const nats = await start()
    const server = await node(setting, url, "a")
    const { body: ada } = await Mud.request(server.url, "POST", "/api/join", { body: { name: "Ada" } })
    await nats.stop("SIGKILL")
    const said = Mud.request(server.url, "POST", "/api/say", { token: ada.token, body: { text: "the last word" } })
      .then(({ status }) => String(status), (error: Error) => error.message)
    await sleep(setting.chance.below(500))
    const { code, millis } = await server.stop("SIGTERM")
    expect(code === 1, `exit code ${code} instead of 1:\n${server.output()}`)
    expect(millis < 5_500, `took ${Math.round(millis)} ms`)
    const line = server.output().split("\n").findLast((one) => one.startsWith("shutdown:")) ?? ""
    expect(/failed: .*(save the world|events)/.test(line), `the report names nothing:\n${server.output()}`)
    return `exit code 1 after ${Math.round(millis)} ms, the last word: ${await said}; ${line.slice(0, 160)}`
  }
}

export const natsRows: ReadonlyArray<Row> = [lost, still, ending]

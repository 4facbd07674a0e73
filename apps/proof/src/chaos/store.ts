/** What happens to what is kept: the process is killed, the disk is full, the store is locked. */
import { spawnSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Mud from "../lib/mud.js"
import type { Server } from "../lib/server.js"
import { eventually, sleep } from "../lib/wait.js"
import { expect, type Row } from "./row.js"

const commandOf = (server: Server, token: string) => (line: string) =>
  Mud.request(server.url, "POST", "/api/command", { token, body: { line } })

const killed: Row = {
  name: "SIGKILL under load, and restart",
  holds:
    "the player that was told \"done\" is there after the restart, what it was sent goes on without loss or repeat",
  run: async ({ chance, folder, keep }) => {
    let said = 0
    let events = 0
    let server = keep(await Mud.start({ data: folder }))
    const { body: ada } = await Mud.request(server.url, "POST", "/api/join", { body: { name: "Ada" } })
    let id = ada.after as number
    const kills = 3
    for (let round = 0; round < kills; round++) {
      const listener = new Mud.Listener(server.url, ada.token, id)
      await listener.open()
      const say = commandOf(server, ada.token)
      const until = performance.now() + 500 + chance.below(1_000)
      let confirmed = 0
      while (performance.now() < until) {
        const { status } = await say(`say ${round} ${said}`)
        if (status === 200) {
          said++
          confirmed++
        }
      }
      await sleep(50)
      listener.expectEnd()
      await server.stop("SIGKILL")
      expect(listener.problems.length === 0, listener.problems.join("; "))
      events += listener.events
      id = listener.lastSeen()
      server = keep(await Mud.start({ data: folder }))
      const back = await Mud.request(server.url, "POST", "/api/join", { body: { token: ada.token } })
      expect(back.status === 200, `after kill ${round + 1} the player cannot come back: ${back.status}`)
      expect(back.body.after >= id, `the store has event ${back.body.after}, but the player was sent ${id}`)
      expect(confirmed > 0, "nothing was said before the kill")
    }
    return `${kills} kills: ${said} commands confirmed, ${events} events in order, player and ids kept`
  }
}

const tmpfs = (folder: string): boolean =>
  spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], { stdio: "ignore" }).status === 0

const diskFull: Row = {
  name: "disk full",
  holds:
    "commands are refused with 503 and not answered falsely, streams stay open, and it recovers when there is room",
  missing: () => process.getuid?.() === 0 ? undefined : "mounting a small file system needs root",
  run: async ({ folder, keep }) => {
    const data = join(folder, "data")
    mkdirSync(data)
    if (!tmpfs(data)) throw new Error("no small file system could be mounted")
    try {
      const server = keep(await Mud.start({ data }))
      const { body: ada } = await Mud.request(server.url, "POST", "/api/join", { body: { name: "Ada" } })
      const listener = new Mud.Listener(server.url, ada.token, ada.after)
      await listener.open()
      const say = commandOf(server, ada.token)
      writeFileSync(join(data, "fills-it"), Buffer.alloc(0))
      spawnSync("dd", ["if=/dev/zero", `of=${join(data, "fills-it")}`, "bs=4k"], { stdio: "ignore" })
      let refused = 0
      await eventually("a command is refused", async () => {
        const { status } = await say("say hello")
        if (status === 503) refused++
        else expect(status === 200, `say: ${status}`)
        return refused >= 3
      })
      // a stream may have been ended, so that its client asks again where it stands; nothing may be wrong with what it got
      const problems = listener.problems.filter((what) => what !== Mud.ended)
      expect(problems.length === 0, problems.join("; "))
      spawnSync("rm", [join(data, "fills-it")])
      await eventually("it recovers", async () => (await say("say there is room")).status === 200)
      listener.close()
      const { code } = await server.stop()
      expect(code === 0, `exit code ${code}`)
      return `${refused} commands refused with 503, then served again; exit code 0`
    } finally {
      spawnSync("umount", ["-l", data], { stdio: "ignore" })
    }
  }
}

const locked: Row = {
  name: "store locked by another process",
  holds: "a second server on the same data is refused and told why, and the first one goes on",
  run: async ({ folder, keep }) => {
    const first = keep(await Mud.start({ data: folder }))
    const { body: ada } = await Mud.request(first.url, "POST", "/api/join", { body: { name: "Ada" } })
    const listener = new Mud.Listener(first.url, ada.token, ada.after)
    await listener.open()
    const say = commandOf(first, ada.token)
    const refused = await Mud.start({ data: folder }).then(
      (second) => keep(second) && "it started",
      (error: Error) => error.message
    )
    expect(/ended with [1-9]/.test(refused), `the second server was not refused: ${refused}`)
    const why = refused.split("\n").find((line) => /lock|in use|another/i.test(line))
    expect(why !== undefined, `it was not said why:\n${refused}`)
    expect((await say("say still here")).status === 200, "the first server no longer serves commands")
    listener.close()
    const { code } = await first.stop()
    expect(code === 0, `exit code ${code}`)
    return `${why!.trim().slice(0, 140)}; the first goes on, exit code 0`
  }
}

export const storeRows: ReadonlyArray<Row> = [killed, diskFull, locked]

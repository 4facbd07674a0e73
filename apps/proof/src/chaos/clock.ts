/** The clock of the machine jumps. */
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Mud from "../lib/mud.js"
import { eventually, sleep } from "../lib/wait.js"
import { expect, type Row } from "./row.js"

const library = [
  "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
  "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"
].find((file) => existsSync(file))

export const clockRows: ReadonlyArray<Row> = ["+2h", "-2h", "+1y", "-1y"].map((jump): Row => ({
  name: `clock set by ${jump}`,
  holds: "nobody falls asleep, ticks go on at their pace, players go on and new ones come",
  missing: () => library === undefined ? "libfaketime is not installed" : undefined,
  run: async ({ chance, folder, keep }) => {
    const file = join(folder, "now")
    writeFileSync(file, "+0")
    const server = keep(
      await Mud.start({
        flags: ["--tick", "0.2", "--idle-timeout", "600"],
        environment: {
          LD_PRELOAD: library!,
          FAKETIME_TIMESTAMP_FILE: file,
          FAKETIME_NO_CACHE: "1",
          FAKETIME_DONT_FAKE_MONOTONIC: "1"
        }
      })
    )
    const { body: ada } = await Mud.request(server.url, "POST", "/api/join", { body: { name: "Ada" } })
    const listener = new Mud.Listener(server.url, ada.token, ada.after)
    await listener.open()
    await sleep(chance.below(300))
    writeFileSync(file, jump)
    await sleep(1_000)
    const before = listener.events
    const from = performance.now()
    await eventually("ticks go on", () => listener.events >= before + 5)
    const pace = (performance.now() - from) / 5
    expect(pace < 1_000, `a tick of 200 ms took ${Math.round(pace)} ms`)
    const look = await Mud.request(server.url, "POST", "/api/command", { token: ada.token, body: { line: "look" } })
    expect(look.status === 200, `look: ${look.status}`)
    const bo = await Mud.request(server.url, "POST", "/api/join", { body: { name: "Bo" } })
    expect(bo.status === 200, `join: ${bo.status}`)
    expect(listener.problems.length === 0, listener.problems.join("; "))
    listener.close()
    const { code } = await server.stop()
    expect(code === 0, `exit code ${code}`)
    return `a tick each ${Math.round(pace)} ms, nobody asleep, exit code 0`
  }
}))

/** What crashes or swells inside. */
import { eventually } from "../lib/wait.js"
import { ask, endsCleanly, expect, raw, returned, type Row, state, subject } from "./row.js"

const crashes = ["ann", "ben", "cleo"].map((child): Row => ({
  name: `supervised child ${child} crashes`,
  holds: "it is started again, each time; its siblings are not, and open streams go on",
  run: async (setting) => {
    const server = await subject(setting)
    const before = await state(server)
    const stream = await raw(server.port, "GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
    const times = 2 + setting.chance.below(4)
    for (let i = 1; i <= times; i++) {
      await ask(server.url, "POST", `/crash?child=${child}`)
      await eventually(`${child} is started again`, async () => (await state(server)).starts[child] === 1 + i)
    }
    const had = stream.text().length
    await eventually("events go on", () => stream.text().length > had)
    const { starts } = await state(server)
    for (const [name, count] of Object.entries(starts)) {
      expect(count === (name === child ? times + 1 : 1), `${name} was started ${count} times`)
    }
    stream.socket.destroy()
    return `started ${times + 1} times, siblings once; ${await returned(server, before)}; ${await endsCleanly(server)}`
  }
}))

const memory: Row = {
  name: "memory over its threshold",
  holds: "the audit drains the service before the memory is gone: streams get a farewell, and it says why",
  run: async (setting) => {
    const limit = 400 * 1_048_576
    const server = await subject(setting, { memory: limit })
    const stream = await raw(server.port, "GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
    await eventually("the stream has begun", () => stream.text().includes("data:"))
    for (let i = 0; i < 40 && server.process.exitCode === null; i++) {
      await ask(server.url, "POST", "/eat?mebibytes=20").catch(() => {})
    }
    const { code } = await server.ended
    expect(/^retry:/m.test(stream.text()), "the stream got no farewell")
    const why = server.output().split("\n").find((line) => /limit/.test(line) && /rss/.test(line))
    expect(why !== undefined, `it was not said why:\n${server.output()}`)
    return `exit code ${code}: ${why!.trim().slice(0, 140)}`
  }
}

export const serviceRows: ReadonlyArray<Row> = [...crashes, memory]

// edge: the binary runs as a process of its own, and what goes wrong around it is made to go wrong
import { KeyValueStore } from "@effect/platform"
import { afterAll, assert, describe, it, vi } from "@effect/vitest"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Effect, Option } from "effect"
import { execFileSync, spawn } from "node:child_process"
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join as path } from "node:path"
import { fileURLToPath } from "node:url"
import { eventually, join, listen, press, request, type Server, start, stopAll } from "./support/server.js"

vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 })

const scratch = mkdtempSync(path(tmpdir(), "holdfast-faults-"))
afterAll(async () => {
  await stopAll()
  rmSync(scratch, { recursive: true, force: true })
})

const letters = (index: number) => [...String(index)].map((digit) => "abcdefghij"[Number(digit)]).join("")

/** Reads and writes the state of a server that does not run. */
const withStore = <A>(data: string, use: (store: KeyValueStore.KeyValueStore) => Effect.Effect<A, unknown>) =>
  Effect.runPromise(
    Effect.flatMap(KeyValueStore.KeyValueStore, use).pipe(
      Effect.provide(SqliteStore.layer({ path: path(data, "mud.db") })),
      Effect.scoped,
      Effect.orDie
    )
  )

const ashore = (server: Server, name: string) => request(server, "POST", "/api/join", { body: { name } })

describe("a full island", () => {
  it("keeps those who are on it, and lets those who come back in before newcomers (daily)", async () => {
    const server = await start(["--max-players", "20", "--join-rate", "1000"])
    const players = []
    for (let index = 0; index < 19; index++) players.push(await join(server, `Pl${letters(index + 100)}`))
    assert.deepInclude((await ashore(server, "Late")).body, { _tag: "WorldFull" })
    // one goes to sleep and another comes: its place is taken, and it comes back all the same
    await players[0].type("quit")
    await eventually("a place is free", async () => (await ashore(server, "Late")).status === 200)
    assert.strictEqual((await request(server, "POST", "/api/join", { body: { token: players[0].token } })).status, 200)
    assert.strictEqual((await request(server, "POST", "/api/join", { body: { token: players[1].token } })).status, 200)
    const again = await listen(server, "/events", { token: players[2].token })
    await again.next("a minute", ({ event }) => event === "Ticked")
    again.close()
    for (const { stream } of players) stream.close()
    await server.stop()
  })

  it("is not filled from one address, and says once that somebody tries (daily)", async () => {
    const server = await start(["--per-address", "5", "--join-rate", "1000", "--log", "json", "--proxies", "1"])
    const from = (address: string, index: number) =>
      request(server, "POST", "/api/join", {
        body: { name: `Pl${letters(index + 100)}` },
        headers: { "x-forwarded-for": `192.0.2.99, ${address}` }
      })
    const answers = []
    for (let index = 0; index < 20; index++) answers.push(await from("192.0.2.1", index))
    assert.deepStrictEqual(answers.map(({ status }) => status), [
      ...Array.from({ length: 5 }, () => 200),
      ...Array.from({ length: 15 }, () => 429)
    ])
    assert.strictEqual(answers[5].body._tag, "AddressFull")
    assert.strictEqual((await from("192.0.2.2", 50)).status, 200)
    // Of an IPv6 address the network counts.
    const six = []
    for (let index = 0; index < 7; index++) six.push(await from(`2001:db8:0:1::${index}`, 60 + index))
    assert.strictEqual(six.filter(({ status }) => status === 200).length, 5)
    // Streams are counted, too: 5 players may have 10.
    const streams = []
    for (let index = 0; index < 16; index++) {
      streams.push(
        await listen(server, `/events?token=${answers[index % 5].body.token}`, {
          headers: { "x-forwarded-for": "192.0.2.1" }
        }).catch((error: Error) => error.message)
      )
    }
    assert.strictEqual(streams.filter((stream) => typeof stream === "string" && /429/.test(stream)).length, 6)
    const told = server.out.filter((line) => line.includes("Somebody was not let in"))
    assert.strictEqual(told.length, 1)
    await server.stop()
  })

  it("writes the same for the hundredth who comes as for the tenth (daily)", async () => {
    const data = path(scratch, "crowd")
    const server = await start(["--data", data, "--join-rate", "1000", "--per-address", "1000", "--tick", "60"])
    const size = () => readdirSync(data).reduce((sum, file) => sum + statSync(path(data, file)).size, 0)
    const marks = [size()]
    for (let index = 0; index < 240; index++) {
      assert.strictEqual((await ashore(server, `Pl${letters(index + 100)}`)).status, 200)
      if (index % 80 === 79) marks.push(size())
    }
    const [, second, third] = marks.slice(1).map((mark, index) => mark - marks[index])
    assert.isAtMost(third, second * 1.5, marks.join())
    const { body } = await request(server, "POST", "/api/join", { body: { name: "Ada" } })
    assert.isAtMost(body.view.people.length, 20)
    assert.strictEqual(
      body.view.others + body.view.people.filter(({ kind }: { kind: string }) => kind === "player").length,
      240
    )
    await server.stop()
  })
})

describe("an operator's token", () => {
  it("makes operators for as long as it is the operator's token (daily)", async () => {
    const data = path(scratch, "operator")
    let server = await start(["--data", data, "--operator-token", "a-long-enough-token"])
    const { body } = await request(server, "POST", "/api/join", {
      body: { name: "Boss", operatorToken: "a-long-enough-token" }
    })
    const announce = () =>
      request(server, "POST", "/api/command", { token: body.token, body: { line: "announce Dinner." } })
    assert.strictEqual((await announce()).status, 200)
    await server.stop()
    for (
      const [flags, status] of [
        [["--operator-token", "a-long-enough-token"], 200],
        [["--operator-token", "another-long-token"], 403],
        [[], 403]
      ] as const
    ) {
      server = await start(["--data", data, ...flags])
      const again = await request(server, "POST", "/api/join", { body: { token: body.token } })
      assert.strictEqual(again.status, 200, "it is still the same player")
      assert.strictEqual((await announce()).status, status, flags.join(" "))
      await server.stop()
    }
  })
})

const prlimit = "/usr/bin/prlimit"

/** The server whose disk is full. */
const full: { child?: ReturnType<typeof spawn>; out: string } = { out: "" }
afterAll(() => void full.child?.kill("SIGKILL"))

describe("the state on the disk", () => {
  it("is for its owner alone, and what others can read is warned of (daily)", async () => {
    const data = path(scratch, "rights")
    let server = await start(["--data", data, "--log", "json"])
    await join(server, "Ada")
    const modes = () =>
      [data, ...readdirSync(data).map((file) => path(data, file))].map((file) => statSync(file).mode & 0o77)
    assert.deepStrictEqual(modes(), modes().map(() => 0))
    assert.isFalse(server.out.some((line) => line.includes("chmod")))
    await server.stop()
    chmodSync(data, 0o755)
    chmodSync(path(data, "mud.db"), 0o644)
    server = await start(["--data", data, "--log", "json"])
    for (const command of [`chmod 700 ${data}`, `chmod 600 ${path(data, "mud.db")}`]) {
      assert.isTrue(server.out.some((line) => line.includes(command)), command)
    }
    await server.stop()
  })

  it("with an empty key, or a snapshot that cannot be read, is refused with its file, its key and a way out (daily)", async () => {
    for (
      const [key, value, found] of [
        ["token-key", "", /the key "token-key" in .*mud\.db is too short .* Delete that row/],
        ["world", "{\"lastId\":\"x\"}", /the snapshot \(key "world"\) in .*mud\.db cannot be read: .*lastId.*--data/s]
      ] as const
    ) {
      const data = path(scratch, `bad-${key}`)
      const server = await start(["--data", data])
      await join(server, "Ada")
      await server.stop()
      await withStore(data, (store) => store.set(key, value))
      assert.isTrue(Option.isSome(await withStore(data, (store) => store.get(key))))
      const failed = await start(["--data", data]).catch((error: Error) => error.message)
      assert.match(String(failed), found)
    }
  })

  it.skipIf(!existsSync(prlimit))(
    "that is full (where there is prlimit): says so, is not ready, logs one line, and goes on when there is room (daily)",
    async () => {
      const data = path(scratch, "full")
      const port = await new Promise<number>((resolve, reject) => {
        // A file may grow to a limit: then the system says what it says of a full disk.
        const child = spawn("bash", [
          "-c",
          `trap '' XFSZ; ulimit -S -f 700; exec "$0" "$@"`,
          process.execPath,
          fileURLToPath(new URL("../dist/main.js", import.meta.url)),
          "--port",
          "0",
          "--data",
          data,
          "--log",
          "json",
          "--join-rate",
          "1000",
          "--per-address",
          "1000"
        ], { stdio: ["ignore", "pipe", "pipe"] })
        full.child = child
        let out = ""
        child.stdout.on("data", (text: Buffer) => {
          out += text.toString()
          full.out = out
          const found = /http:\/\/[\w.]+:(\d+)/.exec(out)?.[1]
          if (found !== undefined) resolve(Number(found))
        })
        child.once("exit", (code) => reject(new Error(`ended with ${code}: ${out}`)))
      })
      const server = { url: `http://127.0.0.1:${port}` }
      const { body } = await request(server, "POST", "/api/join", { body: { name: "Ada" } })
      assert.strictEqual((await request(server, "GET", "/health/ready")).status, 200)
      const say = () => request(server, "POST", "/api/say", { token: body.token, body: { text: "x".repeat(400) } })
      const refused = await eventually("the disk is full", async () => {
        const answer = await say()
        return answer.status === 503 ? answer : undefined
      }, 120_000)
      assert.include(refused.body.message, "cannot write down")
      const ready = await request(server, "GET", "/health/ready")
      assert.strictEqual(ready.status, 503)
      assert.notStrictEqual(ready.body.checks.store, "ok")
      for (let index = 0; index < 5; index++) await say()
      assert.strictEqual(
        full.out.split("\n").filter((line) => line.includes("cannot be written down")).length,
        1,
        full.out
      )
      execFileSync(prlimit, ["--pid", String(full.child!.pid), "--fsize=unlimited"])
      await eventually("it goes on", async () => (await say()).status === 200, 30_000)
      assert.strictEqual((await request(server, "GET", "/health/ready")).status, 200)
      full.child!.kill("SIGKILL")
    }
  )
})

describe("the data of the world", () => {
  it("that would unfold into something huge is refused with its place, and the next edit is read (daily)", async () => {
    const world = path(scratch, "bomb")
    cpSync(fileURLToPath(new URL("../world", import.meta.url)), world, { recursive: true })
    const server = await start(["--world", world, "--log", "json"])
    const rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for (let index = 1; index < 9; index++) {
      const [name, before] = [index, index - 1].map((at) => "abcdefghij"[at])
      rows.push(`${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(", ")}]`)
    }
    writeFileSync(path(world, "bomb.yaml"), rows.join("\n"))
    await eventually(
      "the bomb is named",
      () => server.out.some((line) => /bomb\.yaml:2:\d+ .*cannot be unfolded/.test(line))
    )
    writeFileSync(
      path(world, "bomb.yaml"),
      "things:\n  bun:\n    name: warm bun\n    description: Warm.\n    start: quay\n"
    )
    const ada = await join(server, "Ada")
    await eventually("the next edit is read", async () => (await ada.type("look bun")).status === 200)
    ada.stream.close()
    await server.stop()
  })
})

const faketime = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"].find(existsSync)

describe.skipIf(faketime === undefined)("the clock of the machine", () => {
  it("set forward puts nobody to sleep, and set back locks nobody out (daily)", async () => {
    const folder = path(scratch, "time")
    mkdirSync(folder)
    const now = path(folder, "now")
    writeFileSync(now, "+0")
    const server = await start(["--join-rate", "2", "--idle-timeout", "600"], {
      LD_PRELOAD: faketime!,
      FAKETIME_TIMESTAMP_FILE: now,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1"
    })
    const ada = await join(server, "Ada")
    writeFileSync(now, "+2h")
    await eventually("the clock is set forward", async () => {
      const { body } = await request(server, "GET", "/operator/snapshot", { token: server.operator.token! })
      return body.frame.at > Date.now() + 3_600_000
    })
    const before = ada.stream.frames.length
    await eventually(
      "minutes pass",
      () => ada.stream.frames.slice(before).filter(({ event }) => event === "Ticked").length > 2
    )
    assert.notInclude(ada.stream.text(), "\"Slept\"")
    assert.strictEqual((await ada.type("look")).status, 200)
    assert.strictEqual((await ashore(server, "Bo")).status, 200)
    writeFileSync(now, "-2h")
    await eventually("the clock is set back", async () => {
      const { body } = await request(server, "GET", "/operator/snapshot", { token: server.operator.token! })
      return body.frame.at < Date.now() - 3_600_000
    })
    for (let index = 0; index < 6; index++) assert.strictEqual((await ada.type("look")).status, 200)
    await eventually("joining", async () => (await ashore(server, "Cy")).status === 200, 10_000)
    ada.stream.close()
    await server.stop()
  })
})

describe("a server that runs", () => {
  it("sends nosniff with everything, and tells a kicked player from one that left", async () => {
    const server = await start()
    const ada = await join(server, "Ada")
    const all = [
      await request(server, "GET", "/"),
      await request(server, "GET", "/nowhere"),
      await request(server, "GET", "/metrics"),
      await request(server, "GET", "/health/live"),
      await request(server, "GET", "/api/door"),
      await request(server, "POST", "/api/join", { raw: "{" }),
      await request(server, "GET", "/events")
    ]
    for (const { headers } of all) assert.strictEqual(headers["x-content-type-options"], "nosniff")
    assert.strictEqual(ada.stream.headers["x-content-type-options"], "nosniff")
    assert.deepInclude(all[4].body, { title: "Skerrow", awake: 1 })
    assert.strictEqual((await press(server, "kick", { player: "Ada" })).status, 200)
    await ada.stream.closed
    const ended = await eventually("the session has ended", async () => {
      const { body } = await request(server, "GET", "/operator/snapshot", { token: server.operator.token! })
      return body.frame.sections.ended.set.find(({ cells }: { cells: Record<string, unknown> }) =>
        cells.reason === "kicked"
      )
    })
    assert.strictEqual(ended.cells.hub, "players")
    await server.stop()
  })

  it("keeps a banned player out of everything, until the operator lets it in again (daily)", async () => {
    const server = await start()
    const ada = await join(server, "Ada")
    const rows = async (section: string) => {
      const { body } = await request(server, "GET", "/operator/snapshot", { token: server.operator.token! })
      const found: ReadonlyArray<{ readonly key: string }> = body.frame.sections[section]?.set ?? []
      return found.length > 0 ? found : undefined
    }
    const [session] = await eventually("the session is shown", () => rows("sessions"))
    assert.strictEqual((await press(server, "ban", { session: session.key, minutes: 5 })).status, 200)
    await ada.stream.closed
    for (
      const answer of [
        await request(server, "POST", "/api/command", { token: ada.token, body: { line: "look" } }),
        await request(server, "POST", "/api/join", { body: { token: ada.token } }),
        await request(server, "GET", "/api/map", { token: ada.token }),
        await request(server, "GET", "/events", { token: ada.token })
      ]
    ) {
      assert.deepStrictEqual([answer.status, answer.body._tag], [403, "Banned"])
      assert.isAtMost(answer.body.retryAfterMillis, 300_000)
      const seconds = Number(answer.headers["retry-after"])
      assert.strictEqual(seconds, Math.ceil(answer.body.retryAfterMillis / 1000))
    }
    const bo = await join(server, "Bo")
    assert.strictEqual((await bo.type("look")).status, 200)
    const [ban] = await eventually("the ban is shown", () => rows("bans"))
    assert.strictEqual((await press(server, "unban", { ban: ban.key })).status, 200)
    assert.strictEqual((await request(server, "POST", "/api/join", { body: { token: ada.token } })).status, 200)
    await server.stop()
  })

  it("lets a name be given up, and somebody else take it", async () => {
    const server = await start()
    const ada = await join(server, "Ada")
    await ada.type("n")
    await ada.type("take herring")
    const bo = await join(server, "Bo")
    await bo.type("n")
    assert.strictEqual((await request(server, "POST", "/api/leave", { token: ada.token, body: {} })).status, 200)
    await bo.stream.next("the herring is put down", ({ event }) => event === "Forgotten")
    assert.strictEqual((await ada.type("look")).status, 409)
    assert.strictEqual((await request(server, "POST", "/api/join", { body: { token: ada.token } })).status, 401)
    assert.strictEqual((await bo.type("take herring")).status, 200)
    assert.strictEqual((await ashore(server, "Ada")).status, 200)
    bo.stream.close()
    await server.stop()
  })
})

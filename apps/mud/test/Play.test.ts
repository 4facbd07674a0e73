// edge: the binary runs as a process of its own, and is driven from outside
import { afterAll, assert, describe, it, vi } from "@effect/vitest"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join as path } from "node:path"
import { fileURLToPath } from "node:url"
import { plain, render, wrap } from "../src/client/Terminal.js"
import { eventually, join, press, start, stopAll } from "./support/server.js"

// Processes take their time to start where others work, too.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 })

const scratch = mkdtempSync(path(tmpdir(), "holdfast-play-"))
afterAll(async () => {
  await stopAll()
  rmSync(scratch, { recursive: true, force: true })
})

describe("Terminal", () => {
  it("wraps at blanks, cuts what is too long, and loses nothing", () => {
    assert.deepStrictEqual(wrap("a few words to wrap", 9), ["a few", "words to", "wrap"])
    assert.deepStrictEqual(wrap("xxxxxxxxxx y", 4), ["xxxx", "xxxx", "xx y"])
    for (const line of wrap("one two three four five".repeat(9), 12)) assert.isAtMost(line.length, 12)
  })

  it("lets no control character of somebody else through to the terminal", () => {
    const evil = "\u001b[2J\u001b]0;title\u0007\rhello\u202e"
    assert.strictEqual(plain(evil), "[2J]0;titlehello")
    const lines = render({ tone: "speech", text: evil }, { columns: 80, colours: false })
    assert.deepStrictEqual(lines, ["[2J]0;titlehello"])
    const coloured = render({ tone: "speech", text: "hi" }, { columns: 80, colours: true })
    assert.deepStrictEqual(coloured, ["\u001b[36mhi\u001b[0m"])
  })
})

/** Runs the client to its end. */
const play = (flags: ReadonlyArray<string>): Promise<{ readonly code: number | null; readonly out: string }> =>
  new Promise((resolve) => {
    const client = spawn(process.execPath, [fileURLToPath(new URL("../dist/play.js", import.meta.url)), ...flags], {
      stdio: ["ignore", "pipe", "pipe"]
    })
    let out = ""
    for (const stream of [client.stdout, client.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        out += text
      })
    }
    client.once("close", (code) => resolve({ code, out }))
  })

describe("the terminal client", () => {
  it("plays a scene from its standard input, and goes on after a restart of the server (daily)", async () => {
    const data = path(scratch, "play")
    const first = await start(["--data", data])
    const bo = await join(first, "Bo")
    const client = spawn(process.execPath, [
      fileURLToPath(new URL("../dist/play.js", import.meta.url)),
      "Ada",
      "--url",
      first.url
    ], { stdio: ["pipe", "pipe", "pipe"] })
    let out = ""
    client.stdout.on("data", (text: Buffer) => {
      out += text.toString()
    })
    client.stderr.on("data", (text: Buffer) => {
      out += text.toString()
    })
    const ended = new Promise<number | null>((resolve) => void client.once("close", resolve))
    const reads = (text: string) => eventually(`the terminal shows ${text}, in:\n${out}`, () => out.includes(text))
    await reads("The Quay")
    await bo.type("say hello from over there")
    await reads("Bo says: “hello from over there”")
    client.stdin.write("n\n")
    await reads("Slate tables")
    client.stdin.write("loook\n")
    await reads("Did you mean “look”?")
    bo.stream.close()
    await first.stop()
    await reads("The world goes to sleep for a moment.")
    client.stdin.write("look\n")
    await reads("The world cannot be reached right now.")
    const second = await start(["--data", data, "--port", String(first.port)])
    await press(second, "announce", { text: "All is as it was." })
    await reads("The operator announces: All is as it was.")
    client.stdin.end("look\n")
    assert.strictEqual(await ended, 0)
    assert.strictEqual(out.split("hello from over there").length, 2)
    assert.strictEqual(out.split("Slate tables").length, 3)
    await second.stop()
    assert.include(out, "Until next time.")
  })

  it("gives a name up for good, and only with its token (daily)", async () => {
    const server = await start()
    const ada = await join(server, "Ada")
    ada.stream.close()
    const without = await play(["Ada", "--url", server.url, "--give-up"])
    assert.strictEqual(without.code, 2)
    assert.include(without.out, "--give-up needs the --token")
    assert.deepStrictEqual(await play(["--url", server.url, "--token", ada.token, "--give-up"]), {
      code: 0,
      out: "Ada is given up: the name is free again.\n"
    })
    const again = await play(["--url", server.url, "--token", ada.token, "--give-up"])
    assert.strictEqual(again.code, 1, again.out)
    const other = await join(server, "Ada")
    other.stream.close()
    await server.stop()
  })
})

// edge: processes are the subject
import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const tool = (
  name: string,
  flags: ReadonlyArray<string>
): Promise<{ readonly code: number | null; readonly out: string }> =>
  new Promise((resolve) => {
    const file = fileURLToPath(new URL(`../dist/${name}.js`, import.meta.url))
    const child = spawn(process.execPath, [file, ...flags], { stdio: ["ignore", "pipe", "pipe"] })
    let out = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (out += chunk))
    child.once("close", (code) => resolve({ code, out }))
  })

const soak = async (flags: ReadonlyArray<string>) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-soak-test-"))
  try {
    const short = ["--minutes", "6", "--rounds", "15", "--players", "2", "--fill", "0", "--out", folder]
    const ended = await tool("soak", [...short, ...flags])
    return {
      ...ended,
      json: JSON.parse(readFileSync(join(folder, "soak.json"), "utf8")),
      svg: readFileSync(join(folder, "soak.svg"), "utf8")
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const minutes = 60_000

describe("soak", () => {
  it("finds a fiber that each stream leaves behind, in fifteen rounds (daily)", async () => {
    const { code, json, out, svg } = await soak(["--fault", "leak-each"])
    assert.strictEqual(code, 1, out)
    const grows = json.verdicts.filter((verdict: { readonly grows: boolean }) => verdict.grows)
      .map(({ name }: { readonly name: string }) => name)
    assert.includeMembers(grows, ["fibers", "handles"], out)
    assert.match(svg, /<polyline points="[\d., -]+"/)
  }, 6 * minutes)

  it("finds nothing without it (daily)", async () => {
    const { code, json, out } = await soak([])
    assert.deepStrictEqual(json.problems, {}, out)
    assert.deepStrictEqual(
      json.verdicts.filter((verdict: { readonly grows: boolean }) => verdict.grows),
      [],
      out
    )
    assert.strictEqual(code, 0, out)
  }, 6 * minutes)
})

describe("chaos", () => {
  it("runs a row by its name, and lists all with what must hold", async () => {
    const { code, out } = await tool("chaos", ["--seed", "3", "--only", "abort in the body"])
    assert.strictEqual(code, 0, out)
    assert.match(out, /holds {3}abort in the body\n.*must hold: nothing of 20 .*\n.*seen: .*as before.*exit code 0/)
    assert.match(out, /1 hold, 0 fail, 0 skipped, seed 3/)
    const list = await tool("chaos", ["--list"])
    assert.isAtLeast(list.out.trim().split("\n").length, 35)
  }, 2 * minutes)

  it("refuses what it does not know", async () => {
    assert.strictEqual((await tool("chaos", ["--only", "no such row"])).code, 2)
    assert.strictEqual((await tool("load", ["--url", "nowhere"])).code, 2)
    assert.match((await tool("soak", ["--minutes", "-1"])).out, /--minutes is -1|argument is ambiguous/)
  })
})

import { assert, describe, it } from "@effect/vitest"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Data, Effect, Option } from "effect"
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { sized } from "../../../scripts/sized.js"

const kills = sized(200, 200, 20)
const busKills = sized(8, 100, 4)
const creations = sized(8, 40, 4)
const timeout = sized(600_000, 3_600_000)

type Fixture = "killed" | "killedBus"

/** The fixture is a program: it runs from the build, as an application would. */
const start = (fixture: Fixture) =>
  spawn(process.execPath, [fileURLToPath(new URL(`fixtures/${fixture}.mjs`, import.meta.url))], {
    stdio: ["pipe", "pipe", "pipe"]
  })

/** The child ended by itself. */
class Ended extends Data.TaggedError("Ended")<{ code: number | null; output: string; errors: string }> {}

interface Round {
  readonly path: string
  readonly round: number
  readonly seed: number
  readonly after: number
}

/** Lets the child write, kills it, and answers all that it said. */
const run = (child: ChildProcessWithoutNullStreams, round: Round, kill: { on: string; after: number }) =>
  Effect.async<ReadonlyArray<string>, Ended>((resume) => {
    let output = ""
    let errors = ""
    let timer: NodeJS.Timeout | undefined
    const arm = () => {
      timer ??= setTimeout(() => child.kill("SIGKILL"), kill.after)
    }
    child.stderr.on("data", (chunk) => errors += chunk)
    child.stdout.on("data", (chunk) => {
      output += chunk
      if (kill.on !== "" && `\n${output}`.includes(`\n${kill.on} `)) arm()
    })
    child.on("close", (code, signal) => {
      clearTimeout(timer)
      const lines = output.split("\n")
      // The last line is cut off, or empty.
      lines.pop()
      resume(
        signal === "SIGKILL" ? Effect.succeed(lines) : new Ended({ code, output, errors })
      )
    })
    if (kill.on === "") arm()
    child.stdin.end(JSON.stringify(round))
    return Effect.sync(() => {
      clearTimeout(timer)
      child.kill("SIGKILL")
    })
  })

const random = (seed: number) => (below: number) => {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
  return Math.floor(seed / 2_147_483_648 * below)
}

const scratch = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-kill-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

/** Children that have loaded what they need and wait to be told to begin. */
const prefork = (fixture: Fixture, total: number, ahead: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const waiting: Array<ChildProcessWithoutNullStreams> = []
      let started = 0
      const fill = () => {
        while (waiting.length < ahead && started < total) {
          started++
          waiting.push(start(fixture))
        }
      }
      fill()
      return {
        waiting,
        next: () => {
          const child = waiting.shift()
          fill()
          if (child === undefined) throw new Error("no child left")
          return child
        }
      }
    }),
    ({ waiting }) =>
      Effect.forEach(waiting, (child) =>
        Effect.async<void>((resume) => {
          child.on("close", () => resume(Effect.void))
          child.kill("SIGKILL")
        }))
  )

describe("SqliteStore under kill -9", () => {
  it.scopedLive(
    `keeps every acknowledged event once and in order over ${kills} kills in the middle of writing (daily)`,
    () =>
      Effect.gen(function*() {
        const path = join(yield* scratch, "store.db")
        const dice = random(20_241)
        const children = yield* prefork("killed", kills, 3)
        const acknowledged = new Map<number, string>()
        const found = new Map<number, string>()
        let ticked = 0
        let entered = 0
        let unacknowledged = 0
        let after = 0

        const check = (bounds: { readonly first: number; readonly last: number }, number: number, entry: number) => {
          assert.strictEqual(bounds.first, 1)
          assert.strictEqual(found.size, bounds.last)
          for (let id = after + 1; id <= bounds.last; id++) {
            const payload = found.get(id)
            assert.isDefined(payload, `event ${id} is missing`)
            assert.strictEqual(JSON.parse(payload).id, id)
            const expected = acknowledged.get(id)
            if (expected === undefined) unacknowledged++
            else assert.strictEqual(payload, expected)
          }
          assert.isAtLeast(bounds.last, Math.max(0, ...[...acknowledged.keys()].slice(-1)))
          assert.isAtLeast(number, ticked)
          assert.isAtMost(number, ticked + 1)
          assert.isAtLeast(entry, entered)
          assert.isAtMost(entry, entered + 1)
          after = bounds.last
          ticked = number
          entered = entry
        }

        for (let round = 1; round <= kills; round++) {
          const said = yield* run(children.next(), { path, round, seed: dice(1_000_000), after }, {
            // One in eight dies while it opens, and recovers, the file.
            on: dice(8) === 0 ? "" : "open",
            after: dice(40)
          })
          for (const line of said) {
            const [word, ...rest] = line.split(" ")
            if (word === "found") found.set(Number(rest[0]), rest[1])
            if (word === "open") {
              check({ first: Number(rest[0]), last: Number(rest[1]) }, Number(rest[2]), Number(rest[3]))
            }
            if (word === "acked") {
              assert.isFalse(acknowledged.has(Number(rest[0])), `event ${rest[0]} was acknowledged twice`)
              acknowledged.set(Number(rest[0]), rest[1])
            }
            if (word === "ticked") {
              ticked = Number(rest[0])
            }
            if (word === "entered") entered = Number(rest[0])
          }
        }

        const store = yield* SqliteStore.make({ path })
        const rows = yield* store.events.read({ after: 0, limit: 10_000_000 })
        assert.deepStrictEqual(rows.map((row) => row.id), rows.map((_, index) => index + 1))
        for (const [id, payload] of acknowledged) assert.strictEqual(rows[id - 1]?.payload, payload)
        const state = Option.getOrThrow(yield* store.tickers.load("world"))
        assert.strictEqual(state.elapsedMillis, state.number * 100)
        assert.isAtLeast(state.number, ticked)
        assert.isAtLeast(acknowledged.size, kills)
        assert.isAtLeast(unacknowledged, 0)
      }),
    timeout
  )

  it.scopedLive(
    `keeps what a durable bus has acknowledged, under the id that it said, over ${busKills} kills (daily)`,
    () =>
      Effect.gen(function*() {
        const path = join(yield* scratch, "store.db")
        const dice = random(99)
        const children = yield* prefork("killedBus", busKills, 3)
        const acknowledged = new Map<number, string>()
        const found: Array<string> = []
        for (let round = 1; round <= busKills; round++) {
          const said = yield* run(children.next(), { path, round, seed: 1, after: found.length }, {
            on: "open",
            after: dice(60)
          })
          for (const line of said) {
            const [word, id, text] = line.split(" ")
            if (word === "found") {
              assert.strictEqual(Number(id), found.length + 1)
              found.push(text)
            }
            if (word === "open") {
              for (const [id, text] of acknowledged) assert.strictEqual(found[id - 1], text)
            }
            if (word === "acked") acknowledged.set(Number(id), text)
          }
        }
        // Nothing was published twice: each writer of each round took one step after the other.
        assert.strictEqual(new Set(found).size, found.length)
        assert.isAtLeast(acknowledged.size, busKills)
      }),
    timeout
  )

  it.scopedLive(
    `leaves no half of a file behind over ${creations} kills while it is made`,
    () =>
      Effect.gen(function*() {
        const directory = yield* scratch
        const dice = random(7)
        const children = yield* prefork("killed", creations, 3)
        for (let round = 1; round <= creations; round++) {
          const path = join(directory, `${round}.db`)
          yield* run(children.next(), { path, round, seed: 1, after: 0 }, { on: "", after: dice(25) })
          yield* Effect.scoped(Effect.gen(function*() {
            const store = yield* SqliteStore.make({ path })
            const { first, last } = yield* store.events.bounds
            assert.strictEqual(first, 1)
            assert.strictEqual((yield* store.events.read({ after: 0, limit: 100_000 })).length, last)
          }))
        }
      }),
    120_000
  )
})

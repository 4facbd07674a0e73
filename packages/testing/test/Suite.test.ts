import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Option } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { gallery } from "./fixtures/gallery.js"
import type { Outcomes } from "./support/suite.js"
import { runSuite, temporary } from "./support/suite.js"

const file = "packages/testing/test/fixtures/suite/leaks.fixture.ts"
const source = readFileSync(new URL("./fixtures/suite/leaks.fixture.ts", import.meta.url), "utf8").split("\n")

/** The place of the line that ends in a marker. */
const at = (marker: string) => `${file}:${source.findIndex((line) => line.endsWith(`// ${marker}`)) + 1}`

/** What a test was told that it left, a line each. */
const left = (outcomes: Outcomes, name: string): ReadonlyArray<string> =>
  (outcomes[name]?.message ?? "no such test").split("\n").slice(1).filter((line) => !line.startsWith("    at "))
    .map((line) => line.trim().replace(/#\d+/, "#").replace(/127\.0\.0\.1:\d+/g, "address"))

describe("a suite with the setup file", () => {
  it.scoped("tells each test what it left, who owns it, and where it was made", () =>
    Effect.gen(function*() {
      const { outcomes } = yield* runSuite("leaks", { HOLDFAST_GRACE: "100 millis" })
      const expected: { readonly [name: string]: ReadonlyArray<string> } = {
        "a daemon": [`fiber #, forked at ${at("daemon")}`],
        "a daemon that cannot be interrupted": [`fiber #, forked at ${at("stubborn")}`],
        "a fiber with an owner": [`fiber chat/session-12/heartbeat (#), forked at ${at("heartbeat")}`],
        "a fiber in a pipe": ["fiber #"],
        "a sleeping fiber": [`fiber #, forked at ${at("sleeper")}`],
        "a fiber from plain JavaScript": [`fiber #, forked at ${at("run fork")}`],
        "a scope": [`scope with 1 finalizer that did not run, first used at ${at("scope")}`],
        "a runtime": [
          `scope with 1 finalizer that did not run, first used at ${at("runtime")}`,
          "scope with 1 finalizer that did not run"
        ],
        "an interval": [`timer every 60000 ms, made at ${at("interval")}`],
        "a server and a socket": ["server address", `socket address to address, made at ${at("socket")}`],
        "a watcher": [`watcher, made at ${at("watcher")}`],
        "a message port": [`port, made at ${at("port")}`],
        "a worker": [`worker, made at ${at("worker")}`],
        "a process": [`process, made at ${at("process")}`],
        "a listener": [`listener process "SIGUSR2", made at ${at("listener")}`],
        "the environment": ["global process.env.HOLDFAST_FIXTURE changed"],
        "a name": ["global globalThis.holdfastFixture appeared"],
        "a built-in": ["global Math.random was replaced"],
        "fake timers that stay on": [
          "global Date was replaced",
          "global setTimeout was replaced",
          "global setInterval was replaced",
          "global setImmediate was replaced",
          "global clearTimeout was replaced",
          "global clearInterval was replaced",
          "global clearImmediate was replaced",
          "global performance was replaced"
        ],
        "one that leaks a fiber": [`fiber #, forked at ${at("concurrent")}`],
        "one that leaks a timer": [`timer every 50000 ms, made at ${at("concurrent timer")}`]
      }
      for (const [name, lines] of Object.entries(expected)) {
        assert.deepStrictEqual(left(outcomes, name), lines, name)
      }
      const failed = Object.keys(outcomes).filter((name) => outcomes[name]!.status === "failed")
      assert.deepStrictEqual(failed.toSorted(), Object.keys(expected).toSorted())
      assert.strictEqual(Object.keys(outcomes).length, source.filter((line) => / it(?:\.\w+)?\(/.test(line)).length + 3)
    }), 60_000)

  it.scoped("tells the file what its hooks left (daily)", () =>
    Effect.gen(function*() {
      const { message, outcomes } = yield* runSuite("outside", { HOLDFAST_GRACE: "100 millis" })
      assert.deepStrictEqual(outcomes, { "is not to blame": { status: "passed", message: "" } })
      assert.match(
        message,
        /^"outside\.fixture\.ts" left 2 things behind\n {2}fiber #\d+, forked at .*:6\n {2}timer .*:7$/
      )
    }), 60_000)

  it.scoped("refuses a grace that is none (daily)", () =>
    Effect.gen(function*() {
      const { message } = yield* runSuite("outside", { HOLDFAST_GRACE: "a while" })
      assert.strictEqual(
        message,
        "HOLDFAST_GRACE is \"a while\": expected a finite duration of zero or more, such as \"30 seconds\""
      )
    }), 60_000)
})

describe("replay in another process", () => {
  it.scoped("gives the same traces, 50 times (daily)", () =>
    Effect.gen(function*() {
      const names = ["lost update", "missed interrupt", "a reader that is kept waiting for long"]
      const seeds: { [name: string]: number } = {}
      const mine: { [name: string]: ReadonlyArray<string> } = {}
      for (const { buggy, name } of gallery.filter(({ name }) => names.includes(name))) {
        const found = Option.getOrThrow(yield* Explore.find(buggy, { seeds: 200 }))
        seeds[name] = found.run.seed
        const runs = yield* Effect.replicateEffect(Explore.replay(buggy, found.run.seed), 50)
        mine[name] = Array.from(new Set(runs.map((run) => JSON.stringify([run.fingerprint, run.events]))))
        assert.strictEqual(mine[name].length, 1, name)
      }
      const out = join(yield* temporary, "traces.json")
      const { outcomes } = yield* runSuite("replay", {
        HOLDFAST_FIXTURE_SEEDS: JSON.stringify(seeds),
        HOLDFAST_FIXTURE_OUT: out
      })
      assert.deepStrictEqual(Object.values(outcomes), [{ status: "passed", message: "" }])
      assert.deepStrictEqual(JSON.parse(readFileSync(out, "utf8")), mine)
    }), 120_000)
})

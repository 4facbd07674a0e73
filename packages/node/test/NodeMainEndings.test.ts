import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { closeSync, mkdtempSync, openSync, rmSync, unlinkSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Ended, StartOptions } from "./support/process.js"
import { asFirstProcess, assertWithin, canUnshare, pause, runWith, slack, start } from "./support/process.js"

const run = (scenario: string, signals: ReadonlyArray<NodeJS.Signals>, options: StartOptions = {}) =>
  runWith(scenario, signals, { fixture: "endings", ...options })

const begin = (scenario: string, options: StartOptions = {}) => start(scenario, { fixture: "endings", ...options })

const reportOf = (ended: Ended) => ShutdownReport.fromJson(ended.last)

/** A process has one last line, which starts so, whoever ends it. */
const lastLines = (ended: Ended) =>
  [...ended.stdout.split("\n"), ...ended.stderr.split("\n")].filter((line) => line.startsWith("shutdown: "))

const [major, minor] = process.versions.node.split(".").map(Number)
/** Since then a process can become another program, and has an exit code without waiting for its threads. */
const hasExecve = major > 22 || (major === 22 && minor >= 15)

const fifo = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-"))
    const path = join(folder, "fifo")
    assert.strictEqual(spawnSync("mkfifo", [path]).status, 0)
    return { folder, path }
  }),
  ({ folder, path }) =>
    Effect.sync(() => {
      // By itself: who asks for the kind of a FIFO last has Node 20 follow no link of what is imported next (nodejs/node#51142).
      unlinkSync(path)
      rmSync(folder, { recursive: true })
    })
)

describe("time limits", () => {
  for (const scenario of ["infinite", "thirty-days"]) {
    it.scopedLive(`waits for what is slow (${scenario}) (daily)`, () =>
      Effect.gen(function*() {
        const ended = yield* run(scenario, ["SIGTERM"], { report: "json" })
        assert.strictEqual(ended.code, 0)
        assert.include(ended.stdout, "flushed\n")
        const report = reportOf(ended)
        assert.strictEqual(report.verdict, "clean")
        assert.strictEqual(report.timeoutMillis, scenario === "infinite" ? Number.POSITIVE_INFINITY : 30 * 86_400_000)
      }))

    it.scopedLive(`does not take a second signal for the end at once (${scenario}) (daily)`, () =>
      Effect.gen(function*() {
        const running = yield* begin(scenario, { report: "json" })
        yield* running.said("ready")
        yield* running.signal("SIGTERM")
        yield* running.signal("SIGINT")
        const ended = yield* running.ended
        assert.strictEqual(ended.code, 0)
        assert.include(ended.stdout, "flushed\n")
        assert.isTrue(reportOf(ended).hurried)
      }))
  }

  it.scopedLive("refuses options that make no sense, and what is no application", () =>
    Effect.gen(function*() {
      const { stdout } = yield* run("refusals", [])
      const named = stdout.trimEnd().split("\n").map((line) => line.replace(/ is .*/, ""))
      assert.deepStrictEqual(named, [
        "InvalidOption: NodeMain.gracefulShutdownTimeout",
        "InvalidOption: NodeMain.gracefulShutdownTimeout",
        "InvalidOption: NodeMain.hurryTimeout",
        "InvalidOption: NodeMain.readinessDelay",
        "InvalidOption: Watchdog.stall",
        "InvalidOption: NodeMain.dumpSignal",
        "InvalidOption: NodeMain.dumpSignal",
        "InvalidOption: NodeMain.signals",
        "InvalidOption: NodeMain.report",
        "InvalidOption: NodeMain.runMain's application"
      ])
    }))
})

describe("an exception during the shutdown", () => {
  for (
    const [scenario, phase, origin] of [
      ["throws-draining", "draining", "uncaughtException"],
      ["rejects-draining", "draining", "unhandledRejection"],
      ["throws-releasing", "releasing", "uncaughtException"],
      ["throws-in-finalizer", "releasing", "uncaughtException"],
      ["rejects-at-the-end", "releasing", "unhandledRejection"]
    ]
  ) {
    it.scopedLive(`is an item of its phase, and the exit code is 1 (${scenario})${scenario === "throws-releasing" ? "" : " (daily)"}`, () =>
      Effect.gen(function*() {
        const ended = yield* run(scenario, ["SIGTERM"], { report: "json" })
        const report = reportOf(ended)
        assert.strictEqual(ended.code, 1)
        assert.deepStrictEqual(report.reason, { _tag: "Signal", signal: "SIGTERM" })
        assert.strictEqual(report.verdict, "failed")
        assert.deepStrictEqual(
          report.phases.flatMap((one) =>
            one.items.filter(({ status }) => status === "failed").map((item) => [one.phase, item.kind, item.label])
          ),
          [[phase, "exception", origin]]
        )
        assert.match(ended.stderr, /fixture: \w+: Error: (out of nowhere|nobody cared)\n\s+at /)
      }))
  }

  it.scopedLive("is an item, when it comes between another one and the shutdown (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* run("throws-twice", [], { report: "json" })
      const report = reportOf(ended)
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stdout, "flushed\n")
      const origins = ["uncaughtException", "unhandledRejection"]
      assert.isTrue(report.reason._tag === "Crash" && origins.includes(report.reason.origin))
      assert.deepStrictEqual(
        report.items("failed").map(({ label }) => label),
        origins.filter((origin) => report.reason._tag !== "Crash" || report.reason.origin !== origin)
      )
    }))
})

describe("the exit code", () => {
  const table: ReadonlyArray<readonly [scenario: string, signals: ReadonlyArray<NodeJS.Signals>, code: number]> = [
    ["exit-code-set", ["SIGTERM"], 3],
    ["exit-code-set-and-failed", ["SIGTERM"], 3],
    ["exit-code-set-and-forced", ["SIGTERM"], 143],
    ["exit-code-chosen", [], 78],
    ["exit-code-nonsense", ["SIGTERM"], 0],
    ["exit-code-throws", ["SIGTERM"], 0],
    ["exit-listener-exits", ["SIGTERM"], 9]
  ]
  for (const [scenario, signals, code] of table) {
    it.scopedLive(`is ${code} (${scenario})${scenario === "exit-code-set" ? "" : " (daily)"}`, () =>
      Effect.gen(function*() {
        const ended = yield* run(scenario, signals)
        assert.strictEqual(ended.code, code)
        assert.strictEqual(lastLines(ended).length, 1)
      }))
  }

  it.scopedLive("does not need the option to make sense (daily)", () =>
    Effect.gen(function*() {
      const nonsense = yield* run("exit-code-nonsense", ["SIGTERM"])
      assert.strictEqual(
        nonsense.stderr,
        "fixture: runMain's option exitCode returned 1000, expected a whole number from 0 to 255\n"
      )
      const throwing = yield* run("exit-code-throws", ["SIGTERM"])
      assert.match(throwing.stderr, /^fixture: runMain's option exitCode threw Error: out of nowhere\n/)
    }))
})

describe("a listener of the process's exit", () => {
  it.scopedLive("that throws is shown and reported once, and keeps no other from running", () =>
    Effect.gen(function*() {
      const ended = yield* run("exit-listener-throws", ["SIGTERM"])
      assert.strictEqual(ended.code, 1)
      const lines = ended.stdout.trimEnd().split("\n")
      assert.deepStrictEqual(lines.slice(0, -1), ["ready", "first listener", "third listener"])
      assert.deepStrictEqual(lastLines(ended), [ended.last])
      assert.match(ended.last, /SIGTERM, failed, .* 1 failed: listener exit \(Error: out of nowhere\)/)
      assert.match(ended.stderr, /a listener of exit: Error: out of nowhere\n\s+at /)
      assertWithin(ended, 1000)
    }))

  it.scopedLive("that never returns is ended by the watchdog, with one last line (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("exit-listener-spins", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.deepStrictEqual(lastLines(ended), [ended.last])
    }))
})

describe("a thread that does not come back", () => {
  const held = (ended: Ended, signal: number | undefined) => {
    assert.deepStrictEqual(lastLines(ended), [ended.last])
    if (!hasExecve) assert.strictEqual(ended.signal, "SIGKILL")
    else assert.strictEqual(ended.code, signal === undefined ? 1 : 128 + signal)
  }

  it.scopedLive("holds the process no longer than its budget, and is named in the last line", () =>
    Effect.gen(function*() {
      const { path } = yield* fifo
      const ended = yield* run("held-by-fifo", ["SIGTERM"], { args: [path] })
      held(ended, 15)
      assert.include(ended.last, "SIGTERM, forced")
      if (process.platform === "linux") assert.include(ended.last, `1 abandoned: thread open "${path}";`)
      // It is given its time, and then half a second.
      assert.isAtLeast(ended.took, 1000)
      assertWithin(ended, 1000)
    }))

  it.scopedLive("after a request from inside, too (daily)", () =>
    Effect.gen(function*() {
      const { path } = yield* fifo
      const ended = yield* run("held-after-request", [], { args: [path], report: "json" })
      assert.deepStrictEqual(reportOf(ended).items("abandoned").map(({ kind }) => kind), ["thread"])
      if (!hasExecve) assert.strictEqual(ended.signal, "SIGKILL")
      else assert.strictEqual(ended.code, 1)
    }))

  it.scopedLive("is not waited for after a second signal (daily)", () =>
    Effect.gen(function*() {
      const { path } = yield* fifo
      const ended = yield* run("held-for-a-while", ["SIGTERM", "SIGTERM"], { args: [path] })
      held(ended, 15)
      assertWithin(ended, 300 + 1000)
    }))

  it.scopedLive("does not make a busy loop outlast the watchdog (daily)", () =>
    Effect.gen(function*() {
      const { path } = yield* fifo
      const ended = yield* run("held-and-spinning", ["SIGTERM"], { args: [path] })
      assert.strictEqual(ended.signal, "SIGKILL")
      assert.deepStrictEqual(lastLines(ended), [ended.last])
      assert.include(ended.last, "busy at Timeout")
      assert.isBelow(ended.took, 1000 + slack)
    }))

  it.scopedLive("that does come back leaves the shutdown clean (daily)", () =>
    Effect.gen(function*() {
      const { path } = yield* fifo
      const running = yield* begin("held-for-a-while", { args: [path] })
      yield* running.said("ready")
      yield* running.signal("SIGTERM")
      yield* pause(300)
      const writer = openSync(path, "w")
      writeSync(writer, "at last")
      closeSync(writer)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0)
      assert.include(ended.last, "SIGTERM, clean")
    }))
})

describe("readinessDelay", () => {
  it.scopedLive("keeps the service normal while it is not ready any more", () =>
    Effect.gen(function*() {
      const ended = yield* run("unready", ["SIGTERM"], { args: ["1 second"] })
      assert.strictEqual(ended.code, 0)
      assert.deepStrictEqual(ended.stdout.split("\n").slice(0, 3), ["ready", "ready false, admitted true", "draining"])
      assert.isAtLeast(ended.took, 1000)
    }))

  it.scopedLive("is skipped by a second signal (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* run("unready", ["SIGTERM", "SIGTERM"], { args: ["1 minute"], report: "json" })
      assert.strictEqual(ended.code, 0)
      assert.isTrue(reportOf(ended).hurried)
      assert.include(ended.stdout, "draining\n")
    }))
})

describe("an Effect as the application", () => {
  const table: ReadonlyArray<
    readonly [scenario: string, signals: ReadonlyArray<NodeJS.Signals>, code: number, last: string]
  > = [
    ["effect-succeeds", [], 0, "requested by the end of its program, clean"],
    ["effect-fails", [], 1, "crash (program), failed"],
    ["effect-interrupts", [], 0, "requested by the end of its program, clean"],
    ["effect-goes-on", ["SIGTERM"], 0, "SIGTERM, clean"]
  ]
  for (const [scenario, signals, code, last] of table) {
    it.scopedLive(`closes its scope and ends with ${code} (${scenario})${scenario === "effect-fails" ? "" : " (daily)"}`, () =>
      Effect.gen(function*() {
        const ended = yield* run(scenario, signals)
        assert.strictEqual(ended.code, code)
        assert.include(ended.stdout, "closed\n")
        assert.include(ended.last, last)
        if (scenario === "effect-fails") {
          assert.include(ended.stderr, "fixture failed: PORT is \"http\", expected a number\n")
        }
      }))
  }

  it.scopedLive("beside a layer that interrupts its own start, which has failed (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* run("layer-interrupts", [])
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "fixture could not start: it interrupted itself\n")
    }))
})

describe("one process", () => {
  it.scopedLive("has one runMain: the second one is refused, the first goes on", () =>
    Effect.gen(function*() {
      const ended = yield* run("second-main", ["SIGTERM"])
      assert.include(ended.stdout, "runMain of \"other\" was refused: \"fixture\" already runs in this process.")
      assert.strictEqual(ended.code, 0)
    }))

  it.scopedLive("can be restarted by the signal that is the fibers' otherwise (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* run("restart-signal", ["SIGUSR2"])
      assert.strictEqual(ended.code, 0)
      assert.include(ended.stdout, "closed\n")
      assert.include(ended.last, "SIGUSR2, clean")
    }))

  it.scopedLive("leaves a signal alone that it does not listen for (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* run("restart-signal", ["SIGHUP"])
      assert.strictEqual(ended.signal, "SIGHUP")
    }))

  it.scopedLive("prints its fibers on another signal (daily)", () =>
    Effect.gen(function*() {
      const running = yield* begin("other-dump")
      yield* running.said("ready")
      yield* running.signal("SIGQUIT")
      yield* running.stderrSaid("accepting, up")
      yield* running.signal("SIGTERM")
      assert.strictEqual((yield* running.ended).code, 0)
    }))
})

describe("EarlySignals", () => {
  const early = (millis: number, wrapper: ReadonlyArray<string> = []) =>
    start("effect-goes-on", { fixture: "early", args: [String(millis)], wrapper })

  it.scopedLive("notes a signal until runMain is there to act on it", () =>
    Effect.gen(function*() {
      const running = yield* early(700)
      yield* running.said("loading")
      yield* running.signal("SIGTERM")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0)
      assert.include(ended.last, "SIGTERM, clean")
      // Nothing is built for a process that is to end.
      assert.notInclude(ended.stdout, "ready")
    }))

  it.scopedLive("takes a signal that was passed on twice for one, and a second one for the end", () =>
    Effect.gen(function*() {
      const running = yield* early(60_000)
      yield* running.said("loading")
      yield* running.signal("SIGINT")
      yield* running.signal("SIGINT")
      yield* pause(200)
      yield* running.signal("SIGTERM")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 143)
      assert.strictEqual(ended.stderr, "SIGTERM ended the process while it was loading\n")
    }))

  it.scopedLive("ends a process that does not come to load (daily)", () =>
    Effect.gen(function*() {
      const running = yield* early(60_000)
      yield* running.said("loading")
      yield* running.signal("SIGTERM")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 143)
      assert.isAtLeast(ended.took, 10_000)
    }))

  for (const scenario of ["loading", "held"] as const) {
    const name = `works in the first process of a container (${scenario}) (daily)`
    if (!canUnshare) {
      it.effect(`${name}: not tried, unshare --pid is not permitted here`, () => Effect.void)
      continue
    }
    it.scopedLive(name, () =>
      Effect.gen(function*() {
        const { path } = yield* fifo
        const running = yield* scenario === "loading"
          ? early(700, asFirstProcess)
          : begin("held-by-fifo", { args: [path], wrapper: asFirstProcess })
        yield* running.said(scenario === "loading" ? "loading" : "ready")
        yield* pause(200)
        yield* running.signal("SIGTERM")
        const ended = yield* running.ended
        assert.include(ended.last, scenario === "loading" ? "SIGTERM, clean" : "SIGTERM, forced")
        // The shell tells by which code, or for what signal, it ended.
        if (scenario === "loading") assert.strictEqual(ended.code, 0)
        else if (hasExecve) assert.strictEqual(ended.code, 143)
        else assert.notStrictEqual(ended.code, 0)
      }))
  }
})

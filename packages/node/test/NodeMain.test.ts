import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Effect } from "effect"
import { stripVTControlCharacters } from "node:util"
import type { Ended } from "./support/process.js"
import { asFirstProcess, canUnshare, pause, runWith, slack, start } from "./support/process.js"

const reportOf = (ended: Ended) => ShutdownReport.fromJson(ended.last)

const names = (report: ShutdownReport.ShutdownReport, status: ShutdownReport.Status) =>
  report.items(status).map(({ path }) => path).sort()

const refusing = (prefix: string) => Array.from({ length: 100 }, (_, i) => `${prefix}/fiber-${i * 10}`).sort()

describe("runMain", () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    it.scopedLive(`ends by itself with exit code 0 after ${signal}${signal === "SIGTERM" ? "" : " (daily)"}`, () =>
      Effect.gen(function*() {
        const ended = yield* runWith("clean", [signal])
        assert.strictEqual(ended.code, 0)
        assert.deepStrictEqual(ended.stdout.split("\n").slice(0, 2), ["ready", "goodbye"])
        assert.match(ended.last, new RegExp(`^shutdown: fixture, ${signal}, clean, .* 5 completed$`))
        assert.strictEqual(ended.stderr, "")
        assert.isBelow(ended.took, 2000 + slack)
      }))
  }

  const terminal = ["--import", "data:text/javascript,process.stdout.isTTY%20=%20true"]

  it.scopedLive("logs for people on a terminal", () =>
    Effect.gen(function*() {
      const { stdout } = yield* runWith("logging", ["SIGTERM"], { node: terminal })
      assert.include(stdout, "\u001b[")
      const lines = stripVTControlCharacters(stdout)
      assert.match(lines, /\[\d\d:\d\d:\d\d\.\d{3}\] INFO \(#\d+\): a line$/m)
      // each annotation has a line of its own
      assert.match(lines, /^ {2}room: .?hall.?$/m)
    }))

  for (
    const [where, scenario, node] of [["elsewhere", "logging", []], [
      "when told so",
      "logging-plain",
      terminal
    ]] as const
  ) {
    it.scopedLive(`logs for machines ${where} (daily)`, () =>
      Effect.gen(function*() {
        const { stdout } = yield* runWith(scenario, ["SIGTERM"], { node })
        assert.match(stdout, /^timestamp=\S+ level=INFO fiber=#\d+ message="a line" room=hall$/m)
      }))
  }

  it.scopedLive("prints the report as JSON that decodes to the report", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("clean", ["SIGTERM"], { report: "json", node: ["--enable-source-maps"] })
      const report = reportOf(ended)
      assert.strictEqual(report.verdict, "clean")
      assert.deepStrictEqual(report.reason, { _tag: "Signal", signal: "SIGTERM" })
      assert.deepStrictEqual(report.live, [])
      assert.deepStrictEqual(names(report, "completed"), [
        "\"application scope\"",
        "fixture",
        "fixture/clock",
        "fixture/worker"
      ])
    }))

  it.scopedLive("ends within the budget when a finalizer hangs, and names it", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("hanging-finalizer", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.include(ended.last, "finalizer fixture/session-7 \"leave the room\"")
      assert.include(ended.stdout, "last words\n")
      assert.isBelow(ended.took, 1500 + slack)
    }))

  it.scopedLive("ends within the budget when a finalizer that is not the library's hangs (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("raw-hanging-finalizer", ["SIGTERM"])
      // It holds up nobody else: neither behind it in its layer, nor in the others.
      for (const line of ["first in, last out", "the layer below", "the layer beside"]) {
        assert.include(ended.stdout, `${line}\n`)
      }
      assert.strictEqual(ended.code, 143)
      assert.include(ended.last, "1 abandoned")
      assert.isBelow(ended.took, 1500 + slack)
    }))

  it.scopedLive("names exactly the fibers that refuse to stop (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("thousand", ["SIGTERM"], { report: "json" })
      const report = reportOf(ended)
      assert.deepStrictEqual(names(report, "abandoned"), refusing("fixture"))
      assert.deepStrictEqual(report.live.map(({ owner }) => owner.join("/")).sort(), refusing("fixture"))
      assert.strictEqual(ended.code, 143)
      assert.isBelow(ended.took, 2000 + slack)
    }))

  it.scopedLive("names exactly the children of a supervisor that refuse to stop (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("thousand-supervised", ["SIGTERM"], { report: "json" })
      assert.deepStrictEqual(names(reportOf(ended), "abandoned"), refusing("fixture/crowd"))
      assert.strictEqual(ended.code, 143)
      assert.isBelow(ended.took, 2000 + slack)
    }))

  it.scopedLive("shortens the budgets at the second signal, and still reports", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("slow", ["SIGTERM", "SIGTERM"], { report: "json" })
      const report = reportOf(ended)
      assert.isTrue(report.hurried)
      assert.isTrue(report.finished)
      assert.deepStrictEqual(names(report, "abandoned"), ["fixture \"take your time\""])
      assert.strictEqual(ended.code, 143)
      assert.isBelow(ended.took, 300 + 1000 + slack)
    }))

  it.scopedLive("ends at once at the third signal, with the report of what is known (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("slow", ["SIGTERM", "SIGINT", "SIGINT"], { report: "json" })
      const report = reportOf(ended)
      assert.isFalse(report.finished)
      assert.deepStrictEqual(names(report, "abandoned"), ["fixture \"take your time\""])
      assert.strictEqual(ended.code, 130)
      assert.isBelow(ended.took, 600 + slack)
    }))

  it.scopedLive("takes a signal that was passed on twice for one (daily)", () =>
    Effect.gen(function*() {
      const running = yield* start("chatty", { report: "json" })
      yield* running.said("ready")
      yield* running.signal("SIGINT")
      yield* running.signal("SIGINT")
      const ended = yield* running.ended
      assert.isFalse(reportOf(ended).hurried)
      assert.strictEqual(ended.code, 0)
    }))

  for (const [scenario, origin] of [["throws", "uncaughtException"], ["rejects", "unhandledRejection"]]) {
    it.scopedLive(`runs the finalizers after an ${origin}, and exits with 1`, () =>
      Effect.gen(function*() {
        const ended = yield* runWith(scenario, [])
        assert.strictEqual(ended.code, 1)
        assert.include(ended.stdout, "goodbye\n")
        assert.include(ended.last, `crash (${origin}), failed`)
        assert.match(ended.stderr, /fixture: \w+: Error: (out of nowhere|nobody cared)\n\s+at /)
      }))
  }

  it.scopedLive("releases what was built when the start fails, tells why, and exits with 1", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("start-failed", [])
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stdout, "goodbye\n")
      assert.include(ended.stderr, "fixture could not start: the database is not there\n")
      assert.match(ended.last, /^shutdown: fixture, start failed, failed/)
    }))

  it.scopedLive("can be ended while it starts (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("start-hangs", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.include(ended.last, "1 abandoned: fiber fixture ")
      assert.isBelow(ended.took, 1000 + slack)
    }))

  it.scopedLive("ends with 0 when the program asks for it", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("asks-itself", [])
      assert.strictEqual(ended.code, 0)
      assert.include(ended.last, "requested by itself, clean")
    }))

  it.scopedLive("names a daemon that nobody owns (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("daemon", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.match(ended.last, /1 still live: fixture\/fiber #\d+/)
    }))

  it.scopedLive("goes on when stdout is closed, and reports on stderr (daily)", () =>
    Effect.gen(function*() {
      const running = yield* start("chatty")
      yield* running.said("noise")
      yield* running.closeStdout
      yield* pause(500)
      yield* running.signal("SIGTERM")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0)
      assert.match(ended.stderr.trimEnd(), /^shutdown: fixture, SIGTERM, clean/)
    }))

  it.scopedLive("prints the fibers on SIGUSR2, and goes on", () =>
    Effect.gen(function*() {
      const running = yield* start("clean")
      yield* running.said("ready")
      yield* running.signal("SIGUSR2")
      yield* running.stderrSaid("clock [ticker]")
      yield* running.stderrSaid("worker [worker]")
      yield* running.signal("SIGTERM")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0)
      assert.match(ended.stderr, /^fixture \[\d+\] accepting, up .* heap .* rss/)
    }))

  for (const scenario of ["clean", "spin"]) {
    const name = `works as the first process of a container (${scenario}) (daily)`
    if (!canUnshare) {
      it.effect(`${name}: not tried, unshare --pid is not permitted here`, () => Effect.void)
      continue
    }
    it.scopedLive(name, () =>
      Effect.gen(function*() {
        const running = yield* start(scenario, { wrapper: asFirstProcess })
        yield* running.said("ready")
        yield* pause(300)
        yield* running.signal("SIGTERM")
        const ended = yield* running.ended
        assert.strictEqual(ended.code, scenario === "clean" ? 0 : 143)
        assert.include(ended.last, scenario === "clean" ? "SIGTERM, clean" : "busy at Timeout.spinForever")
      }))
  }
})

describe("Watchdog", () => {
  it.scopedLive("ends a busy loop that a signal arrives in, and says where it is", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("spin", ["SIGTERM"], { node: ["--enable-source-maps"] })
      assert.strictEqual(ended.code, 143)
      assert.match(ended.last, /^shutdown: fixture, .*busy at Timeout\.spinForever \(.*program\.ts:\d+:\d+\)$/)
      assert.match(ended.stderr, /the main thread is at\n\s+at Timeout\.spinForever/)
      assert.isBelow(ended.took, 1000 + slack)
    }))

  it.scopedLive("names the hook that loops, beside what is known of the shutdown (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("spin-while-stopping", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.include(ended.last, "hook fixture \"count to infinity\"")
      assert.match(ended.last, /busy at \w+\.spinForever .*\(.*program\.js/)
      assert.isBelow(ended.took, 1000 + slack)
    }))

  it.scopedLive("ends a loop in a listener of the process's exit (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("exit-listener-spins", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.include(ended.last, "busy at process.spinForever")
      assert.isBelow(ended.took, 1000 + slack)
    }))

  it.scopedLive("ends a main thread without a heartbeat, with exit code 1 (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("stall", [])
      assert.strictEqual(ended.code, 1)
      assert.include(ended.last, "no heartbeat of the main thread for 1.")
      assert.include(ended.last, "busy at Timeout.spinForever")
    }))

  it.scopedLive("can be a layer, without runMain's own (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("own-watchdog", [])
      assert.strictEqual(ended.code, 1)
      assert.match(ended.last, /^shutdown: own, forced; ended by the watchdog: no heartbeat/)
    }))

  it.scopedLive("only reports a stall when told so (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("stall-reported", ["SIGTERM"])
      assert.strictEqual(ended.code, 0)
      assert.strictEqual(ended.stderr.split("watchdog: no heartbeat").length, 2)
      assert.match(ended.stderr, /the main thread is at\n\s+at .*_onTimeout/)
    }))

  it.scopedLive("kills a process that is blocked outside of JavaScript, and tells the last label (daily)", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("blocked", ["SIGTERM"])
      assert.strictEqual(ended.signal, "SIGKILL")
      assert.include(ended.last, "blocked outside of JavaScript, last known to be in: accepting")
    }))
})

import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import type { Scope } from "effect"
import { Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** What `tsc -b` makes of the fixture: a plain program, run by a plain node. */
const program = fileURLToPath(new URL("../.tsbuild/test/fixtures/program.js", import.meta.url))

/** On a machine that others use as well, half a second is not enough to tell a bug from a busy processor. */
const slack = 500 + 4000

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** Milliseconds since the first signal, or since it said "ready". */
  readonly took: number
  readonly last: string
}

interface Running {
  readonly pid: number
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>
  readonly said: (text: string) => Effect.Effect<void>
  readonly stderrSaid: (text: string) => Effect.Effect<void>
  readonly closeStdout: Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
}

const pause = (millis: number) => Effect.promise(() => new Promise((resolve) => setTimeout(resolve, millis)))

interface StartOptions {
  readonly report?: "pretty" | "json" | "none"
  readonly node?: ReadonlyArray<string>
  /** A command that starts node. */
  readonly wrapper?: ReadonlyArray<string>
}

const start = (scenario: string, options: StartOptions = {}): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const [command, ...args] = [
        ...options.wrapper ?? [],
        process.execPath,
        ...options.node ?? [],
        program,
        scenario,
        options.report ?? "pretty"
      ]
      const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env["PATH"] } })
      let stdout = ""
      let stderr = ""
      let since = 0
      const waiting = new Set<() => void>()
      const hear = () => waiting.forEach((check) => check())
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        if (since === 0) since = performance.now()
        stdout += text
        hear()
      })
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text
        hear()
      })
      const ended = new Promise<Ended>((resolve) =>
        child.on("close", (code, signal) =>
          resolve({
            code,
            signal,
            stdout,
            stderr,
            took: performance.now() - since,
            last: stdout.trimEnd().split("\n").at(-1) ?? ""
          }))
      )
      const until = (text: () => string, wanted: string) =>
        Effect.async<void>((resume) => {
          const check = () => {
            if (!text().includes(wanted)) return
            waiting.delete(check)
            resume(Effect.void)
          }
          waiting.add(check)
          check()
        })
      let signalled = false
      const running: Running = {
        pid: child.pid!,
        signal: (name) =>
          Effect.sync(() => {
            if (!signalled) since = performance.now()
            signalled = true
            process.kill(child.pid!, name)
          }),
        said: (text) => until(() => stdout, text),
        stderrSaid: (text) => until(() => stderr, text),
        closeStdout: Effect.sync(() => child.stdout.destroy()),
        ended: Effect.promise(() => ended)
      }
      return { running, child, ended }
    }),
    ({ child, ended }) =>
      Effect.promise(() => {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL")
        return ended
      })
  ).pipe(Effect.map(({ running }) => running))

/** Starts, waits until it is up, sends the signals with a pause between them, and waits for the end. */
const runWith = (scenario: string, signals: ReadonlyArray<NodeJS.Signals>, options?: StartOptions) =>
  Effect.gen(function*() {
    const running = yield* start(scenario, options)
    if (signals.length > 0) {
      yield* running.said("ready")
      yield* pause(200)
    }
    for (const [index, signal] of signals.entries()) {
      if (index > 0) yield* pause(300)
      yield* running.signal(signal)
    }
    return yield* running.ended
  })

const reportOf = (ended: Ended) => ShutdownReport.fromJson(ended.last)

const names = (report: ShutdownReport.ShutdownReport, status: ShutdownReport.Status) =>
  report.items(status).map(({ path }) => path).sort()

const refusing = (prefix: string) => Array.from({ length: 100 }, (_, i) => `${prefix}/fiber-${i * 10}`).sort()

if (!existsSync(program)) throw new Error(`${program} is missing: run tsc -b first`)

describe("runMain", () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    it.scopedLive(`ends by itself with exit code 0 after ${signal}`, () =>
      Effect.gen(function*() {
        const ended = yield* runWith("clean", [signal])
        assert.strictEqual(ended.code, 0)
        assert.deepStrictEqual(ended.stdout.split("\n").slice(0, 2), ["ready", "goodbye"])
        assert.match(ended.last, new RegExp(`^shutdown: fixture, ${signal}, clean, .* 5 completed$`))
        assert.strictEqual(ended.stderr, "")
        assert.isBelow(ended.took, 2000 + slack)
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

  it.scopedLive("ends within the budget when a finalizer that is not the library's hangs", () =>
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

  it.scopedLive("names exactly the fibers that refuse to stop", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("thousand", ["SIGTERM"], { report: "json" })
      const report = reportOf(ended)
      assert.deepStrictEqual(names(report, "abandoned"), refusing("fixture"))
      assert.deepStrictEqual(report.live.map(({ owner }) => owner.join("/")).sort(), refusing("fixture"))
      assert.strictEqual(ended.code, 143)
      assert.isBelow(ended.took, 2000 + slack)
    }))

  it.scopedLive("names exactly the children of a supervisor that refuse to stop", () =>
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

  it.scopedLive("ends at once at the third signal, with the report of what is known", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("slow", ["SIGTERM", "SIGINT", "SIGINT"], { report: "json" })
      const report = reportOf(ended)
      assert.isFalse(report.finished)
      assert.deepStrictEqual(names(report, "abandoned"), ["fixture \"take your time\""])
      assert.strictEqual(ended.code, 130)
      assert.isBelow(ended.took, 600 + slack)
    }))

  it.scopedLive("takes a signal that was passed on twice for one", () =>
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

  it.scopedLive("can be ended while it starts", () =>
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

  it.scopedLive("names a daemon that nobody owns", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("daemon", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.match(ended.last, /1 still live: fixture\/fiber #\d+/)
    }))

  it.scopedLive("goes on when stdout is closed, and reports on stderr", () =>
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

  // Creating a PID namespace needs a privilege that not every container grants.
  const canUnshare = spawnSync("unshare", ["--pid", "--fork", "true"]).status === 0
  for (const scenario of ["clean", "spin"]) {
    const name = `works as the first process of a container (${scenario})`
    if (!canUnshare) {
      it.effect(`${name}: not tried, unshare --pid is not permitted here`, () => Effect.void)
      continue
    }
    it.scopedLive(name, () =>
      Effect.gen(function*() {
        // The shell outside of the namespace passes the signal on to the first process inside, found as unshare's child.
        const running = yield* start(scenario, {
          wrapper: [
            "sh",
            "-c",
            `unshare --pid --fork "$@" & parent=$!; trap 'kill -TERM $(cat /proc/$parent/task/$parent/children)' TERM; ` +
            "wait $parent; code=$?; while kill -0 $parent 2>/dev/null; do wait $parent; code=$?; done; exit $code",
            "sh"
          ]
        })
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

  it.scopedLive("names the hook that loops, beside what is known of the shutdown", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("spin-while-stopping", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.include(ended.last, "hook fixture \"count to infinity\"")
      assert.match(ended.last, /busy at \w+\.spinForever .*\(.*program\.js/)
      assert.isBelow(ended.took, 1000 + slack)
    }))

  it.scopedLive("ends a loop in a listener of the process's exit", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("exit-listener-spins", ["SIGTERM"])
      assert.strictEqual(ended.code, 143)
      assert.include(ended.last, "busy at process.spinForever")
      assert.isBelow(ended.took, 1000 + slack)
    }))

  it.scopedLive("ends a main thread without a heartbeat, with exit code 1", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("stall", [])
      assert.strictEqual(ended.code, 1)
      assert.include(ended.last, "no heartbeat of the main thread for 1.")
      assert.include(ended.last, "busy at Timeout.spinForever")
    }))

  it.scopedLive("can be a layer, without runMain's own", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("own-watchdog", [])
      assert.strictEqual(ended.code, 1)
      assert.match(ended.last, /^shutdown: own, forced; ended by the watchdog: no heartbeat/)
    }))

  it.scopedLive("only reports a stall when told so", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("stall-reported", ["SIGTERM"])
      assert.strictEqual(ended.code, 0)
      assert.strictEqual(ended.stderr.split("watchdog: no heartbeat").length, 2)
      assert.match(ended.stderr, /the main thread is at\n\s+at .*_onTimeout/)
    }))

  it.scopedLive("kills a process that is blocked outside of JavaScript, and tells the last label", () =>
    Effect.gen(function*() {
      const ended = yield* runWith("blocked", ["SIGTERM"])
      assert.strictEqual(ended.signal, "SIGKILL")
      assert.include(ended.last, "blocked outside of JavaScript, last known to be in: accepting")
    }))
})

/** Starts the programs of `fixtures`, which `tsc -b` has built, on a plain node, and signals them. */
import { assert } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const program = (fixture: string) => {
  const path = fileURLToPath(new URL(`../../.tsbuild/test/fixtures/${fixture}.js`, import.meta.url))
  if (!existsSync(path)) throw new Error(`${path} is missing: run tsc -b first`)
  return path
}

/** On a machine that others use as well, half a second is not enough to tell a bug from a busy processor. */
export const slack = 500 + 4000

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** Milliseconds since the first signal, or since it said "ready". */
  readonly took: number
  /** How much of that this process, which only waited, was not given the processor: milliseconds. */
  readonly starved: number
  readonly last: string
}

export interface Running {
  readonly pid: number
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>
  /** All that it has said, once this is a part of it. */
  readonly said: (text: string) => Effect.Effect<string>
  readonly stderrSaid: (text: string) => Effect.Effect<string>
  readonly closeStdout: Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
}

/** Half a second behind its budget, and not later: what a busy machine takes from everybody is measured, not guessed. */
export const assertWithin = ({ starved, took }: Ended, budget: number) =>
  assert.isBelow(took, budget + 500 + 2 * starved, `budget ${budget} ms, starved for ${Math.round(starved)} ms`)

/** Adds up by how much its own timer is late: the function that it returns ends it, and says so in milliseconds. */
export const startRuler = () => {
  const interval = 5
  let starved = 0
  let looked = performance.now()
  const look = () => {
    const now = performance.now()
    // a timer of a few milliseconds is late by one or two on an idle machine as well
    starved += Math.max(0, now - looked - interval - 2)
    looked = now
  }
  const timer = setInterval(look, interval)
  return () => {
    clearInterval(timer)
    look()
    return starved
  }
}

/** Whether every thread of a process stands still. Linux tells; elsewhere it is assumed. */
export const isStopped = (pid: number): boolean => {
  const tasks = `/proc/${pid}/task`
  if (!existsSync(tasks)) return true
  return readdirSync(tasks).every((task) => {
    try {
      return /^State:\s+[Tt]/m.test(readFileSync(`${tasks}/${task}/status`, "utf8"))
    } catch {
      return true
    }
  })
}

export const pause = (millis: number) => Effect.promise(() => new Promise((resolve) => setTimeout(resolve, millis)))

export interface StartOptions {
  /** The fixture, without its ending. Default `program`. */
  readonly fixture?: string
  /** Further arguments. */
  readonly args?: ReadonlyArray<string>
  readonly report?: "pretty" | "json" | "none"
  readonly node?: ReadonlyArray<string>
  /** A command that starts node. */
  readonly wrapper?: ReadonlyArray<string>
}

export const start = (scenario: string, options: StartOptions = {}): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const [command, ...args] = [
        ...options.wrapper ?? [],
        process.execPath,
        ...options.node ?? [],
        program(options.fixture ?? "program"),
        scenario,
        options.report ?? "pretty",
        ...options.args ?? []
      ]
      const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env["PATH"] } })
      let stdout = ""
      let stderr = ""
      let since = 0
      let stopRuler = startRuler()
      /** Time counts from here. */
      const begin = () => {
        stopRuler()
        stopRuler = startRuler()
        since = performance.now()
      }
      const waiting = new Set<() => void>()
      const hear = () => waiting.forEach((check) => check())
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        if (since === 0) begin()
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
            starved: stopRuler(),
            last: stdout.trimEnd().split("\n").at(-1) ?? ""
          }))
      )
      const until = (text: () => string, wanted: string) =>
        Effect.async<string>((resume) => {
          const check = () => {
            if (!text().includes(wanted)) return
            waiting.delete(check)
            resume(Effect.succeed(text()))
          }
          waiting.add(check)
          check()
        })
      let signalled = false
      const running: Running = {
        pid: child.pid!,
        signal: (name) =>
          Effect.sync(() => {
            if (!signalled) begin()
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
export const runWith = (scenario: string, signals: ReadonlyArray<NodeJS.Signals>, options?: StartOptions) =>
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

/** Creating a PID namespace needs a privilege that not every container grants. */
export const canUnshare = spawnSync("unshare", ["--pid", "--fork", "true"]).status === 0

/**
 * A wrapper that makes the program the first process of a PID namespace. The shell outside of it passes SIGTERM on to the
 * first process inside, found as unshare's child.
 */
export const asFirstProcess: ReadonlyArray<string> = [
  "sh",
  "-c",
  `unshare --pid --fork "$@" & parent=$!; trap 'kill -TERM $(cat /proc/$parent/task/$parent/children)' TERM; ` +
  "wait $parent; code=$?; while kill -0 $parent 2>/dev/null; do wait $parent; code=$?; done; exit $code",
  "sh"
]

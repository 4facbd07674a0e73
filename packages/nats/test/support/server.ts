/**
 * A NATS server of its own for a test: the real program, in a directory that goes with the scope.
 */
import { Effect } from "effect"
import type { Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { execFileSync, spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { connect, createServer } from "node:net"
import { homedir, tmpdir } from "node:os"
import { delimiter, join } from "node:path"

const candidates = [
  process.env["HOLDFAST_NATS_SERVER"],
  ...(process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "nats-server")),
  join(homedir(), ".cache", "holdfast", "nats", "usr", "sbin", "nats-server")
].filter((path): path is string => path !== undefined && path !== "" && existsSync(path))

const versionOf = (path: string): string => {
  try {
    return /v?(\d+\.\d+\.\d+)/.exec(execFileSync(path, ["--version"], { encoding: "utf8" }))?.[1] ?? ""
  } catch {
    return ""
  }
}

const isRecent = (version: string) => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major > 2 || (major === 2 && minor >= 12)
}

const executable = candidates.find((path) => isRecent(versionOf(path)))

/** Without a server these tests are left out, and say so; with `HOLDFAST_REQUIRE_INTEGRATION=1` they fail. */
export const missing = executable === undefined && process.env["HOLDFAST_REQUIRE_INTEGRATION"] !== "1"

export const named = (name: string) =>
  missing ? `${name} (skipped: no nats-server of 2.12 or newer; scripts/get-nats.sh brings one)` : name

/** A server that can be stopped, started again and killed. What it stores stays, until the scope is closed. */
export interface Server {
  readonly url: string
  readonly port: number
  readonly directory: string
  /** Waits until it has ended. */
  readonly kill: (signal?: NodeJS.Signals) => Effect.Effect<void>
  /** Waits until it listens. */
  readonly start: Effect.Effect<void>
  /** Waits until it stands still, if that is what the signal asks for. */
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Lets it go on in half a second, also while this thread stands still. */
  readonly goOnSoon: Effect.Effect<void>
}

const freePort = Effect.async<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
})

const live = (millis: number) =>
  Effect.async<void>((resume) => {
    const timer = setTimeout(() => resume(Effect.void), millis)
    return Effect.sync(() => clearTimeout(timer))
  })

const listens = (port: number) =>
  Effect.async<boolean>((resume) => {
    const socket = connect(port, "127.0.0.1")
    const end = (found: boolean) => {
      socket.destroy()
      resume(Effect.succeed(found))
    }
    socket.once("data", () => end(true))
    socket.once("error", () => end(false))
    socket.once("close", () => end(false))
  })

/** Whether every thread of a process stands still: until then it may answer once more. Linux tells; elsewhere it is assumed. */
const isStopped = (pid: number): boolean => {
  const tasks = `/proc/${pid}/task`
  if (!existsSync(tasks)) return true
  return readdirSync(tasks).every((task) => {
    try {
      return /^State:\s+[Tt]/m.test(readFileSync(join(tasks, task, "status"), "utf8"))
    } catch {
      return true
    }
  })
}

export interface ServerOptions {
  /** More lines of the configuration. */
  readonly config?: string | undefined
  /** More of the block `jetstream`. */
  readonly jetstream?: string | undefined
}

export const server = (
  { config = "", jetstream = "" }: ServerOptions = {}
): Effect.Effect<Server, Error, Scope.Scope> =>
  Effect.gen(function*() {
    if (executable === undefined) {
      return yield* Effect.fail(new Error("there is no nats-server of 2.12 or newer: scripts/get-nats.sh brings one"))
    }
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-nats-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
    )
    const port = yield* freePort
    const file = join(directory, "nats.conf")
    writeFileSync(
      file,
      `server_name: test
listen: "127.0.0.1:${port}"
jetstream { store_dir: "${join(directory, "store")}", max_memory_store: 256M, max_file_store: 2G ${jetstream} }
${config}
`
    )
    let child: ChildProcess | undefined
    const start = Effect.gen(function*() {
      child = spawn(executable, ["-c", file], { stdio: "ignore" })
      for (let tries = 0; tries < 500; tries++) {
        if (yield* listens(port)) return
        yield* live(20)
      }
      return yield* Effect.die(new Error(`nats-server does not listen on ${port} after 10 s`))
    })
    const kill = (signal: NodeJS.Signals = "SIGKILL") =>
      Effect.async<void>((resume) => {
        const running = child
        child = undefined
        if (running === undefined || running.exitCode !== null || running.signalCode !== null) {
          return resume(Effect.void)
        }
        running.once("exit", () => resume(Effect.void))
        running.kill(signal)
        if (signal === "SIGKILL") running.kill("SIGCONT")
      })
    yield* Effect.acquireRelease(start, () => kill("SIGKILL"))
    return {
      url: `nats://127.0.0.1:${port}`,
      port,
      directory,
      kill,
      start,
      goOnSoon: Effect.sync(() => void spawn("sh", ["-c", `sleep 0.5; kill -CONT ${child?.pid}`], { stdio: "ignore" })),
      signal: (signal) =>
        Effect.suspend(() => {
          child?.kill(signal)
          const pid = child?.pid
          return signal !== "SIGSTOP" || pid === undefined
            ? Effect.void
            : Effect.repeat(live(5), { until: () => isStopped(pid), times: 2_000 })
        })
    }
  })

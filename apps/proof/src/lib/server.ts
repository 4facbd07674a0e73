/** A server as a process of its own: its output, its probe, its end. */
import { type ChildProcess, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { eventually } from "./wait.js"

export interface Probe {
  readonly heap: number
  readonly rss: number
  /** what Node keeps open, counted by kind */
  readonly resources: Readonly<Record<string, number>>
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Server {
  readonly url: string
  readonly port: number
  readonly pid: number
  readonly process: ChildProcess
  /** all that it wrote, to either */
  readonly output: () => string
  readonly probe: () => Promise<Probe>
  readonly ended: Promise<Ended>
  readonly stop: (signal?: NodeJS.Signals) => Promise<Ended & { readonly millis: number }>
}

export interface Options {
  readonly file: string
  readonly flags?: ReadonlyArray<string>
  readonly environment?: Readonly<Record<string, string>>
  /** put before the command, such as `faketime` */
  readonly under?: ReadonlyArray<string>
  readonly node?: ReadonlyArray<string>
}

const probeFile = fileURLToPath(new URL("../probe.js", import.meta.url))
export const mudFile = fileURLToPath(new URL("../../../mud/dist/main.js", import.meta.url))

/** What was started ends with this process, whatever happens. */
const running = new Set<ChildProcess>()
process.once("exit", () => running.forEach((child) => child.kill("SIGKILL")))

export const start = async (
  { environment = {}, file, flags = [], node = [], under = [] }: Options
): Promise<Server> => {
  const [command, ...rest] = [...under, process.execPath, "--expose-gc", "--import", probeFile, ...node, file, ...flags]
  const child = spawn(command, rest, {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    env: { ...process.env, ...environment }
  })
  running.add(child)
  const lines: Array<string> = []
  for (const input of [child.stdout!, child.stderr!]) {
    createInterface({ input }).on("line", (line) => {
      lines.push(line)
      if (lines.length > 2_000) lines.splice(0, 1_000)
    })
  }
  let over: Ended | undefined = undefined
  const ended = new Promise<Ended>((resolve) =>
    void child.once("close", (code, signal) => {
      over = { code, signal }
      running.delete(child)
      resolve(over)
    })
  )
  const output = () => lines.join("\n")
  const url = await eventually("the server says where it listens", () => {
    if (over !== undefined) throw new Error(`the server ended with ${over.code ?? over.signal}:\n${output()}`)
    return lines.map((line) => /http:\/\/[\w.:[\]]+/.exec(line)?.[0]).find((found) => found !== undefined)
  }, 300_000).catch((error: Error) => {
    // one that nobody will use keeps the tool from ending
    child.kill("SIGKILL")
    throw error
  })
  let asked = Promise.resolve<Probe | undefined>(undefined)
  const probe = () => {
    asked = asked.then(() =>
      new Promise<Probe>((resolve, reject) => {
        child.once("message", (message) => resolve(message as Probe))
        child.send("probe", (error) => error === null ? undefined : reject(error))
      })
    )
    return asked as Promise<Probe>
  }
  return {
    url,
    port: Number(new URL(url).port),
    pid: child.pid!,
    process: child,
    output,
    probe,
    ended,
    stop: async (signal = "SIGTERM") => {
      const from = performance.now()
      if (over === undefined) child.kill(signal)
      return { ...(await ended), millis: performance.now() - from }
    }
  }
}

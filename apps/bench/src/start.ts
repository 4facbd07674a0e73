/**
 * From the start of the process to the line that says where it listens: the text world on a log that it has written before,
 * beside its modules alone, beside a bare server of `@effect/platform`, and beside Node.js that does nothing.
 *
 * Rounds take turns. Processor time is that of all threads: on a busy machine it scatters less than the time that passes.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { cpuMicros, quick, reportRounds } from "./shared/measure.js"

const rounds = quick ? 5 : 11
const mud = (file: string) => fileURLToPath(new URL(`../../mud/dist/${file}`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "holdfast-start-"))
const ready = "console.log('http://ready'); setInterval(() => {}, 1000)"

const contenders: Record<string, ReadonlyArray<string>> = {
  "a bare server of the platform": [fileURLToPath(new URL("./start/bare.js", import.meta.url))],
  "the text world": [mud("main.js"), "--port", "0", "--data", folder, "--log", "json", "--log-level", "warning"],
  "its modules alone": ["--input-type=module", "--eval", `await import(${JSON.stringify(mud("App.js"))}); ${ready}`],
  "node": ["--eval", ready]
}

interface Started {
  readonly millis: number
  readonly cpuMillis: number
}

const started = (args: ReadonlyArray<string>): Promise<Started> =>
  new Promise((resolve, reject) => {
    const since = performance.now()
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
    let text = ""
    let found: Started | undefined
    child.stdout.on("data", (data: Buffer) => {
      text += data.toString()
      if (found === undefined && /https?:\/\//.test(text)) {
        found = { millis: performance.now() - since, cpuMillis: cpuMicros(child.pid!) / 1000 }
        child.kill("SIGTERM")
      }
    })
    child.once("exit", (code) => {
      if (found === undefined) reject(new Error(`it ended with ${code} before it was ready: ${text}`))
      else resolve(found)
    })
  })

const millis = new Map(Object.keys(contenders).map((name) => [name, [] as Array<number>]))
const cpu = new Map(Object.keys(contenders).map((name) => [name, [] as Array<number>]))
const names = Object.keys(contenders)
try {
  // the first start writes the log
  for (const name of names) await started(contenders[name]!)
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const one = await started(contenders[name]!)
      millis.get(name)!.push(one.millis)
      cpu.get(name)!.push(one.cpuMillis)
    }
  }
  reportRounds("from start to ready, ms of CPU", cpu)
  reportRounds("from start to ready, ms", millis)
} finally {
  rmSync(folder, { recursive: true, force: true })
}

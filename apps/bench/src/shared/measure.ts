/**
 * What the benches share: processor time of another process, as the operating system counts it; medians of rounds that take
 * turns; and a report as a table and, for `npm run bench -- --json`, as data.
 */
import type { ChildProcess } from "node:child_process"
import { fork } from "node:child_process"
import { appendFileSync, readdirSync, readFileSync } from "node:fs"
import { median } from "./paired.js"

/** Microseconds of processor time that a process has taken, all threads together. */
export const cpuMicros = (pid: number): number => {
  let nanos = 0
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    nanos += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ", 1)[0])
  }
  return nanos / 1000
}

/** Shorter, for a look: `npm run bench -- --quick`. */
export const quick = process.env["HOLDFAST_BENCH_QUICK"] === "1"

export interface Row {
  /** What is measured, with its unit: `GET JSON, us of CPU per request`. */
  readonly title: string
  readonly contender: string
  readonly value: number
  /** To the first contender of the same title, where there is one to compare with. */
  readonly ratio?: number | undefined
  /** Whether less is better. Default true. */
  readonly less?: boolean | undefined
}

/** Keeps one row for whoever asked for data. */
export const record = (row: Row): void => {
  const file = process.env["HOLDFAST_BENCH_JSON"]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(row)}\n`)
}

/** Prints one row, and keeps it. */
export const report = (row: Row): void => {
  record(row)
  process.stdout.write(
    `  ${row.contender.padEnd(44)}${row.value.toFixed(2).padStart(12)}${
      row.ratio === undefined ? "" : `${row.ratio.toFixed(2).padStart(8)} x`
    }\n`
  )
}

/** Prints a title and its contenders: the median of each, and the median of its ratios to the first one within a round. */
export const reportRounds = (title: string, rounds: ReadonlyMap<string, ReadonlyArray<number>>, less = true): void => {
  process.stdout.write(`\n${title}\n`)
  const base = rounds.values().next().value ?? []
  for (const [contender, values] of rounds) {
    report({
      title,
      contender,
      value: median(values),
      ratio: median(values.map((value, index) => value / base[index]!)),
      less
    })
  }
}

export interface Child {
  readonly process: ChildProcess
  readonly pid: number
  readonly port: number
  readonly stop: () => Promise<void>
}

/** Starts a server in a process of its own. It says its port over IPC, and ends when it is told to. */
export const start = async (module: URL, name: string): Promise<Child> => {
  const profile = process.env["HOLDFAST_BENCH_PROFILE"]
  const child = fork(module, [name], {
    execArgv: ["--expose-gc", ...(profile === name ? ["--cpu-prof", "--cpu-prof-dir=.cache/profiles"] : [])]
  })
  const port = await new Promise<number>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the server ${name} ended with ${code} before it listened`)))
    child.once("message", (message) => resolve((message as { readonly port: number }).port))
  })
  return {
    process: child,
    pid: child.pid!,
    port,
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve())
        child.send({ _tag: "Stop" })
      })
  }
}

/**
 * Hours of a service in little time: players come, stall, break off and go, the server is stopped and killed and started on
 * the same data; after each round, when everybody has left, it is measured what the process still holds. What grows from
 * round to round is a leak, and whether it grows is decided by a test (`statistics.ts`), not by eye.
 *
 * `npm run soak -- --minutes 30 --seed 1`. Exits with 1 when something grows, when a player was sent something wrong, or when
 * the server does not end as it should. Figures and plot are written to `--out`.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Mud from "./lib/mud.js"
import * as Plot from "./lib/plot.js"
import * as Prng from "./lib/prng.js"
import type { Server } from "./lib/server.js"
import { type Sample, trend } from "./lib/statistics.js"

const usage = `A soak of the text world.

Usage: npm run soak -- [flags]

  --minutes NUMBER  how long (30)
  --seed NUMBER     what the players do (1)
  --players NUMBER  players of a round (12)
  --life NUMBER     minutes until the server is started anew (6)
  --rounds NUMBER   ends after so many rounds, if that is earlier
  --out FOLDER      where figures and plot go (.cache/soak)
  --fill NUMBER     players who come and go before anything is measured, so that the history, which holds 20,000 events,
                    is full and does not grow any more (6000)
  --fault NAME      plants a fault: leak-each
  --help            this text
`

const options = {
  minutes: { type: "string", default: "30" },
  seed: { type: "string", default: "1" },
  players: { type: "string", default: "12" },
  life: { type: "string", default: "6" },
  rounds: { type: "string", default: "1000000" },
  fill: { type: "string", default: "6000" },
  out: { type: "string", default: ".cache/soak" },
  fault: { type: "string", default: "" },
  help: { type: "boolean", default: false }
} as const

const stop = (message: string): never => {
  process.stderr.write(`soak: ${message}\n\n${usage}`)
  process.exit(2)
}

const flags = () => {
  try {
    const { values } = parseArgs({ options })
    const number = (name: "minutes" | "seed" | "players" | "life" | "rounds") => {
      const value = Number(values[name])
      if (!Number.isFinite(value) || value <= 0) {
        throw new Error(`--${name} is ${values[name]}: expected a number above 0`)
      }
      return value
    }
    return {
      ...values,
      fill: Number(values.fill),
      minutes: number("minutes"),
      seed: number("seed"),
      players: number("players"),
      life: number("life"),
      rounds: number("rounds")
    }
  } catch (error) {
    return stop((error as Error).message)
  }
}

const { fault, fill, help, life, minutes, out, players, rounds: most, seed } = flags()
if (help) {
  process.stdout.write(usage)
  process.exit(0)
}

const say = (line: string) => process.stdout.write(`${line}\n`)
const megabytes = (bytes: number) => `${(bytes / 1_048_576).toFixed(1)} MiB`
const whole = (value: number) => value.toFixed(0)

/**
 * What is measured, and from what growth on it is a fault: in an hour, and, for short soaks, in all. Below that, a slope that
 * the test finds is no leak that anybody would notice.
 */
const measures = {
  heap: { show: megabytes, perHour: 24 * 1_048_576, inAll: 3 * 1_048_576 },
  rss: { show: megabytes, perHour: 160 * 1_048_576, inAll: 40 * 1_048_576 },
  fibers: { show: whole, perHour: 20, inAll: 4 },
  sockets: { show: whole, perHour: 20, inAll: 4 },
  handles: { show: whole, perHour: 20, inAll: 4 }
}
type Measure = keyof typeof measures
const names = Object.keys(measures) as ReadonlyArray<Measure>

/** A growth that chance alone brings about once in a thousand soaks. */
const significance = 0.001
/** Rounds in which code is compiled; then, of what a process is measured, the first third, in which its caches fill. */
const warmUp = 4
const settled = (one: ReadonlyArray<Sample>) => one.length < 30 ? one : one.slice(Math.floor(one.length / 3))

const chance = Prng.make(seed)
const data = mkdtempSync(join(tmpdir(), "holdfast-soak-"))
const series: Record<Measure, Array<Array<Sample>>> = { heap: [], rss: [], fibers: [], sockets: [], handles: [] }
const problems = new Map<string, number>()
const problem = (what: string) => void problems.set(what, (problems.get(what) ?? 0) + 1)
let began = performance.now()
const elapsed = () => (performance.now() - began) / 60_000
let rounds = 0
let starts = 0

const measure = async (server: Server): Promise<Readonly<Record<Measure, number>>> => {
  const { fibers, leaks } = await Mud.quiet(server)
  for (const title of leaks) problem(`the console says: ${title}`)
  const { heap, resources, rss } = await server.probe()
  const sockets = Object.entries(resources).filter(([kind]) => /TCPSOCKET|TCPWRAP/i.test(kind))
    .reduce((sum, [, count]) => sum + count, 0)
  const handles = Object.values(resources).reduce((sum, count) => sum + count, 0)
  return { heap, rss, fibers: fibers + leaks.length, sockets, handles }
}

const isOver = () => elapsed() >= minutes || rounds >= most

/** One process, until it is stopped by a signal that a seed chooses. */
const live = async (): Promise<void> => {
  starts++
  const server = await Mud.start({ data, environment: fault === "" ? {} : { HOLDFAST_FAULT: fault } })
  for (const name of names) series[name].push([])
  let stopping = false
  if (starts === 1 && fill > 0) {
    say(`${fill} players come and go first`)
    await Mud.fill(server, fill)
    began = performance.now()
  }
  void server.ended.then(({ code, signal }) => {
    if (!stopping) problem(`the server ended by itself with ${code ?? signal}`)
  })
  const until = Math.min(minutes, elapsed() + life)
  for (let round = 0; elapsed() < until && !isOver() && server.process.exitCode === null; round++) {
    for (const what of await Mud.churn(server, chance, rounds++, players)) problem(what)
    const now = await measure(server)
    if (round >= warmUp) {
      const at = elapsed()
      for (const name of names) series[name].at(-1)!.push({ at, value: now[name] })
    }
    if (rounds % 10 === 0) {
      say(
        `${elapsed().toFixed(1).padStart(6)} min  round ${String(rounds).padStart(5)}  ${
          names.map((name) => `${name} ${measures[name].show(now[name])}`).join("  ")
        }`
      )
    }
  }
  stopping = true
  if (chance.float() < 0.5) {
    const { code, millis } = await server.stop("SIGTERM")
    if (code !== 0) problem(`SIGTERM: exit code ${code} instead of 0`)
    if (millis > 6_000) problem("SIGTERM: took more than 6 s")
  } else await server.stop("SIGKILL")
}

const sizeOf = (folder: string): number =>
  readdirSync(folder, { withFileTypes: true }).reduce(
    (sum, entry) =>
      sum + (entry.isDirectory() ? sizeOf(join(folder, entry.name)) : statSync(join(folder, entry.name)).size),
    0
  )

say(`soak: ${minutes} minutes, seed ${seed}, ${players} players a round`)
try {
  while (!isOver()) await live()
} catch (error) {
  problem((error as Error).message)
}
const stored = sizeOf(data)
rmSync(data, { recursive: true, force: true })

const verdicts = names.map((name) => {
  const { inAll, perHour, show } = measures[name]
  const parts = series[name].map(settled)
  const { probability, samples, slope } = trend(parts)
  // a process begins anew, so growth is counted within the longest life
  const hours = Math.max(0, ...parts.map((one) => (one.at(-1)?.at ?? 0) - (one[0]?.at ?? 0))) / 60
  const limit = Math.max(perHour, inAll / hours)
  const grows = probability < significance && slope * 60 > limit
  return { name, probability, samples, perHour: slope * 60, limit, grows, show }
})

say("")
say(`${rounds} rounds, ${starts} processes, ${megabytes(stored)} of data, in ${elapsed().toFixed(1)} minutes`)
say("  measure     an hour      limit        p      samples")
for (const { grows, limit, name, perHour, probability, samples, show } of verdicts) {
  say(
    `  ${name.padEnd(9)} ${show(perHour).padStart(11)} ${show(limit).padStart(11)} ${
      probability.toFixed(4).padStart(8)
    } ${String(samples).padStart(9)}  ${grows ? "GROWS" : "does not grow"}`
  )
}
for (const [what, count] of problems) say(`  PROBLEM  ${count} x ${what}`)
const short = verdicts.some(({ samples }) => samples < 10)
if (short) say("  PROBLEM  fewer than 10 samples: such a run could not have found a leak; give it more minutes")
const failed = short || problems.size > 0 || verdicts.some(({ grows }) => grows)

mkdirSync(out, { recursive: true })
writeFileSync(
  join(out, "soak.json"),
  `${
    JSON.stringify(
      {
        seed,
        minutes,
        players,
        rounds,
        processes: starts,
        node: process.version,
        passed: !failed,
        verdicts: verdicts.map(({ show: _, ...rest }) => rest),
        problems: Object.fromEntries(problems),
        series
      },
      null,
      1
    )
  }\n`
)
writeFileSync(
  join(out, "soak.svg"),
  Plot.svg(
    `Soak: seed ${seed}, ${rounds} rounds, after each of which everybody has left`,
    "minutes",
    names.map((name) => ({ title: name, show: measures[name].show, points: series[name].flat() }))
  )
)
say(`${failed ? "failed" : "passed"}; figures and plot are in ${out}`)
process.exitCode = failed ? 1 : 0

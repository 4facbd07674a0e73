/**
 * The fault matrix on real processes: for every row a server is started, something is done to it, and what must hold is
 * looked at from outside. `npm run chaos -- --seed 1`; `--only TEXT` runs the rows whose name contains it.
 *
 * A row whose tool is missing (libfaketime, a mounted file system) is skipped, and fails with `--strict`.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { clockRows } from "./chaos/clock.js"
import { endingRows } from "./chaos/endings.js"
import { natsRows } from "./chaos/nats.js"
import { peerRows } from "./chaos/peers.js"
import type { Row } from "./chaos/row.js"
import { serviceRows } from "./chaos/services.js"
import { storeRows } from "./chaos/store.js"
import * as Prng from "./lib/prng.js"

const usage = `The fault matrix on real processes.

Usage: npm run chaos -- [flags]

  --seed NUMBER  chooses moments and sizes (1)
  --only TEXT    rows whose name contains it
  --strict       a row whose tool is missing fails
  --json FILE    writes what was seen
  --list         the rows, and what must hold
  --help         this text
`

const flags = () => {
  try {
    return parseArgs({
      options: {
        seed: { type: "string", default: "1" },
        only: { type: "string", default: "" },
        strict: { type: "boolean", default: false },
        json: { type: "string" },
        list: { type: "boolean", default: false },
        help: { type: "boolean", default: false }
      }
    }).values
  } catch (error) {
    process.stderr.write(`chaos: ${(error as Error).message}\n\n${usage}`)
    process.exit(2)
  }
}

const values = flags()
const seed = Number(values.seed)
if (!Number.isInteger(seed)) {
  process.stderr.write(`chaos: --seed is ${values.seed}: expected a whole number\n`)
  process.exit(2)
}
if (values.help) {
  process.stdout.write(usage)
  process.exit(0)
}

const say = (line: string) => process.stdout.write(`${line}\n`)
const rows: ReadonlyArray<Row> = [...peerRows, ...endingRows, ...serviceRows, ...clockRows, ...storeRows, ...natsRows]
const chosen = rows.filter(({ name }) => name.includes(values.only))
if (chosen.length === 0) {
  process.stderr.write(`chaos: no row's name contains ${JSON.stringify(values.only)}; --list lists them\n`)
  process.exit(2)
}
if (values.list) {
  for (const { holds, name } of chosen) say(`${name.padEnd(44)} ${holds}`)
  process.exit(0)
}

interface Seen {
  readonly name: string
  readonly holds: string
  readonly outcome: "holds" | "FAILS" | "skipped"
  readonly seen: string
  readonly millis: number
}

const run = async ({ holds, missing, name, run }: Row, index: number): Promise<Seen> => {
  const lacks = missing?.()
  if (lacks !== undefined) return { name, holds, outcome: values.strict ? "FAILS" : "skipped", seen: lacks, millis: 0 }
  const folder = mkdtempSync(join(tmpdir(), "holdfast-chaos-"))
  const from = performance.now()
  const over = () => Math.round(performance.now() - from)
  const started: Array<{ readonly stop: (signal: NodeJS.Signals) => Promise<unknown> }> = []
  try {
    // a row keeps its chance when others are left out
    const chance = Prng.make(seed * 1_000 + index)
    const seen = await run({ chance, folder, keep: (server) => (started.push(server), server) })
    return { name, holds, outcome: "holds", seen, millis: over() }
  } catch (error) {
    return { name, holds, outcome: "FAILS", seen: (error as Error).message, millis: over() }
  } finally {
    await Promise.all(started.map((server) => server.stop("SIGKILL")))
    rmSync(folder, { recursive: true, force: true })
  }
}

say(`chaos: ${chosen.length} rows, seed ${seed}`)
const seen: Array<Seen> = []
for (const row of chosen) {
  const one = await run(row, rows.indexOf(row))
  seen.push(one)
  say(`  ${one.outcome.padEnd(7)} ${one.name}\n          must hold: ${one.holds}\n          seen:      ${one.seen}`)
}
const count = (outcome: Seen["outcome"]) => seen.filter((one) => one.outcome === outcome).length
say(`${count("holds")} hold, ${count("FAILS")} fail, ${count("skipped")} skipped, seed ${seed}`)
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ seed, rows: seen }, null, 1)}\n`)
process.exitCode = count("FAILS") > 0 ? 1 : 0

/**
 * `npm run bench [name…]`: every bench beside its peers, one after the other, as a table and as data; or two commits against
 * each other. `npm run bench -- --help` has the flags.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { against } from "./against/run.js"
import { machine } from "./run/machine.js"
import type { Bench, Options } from "./run/options.js"
import { parse, usage } from "./run/options.js"
import { svg } from "./run/plot.js"
import type { Row } from "./shared/measure.js"
import { isLoss } from "./shared/paired.js"

const root = fileURLToPath(new URL("../../../", import.meta.url))

const write = (file: string, text: string) => {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  process.stderr.write(`[bench] ${file}\n`)
}

const writeData = (options: Options, data: object) =>
  write(options.json ?? join(root, ".cache", "bench.json"), `${JSON.stringify(data, undefined, 2)}\n`)

/** Runs one bench in a process of its own, and reads the rows that it reported. */
const runOne = (bench: Bench, options: Options): { readonly failed: boolean; readonly rows: ReadonlyArray<Row> } => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-"))
  const file = join(folder, "rows")
  const since = performance.now()
  process.stdout.write(`\n# ${bench}\n`)
  const module = fileURLToPath(new URL(`./${bench}.js`, import.meta.url))
  const { status } = spawnSync(process.execPath, ["--expose-gc", module, ...options.rest], {
    stdio: "inherit",
    env: { ...process.env, HOLDFAST_BENCH_JSON: file, ...(options.quick ? { HOLDFAST_BENCH_QUICK: "1" } : {}) }
  })
  const text = existsSync(file) ? readFileSync(file, "utf8") : ""
  rmSync(folder, { recursive: true })
  process.stderr.write(`[bench] ${bench}: ${((performance.now() - since) / 1000).toFixed(1)} s\n`)
  return { failed: status !== 0, rows: text.split("\n").filter(Boolean).map((line) => JSON.parse(line) as Row) }
}

const beside = (options: Options): boolean => {
  const where = machine()
  const results = options.benches.map((bench) => ({ bench, ...runOne(bench, options) }))
  const rows = results.flatMap((result) => result.rows.map((row) => ({ bench: result.bench, ...row })))
  if (rows.length > 0) writeData(options, { machine: where, quick: options.quick, rows })
  if (options.plot !== undefined) {
    write(
      options.plot,
      svg(`${where.processors} x ${where.processor}, Node ${where.node}, Effect ${where.effect}`, rows)
    )
  }
  return results.every(({ failed }) => !failed)
}

const main = async (): Promise<boolean> => {
  const options = parse(process.argv.slice(2))
  if (options.help) {
    process.stdout.write(usage)
    return true
  }
  if (options.against === undefined) return beside(options)
  const where = machine()
  const compared = await against(root, options)
  writeData(options, { machine: where, against: options.against, compared })
  return !compared.some((result) => isLoss(result))
}

try {
  if (!await main()) process.exitCode = 1
} catch (error) {
  process.stderr.write(`bench: ${(error as Error).message}\n\n${usage}`)
  process.exitCode = 2
}

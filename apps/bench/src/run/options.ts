/** What `npm run bench` is asked for. */
import { parseArgs } from "node:util"

/** Each beside its peers, in the order in which they run. */
export const benches = [
  "bus",
  "fibers",
  "ticker",
  "storage",
  "http",
  "sse",
  "sessions",
  "many",
  "start",
  "explore",
  "console",
  "nats",
  "bots"
] as const
export type Bench = typeof benches[number]

/** Those that run when none is named: of the others, one wants a server, and one plays the text world. */
export const usual: ReadonlyArray<Bench> = ["bus", "fibers", "ticker", "storage", "http", "sse", "sessions", "explore"]

export const usage = `Benchmarks: each bench beside its peers in the same run. Figures are ratios within one run.

Usage: npm run bench [name…] [-- flags]

  name            ${benches.join(", ")}; without one: ${usual.join(", ")}
  --quick         a look, in about two minutes of a machine that does nothing else
  --json FILE     results, machine and versions as data (.cache/bench.json)
  --plot FILE     the ratios as SVG
  --against REV   compares this commit with another one instead: a revision, or a folder that is built. Both run the same
                  work in turns, in short slices; fails when this one needs more than 5 % more processor time
  --only TEXT     with --against: work whose name has this text in it
  --forks N       with --against: processes (4, with --quick 2)
  --pairs N       with --against: pairs of slices of each (200)
  --help          this text

Flags that a bench has of its own go to it when it is the only one: npm run bench bots -- --players 500
`

export interface Options {
  readonly benches: ReadonlyArray<Bench>
  readonly quick: boolean
  readonly json: string | undefined
  readonly plot: string | undefined
  readonly against: string | undefined
  readonly only: string
  readonly forks: number
  readonly pairs: number
  /** For the one bench that is named. */
  readonly rest: ReadonlyArray<string>
  readonly help: boolean
}

const isBench = (text: string): text is Bench => (benches as ReadonlyArray<string>).includes(text)

const own = {
  quick: { type: "boolean", default: false },
  json: { type: "string" },
  plot: { type: "string" },
  against: { type: "string" },
  only: { type: "string", default: "" },
  forks: { type: "string" },
  pairs: { type: "string", default: "200" },
  help: { type: "boolean", default: false }
} as const

const count = (flag: string, text: string): number => {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${flag}: expected a number from 1, received "${text}"`)
  return value
}

/** Splits what is the runner's from what goes to a bench. Throws with the reason. */
export const parse = (args: ReadonlyArray<string>): Options => {
  const names: Array<Bench> = []
  const mine: Array<string> = []
  const rest: Array<string> = []
  for (let at = 0; at < args.length; at++) {
    const text = args[at]!
    const flag = /^--([^=]+)/.exec(text)?.[1]
    if (flag !== undefined && Object.hasOwn(own, flag)) {
      mine.push(text)
      const wantsValue = own[flag as keyof typeof own].type === "string" && !text.includes("=")
      if (wantsValue && at + 1 < args.length) mine.push(args[++at]!)
    } else if (isBench(text) && rest.length === 0) {
      names.push(text)
    } else {
      rest.push(text)
    }
  }
  if (rest.length > 0 && names.length !== 1) {
    throw new Error(`"${rest[0]}": expected one of ${benches.join(", ")}, or a flag of the one bench that is named`)
  }
  const { values } = parseArgs({ args: mine, options: own })
  if (values.against !== undefined && rest.length > 0) {
    throw new Error(`"${rest[0]}": with --against a bench has no flags of its own`)
  }
  return {
    benches: names.length > 0 ? names : usual,
    quick: values.quick,
    json: values.json,
    plot: values.plot,
    against: values.against,
    only: values.only,
    forks: count("forks", values.forks ?? (values.quick ? "2" : "4")),
    pairs: count("pairs", values.pairs),
    // a bench that is the only one shows its own help
    rest: values.help && names.length === 1 ? [...rest, "--help"] : rest,
    help: values.help && names.length !== 1
  }
}

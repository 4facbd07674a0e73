/** The table of the gallery in `docs/testing.md`, with the ordinary scheduler beside it. */
import * as LeakCheck from "@holdfast/testing/LeakCheck"
import { Effect, Exit, Option } from "effect"
import type { Published } from "../fixtures/published.js"

export const begin = "<!-- gallery: written by HOLDFAST_WRITE=1 vitest run Published -->"
export const end = "<!-- end of gallery -->"

const runs = 500

/** The run under the ordinary scheduler at which the bug shows; a run that hangs for 100 ms is blocked. */
const ordinary = (program: Published["buggy"]): Effect.Effect<string> =>
  Effect.gen(function*() {
    for (let run = 1; run <= runs; run++) {
      const fiber = yield* Effect.forkDaemon(Effect.scoped(program))
      const exit = yield* Effect.timeoutOption(fiber.await, "100 millis")
      if (Option.isNone(exit) || Exit.isFailure(exit.value)) {
        yield* Effect.forkDaemon(fiber.interruptAsFork(fiber.id()))
        return `run ${run}`
      }
    }
    return `not in ${runs}`
  }).pipe(LeakCheck.background)

/** What can be checked without running it: one row for each. */
export const row = ({ lives, name, source, within }: Published): string =>
  `| [${name}](${source})${lives === true ? " \\*" : ""} | ${within} |`

export const table = (published: ReadonlyArray<Published>): Effect.Effect<string> =>
  Effect.gen(function*() {
    const rows: Array<string> = []
    let quiet = 0
    for (const bug of published) {
      const base = yield* ordinary(bug.buggy)
      if (base.startsWith("not")) quiet++
      rows.push(`${row(bug)} ${base} |`)
    }
    const living = published.filter(({ lives }) => lives === true).length
    return [
      begin,
      `${published.length} published bugs, all found from each of five first seeds; the ordinary scheduler shows ${
        published.length - quiet
      } of them in ${runs} runs. ${living} live in the installed effect (\\*).`,
      "",
      "| bug | found within, seeds | ordinary scheduler |",
      "|---|---|---|",
      ...rows,
      end
    ].join("\n")
  })

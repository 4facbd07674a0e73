/** A run in words: what happened, how to have it again, the moves of the fibers. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Run, Verdict } from "../../ExploreRun.js"
import * as Place from "../place.js"
import * as Trace from "./trace.js"

type AnyRun = Run<unknown, unknown>

const maxCause = 40

/** The message, which may have several lines, without the stack. */
const shownCause = (cause: Cause.Cause<unknown>): string => {
  const lines = Cause.pretty(cause).split("\n")
  const stack = lines.findIndex((line) => /^ +at /.test(line))
  return lines.slice(0, stack === -1 ? maxCause : Math.min(stack, maxCause)).join("\n")
}

export const shownExit = (run: AnyRun): string =>
  Option.match(run.exit, {
    onNone: () => "no result",
    onSome: (exit) => Exit.isSuccess(exit) ? "success" : shownCause(exit.cause)
  })

/** The failure in one text, the same whether or not everything of the run was written down. */
export const failureOf = (run: AnyRun): string => {
  const left = run.verdict === "ok" || run.verdict === "failed"
    ? []
    : run.dump.filter((line) => !line.startsWith("the world outside")).map((line) =>
      line.replace(/#\d+ ?/g, "").replace(/(?:^| )(?:waits|is ready|was made).*/, "").trim()
    )
  return [run.verdict, shownExit(run), ...new Set(left)].filter((part) => part !== "").join(": ")
}

/** Which failure it is: equal for runs that fail alike, whatever led there. */
export const signature = (run: AnyRun): string => failureOf(run).replace(/\d+/g, "N")

/** What the program failed with, defect or error. */
export const errorOf = (run: AnyRun): Option.Option<unknown> =>
  Option.flatMap(run.exit, (exit) => Exit.isFailure(exit) ? Option.some(Cause.squash(exit.cause)) : Option.none())

/** Where it failed; else where the fibers are that are left. */
export const placesOf = (run: AnyRun): ReadonlyArray<string> => {
  const error = Option.getOrUndefined(errorOf(run))
  const failed = error instanceof Error ? Place.showUser(error) : undefined
  return failed === undefined ? run.places : [failed]
}

const heads: { readonly [verdict in Exclude<Verdict, "failed">]: string } = {
  blocked: "everything is blocked: no fiber can run, and no timer is left to wake one",
  livelock: "the program does not end: the limit of operations or of virtual time was reached (maxOperations, maxTime)",
  leaked: "the program ended, and left behind:",
  ok: "the program ended well"
}

const head = (run: AnyRun): string => {
  if (run.verdict !== "failed") return heads[run.verdict]
  const [place] = placesOf(run)
  const at = place === undefined ? "" : ` at ${place}`
  return Option.exists(run.exit, Exit.isInterrupted)
    ? `the program was interrupted${at}: ${shownExit(run)}`
    : `the program failed${at}: ${shownExit(run)}`
}

const ordinal = (n: number): string => {
  const suffix = n % 100 >= 11 && n % 100 <= 13 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th"
  return `${n}${suffix}`
}

const plural = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`

const needed = (all: number, few: number) =>
  few === 0
    ? "the plain order of fibers, in which nobody is paused, leads to it:"
    : `of ${plural(all, "departure")} from the plain order of fibers, ${few === 1 ? "one is" : `${few} are`} enough:`

/** `minimal` is the same failure, after as few moves as it takes. */
export const render = (run: AnyRun, minimal: AnyRun | undefined, tried: number | undefined, lines: number): string => {
  const shown = minimal ?? run
  return [
    head(run),
    ...shown.dump.map((line) => `  ${line}`),
    `seed ${run.seed} (${run.strategy})${
      tried === undefined ? "" : `, the ${ordinal(tried)} tried`
    }: ${run.steps} steps, ${run.operations} operations, ${run.millis} ms of virtual time, fingerprint ${run.fingerprint}`,
    `replay with Explore.replay(program, ${run.seed}) or HOLDFAST_SEED=${run.seed}`,
    ...(minimal === undefined ? [] : [needed(run.schedule.length, minimal.schedule.length)]),
    ...shown.escapes.map((escape) => `not governed by the seed: ${escape}`),
    ...Trace.render(shown.events, shown.names, shown.verdict === "failed", lines)
  ].join("\n")
}

/** The first event that two runs do not share. */
export const firstDifference = (a: AnyRun, b: AnyRun): readonly [string, string] => {
  for (let i = 0; i < Math.max(a.events.length, b.events.length); i++) {
    const left = a.events[i] === undefined ? "(ended)" : Trace.showEvent(a.events[i]!)
    const right = b.events[i] === undefined ? "(ended)" : Trace.showEvent(b.events[i]!)
    if (left !== right) return [left, right]
  }
  return [shownExit(a), shownExit(b)]
}

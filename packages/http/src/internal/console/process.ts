/** The process, its lifecycle, its log, its guard, how it ended before, and its readiness: as sections. */
import type * as FiberRegistry from "@holdfast/core/FiberRegistry"
import type * as Lifecycle from "@holdfast/core/Lifecycle"
import type * as Probes from "@holdfast/core/Probes"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Cell, Row, Tone } from "../../ConsoleFeed.js"
import type { ConsoleLog } from "../../ConsoleLog.js"
import type { Section } from "../../ConsoleSection.js"
import * as ConsoleSection from "../../ConsoleSection.js"
import type * as Health from "../../Health.js"
import type { Ending, LastShutdown } from "../../LastShutdown.js"
import type * as OperatorGuard from "../../OperatorGuard.js"
import { host, watchGc, watchLag } from "./host.js"
import { Rates } from "./rates.js"

const mega = (bytes: number) => Math.round(bytes / 1048576 * 10) / 10

interface Running {
  readonly registry: FiberRegistry.Service
  readonly lag: Option.Option<Context.Tag.Service<typeof Probes.LagProbe>>
  readonly startedAt: number
  readonly version: string | undefined
}

/** Milliseconds; an event loop that is so late is an alert. */
const lagWarn = 100

export const processSections = (
  { lag, registry, startedAt, version }: Running
): Effect.Effect<ReadonlyArray<Section>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const own = Option.isSome(lag)
      ? undefined
      : yield* Effect.acquireRelease(Effect.sync(watchLag), (watch) => Effect.sync(() => watch?.stop()))
    const gc = yield* Effect.acquireRelease(Effect.sync(watchGc), ({ stop }) => Effect.sync(stop))
    const rates = new Rates()
    const first = host.memoryUsage?.()
    const memory = (f: (usage: { readonly rss: number; readonly heapUsed: number }) => number) =>
      Effect.sync(() => {
        const usage = host.memoryUsage?.()
        return usage === undefined ? Number.NaN : f(usage)
      })
    return [
      ConsoleSection.facts({
        id: "process",
        title: "Process",
        facts: Effect.sync(() => {
          const usage = host.memoryUsage?.()
          const handles = host.getActiveResourcesInfo?.()
          const collected = gc.read()
          const facts: Record<string, Cell> = {
            pid: host.pid ?? null,
            ...(version === undefined ? {} : { version }),
            runtime: host.version ?? null,
            platform: host.platform === undefined ? null : `${host.platform} ${host.arch ?? ""}`,
            directory: host.cwd?.() ?? null,
            started: new Date(startedAt).toISOString().replace(/\.\d+Z$/, "Z")
          }
          if (usage !== undefined && first !== undefined) {
            const grown = mega(usage.rss) - mega(first.rss)
            facts["rss"] = `${mega(usage.rss)} MiB, ${grown >= 0 ? "+" : ""}${
              Math.round(grown * 10) / 10
            } since the start`
            facts["heap"] = `${mega(usage.heapUsed)} of ${mega(usage.heapTotal)} MiB`
            facts["external"] = `${mega(usage.external)} MiB`
          }
          facts["collections"] = `${collected.count}, ${Math.round(collected.millis)} ms in all`
          if (handles !== undefined) {
            const kinds = new Map<string, number>()
            for (const name of handles) kinds.set(name, (kinds.get(name) ?? 0) + 1)
            facts["handles"] = Array.from(kinds, ([name, count]) => `${count} ${name}`).join(", ") || "none"
          }
          return facts
        })
      }),
      ConsoleSection.series({ id: "rss", title: "Memory", unit: "B", read: memory(({ rss }) => rss) }),
      ConsoleSection.series({ id: "heap", title: "Heap", unit: "B", read: memory(({ heapUsed }) => heapUsed) }),
      ConsoleSection.series({
        id: "cpu",
        title: "Processor",
        unit: "%",
        read: Effect.sync(() => {
          const usage = host.cpuUsage?.()
          // Microseconds of both per second, as a share of one core.
          return usage === undefined ? Number.NaN : rates.of("cpu", usage.user + usage.system) / 10_000
        })
      }),
      ConsoleSection.series({
        id: "lag",
        title: "Event loop late",
        unit: "ms",
        warn: lagWarn,
        read: Option.isSome(lag)
          ? Effect.map(lag.value.read, ({ max }) => max)
          : Effect.sync(() => own?.read() ?? Number.NaN)
      }),
      ConsoleSection.series({
        id: "live",
        title: "Fibers",
        read: Effect.sync(() => registry.unsafeCounts().live)
      })
    ]
  })

const levels: Readonly<Record<string, Tone>> = {
  ERROR: "bad",
  FATAL: "bad",
  WARN: "warn",
  DEBUG: "quiet",
  TRACE: "quiet"
}

/** Lines of the log that are sent. */
const shownLines = 300

export const logSections = (log: Context.Tag.Service<typeof ConsoleLog>): ReadonlyArray<Section> => [
  ConsoleSection.table({
    id: "log",
    title: "Log",
    empty: "nothing was logged yet",
    columns: {
      at: "at",
      level: { title: "level", format: "text", choice: true },
      message: "text",
      fiber: { title: "fiber", format: "code" }
    },
    rows: Effect.map(log.lines, (lines) =>
      lines.slice(-shownLines).toReversed().map((line): Row => {
        const tone = levels[line.level]
        return {
          key: String(line.number),
          cells: { at: line.at, level: line.level, message: line.message.slice(0, 500), fiber: line.fiber },
          ...(tone === undefined ? {} : { tone }),
          detail: {
            ...line.annotations,
            ...(line.message.length > 500 ? { message: line.message } : {}),
            ...(line.cause === undefined ? {} : { cause: line.cause })
          }
        }
      }))
  }),
  ConsoleSection.series({
    id: "errors",
    title: "Errors",
    unit: "/s",
    counter: true,
    read: Effect.map(log.counts, (counts) => (counts["ERROR"] ?? 0) + (counts["FATAL"] ?? 0))
  })
]

export const guardSections = (guard: OperatorGuard.Service): ReadonlyArray<Section> => {
  const rates = new Rates()
  return [
    ConsoleSection.table({
      id: "acts",
      title: "Acts",
      note: "Who pressed what, and what came of it.",
      empty: "nobody has pressed anything",
      columns: { what: "text", input: "code", result: "text", who: "text", from: "text", at: "at" },
      rows: Effect.map(guard.acts, (acts) =>
        acts.toReversed().map((act, index): Row => ({
          key: `${act.at} ${acts.length - index}`,
          cells: {
            what: act.name,
            input: JSON.stringify(act.input) ?? "",
            result: act.problem === undefined ? act.result : `${act.result}: ${act.problem}`,
            who: act.role,
            from: act.forwardedFor === undefined ? act.address : `${act.address} (${act.forwardedFor})`,
            at: act.at
          },
          ...(act.result === "done" ? {} : { tone: act.result === "failed" ? "bad" as const : "warn" as const })
        })))
    }),
    ConsoleSection.alert(
      "guard",
      Effect.map(guard.stats, ({ wrong }) => {
        const rate = rates.recent("wrong", wrong)
        return rate * 10 < 3 ? [] : [{
          severity: "warning" as const,
          title: "Wrong tokens",
          text:
            `Somebody guesses the operator's token: ${wrong} wrong ones since the start. The log has the addresses.`,
          link: { section: "log" }
        }]
      })
    )
  ]
}

const clock = (at: number): string => new Date(at).toISOString().slice(0, 19).replace("T", " ") + " UTC"

const describe = (ending: Ending): string =>
  ending._tag === "Reported"
    ? ShutdownReport.renderDetails(ending.report)
    : [
      `killed or crashed at about ${clock(ending.lastSeenAt)} without a report`,
      `pid ${ending.pid}, started ${clock(ending.startedAt)}`,
      ending.shutdownStarted ? "It was on its way down." : "Nobody had asked it to stop."
    ].join("\n")

/** How long after the start the end before it is an alert. */
const freshFor = 10 * 60_000

export const lastShutdownSections = (
  last: Context.Tag.Service<typeof LastShutdown>,
  startedAt: number
): ReadonlyArray<Section> => {
  const previous = Option.getOrUndefined(last.previous)
  const facts: Readonly<Record<string, Cell>> = previous === undefined
    ? { verdict: "no earlier run is on record" }
    : {
      ...(previous._tag === "Reported"
        ? {
          verdict: previous.report.verdict,
          reason: ShutdownReport.renderReason(previous.report.reason),
          at: clock(previous.endedAt),
          took: `${Math.round(previous.report.elapsedMillis)} ms of ${Math.round(previous.report.timeoutMillis)} ms`,
          "exit code": previous.exitCode ?? null
        }
        : {
          verdict: `killed or crashed at about ${clock(previous.lastSeenAt)} without a report`,
          "on its way down": previous.shutdownStarted ? "yes" : "no"
        }),
      pid: previous.pid,
      "ran from": clock(previous.startedAt),
      "ends in 24 hours": last.endedToday
    }
  return [
    ConsoleSection.facts({ id: "last-shutdown", title: "Last shutdown", facts: Effect.succeed(facts) }),
    ...(previous === undefined
      ? []
      : [ConsoleSection.text({
        id: "last-report",
        title: "Report of the last shutdown",
        text: Effect.succeed(describe(previous))
      })]),
    ConsoleSection.alert(
      "last-shutdown",
      Effect.sync(() => {
        if (previous === undefined || Date.now() - startedAt > freshFor) return []
        const link = { section: "last-shutdown" }
        if (previous._tag === "Unreported") {
          return [{
            severity: "warning" as const,
            title: "The run before was killed or crashed",
            text: `at about ${clock(previous.lastSeenAt)}, without a report.`,
            link,
            since: startedAt
          }]
        }
        const verdict = previous.report.verdict
        return verdict === "clean" ? [] : [{
          severity: "warning" as const,
          title: `The run before ended ${verdict}`,
          text: ShutdownReport.renderReason(previous.report.reason),
          link,
          since: startedAt
        }]
      })
    )
  ]
}

export const lifecycleSections = (
  lifecycle: Lifecycle.Service,
  health: Option.Option<Health.Service>,
  drained: { isDrained: boolean }
): ReadonlyArray<Section> => {
  const accepting = Effect.map(lifecycle.phase, (phase) => phase === "accepting")
  const when = (drain: boolean) => Effect.map(accepting, (is) => is && drained.isDrained !== drain)
  const nothing = Schema.Struct({})
  return [
    ConsoleSection.facts({
      id: "lifecycle",
      title: "Lifecycle",
      facts: Effect.gen(function*() {
        const report = lifecycle.unsafeReport()
        return {
          phase: drained.isDrained ? "accepting, out of rotation" : lifecycle.unsafePhase(),
          "admitted work": yield* lifecycle.admitted,
          ...(report === undefined ? {} : {
            reason: ShutdownReport.renderReason(report.reason),
            "so far": `${Math.round(report.elapsedMillis)} of ${Math.round(report.timeoutMillis)} ms`,
            "did not end": report.count("abandoned"),
            failed: report.count("failed")
          })
        }
      })
    }),
    ...(Option.isNone(health) ? [] : [
      ConsoleSection.action({
        name: "drain",
        title: "Out of rotation",
        confirm:
          "Readiness goes down, so that a load balancer sends nobody new. Work goes on, and so does the process.",
        input: nothing,
        available: when(true),
        run: () =>
          Effect.sync(() => {
            drained.isDrained = true
          })
      }),
      ConsoleSection.action({
        name: "undrain",
        title: "Back into rotation",
        input: nothing,
        available: when(false),
        run: () =>
          Effect.sync(() => {
            drained.isDrained = false
          })
      })
    ]),
    ConsoleSection.action({
      name: "shutdown",
      title: "Drain and stop",
      danger: true,
      confirm: "New work is refused, what is open has its time to finish, and the process ends.",
      input: nothing,
      available: accepting,
      run: () => lifecycle.requestShutdown({ _tag: "Requested", by: "operator" })
    })
  ]
}

export const healthSection = (health: Health.Service): Section =>
  ConsoleSection.alert(
    "health",
    Effect.map(health.report, ({ checks }) =>
      Object.entries(checks).flatMap(([name, result]) =>
        result === "ok" ? [] : [{
          key: name,
          severity: name === operatorCheck ? "info" as const : "critical" as const,
          title: name === operatorCheck ? "Out of rotation" : "Not ready",
          subject: name,
          text: result
        }]
      ))
  )

/** The name of the check by which an operator takes the process out of rotation. */
export const operatorCheck = "operator"

/** Tickers, as sections. */
import * as Ticker from "@holdfast/core/Ticker"
import * as Effect from "effect/Effect"
import type { Row } from "../../ConsoleFeed.js"
import type { Section } from "../../ConsoleSection.js"
import * as ConsoleSection from "../../ConsoleSection.js"
import { Recent } from "./rates.js"
import { each, most, unique } from "./roster.js"

export const tickerSections = (): ReadonlyArray<Section> => [
  ConsoleSection.table({
    id: "tickers",
    title: "Tickers",
    empty: "nothing ticks",
    columns: {
      ticker: "text",
      state: "text",
      number: { title: "tick", format: "count" },
      late: { title: "late", format: "millis" },
      worst: { title: "worst", format: "millis" },
      missed: "count",
      failures: { title: "failed", format: "count" },
      over: { title: "over budget", format: "count" }
    },
    rows: Effect.map(each(Ticker.present, (ticker) => ticker.stats), (all) =>
      unique(all.map((stats): Row => {
        const sum = (f: (handler: Ticker.HandlerStats) => number) => stats.handlers.reduce((n, one) => n + f(one), 0)
        const failures = sum((one) => one.failures)
        return {
          key: stats.name,
          cells: {
            ticker: stats.name,
            state: stats.phase,
            number: stats.number,
            late: Math.round(stats.lateMillis * 10) / 10,
            worst: Math.round(stats.maxLateMillis * 10) / 10,
            missed: sum((one) => one.missed),
            failures,
            over: sum((one) => one.overBudget)
          },
          ...(failures > 0 || stats.saveFailures > 0 ? { tone: "warn" as const } : {}),
          detail: Object.fromEntries([
            ["saves", `${stats.saves}, ${stats.saveFailures} failed`],
            ...stats.handlers.map((one) => [
              one.name,
              `${one.runs} runs, ${one.failures} failed, ${one.missed} missed, ${one.overBudget} over budget`
            ])
          ])
        }
      })))
  }),
  ConsoleSection.series({
    id: "late",
    title: "Ticks late",
    unit: "ms",
    read: most(Ticker.present, (ticker) => Effect.map(ticker.stats, ({ lateMillis }) => lateMillis))
  }),
  tickerAlerts()
]

/** Milliseconds; a tick that is so late is an alert. */
const lateTick = 500

const tickerAlerts = (): Section => {
  const counts = new Recent()
  return ConsoleSection.alert(
    "tickers",
    Effect.map(
      each(Ticker.present, (ticker) => ticker.stats),
      (all) =>
        all.flatMap(({ handlers, lateMillis, name, saveFailures }) => {
          const link = { section: "tickers", key: name }
          return [
            ...(lateMillis > lateTick
              ? [{
                key: `${name} late`,
                severity: "warning" as const,
                title: "Late ticker",
                subject: name,
                text: `Its last tick was ${Math.round(lateMillis)} ms late.`,
                link
              }]
              : []),
            ...(counts.grew(`${name} saves`, saveFailures)
              ? [{
                key: `${name} saves`,
                severity: "critical" as const,
                title: "Ticker is not saved",
                subject: name,
                text: `Its state could not be written down ${saveFailures} times.`,
                link
              }]
              : []),
            ...handlers.flatMap((one) =>
              [
                ...(counts.grew(`${name} ${one.name} failures`, one.failures)
                  ? [["fails", "Failing handler", `It failed ${one.failures} times in ${one.runs} runs.`] as const]
                  : []),
                ...(counts.grew(`${name} ${one.name} over`, one.overBudget)
                  ? [
                    [
                      "overruns",
                      "Overrun",
                      `It took more than its budget ${one.overBudget} times in ${one.runs} runs.`
                    ] as const
                  ]
                  : [])
              ].map(([key, title, text]) => ({
                key: `${name} ${one.name} ${key}`,
                severity: "warning" as const,
                title,
                subject: one.name,
                text: `of ${name}: ${text}`,
                link
              }))
            )
          ]
        })
    )
  )
}

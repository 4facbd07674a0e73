/** Servers: routes, statuses, storms of refusals, as sections. */
import * as Effect from "effect/Effect"
import type { Row } from "../../ConsoleFeed.js"
import type { Section } from "../../ConsoleSection.js"
import * as ConsoleSection from "../../ConsoleSection.js"
import * as Observe from "../../Observe.js"
import { Rates } from "./rates.js"
import { each, total, unique } from "./roster.js"

/** Answers of one kind in a second, from which a storm is spoken of. */
const storm = 5

/** What takes so long for one in a hundred is worth a look. */
const slowRoute = 1000

const millisOf = (value: number): number | null => Number.isFinite(value) ? Math.round(value * 10) / 10 : null

const routesSection = (): Section => {
  const rates = new Rates()
  return ConsoleSection.table({
    id: "routes",
    title: "Routes",
    note: "How often since the start, and how long in the last minute.",
    empty: "nothing was asked for yet",
    columns: {
      route: "text",
      method: { title: "method", format: "text", choice: true },
      rate: "rate",
      p50: { title: "half within", format: "millis" },
      p99: { title: "99 % within", format: "millis" },
      most: { title: "longest", format: "millis" },
      ok: { title: "2xx", format: "count" },
      moved: { title: "3xx", format: "count" },
      refused: { title: "4xx", format: "count" },
      failed: { title: "5xx", format: "count" },
      none: { title: "gone before", format: "count" }
    },
    sort: "-rate",
    rows: Effect.map(
      each(Observe.servers, ({ routes }) => routes ?? Effect.succeed([])),
      (all) =>
        unique(
          all.flat().map(({ classes, count, maxMillis, method, p50Millis, p99Millis, route }): Row => {
            const key = `${method} ${route}`
            return {
              key,
              cells: {
                route,
                method,
                rate: rates.steady(key, count),
                p50: millisOf(p50Millis),
                p99: millisOf(p99Millis),
                most: millisOf(maxMillis),
                ok: classes["2xx"] || null,
                moved: classes["3xx"] || null,
                refused: classes["4xx"] || null,
                failed: classes["5xx"] || null,
                none: classes.none || null
              },
              ...(classes["5xx"] > 0
                ? { tone: "bad" as const }
                : p99Millis > slowRoute
                ? { tone: "warn" as const }
                : {})
            }
          })
        )
    )
  })
}

export const serverSections = (): ReadonlyArray<Section> => {
  const rates = new Rates()
  const storms = new Rates()
  const responses = Effect.map(each(Observe.servers, ({ responses }) => responses), (all) => all.flat())
  return [
    routesSection(),
    ConsoleSection.table({
      id: "responses",
      title: "Responses",
      empty: "nothing was answered yet",
      columns: { method: "text", status: "text", rate: "rate", count: "count" },
      sort: "-count",
      rows: Effect.map(responses, (all) =>
        unique(all.map(({ count, method, status }): Row => ({
          key: `${method} ${status}`,
          cells: { method, status, count, rate: rates.steady(`${method} ${status}`, count) },
          ...(status.startsWith("5") ? { tone: "bad" as const } : {})
        }))))
    }),
    ConsoleSection.series({
      id: "requests",
      title: "Requests",
      unit: "/s",
      counter: true,
      read: total(Observe.servers, (server) => Effect.map(server.stats, ({ requests }) => requests))
    }),
    ConsoleSection.series({
      id: "connections",
      title: "Connections",
      read: total(Observe.servers, (server) => Effect.map(server.stats, ({ connections }) => connections))
    }),
    ConsoleSection.alert(
      "responses",
      Effect.map(responses, (all) =>
        (["401", "429", "503", "500"] as const).flatMap((status) => {
          const count = all.reduce((sum, one) => one.status === status ? sum + one.count : sum, 0)
          const rate = storms.recent(status, count)
          return rate < storm ? [] : [{
            key: status,
            severity: status === "500" ? "critical" as const : "warning" as const,
            title: `Storm of ${status}`,
            text: `${Math.round(rate)} answers a second have been ${status} in the last 10 seconds.`,
            link: { section: "responses" }
          }]
        }))
    )
  ]
}

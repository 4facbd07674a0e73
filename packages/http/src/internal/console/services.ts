/** Buses, tickers, hubs and servers of the process, as sections: whatever is in the roster. */
import * as EventBus from "@holdfast/core/EventBus"
import * as Roster from "@holdfast/core/Roster"
import * as Ticker from "@holdfast/core/Ticker"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Row } from "../../ConsoleFeed.js"
import type { Section } from "../../ConsoleSection.js"
import * as ConsoleSection from "../../ConsoleSection.js"
import * as HttpErrors from "../../HttpErrors.js"
import * as Observe from "../../Observe.js"
import * as SseHub from "../../SseHub.js"
import type * as TopicWindow from "../../TopicWindow.js"
import { toJson } from "../json.js"
import { Rates } from "./rates.js"

const each = <A, B>(kind: Roster.Kind<A>, f: (a: A) => Effect.Effect<B>): Effect.Effect<ReadonlyArray<B>> =>
  Effect.flatMap(Roster.all(kind), (all) => Effect.forEach(all, f))

/** Names that are taken twice are told apart. */
const unique = <A extends { readonly key: string }>(rows: ReadonlyArray<A>): ReadonlyArray<A> => {
  const seen = new Map<string, number>()
  return rows.map((row) => {
    const times = seen.get(row.key) ?? 0
    seen.set(row.key, times + 1)
    return times === 0 ? row : { ...row, key: `${row.key} (${times + 1})` }
  })
}

const total = <A>(kind: Roster.Kind<A>, f: (a: A) => Effect.Effect<number>): Effect.Effect<number> =>
  Effect.map(each(kind, f), (all) => all.length === 0 ? Number.NaN : all.reduce((sum, value) => sum + value, 0))

const most = <A>(kind: Roster.Kind<A>, f: (a: A) => Effect.Effect<number>): Effect.Effect<number> =>
  Effect.map(each(kind, f), (all) => all.length === 0 ? Number.NaN : Math.max(...all))

const lettersSection: Section = ConsoleSection.table({
  id: "letters",
  title: "Dead letters",
  note: "Events that a handler gave up.",
  columns: {
    handler: "text",
    bus: "text",
    event: "count",
    topic: "text",
    attempts: "count",
    why: "text",
    at: "at"
  },
  rows: Effect.map(
    each(EventBus.present, (bus) => bus.deadLetters),
    (all) =>
      unique(
        all.flat().slice(-50).toReversed().map((letter): Row => ({
          key: `${letter.bus} ${letter.handler} ${letter.envelope.id} ${letter.at}`,
          cells: {
            handler: letter.handler,
            bus: letter.bus,
            event: letter.envelope.id,
            topic: letter.envelope.topic,
            attempts: letter.attempts,
            why: Cause.pretty(letter.cause).split("\n", 1)[0],
            at: letter.at
          },
          detail: {
            event: JSON.stringify(toJson(letter.envelope.event)) ?? "",
            cause: Cause.pretty(letter.cause, { renderErrorCause: true }).slice(0, 2000)
          }
        }))
      )
  )
})

export const busSections = (): ReadonlyArray<Section> => {
  const rates = new Rates()
  return [
    ConsoleSection.table({
      id: "buses",
      title: "Buses",
      empty: "there is no bus",
      columns: {
        bus: "text",
        state: "text",
        rate: { title: "events", format: "rate" },
        lastId: { title: "last id", format: "count" },
        queued: "count",
        waiting: { title: "publishers waiting", format: "count" },
        dropped: "count",
        refused: "count",
        letters: { title: "dead letters", format: "count" }
      },
      rows: Effect.map(each(EventBus.present, (bus) => bus.stats), (all) =>
        unique(all.map((stats): Row => ({
          key: stats.bus,
          cells: {
            bus: stats.bus,
            state: stats.journal === undefined ? stats.state : `${stats.state}, journal ${stats.journal.state}`,
            rate: rates.of(stats.bus, stats.published),
            lastId: stats.lastId,
            queued: stats.queued,
            waiting: stats.waiting,
            dropped: stats.dropped,
            refused: stats.refused,
            letters: stats.deadLetters
          },
          ...(stats.deadLetters > 0 || stats.dropped > 0 || stats.waiting > 0 ? { tone: "warn" as const } : {})
        }))))
    }),
    ConsoleSection.table({
      id: "subscribers",
      title: "Subscribers",
      empty: "nobody is subscribed",
      columns: {
        subscriber: "text",
        bus: { title: "bus", format: "text", choice: true },
        policy: "text",
        queued: "count",
        capacity: "count",
        rate: { title: "taken", format: "rate" },
        delivered: { title: "taken in all", format: "count" },
        dropped: "count"
      },
      sort: "-queued",
      rows: Effect.map(
        each(EventBus.present, (bus) => bus.stats),
        (all) =>
          unique(all.flatMap(({ bus, subscribers }) =>
            subscribers.map((one): Row => ({
              key: `${bus} ${one.id}`,
              cells: {
                subscriber: one.name,
                bus,
                policy: one.policy,
                queued: one.queued,
                capacity: Number.isFinite(one.capacity) ? one.capacity : null,
                rate: rates.of(`${bus} ${one.id}`, one.delivered),
                delivered: one.delivered,
                dropped: one.dropped
              },
              ...(one.dropped > 0 || one.queued > one.capacity / 2 ? { tone: "warn" as const } : {})
            }))
          ))
      )
    }),
    lettersSection,
    ConsoleSection.series({
      id: "events",
      title: "Events",
      unit: "/s",
      counter: true,
      read: total(EventBus.present, (bus) => Effect.map(bus.stats, ({ published }) => published))
    }),
    ConsoleSection.series({
      id: "queue",
      title: "Deepest queue",
      unit: "events",
      read: most(
        EventBus.present,
        (bus) =>
          Effect.map(bus.stats, ({ subscribers }) => subscribers.reduce((top, { queued }) => Math.max(top, queued), 0))
      )
    }),
    busAlerts()
  ]
}

const busAlerts = (): Section => {
  const dropped = new Map<string, { readonly count: number; readonly at: number }>()
  return ConsoleSection.alert(
    "buses",
    Effect.map(
      each(EventBus.present, (bus) => bus.stats),
      (all) =>
        all.flatMap(({ bus, deadLetters, journal, subscribers }) => [
          ...(journal !== undefined && journal.state !== "connected"
            ? [{
              key: `${bus} journal`,
              severity: "critical" as const,
              title: "Journal is away",
              subject: bus,
              text: `Its journal is ${journal.state}; ${journal.pending} publishes wait.`,
              link: { section: "buses", key: bus }
            }]
            : []),
          ...(deadLetters > 0
            ? [{
              key: `${bus} letters`,
              severity: "warning" as const,
              title: "Dead letters",
              subject: bus,
              text: `${deadLetters} events were given up by their handlers.`,
              link: { section: "letters" }
            }]
            : []),
          ...subscribers.flatMap((one) => {
            const key = `${bus} ${one.id}`
            const before = dropped.get(key)
            if (before === undefined || before.count !== one.dropped) {
              dropped.set(key, { count: one.dropped, at: before === undefined && one.dropped === 0 ? 0 : Date.now() })
            }
            const drops = one.dropped > 0 && Date.now() - dropped.get(key)!.at < 60_000
            const slow = one.queued > one.capacity * 0.8
            return !drops && !slow ? [] : [{
              key,
              severity: drops ? "critical" as const : "warning" as const,
              title: drops ? "Lost events" : "Slow subscriber",
              subject: one.name,
              text: drops
                ? `of ${bus}: ${one.dropped} events were dropped for it (policy ${one.policy}).`
                : `of ${bus}: ${one.queued} of ${one.capacity} places of its queue are taken.`,
              link: { section: "subscribers", key }
            }]
          })
        ])
    )
  )
}

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
  })
]

/** A reader that takes nothing for so long is named. */
const stalledAfter = 2000

const windowed = ({ target }: TopicWindow.BoundedWindow): string =>
  target._tag === "Exact" ? target.topic : `${target.prefix}*`

const sessionsOf = each(SseHub.present, (hub) => Effect.map(hub.sessions, (sessions) => ({ hub, sessions })))

export const hubSections = (): ReadonlyArray<Section> => {
  const rates = new Rates()
  return [
    ConsoleSection.table({
      id: "sessions",
      title: "Sessions",
      empty: "nobody is connected",
      columns: {
        who: "text",
        hub: { title: "hub", format: "text", choice: true },
        address: "text",
        topics: "text",
        state: { title: "state", format: "text", choice: true },
        rate: { title: "bytes/s", format: "bytes" },
        buffered: { title: "waiting", format: "bytes" },
        lag: { title: "behind", format: "count" },
        dropped: "count",
        since: { title: "open", format: "since" }
      },
      sort: "-buffered",
      rows: Effect.flatMap(sessionsOf, (hubs) =>
        Effect.map(
          Effect.forEach(hubs, ({ hub, sessions }) =>
            Effect.map(hub.stats, ({ position }) =>
              sessions.map((one): Row => ({
                key: `${hub.name}/${one.id}`,
                cells: {
                  who: one.principal ?? "",
                  hub: hub.name,
                  address: one.address ?? "",
                  topics: one.following.length > 3
                    ? `${one.following.slice(0, 3).map(windowed).join(", ")} and ${one.following.length - 3} more`
                    : one.following.map(windowed).join(", "),
                  state: one.stalledSince === undefined ? one.state : "stalled",
                  rate: rates.of(`${hub.name}/${one.id}`, one.bytes),
                  buffered: one.buffered,
                  lag: one.buffered > 0 || one.state === "catching-up" ? Math.max(0, position - one.cursor) : 0,
                  dropped: one.dropped,
                  since: one.openedAt
                },
                ...(one.stalledSince === undefined
                  ? one.dropped > 0 ? { tone: "warn" as const } : {}
                  : { tone: "bad" as const }),
                ...(one.principal === undefined ? { without: ["kick session"] } : {})
              })))),
          (rows) =>
            rows.flat()
        ))
    }),
    ConsoleSection.action({
      name: "kick session",
      title: "Kick",
      on: "sessions",
      confirm: "All sessions of its principal end with a farewell; its client may come back.",
      input: Schema.Struct({ session: Schema.String }),
      run: ({ session }) =>
        Effect.flatMap(sessionsOf, (hubs) => {
          for (const { hub, sessions } of hubs) {
            const found = sessions.find((one) => `${hub.name}/${one.id}` === session)
            if (found?.principal !== undefined) return hub.kick(found.principal)
          }
          return HttpErrors.make("NotFound", `There is no session ${session} any more.`, { field: "session" })
        })
    }),
    ConsoleSection.table({
      id: "ended",
      title: "Ended sessions",
      note: "The last of them, and why they ended.",
      columns: {
        who: "text",
        hub: "text",
        address: "text",
        reason: { title: "reason", format: "text", choice: true },
        lasted: "millis",
        at: "at"
      },
      rows: Effect.map(
        each(SseHub.present, (hub) => Effect.map(hub.ended, (all) => ({ hub, all }))),
        (hubs) =>
          hubs.flatMap(({ all, hub }) =>
            all.slice(-60).toReversed().map((one): Row => ({
              key: `${hub.name}/${one.id}`,
              cells: {
                who: one.principal ?? "",
                hub: hub.name,
                address: one.address ?? "",
                reason: one.reason,
                lasted: one.endedAt - one.openedAt,
                at: one.endedAt
              },
              ...(one.reason === "slow" || one.reason === "error" ? { tone: "warn" as const } : {})
            }))
          )
      )
    }),
    ConsoleSection.series({
      id: "open",
      title: "Sessions",
      read: total(SseHub.present, (hub) => Effect.map(hub.stats, ({ open }) => open))
    }),
    ConsoleSection.series({
      id: "deliveries",
      title: "Deliveries",
      unit: "/s",
      counter: true,
      read: total(SseHub.present, (hub) => Effect.map(hub.stats, ({ events }) => events))
    }),
    sessionAlerts
  ]
}

const sessionAlerts: Section = ConsoleSection.alert(
  "sessions",
  Effect.map(sessionsOf, (hubs) => {
    const now = Date.now()
    return hubs.flatMap(({ hub, sessions }) => {
      const stalled = sessions.filter(({ stalledSince }) =>
        stalledSince !== undefined && now - stalledSince > stalledAfter
      )
      return stalled.slice(0, 5).map((one) => ({
        key: `${hub.name}/${one.id}`,
        severity: "warning" as const,
        title: "Stalled reader",
        subject: one.principal ?? one.address ?? one.id,
        text: `in ${hub.name}: it takes nothing, and ${one.buffered} bytes wait for it.${
          stalled.length > 5 ? ` ${stalled.length} readers in all.` : ""
        }`,
        link: { section: "sessions", key: `${hub.name}/${one.id}` },
        since: one.stalledSince!
      }))
    })
  })
)

/** Answers of one kind in a second, from which a storm is spoken of. */
const storm = 5

export const serverSections = (): ReadonlyArray<Section> => {
  const rates = new Rates()
  const storms = new Rates()
  const responses = Effect.map(each(Observe.servers, ({ responses }) => responses), (all) => all.flat())
  return [
    ConsoleSection.table({
      id: "responses",
      title: "Responses",
      empty: "nothing was answered yet",
      columns: { method: "text", status: "text", rate: "rate", count: "count" },
      sort: "-count",
      rows: Effect.map(responses, (all) =>
        unique(all.map(({ count, method, status }): Row => ({
          key: `${method} ${status}`,
          cells: { method, status, count, rate: rates.of(`${method} ${status}`, count) },
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

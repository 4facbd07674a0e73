/** Buses and hubs of the process, as sections: whatever is in the roster. */
import * as EventBus from "@holdfast/core/EventBus"
import type * as EventBusReport from "@holdfast/core/EventBusReport"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Row } from "../../ConsoleFeed.js"
import type { Section } from "../../ConsoleSection.js"
import * as ConsoleSection from "../../ConsoleSection.js"
import * as HttpErrors from "../../HttpErrors.js"
import * as SseHub from "../../SseHub.js"
import type * as TopicWindow from "../../TopicWindow.js"
import { toJson } from "../json.js"
import { Rates, Recent } from "./rates.js"
import { each, most, total, unique } from "./roster.js"
import { topicSection } from "./topics.js"

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

const stateOf = ({ journal, state, store }: EventBusReport.Stats): string =>
  journal !== undefined
    ? `${state}, journal ${journal.state}`
    : store?.state === "failing"
    ? `${state}, store fails`
    : state

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
            state: stateOf(stats),
            rate: rates.steady(stats.bus, stats.published),
            lastId: stats.lastId,
            queued: stats.queued,
            waiting: stats.waiting,
            dropped: stats.dropped,
            refused: stats.refused,
            letters: stats.deadLetters
          },
          ...(stats.store?.state === "failing"
            ? { tone: "bad" as const }
            : stats.deadLetters > 0 || stats.dropped > 0 || stats.waiting > 0
            ? { tone: "warn" as const }
            : {}),
          ...(stats.store?.lastFailure === undefined
            ? {}
            : { detail: { "writes failed": String(stats.store.failures), "the last": stats.store.lastFailure } })
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
                rate: rates.steady(`${bus} ${one.id}`, one.delivered),
                delivered: one.delivered,
                dropped: one.dropped
              },
              ...(one.dropped > 0 || one.queued > one.capacity / 2 ? { tone: "warn" as const } : {})
            }))
          ))
      )
    }),
    topicSection(),
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
  const dropped = new Recent()
  return ConsoleSection.alert(
    "buses",
    Effect.map(
      each(EventBus.present, (bus) => bus.stats),
      (all) =>
        all.flatMap(({ bus, deadLetters, journal, store, subscribers }) => [
          ...(store?.state === "failing"
            ? [{
              key: `${bus} store`,
              severity: "critical" as const,
              title: "Store cannot be written",
              subject: bus,
              text: `Publishing fails: ${store.lastFailure}. ${store.failures} writes failed since the start.`,
              link: { section: "buses", key: bus }
            }]
            : []),
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
            const drops = dropped.grew(key, one.dropped)
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

/** A reader that takes nothing for so long is named. */
const stalledAfter = 2000

const windowed = ({ target }: TopicWindow.BoundedWindow): string =>
  target._tag === "Exact" ? target.topic : `${target.prefix}*`

const sessionsOf = each(SseHub.present, (hub) => Effect.map(hub.sessions, (sessions) => ({ hub, sessions })))

/** By the key of a session's row. */
const withPrincipal = <A>(
  key: string,
  f: (hub: SseHub.Service, principal: string) => Effect.Effect<A>
): Effect.Effect<A, HttpErrors.HttpError> =>
  Effect.flatMap(sessionsOf, (hubs) => {
    for (const { hub, sessions } of hubs) {
      const found = sessions.find((one) => `${hub.name}/${one.id}` === key)
      if (found?.principal !== undefined) return f(hub, found.principal)
    }
    return HttpErrors.make("NotFound", `There is no session ${key} any more.`, { field: "session" })
  })

const bansOf = each(SseHub.present, (hub) => Effect.map(hub.bans, (bans) => ({ hub, bans })))

const banSections = (): ReadonlyArray<Section> => [
  ConsoleSection.action({
    name: "ban",
    title: "Ban",
    on: "sessions",
    danger: true,
    confirm: "All sessions of its principal end, and new ones are refused for so long, or until this process ends.",
    input: Schema.Struct({
      session: Schema.String,
      minutes: Schema.Number.pipe(Schema.between(1, 60 * 24 * 365)).annotations({ title: "for how many minutes" })
    }),
    run: ({ minutes, session }) =>
      withPrincipal(session, (hub, principal) => hub.ban(principal, Duration.minutes(minutes)))
  }),
  ConsoleSection.table({
    id: "bans",
    title: "Bans",
    empty: "nobody is kept out",
    columns: { who: "text", hub: "text", left: { title: "for another", format: "left" } },
    rows: Effect.map(
      bansOf,
      (hubs) =>
        hubs.flatMap(({ bans, hub }) =>
          bans.map(({ principal, remainingMillis }): Row => ({
            key: `${hub.name}/${principal}`,
            cells: {
              who: principal,
              hub: hub.name,
              left: Number.isFinite(remainingMillis) ? Math.ceil(remainingMillis / 1000) * 1000 : null
            }
          }))
        )
    )
  }),
  ConsoleSection.action({
    name: "unban",
    title: "Let in",
    on: "bans",
    input: Schema.Struct({ ban: Schema.String }),
    run: ({ ban }) =>
      Effect.flatMap(bansOf, (hubs) => {
        const found = hubs.flatMap(({ bans, hub }) => bans.map(({ principal }) => ({ hub, principal }))).find((
          { hub, principal }
        ) => `${hub.name}/${principal}` === ban)
        return found === undefined
          ? HttpErrors.make("NotFound", "That one is not kept out any more.", { field: "ban" })
          : found.hub.unban(found.principal)
      })
  })
]

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
                  topics: one.following.length > 2
                    ? `${windowed(one.following[0])} and ${one.following.length - 1} more`
                    : one.following.map(windowed).join(", "),
                  state: one.stalledSince === undefined ? one.state : "stalled",
                  rate: rates.steady(`${hub.name}/${one.id}`, one.bytes),
                  buffered: one.buffered,
                  lag: one.buffered > 0 || one.state === "catching-up" ? Math.max(0, position - one.cursor) : 0,
                  dropped: one.dropped,
                  since: one.openedAt
                },
                ...(one.following.length > 2
                  ? { detail: { topics: one.following.slice(0, 200).map(windowed).join(", ") } }
                  : {}),
                ...(one.stalledSince === undefined
                  ? one.dropped > 0 ? { tone: "warn" as const } : {}
                  : { tone: "bad" as const }),
                ...(one.principal === undefined ? { without: ["kick session", "ban"] } : {})
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
      run: ({ session }) => withPrincipal(session, (hub, principal) => hub.kick(principal))
    }),
    ...banSections(),
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

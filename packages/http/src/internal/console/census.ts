/** Fibers, supervised children and cleanups, as rows. */
import type { Audit, Finding } from "@holdfast/core/Audit"
import * as Cleanup from "@holdfast/core/Cleanup"
import type * as FiberCensus from "@holdfast/core/FiberCensus"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Escalated } from "@holdfast/core/Supervision"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Row, Tone } from "../../ConsoleFeed.js"
import type { Section } from "../../ConsoleSection.js"
import * as ConsoleSection from "../../ConsoleSection.js"
import * as HttpErrors from "../../HttpErrors.js"

const line = (cause: Cause.Cause<unknown>): string => Cause.pretty(cause).split("\n", 1)[0].slice(0, 300)

const ownerless = {
  "scope": undefined,
  "owner": undefined,
  "scope-closed": "its scope is closed",
  "owner-ended": "who forked it has ended",
  "none": undefined
} as const

const toneOf = (entry: FiberCensus.Entry): Tone | undefined =>
  ownerless[entry.ownership] !== undefined
    ? "bad"
    : entry.lastFailure !== undefined || entry.status === "stopping"
    ? "warn"
    : undefined

/** What is usual goes without saying: only what waits for somebody, runs or stops has a word. */
const stateOf = (entry: FiberCensus.Entry): string =>
  ownerless[entry.ownership] ??
    (entry.detached && !entry.tracked
      ? "daemon"
      : entry.status === "suspended"
      ? entry.waitingFor === undefined ? "" : `waits for ${entry.waitingFor}`
      : entry.status)

const optional = (name: string, value: string | undefined): Readonly<Record<string, string>> =>
  value === undefined ? {} : { [name]: value }

/** Where the spans of Effect were made, which it notes to tell it with a failure. */
const places = globalValue("effect/Tracer/spanToTrace", () => new WeakMap<object, () => string | undefined>())

/**
 * Effect keeps no place of a fork, but that of a span. Only for fibers that nobody answers for: the others are found by their
 * names, and the first look at a stack costs.
 */
const placeOf = ({ fiber, ownership, tracked }: FiberCensus.Entry): string | undefined => {
  const span = fiber.currentSpan
  if (span === undefined || (tracked && ownerless[ownership] === undefined)) return undefined
  const stack = places.get(span)?.()?.split("\n", 1)[0]
  return stack?.replace(/^.*\((.*)\)$/, "$1").replace(/^at /, "")
}

const detailOf = (entry: FiberCensus.Entry): Readonly<Record<string, string>> => ({
  owner: entry.owner.join(" / ") || "none",
  status: entry.status,
  ownership: entry.ownership,
  tracked: entry.tracked ? "yes" : "no, forked past the registry",
  ...optional("waits for", entry.waitingFor),
  ...(entry.span === undefined ? {} : { span: entry.span.name, trace: entry.span.traceId }),
  ...optional("span made at", placeOf(entry)),
  ...(entry.supervised ? { supervised: "yes: when it is interrupted its supervisor decides what follows" } : {}),
  ...(entry.lastFailure === undefined
    ? {}
    : { "last failure": Cause.pretty(entry.lastFailure, { renderErrorCause: true }).slice(0, 1500) })
})

const rowsOf = (nodes: ReadonlyArray<FiberCensus.Node>): ReadonlyArray<Row> => {
  const rows: Array<Row> = []
  const walk = (nodes: ReadonlyArray<FiberCensus.Node>, parent: string | undefined) => {
    for (const { children, entry, label } of nodes) {
      const key = entry?.id ?? `${parent ?? ""}/${label}`
      const tone = entry === undefined ? undefined : toneOf(entry)
      rows.push({
        key,
        ...(parent === undefined ? {} : { parent }),
        cells: entry === undefined
          ? { name: label, kind: "", state: "", id: "", restarts: null, since: null }
          : {
            name: label,
            kind: entry.kind,
            state: stateOf(entry),
            id: entry.id,
            restarts: entry.restarts === 0 ? null : entry.restarts,
            since: entry.startedAt
          },
        ...(tone === undefined ? {} : { tone }),
        ...(entry === undefined ? { without: ["interrupt"] } : { detail: detailOf(entry) })
      })
      walk(children, key)
    }
  }
  walk(nodes, undefined)
  return rows
}

/** One survey for all sections of one look, and not kept until the next one: what lives so long is copied by each collection. */
const shared = (registry: FiberRegistry.Service) => {
  let last: WeakRef<ReadonlyArray<FiberCensus.Node>> | undefined
  let at = Number.NEGATIVE_INFINITY
  return () => {
    const now = performance.now()
    let tree = now - at > sharedFor ? undefined : last?.deref()
    if (tree === undefined) {
      tree = registry.unsafeTree()
      last = new WeakRef(tree)
      at = now
    }
    return tree
  }
}

/** Milliseconds. */
const sharedFor = 100

const trackedIn = (nodes: ReadonlyArray<FiberCensus.Node>): ReadonlyArray<FiberCensus.Entry> => {
  const found: Array<FiberCensus.Entry> = []
  const walk = (nodes: ReadonlyArray<FiberCensus.Node>) => {
    for (const { children, entry } of nodes) {
      if (entry?.tracked === true) found.push(entry)
      walk(children)
    }
  }
  walk(nodes)
  return found
}

export const fiberSections = (registry: FiberRegistry.Service): ReadonlyArray<Section> => {
  const tree = shared(registry)
  return [...treeSections(registry, tree), supervisionSection(tree), ownersSection(tree)]
}

const treeSections = (
  registry: FiberRegistry.Service,
  tree: () => ReadonlyArray<FiberCensus.Node>
): ReadonlyArray<Section> => [
  ConsoleSection.tree({
    id: "fibers",
    title: "Fibers",
    columns: {
      name: "text",
      kind: { title: "kind", format: "text", choice: true },
      state: { title: "state", format: "text", choice: true },
      id: "code",
      restarts: "count",
      since: { title: "age", format: "since" }
    },
    rows: Effect.sync(() => rowsOf(tree()))
  }),
  ConsoleSection.action({
    name: "interrupt",
    title: "Interrupt",
    on: "fibers",
    danger: true,
    confirm: "Its finalizers run. A supervised fiber is started again, if its supervisor says so.",
    input: Schema.Struct({ fiber: Schema.String }),
    run: ({ fiber: id }) =>
      Effect.suspend(() => {
        const { tracked, untracked } = registry.unsafeSurvey()
        const found = [...tracked, ...untracked].find((entry) => entry.id === id)
        return found === undefined
          ? HttpErrors.make("NotFound", `There is no fiber ${id} any more.`, { field: "fiber" })
          : Fiber.interruptFork(found.fiber)
      })
  })
]

const supervisionSection = (tree: () => ReadonlyArray<FiberCensus.Node>): Section =>
  ConsoleSection.table({
    id: "supervision",
    title: "Supervised",
    empty: "nothing is supervised",
    columns: {
      child: "text",
      supervisor: "text",
      restarts: "count",
      since: { title: "age", format: "since" },
      failure: { title: "last failure", format: "text" }
    },
    sort: "-restarts",
    rows: Effect.sync(() =>
      trackedIn(tree()).filter((entry) => entry.supervised).map((entry): Row => ({
        key: entry.id,
        cells: {
          child: entry.name,
          supervisor: entry.owner.slice(0, -1).join(" / "),
          restarts: entry.restarts,
          since: entry.startedAt,
          failure: entry.lastFailure === undefined ? "" : line(entry.lastFailure)
        },
        ...(entry.restarts > 0 ? { tone: "warn" as const } : {})
      }))
    )
  })

/** A cleanup that is under way for so long is worth a word. */
const slowAfter = 1000

interface Seen {
  readonly key: string
  readonly at: number
}

/** An outcome has no id and no time of its own: it has those of when it was first seen. */
const makeSeen = (): (outcome: object) => Seen => {
  const seenAt = new WeakMap<object, Seen>()
  let next = 0
  return (outcome) => {
    let seen = seenAt.get(outcome)
    if (seen === undefined) seenAt.set(outcome, seen = { key: `past ${next++}`, at: Date.now() })
    return seen
  }
}

const liveKey = ({ fiber }: Cleanup.AbandonedFiber): string => `live #${fiber.id().id}`

const liveRow = (now: number) => (one: Cleanup.AbandonedFiber): Row => ({
  key: liveKey(one),
  cells: {
    what: one.label,
    owner: one.owner.join(" / "),
    state: "hangs",
    took: now - one.since + one.budgetMillis,
    budget: finite(one.budgetMillis),
    at: one.since
  },
  tone: "bad"
})

const pendingRow = (one: Cleanup.Pending): Row => ({
  key: `pending ${one.fiberId}`,
  cells: {
    what: one.label,
    owner: one.owner.join(" / "),
    state: "runs",
    took: Math.round(one.elapsedMillis),
    budget: finite(one.elapsedMillis + one.remainingMillis),
    left: finite(one.remainingMillis),
    at: null
  },
  ...(one.elapsedMillis > slowAfter ? { tone: "warn" as const } : {})
})

const attemptText = (attempt: Cleanup.Attempt): string =>
  `${attempt.label}: ${attempt.result} after ${Math.round(attempt.elapsedMillis)} of ${
    Math.round(attempt.budgetMillis)
  } ms in ${attempt.fiberId}${attempt.waitedFor === undefined ? "" : `, waiting for ${attempt.waitedFor}`}${
    attempt.cause === undefined ? "" : `\n${Cause.pretty(attempt.cause).slice(0, 800)}`
  }`

const outcomeRow = (seen: Seen, outcome: Cleanup.Outcome): Row => ({
  key: seen.key,
  cells: {
    what: outcome.label,
    owner: outcome.owner.join(" / "),
    state: words[outcome._tag],
    took: Math.round(outcome.elapsedMillis),
    budget: finite(outcome.budgetMillis),
    at: seen.at
  },
  ...(outcome._tag === "Completed"
    ? Cleanup.overran(outcome) ? { tone: "warn" as const } : {}
    : { tone: outcome._tag === "FellBack" ? "warn" as const : "bad" as const }),
  detail: Object.fromEntries(outcome.attempts.map((attempt, index) => [`attempt ${index + 1}`, attemptText(attempt)]))
})

export const cleanupSections = (monitor: Cleanup.Monitor): ReadonlyArray<Section> => {
  const seen = makeSeen()
  return [
    ConsoleSection.table({
      id: "cleanups",
      title: "Cleanups",
      note: "Finalizers that run, that hang, and the last 60 that ended.",
      empty: "nothing was cleaned up yet",
      columns: {
        what: "text",
        owner: "text",
        state: { title: "state", format: "text", choice: true },
        took: "millis",
        left: { title: "left", format: "millis" },
        budget: "millis",
        at: "at"
      },
      rows: Effect.gen(function*() {
        const pending = (yield* Cleanup.pending).filter(({ elapsedMillis }) => elapsedMillis > 50)
        const recent = (yield* monitor.recent).slice(-60).toReversed()
        return [
          ...(yield* monitor.live).map(liveRow(Date.now())),
          ...pending.map(pendingRow),
          ...recent.map((outcome) => outcomeRow(seen(outcome), outcome))
        ]
      })
    }),
    ConsoleSection.alert("cleanups", cleanupAlerts(monitor, seen))
  ]
}

const cleanupAlerts = (monitor: Cleanup.Monitor, seen: (outcome: object) => Seen) =>
  Effect.gen(function*() {
    const now = Date.now()
    const live = yield* monitor.live
    const lives = new Set(live.map(({ label, owner }) => [...owner, label].join("/")))
    const slow = (yield* Cleanup.pending).filter(({ elapsedMillis }) => elapsedMillis > slowAfter)
    const failed = (yield* monitor.recent).filter((one) =>
      (one._tag === "Failed" || one._tag === "Abandoned") && now - seen(one).at < keepAlerts &&
      !lives.has([...one.owner, one.label].join("/"))
    )
    return [
      ...live.map((one) => ({
        key: liveKey(one),
        severity: "critical" as const,
        title: "Hanging finalizer",
        subject: one.label,
        text: `${of(one.owner)}: its ${
          Math.round(one.budgetMillis)
        } ms are over, and it still runs in #${one.fiber.id().id}.`,
        link: { section: "cleanups", key: liveKey(one) },
        since: one.since
      })),
      ...slow.map((one) => ({
        key: one.fiberId,
        severity: "warning" as const,
        title: "Slow finalizer",
        subject: one.label,
        text: `${of(one.owner)}: it has run for more than ${slowAfter} ms${
          Number.isFinite(one.remainingMillis) ? "" : ", and nothing bounds it"
        }.`,
        link: { section: "cleanups", key: `pending ${one.fiberId}` }
      })),
      ...failed.slice(-5).map((one) => ({
        key: seen(one).key,
        severity: "warning" as const,
        title: one._tag === "Failed" ? "Failed finalizer" : "Abandoned finalizer",
        subject: one.label,
        text: `${of(one.owner)}: ${
          one._tag === "Failed" ? line(one.cause) : `it did not end within ${Math.round(one.budgetMillis)} ms`
        }.`,
        link: { section: "cleanups", key: seen(one).key },
        since: seen(one).at
      }))
    ]
  })

/** How long what went wrong once is still an alert. */
const keepAlerts = 10 * 60_000

const words = { Completed: "done", FellBack: "fell back", Failed: "failed", Abandoned: "abandoned" } as const

const finite = (millis: number): number | null => Number.isFinite(millis) ? Math.round(millis) : null

export const of = (owner: ReadonlyArray<string>): string =>
  owner.length === 0 ? "of the process" : `of ${owner.join("/")}`

export interface Crash extends FiberCensus.CrashReport {
  readonly key: string
}

export const crashSections = (crashes: ReadonlyArray<Crash>): ReadonlyArray<Section> => [
  ConsoleSection.table({
    id: "crashes",
    title: "Crashes",
    note: "Fibers that failed, the latest first.",
    columns: {
      name: "text",
      owner: "text",
      why: "text",
      action: { title: "then", format: "text" },
      at: "at"
    },
    rows: Effect.sync(() =>
      crashes.toReversed().map((crash): Row => ({
        key: crash.key,
        cells: {
          name: crash.name,
          owner: crash.owner.slice(0, -1).join(" / "),
          why: line(crash.cause),
          action: crash.action ?? "nobody starts it again",
          at: crash.at
        },
        detail: {
          fiber: crash.id,
          kind: crash.kind,
          restarts: String(crash.restarts),
          cause: Cause.pretty(crash.cause, { renderErrorCause: true }).slice(0, 2000)
        }
      }))
    )
  }),
  ConsoleSection.alert(
    "crashes",
    Effect.sync(() => {
      const now = Date.now()
      const byPath = new Map<string, Array<Crash>>()
      for (const crash of crashes) {
        if (now - crash.at > keepAlerts) continue
        const path = crash.owner.join("/")
        byPath.set(path, [...byPath.get(path) ?? [], crash])
      }
      return Array.from(byPath, ([path, all]) => {
        const last = all[all.length - 1]
        const lately = all.filter(({ at }) => now - at < 60_000).length
        const escalated = Option.getOrUndefined(Cause.failureOption(last.cause)) instanceof Escalated
        return {
          key: path,
          severity: "critical" as const,
          title: lately >= 3 ? "Crash loop" : escalated ? "Supervisor gave up" : "Crashed fiber",
          subject: last.name,
          text: `${of(last.owner.slice(0, -1))}: ${line(last.cause)} (${
            all.length === 1 ? "" : `${all.length} times in 10 minutes; `
          }${last.action ?? "nobody starts it again"})`,
          link: { section: "crashes", key: last.key },
          since: all[0].at
        }
      }).slice(-8)
    })
  )
]

const reasons = {
  "scope-closed": "its scope is closed, and it still runs",
  "owner-ended": "the fiber that forked it has ended, and it still runs",
  "detached": "no scope will ever end it"
}

const ofFinding = (finding: Finding) => {
  switch (finding._tag) {
    case "Orphan": {
      const { id, path } = finding.suspect
      return {
        key: id,
        severity: "critical" as const,
        title: "Leaked fiber",
        subject: path.split("/").at(-1) ?? id,
        text: `${of(path.split("/").slice(0, -1))}: ${reasons[finding.why]}.`,
        link: { section: "fibers", key: id },
        since: Date.now() - finding.suspect.ageMillis
      }
    }
    case "OverAge":
      return {
        key: finding.suspect.id,
        severity: "warning" as const,
        title: "Old fiber",
        subject: finding.suspect.path,
        text: `It is older than the ${
          Math.round(finding.limitMillis / 1000)
        } s that fibers of kind ${finding.suspect.kind} have.`,
        link: { section: "fibers", key: finding.suspect.id }
      }
    case "Growth":
      return {
        key: finding.kind,
        severity: "warning" as const,
        title: "Growing number of fibers",
        subject: finding.kind,
        text: `There are ${finding.count}, and there were ${finding.baseline} at first.`,
        link: { section: "fibers" }
      }
    case "HighMemory":
      return {
        key: finding.what,
        severity: finding.level === "hard" ? "critical" as const : "warning" as const,
        title: "High memory",
        subject: finding.what,
        text: `${Math.round(finding.bytes / 1048576)} MiB; the limit is ${Math.round(finding.limit / 1048576)} MiB.`
      }
    case "HighLag":
      return {
        key: "lag",
        severity: finding.level === "hard" ? "critical" as const : "warning" as const,
        title: "Lagging event loop",
        text: `It was ${Math.round(finding.millis)} ms late; the limit is ${Math.round(finding.limit)} ms.`
      }
  }
}

export const auditSection = (audit: Pick<Context.Tag.Service<Audit>, "inspect">): Section =>
  ConsoleSection.alert(
    "audit",
    Effect.map(audit.inspect, (findings) => {
      // One alert for many leaks of one name.
      const alerts = findings.map(ofFinding)
      const counts = new Map<string, number>()
      for (const { subject, title } of alerts as ReadonlyArray<{ readonly title: string; readonly subject?: string }>) {
        counts.set(`${title} ${subject}`, (counts.get(`${title} ${subject}`) ?? 0) + 1)
      }
      const said = new Set<string>()
      return (alerts as ReadonlyArray<ReturnType<typeof ofFinding> & { readonly subject?: string }>).flatMap(
        (alert) => {
          const name = `${alert.title} ${alert.subject}`
          if (said.has(name)) return []
          said.add(name)
          const count = counts.get(name) ?? 1
          return [count === 1 ? alert : { ...alert, key: name, text: `${count} of them. The first: ${alert.text}` }]
        }
      )
    })
  )

/** Live fibers by the outermost names of their owners: for "who grew?". */
const ownersSection = (tree: () => ReadonlyArray<FiberCensus.Node>): Section => {
  const first = new Map<string, number>()
  return ConsoleSection.table({
    id: "owners",
    title: "Owners",
    note: "Fibers by owner, and how many more than when somebody first looked.",
    columns: { owner: "text", fibers: "count", grown: "count" },
    sort: "-fibers",
    rows: Effect.sync(() => {
      const counts = new Map<string, number>()
      for (const { kind, owner } of trackedIn(tree())) {
        const name = kind === "request"
          ? "requests"
          : owner.slice(0, Math.max(1, Math.min(2, owner.length - 1))).join(" / ")
        counts.set(name, (counts.get(name) ?? 0) + 1)
      }
      for (const [name, count] of counts) if (!first.has(name) && first.size < 1000) first.set(name, count)
      return Array.from(counts, ([owner, fibers]): Row => ({
        key: owner,
        cells: { owner, fibers, grown: fibers - (first.get(owner) ?? fibers) }
      }))
    })
  })
}

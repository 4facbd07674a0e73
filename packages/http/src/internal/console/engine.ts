/**
 * Looks at the sections, keeps the history, and gives frames to who looks. Series are read once an interval, always; all the
 * rest only while somebody looks. Sections and rules that cost something are looked at less often, so that all of them together
 * take a quarter of a hundredth of a core, and seldom while nobody has them open.
 */
import type * as FiberRegistry from "@holdfast/core/FiberRegistry"
import type * as Lifecycle from "@holdfast/core/Lifecycle"
import { Lock } from "@holdfast/core/Lock"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ActionInfo, Alert, Frame, Hello, SectionData, SectionInfo } from "../../ConsoleFeed.js"
import type { Action, AlertRule, Section, Series } from "../../ConsoleSection.js"
import * as Sse from "../../Sse.js"
import type { Registry } from "../registry.js"
import { bounded } from "../registry.js"
import { fieldsOf } from "./fields.js"
import { History } from "./history.js"
import { Picture } from "./picture.js"
import { Viewers } from "./viewers.js"

type Shown = Exclude<Section, Action | AlertRule>
type Looked = Exclude<Shown, Series>

export interface Setup {
  readonly hello: Omit<Hello, "role" | "sections" | "actions" | "intervalMillis">
  readonly intervalMillis: number
  readonly maxViewers: number
  /** Those of this library. */
  readonly own: ReadonlyArray<Section>
  /** Those of the application. */
  readonly given: ReadonlyArray<Section>
  readonly registered: Registry<Section>
  readonly registry: FiberRegistry.Service
  readonly lifecycle: Option.Option<Lifecycle.Service>
}

/** Milliseconds that a section may take before it is said to be unavailable. */
const patience = 1000

/** While the process shuts down. */
const hurriedMillis = 150

/** A section that somebody has open is looked at at least so often, whatever it costs. */
const seldom = 8000

/** One that nobody has open, and that costs something. Its number of rows is shown all the same. */
const unwatched = 30_000

/** For so long a section counts as open. The page says it again before that. */
const watched = 45_000

/** An alert is not to be waited for. */
const seldomAlerts = 2000

/** Milliseconds of which nobody speaks: what takes less is looked at every time. */
const cheap = 0.5

const encode = (event: string, data: unknown): Uint8Array => Sse.encodeBytes({ event, data: JSON.stringify(data) })

const why = (cause: Cause.Cause<unknown>): string =>
  Option.getOrUndefined(Cause.failureOption(cause)) === "timeout"
    ? `took more than ${patience} ms`
    : Cause.pretty(cause).split("\n", 1)[0]

const infoOf = (section: Shown, application: boolean): SectionInfo => ({
  id: section.id,
  title: section.title ?? section.id,
  kind: section.kind,
  ...(application ? { application } : {}),
  ...(section.note === undefined ? {} : { note: section.note }),
  ...(section.empty === undefined ? {} : { empty: section.empty }),
  ...(section.kind === "table" || section.kind === "tree" ? { columns: section.columns } : {}),
  ...(section.kind === "table" && section.sort !== undefined ? { sort: section.sort } : {}),
  ...(section.kind === "series"
    ? { unit: section.unit, ...(section.warn === undefined ? {} : { warn: section.warn }) }
    : {})
})

const actionInfoOf = (action: Action): ActionInfo => ({
  name: action.name,
  title: action.title,
  ...(action.on === undefined ? {} : { on: action.on }),
  ...(action.confirm === undefined ? {} : { confirm: action.confirm }),
  danger: action.danger,
  fields: fieldsOf(action.input)
})

interface Track {
  readonly history: History
  count: number
  at: number
}

export class Engine {
  readonly viewers: Viewers
  private readonly picture = new Picture()
  private readonly tracks = new Map<string, Track>()
  private readonly due = new Map<string, number>()
  private readonly costs = new Map<string, number>()
  private readonly found = new Map<string, ReadonlyArray<Alert>>()
  /** Until when a section counts as open. */
  private readonly open = new Map<string, number>()
  private readonly lock = new Lock()
  private sampled: { at: number; values: Record<string, number> } = { at: 0, values: {} }
  private alerts: ReadonlyArray<Alert> = []
  private alertsText = ""
  private actionsText = ""
  private sampledAt = performance.now()
  private known: ReadonlyArray<Section> = []

  constructor(private readonly setup: Setup) {
    this.viewers = new Viewers(setup.maxViewers)
  }

  /** Those of the application take the place of the library's with the same id. */
  sections(): ReadonlyArray<Section> {
    const byName = new Map<string, Section>()
    for (const section of [...this.setup.own, ...this.setup.given, ...this.setup.registered.all()]) {
      const name = section.kind === "action"
        ? `action ${section.name}`
        : `${section.kind === "alert" ? "alert" : "section"} ${section.id}`
      byName.set(name, section)
    }
    return Array.from(byName.values())
  }

  action(name: string): Action | undefined {
    return this.sections().find((section): section is Action => section.kind === "action" && section.name === name)
  }

  /** For ever: an interval after an interval. */
  readonly run: Effect.Effect<never> = Effect.forever(
    Effect.zipRight(
      Effect.suspend(() => Effect.sleep(this.isAccepting() ? this.setup.intervalMillis : hurriedMillis)),
      Effect.flatMap(this.sample(), () => this.viewers.all.size === 0 ? Effect.void : this.look)
    )
  )

  /** A new viewer, with its first picture. */
  readonly enter = (role: Hello["role"]) =>
    Effect.tap(this.viewers.enter(role), (viewer) => {
      if (viewer === undefined) return Effect.void
      this.due.clear()
      return this.look
    })

  /** Somebody has this section open, which is then looked at with the next frame. False: there is none. */
  watch(id: string): boolean {
    const section = this.sections().find((section) =>
      section.kind !== "action" && section.kind !== "alert" && section.id === id
    )
    if (section === undefined) return false
    const now = performance.now()
    if ((this.open.get(id) ?? 0) <= now) this.due.delete(id)
    this.open.set(id, now + watched)
    return true
  }

  /** Somebody has acted: the next look is at all sections, whatever they cost. */
  readonly lookAgain = Effect.sync(() => this.due.clear())

  /** All of it, once. */
  readonly snapshot = (role: Hello["role"]): Effect.Effect<{ readonly hello: Hello; readonly frame: Frame }> =>
    Effect.suspend(() => {
      this.due.clear()
      return Effect.map(
        this.look,
        () => ({ hello: this.hello(role), frame: this.whole(this.actionsText.split("\n"), 0) })
      )
    })

  /** Ends all streams, with a last frame. */
  readonly farewell: Effect.Effect<void> = Effect.suspend(() => {
    const ending = Effect.sync(() => {
      const bytes = encode("frame", { ...this.frame(false), sections: {}, ending: true })
      for (const viewer of this.viewers.all) viewer.offer(bytes)
    })
    return Effect.zipRight(ending, this.viewers.close)
  })

  private isAccepting(): boolean {
    return Option.isNone(this.setup.lifecycle) || this.setup.lifecycle.value.unsafePhase() === "accepting"
  }

  private hello(role: Hello["role"]): Hello {
    const sections = this.sections()
    return {
      ...this.setup.hello,
      role,
      intervalMillis: this.setup.intervalMillis,
      sections: sections.flatMap((section) =>
        section.kind === "action" || section.kind === "alert"
          ? []
          : [infoOf(section, !this.setup.own.includes(section))]
      ),
      actions: sections.flatMap((section) => section.kind === "action" ? [actionInfoOf(section)] : [])
    }
  }

  /** Reads the series. */
  private sample(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const now = performance.now()
      if (now - this.sampledAt < this.setup.intervalMillis / 2) return Effect.void
      // Time that was slept over is a gap.
      const gaps = Math.min(120, Math.max(0, Math.round((now - this.sampledAt) / this.setup.intervalMillis) - 1))
      const passed = (now - this.sampledAt) / 1000
      this.sampledAt = now
      const values: Record<string, number> = {}
      const series = this.sections().filter((section): section is Series => section.kind === "series")
      return Effect.map(
        Effect.forEach(series, (one) =>
          Effect.map(
            Effect.catchAllCause(one.read, () => Effect.succeed(Number.NaN)),
            (value) => {
              const track = this.trackOf(one.id)
              const before = track.count
              track.count = value
              const shown = one.counter ? Math.max(0, value - before) / passed : value
              for (let gap = 0; gap < gaps; gap++) track.history.push(Number.NaN)
              track.history.push(shown)
              if (Number.isFinite(shown)) values[one.id] = shown
            }
          ), { discard: true }),
        () => {
          this.sampled = { at: Date.now(), values }
        }
      )
    })
  }

  private trackOf(id: string): Track {
    let track = this.tracks.get(id)
    if (track === undefined) this.tracks.set(id, track = { history: new History(), count: Number.NaN, at: 0 })
    return track
  }

  /** Looks at what is due, and gives a frame to everybody. */
  private readonly look: Effect.Effect<void> = Effect.suspend(() =>
    this.lock.withLock(Effect.gen(this, function*() {
      const all = this.sections()
      const alerts = yield* this.alertsNow(all)
      this.leadTo(alerts)
      const now = performance.now()
      const shown = all.filter((section): section is Looked =>
        section.kind !== "action" && section.kind !== "alert" && section.kind !== "series"
      )
      const changed: Record<string, SectionData> = {}
      yield* Effect.forEach(
        shown.filter(({ id }) => (this.due.get(id) ?? 0) <= now),
        (section) =>
          Effect.map(this.lookAt(section), (data) => {
            if (data !== undefined) changed[section.id] = data
          }),
        { discard: true }
      )
      const sections = new Set(shown.map(({ id }) => id))
      this.picture.keep(sections)
      const actions = yield* this.actionsNow(all)
      this.forget(all)
      this.publish(changed, alerts, actions, all)
    }))
  )

  /** An alert that is new comes with the row that it leads to. */
  private leadTo(alerts: ReadonlyArray<Alert>) {
    const known = new Set(this.alerts.map(({ key, link }) => `${key} ${link?.key}`))
    for (const { key, link } of alerts) {
      if (link !== undefined && !known.has(`${key} ${link.key}`)) this.due.delete(link.section)
    }
  }

  private lookAt(section: Looked): Effect.Effect<SectionData | undefined> {
    return Effect.suspend(() => {
      const { id } = section
      const looking = section.kind === "facts"
        ? Effect.map(bounded(section.facts, patience), (facts) => this.picture.facts(id, facts))
        : section.kind === "text"
        ? Effect.map(bounded(section.text, patience), (text) => this.picture.text(id, text))
        : Effect.map(bounded(section.rows, patience), (rows) => this.picture.rows(id, rows))
      return this.weighed(
        id,
        Effect.catchAllCause(looking, (cause) => Effect.sync(() => this.picture.unavailable(id, why(cause)))),
        // facts stand on the first page
        section.kind === "facts" || (this.open.get(id) ?? 0) > performance.now() ? seldom : undefined
      )
    })
  }

  /** What it knows of sections that are gone. */
  private forget(all: ReadonlyArray<Section>) {
    const names = new Set(all.map((one) => one.kind === "action" ? one.name : costName(one)))
    for (const known of [this.costs, this.due, this.found, this.open]) {
      for (const name of known.keys()) if (!names.has(name)) known.delete(name)
    }
  }

  /**
   * Whoever costs something has the same period: four hundred times what all of them cost. To tell of it, and to collect what it
   * leaves, takes three times as long again. `atLeastEvery` is undefined for what nobody looks at, whose cost is that of one
   * look and no more.
   */
  private weighed<A>(name: string, look: Effect.Effect<A>, atLeastEvery: number | undefined): Effect.Effect<A> {
    return Effect.suspend(() => {
      const began = performance.now()
      return Effect.map(look, (result) => {
        const ended = performance.now()
        const cost = ended - began < cheap ? 0 : ended - began
        this.costs.set(name, atLeastEvery === undefined ? 0 : cost)
        const period = cost === 0 ? 0 : atLeastEvery === undefined ? unwatched : Math.min(atLeastEvery, this.cost * 400)
        this.due.set(name, ended - 1 + Math.max(this.setup.intervalMillis / 4, period))
        return result
      })
    })
  }

  /** Milliseconds of one look at all that counts. */
  private get cost(): number {
    let all = 0
    for (const one of this.costs.values()) all += one
    return all
  }

  private alertsNow(all: ReadonlyArray<Section>): Effect.Effect<ReadonlyArray<Alert>> {
    const rules = all.filter((section): section is AlertRule => section.kind === "alert")
    const now = performance.now()
    return Effect.map(
      Effect.forEach(rules, (rule) => {
        const name = costName(rule)
        const before = this.found.get(name)
        if (before !== undefined && (this.due.get(name) ?? 0) > now) return Effect.succeed(before)
        return Effect.tap(this.weighed(name, alertsOf(rule), seldomAlerts), (found) => {
          this.found.set(name, found)
          return Effect.void
        })
      }),
      (found) => [...found.flat(), ...this.exceeded(all)].sort((a, b) => weight[a.severity] - weight[b.severity])
    )
  }

  /** Series that were above their line in the last seconds. */
  private exceeded(all: ReadonlyArray<Section>): ReadonlyArray<Alert> {
    return all.flatMap((section) => {
      if (section.kind !== "series" || section.warn === undefined) return []
      const top = this.trackOf(section.id).history.latest.reduce((top, value) => value > top ? value : top, -Infinity)
      return !(top > section.warn) ? [] : [{
        key: `series ${section.id}`,
        rule: "series",
        severity: "warning" as const,
        title: section.title ?? section.id,
        text: `${
          Math.round(top)
        } ${section.unit} in the last half minute; the line is at ${section.warn} ${section.unit}.`,
        link: { section: section.id }
      }]
    })
  }

  private actionsNow(all: ReadonlyArray<Section>): Effect.Effect<ReadonlyArray<string>> {
    const actions = all.filter((section): section is Action => section.kind === "action")
    return Effect.map(
      Effect.filter(actions, ({ available }) =>
        available === undefined
          ? Effect.succeed(true)
          : Effect.catchAllCause(available, () => Effect.succeed(false))),
      (there) => there.map(({ name }) => name)
    )
  }

  private frame(whole: boolean): Omit<Frame, "sections"> {
    const { hello, lifecycle } = this.setup
    const at = Date.now()
    const phase = Option.isNone(lifecycle) ? "accepting" : lifecycle.value.unsafePhase()
    const report = phase === "accepting" || Option.isNone(lifecycle) ? undefined : lifecycle.value.unsafeReport()
    return {
      epoch: hello.epoch,
      whole,
      at,
      phase,
      viewers: this.viewers.all.size,
      ...(report === undefined || !Number.isFinite(report.timeoutMillis)
        ? {}
        : { shutdownLeftMillis: Math.max(0, Math.round(report.timeoutMillis - report.elapsedMillis)) }),
      ...(phase === "accepting" || Option.isNone(lifecycle)
        ? {}
        : { waitingFor: lifecycle.value.unsafeWaitingFor().slice(0, 20) })
    }
  }

  private publish(
    changed: Readonly<Record<string, SectionData>>,
    alerts: ReadonlyArray<Alert>,
    actions: ReadonlyArray<string>,
    all: ReadonlyArray<Section>
  ) {
    this.alerts = alerts
    const alertsText = JSON.stringify(alerts)
    const actionsText = actions.join("\n")
    const delta: Frame = {
      ...this.frame(false),
      sections: changed,
      sample: this.sampled,
      ...(alertsText === this.alertsText ? {} : { alerts }),
      ...(actionsText === this.actionsText ? {} : { actions })
    }
    this.alertsText = alertsText
    this.actionsText = actionsText
    let encoded: Uint8Array | undefined
    let whole: Uint8Array | undefined
    const hasNew = this.known.length !== 0 && !sameSections(this.known, all)
    for (const viewer of this.viewers.all) {
      if (!viewer.hasRoom()) continue
      if (viewer.stale || hasNew) {
        if (hasNew || !viewer.isGreeted) viewer.offer(encode("hello", this.hello(viewer.role)))
        viewer.isGreeted = true
        viewer.stale = false
        viewer.offer(
          viewer.missed === 0 && whole !== undefined
            ? whole
            : whole = encode("frame", this.whole(actions, viewer.missed))
        )
      } else {
        viewer.offer(encoded ??= encode("frame", delta))
      }
    }
    this.known = all
  }

  private whole(actions: ReadonlyArray<string>, missed: number): Frame {
    const history = Object.fromEntries(
      Array.from(this.tracks, ([id, { history }]) => [id, history.rings(this.sampled.at, this.setup.intervalMillis)])
    )
    return {
      ...this.frame(true),
      sections: this.picture.whole(),
      alerts: this.alerts,
      actions,
      history,
      sample: this.sampled,
      missed
    }
  }
}

/** A rule may have the id of a section. */
const costName = ({ id, kind }: Exclude<Section, Action>): string => kind === "alert" ? `alert ${id}` : id

const alertsOf = ({ alerts, id }: AlertRule): Effect.Effect<ReadonlyArray<Alert>> =>
  Effect.map(
    Effect.catchAllCause(bounded(alerts, patience), (cause) =>
      Effect.succeed([{
        severity: "warning" as const,
        title: "A rule for alerts fails",
        subject: id,
        text: why(cause)
      }])),
    (found) =>
      found.map((alert): Alert => ({
        ...alert,
        rule: id,
        key: `${id} ${"key" in alert && alert.key !== undefined ? alert.key : alert.title}`
      }))
  )

const weight = { critical: 0, warning: 1, info: 2 } as const

const sameSections = (a: ReadonlyArray<Section>, b: ReadonlyArray<Section>): boolean =>
  a.length === b.length && a.every((section, index) => section === b[index])

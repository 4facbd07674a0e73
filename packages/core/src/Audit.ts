/**
 * A periodic look at what should not be there: fibers without an owner, fibers that are too old, growth, memory over its
 * thresholds, an event loop that lags.
 *
 * An audit is a supervised fiber of kind `"audit"` on a `Schedule`. What it finds is handled by policy: it is logged,
 * published, cleaned up (interrupted, within a budget), or makes the service drain. A finding is handled once: as long as it
 * persists, later audits list it and leave it alone.
 *
 * Guarantees
 * - Orphans: every tracked fiber that outlives its scope, and every daemon that nobody waits for, once it has been one for
 *   `orphanAfter`. What belongs to a live fiber or an open scope is none.
 * - A clean-up ends within its budget, whatever the fibers do, and returns what became of each.
 * - An audit that fails is logged and tried again at the next interval.
 * - It stops in the phase `stopping-sources` of a shutdown.
 *
 * Limits
 * - What the census cannot see, an audit cannot find: see `FiberRegistry`. A promise, timer or socket outside of Effect is
 *   not a fiber.
 * - The moment at which the scope of a fiber was closed is not known. The time runs from the audit that first saw it so. For
 *   a daemon it is the fiber's age.
 * - A daemon that something waits for (`Fiber.join`, an observer) is not taken for an orphan, nor is one that waits for
 *   another fiber itself while the fiber that forked it lives: concurrent streams make such daemons.
 * - A census walks every fiber of the process: about a millisecond per thousand fibers, on the main thread.
 * - Memory readings include garbage that was not collected yet. Thresholds need room for it.
 *
 * @since 0.1.0
 */
import { Clock, Context, Data, Duration, Effect, Fiber, Layer, Option, PubSub, Schedule, Stream } from "effect"
import type { Config, ConfigError, Scope } from "effect"
import * as Cleanup from "./Cleanup.js"
import * as FiberRegistry from "./FiberRegistry.js"
import * as InvalidOption from "./InvalidOption.js"
import * as Lifecycle from "./Lifecycle.js"
import * as Monotonic from "./Monotonic.js"
import * as Probes from "./Probes.js"
import * as Supervision from "./Supervision.js"

/**
 * The fiber that a finding is about.
 *
 * @since 0.1.0
 * @category models
 */
export interface Suspect {
  readonly id: string
  /** Owner path, with the name at its end. */
  readonly path: string
  readonly kind: FiberRegistry.FiberKind
  readonly ageMillis: number
  readonly status: FiberRegistry.Status
}

/**
 * - `Orphan`: lives without an owner. `scope-closed`: tracked, and its scope is closed; `detached`: a daemon that nobody
 *   waits for; `owner-ended`: such a daemon, and the fiber that forked it is gone
 * - `OverAge`: older than what its kind is allowed
 * - `Growth`: more fibers of a kind than the baseline allows
 * - `HighMemory`: over a threshold, in bytes
 * - `HighLag`: the event loop is late, in milliseconds
 *
 * @since 0.1.0
 * @category models
 */
export type Finding = Data.TaggedEnum<{
  Orphan: { readonly suspect: Suspect; readonly why: "scope-closed" | "owner-ended" | "detached" }
  OverAge: { readonly suspect: Suspect; readonly limitMillis: number }
  Growth: { readonly kind: string; readonly baseline: number; readonly count: number; readonly limit: number }
  HighMemory: {
    readonly what: keyof Probes.Memory
    readonly level: Level
    readonly bytes: number
    readonly limit: number
  }
  HighLag: { readonly level: Level; readonly millis: number; readonly limit: number }
}>

/**
 * How bad a finding is: `soft` is worth a look, `hard` asks for an act.
 *
 * @since 0.1.0
 * @category models
 */
export type Level = "soft" | "hard"

/**
 * Constructors and matchers of findings.
 *
 * @since 0.1.0
 * @category models
 */
export const Finding = Data.taggedEnum<Finding>()

/**
 * What is done about a finding. `"clean-up"` interrupts the fiber it is about; for a finding about the process it interrupts
 * all orphans. `"drain"` asks the `Lifecycle`, if there is one, to shut down.
 *
 * @since 0.1.0
 * @category models
 */
export type Action = "log" | "publish" | "clean-up" | "drain"

/**
 * Two limits in the unit of what they limit: bytes of memory, milliseconds of lag.
 *
 * @since 0.1.0
 * @category models
 */
export interface Threshold {
  readonly soft?: number | undefined
  readonly hard?: number | undefined
}

/**
 * When the audit runs, what it reports, and what it does about it.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** When to audit. Default: every 30 seconds. */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
  /** How long a fiber must have been without an owner. Default 10 seconds. */
  readonly orphanAfter?: Duration.DurationInput | undefined
  /** The greatest age of fibers by kind. Default: none. */
  readonly maxAge?: Readonly<Record<string, Duration.DurationInput>> | undefined
  /** Growth is found when a kind has more than `factor` times its baseline plus `slack`. Default 2 and 100. */
  readonly growth?: { readonly factor?: number | undefined; readonly slack?: number | undefined } | undefined
  /** Bytes, read from the `MemoryProbe` when there is one. */
  readonly memory?: Partial<Readonly<Record<keyof Probes.Memory, Threshold>>> | undefined
  /** Milliseconds, compared with the 99th percentile of the `LagProbe` when there is one. */
  readonly lag?: Threshold | undefined
  /** What is done by kind of finding. Default: `["log", "publish"]` for all. */
  readonly policy?: ((finding: Finding) => ReadonlyArray<Action>) | undefined
  /** How long a clean-up waits for each fiber that it interrupts. All of them are interrupted at once. Default 1 second. */
  readonly cleanUpBudget?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  interval: Duration.seconds(30),
  orphanAfter: Duration.seconds(10),
  growth: { factor: 2, slack: 100 },
  policy: (): ReadonlyArray<Action> => ["log", "publish"],
  cleanUpBudget: Duration.seconds(1)
} as const

/**
 * What became of a fiber that a clean-up interrupted.
 *
 * @since 0.1.0
 * @category models
 */
export interface CleanedUp {
  readonly suspect: Suspect
  /** `abandoned`: it did not end within the budget. */
  readonly outcome: "ended" | "abandoned"
  readonly elapsedMillis: number
}

/**
 * What one audit saw and did.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** All that was found, also what was handled before. */
  readonly findings: ReadonlyArray<Finding>
  /** What was found for the first time. */
  readonly fresh: ReadonlyArray<Finding>
  readonly counts: Readonly<Record<string, number>>
  readonly memory: Option.Option<Probes.Memory>
  readonly lag: Option.Option<Probes.Lag>
  readonly cleanedUp: ReadonlyArray<CleanedUp>
  readonly drained: boolean
}

/**
 * Which of the findings to clean up, and how long each may take.
 *
 * @since 0.1.0
 * @category models
 */
export interface CleanUpOptions {
  /** Default: every finding about a fiber. */
  readonly which?: ((finding: Finding) => boolean) | undefined
  /** Default: that of the audit. */
  readonly budget?: Duration.DurationInput | undefined
}

/**
 * The periodic look at fibers, memory and the event loop.
 *
 * @since 0.1.0
 * @category tags
 */
export class Audit extends Context.Tag("@holdfast/core/Audit")<Audit, {
  /** Looks, and does nothing about it. */
  readonly inspect: Effect.Effect<ReadonlyArray<Finding>>
  /** Looks, and does what the policy says. */
  readonly run: Effect.Effect<Report>
  /** Interrupts the fibers that are found now, all at once, and waits for each within the budget. */
  readonly cleanUp: (options?: CleanUpOptions) => Effect.Effect<ReadonlyArray<CleanedUp>>
  /** Takes the counts of this moment as the baseline. The first audit does so by itself. */
  readonly rebase: Effect.Effect<void>
  /** The findings with the action `"publish"`, from now on. A subscriber that is more than 256 behind loses the oldest. */
  readonly findings: Stream.Stream<Finding>
  readonly last: Effect.Effect<Option.Option<Report>>
}>() {}

/**
 * An audit without a fiber: `run` it by hand.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Context.Tag.Service<Audit>, never, Scope.Scope> =>
  Effect.gen(function*() {
    checkOptions(options)
    const eye = new Eye(
      options,
      yield* FiberRegistry.FiberRegistry,
      yield* Effect.serviceOption(Probes.MemoryProbe),
      yield* Effect.serviceOption(Probes.LagProbe)
    )
    const lifecycle = yield* Effect.serviceOption(Lifecycle.Lifecycle)
    const pubsub = yield* Effect.acquireRelease(PubSub.sliding<Finding>(256), PubSub.shutdown)
    const { cleanUpBudget = defaults.cleanUpBudget, policy = defaults.policy } = options
    let handled = new Set<string>()
    let last: Report | undefined

    const run = Effect.gen(function*() {
      const { at, counts, found, lag, memory } = yield* eye.look
      const fresh = found.filter(({ key }) => !handled.has(key))
      handled = new Set(found.map(({ key }) => key))
      const actions = fresh.map((one) => [one, new Set(policy(one.finding))] as const)
      for (const [{ finding }, what] of actions) {
        if (what.has("log")) yield* log(finding)
        if (what.has("publish")) yield* PubSub.publish(pubsub, finding)
      }
      const marked = actions.filter(([, what]) => what.has("clean-up")).map(([one]) => one)
      const all = marked.some(({ fiber }) => fiber === undefined)
      const cleanedUp = yield* interrupt(
        [...marked, ...all ? found.filter(({ finding }) => finding._tag === "Orphan") : []],
        cleanUpBudget
      )
      if (cleanedUp.length > 0) yield* logCleanUp(cleanedUp)
      const cause = actions.find(([, what]) => what.has("drain"))
      if (cause !== undefined && Option.isSome(lifecycle)) {
        yield* lifecycle.value.requestShutdown({ _tag: "Requested", by: `audit: ${render(cause[0].finding)}` })
      }
      last = {
        at,
        findings: found.map(({ finding }) => finding),
        fresh: fresh.map(({ finding }) => finding),
        counts,
        memory,
        lag,
        cleanedUp,
        drained: cause !== undefined && Option.isSome(lifecycle)
      }
      return last
    })

    return Audit.of({
      inspect: Effect.map(eye.look, ({ found }) => found.map(({ finding }) => finding)),
      run,
      cleanUp: ({ budget = cleanUpBudget, which = () => true } = {}) =>
        eye.look.pipe(
          Effect.flatMap(({ found }) => interrupt(found.filter(({ finding }) => which(finding)), budget)),
          Effect.tap((done) => done.length > 0 ? logCleanUp(done) : Effect.void)
        ),
      rebase: eye.rebase,
      findings: Stream.fromPubSub(pubsub),
      last: Effect.sync(() => Option.fromNullable(last))
    })
  })

/**
 * An audit that runs on its schedule for as long as the layer lives. It uses the `MemoryProbe`, the `LagProbe` and the
 * `Lifecycle` that it finds in its context, and does without those that it does not find.
 *
 * @example
 * ```ts
 * import { Audit } from "@holdfast/core"
 *
 * const audit = Audit.layer({
 *   maxAge: { request: "1 minute" },
 *   memory: { rss: { soft: 400e6, hard: 800e6 } },
 *   policy: (finding) =>
 *     finding._tag === "Orphan"
 *       ? ["log", "clean-up"]
 *       : finding._tag === "HighMemory" && finding.level === "hard"
 *       ? ["log", "drain"]
 *       : ["log", "publish"]
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Audit> =>
  Layer.scoped(
    Audit,
    Effect.gen(function*() {
      const audit = yield* make(options)
      yield* Supervision.make({
        name: "audits",
        intensity: 10,
        children: [{
          name: "audit",
          kind: "audit",
          start: audit.run.pipe(
            Effect.catchAllCause((cause) => Effect.logError("An audit failed", cause)),
            Effect.schedule(options.schedule ?? Schedule.spaced(defaults.interval))
          )
        }]
      })
      return audit
    })
  )

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<Audit, InvalidOption.InvalidOption | ConfigError.ConfigError> = InvalidOption.fromConfig(layer)

interface Found {
  readonly finding: Finding
  /** The same for as long as it persists. */
  readonly key: string
  readonly fiber?: Fiber.RuntimeFiber<unknown, unknown>
}

const checkOptions = ({ cleanUpBudget, growth, maxAge, orphanAfter }: Options) => {
  const anyLength = { zero: true, infinite: true }
  InvalidOption.unsafeDuration("Audit.orphanAfter", orphanAfter ?? defaults.orphanAfter, anyLength)
  for (const [kind, age] of Object.entries(maxAge ?? {})) {
    InvalidOption.unsafeDuration(`Audit.maxAge.${kind}`, age, { infinite: true })
  }
  InvalidOption.unsafeNumber("Audit.growth.factor", growth?.factor ?? defaults.growth.factor)
  InvalidOption.unsafeNumber("Audit.growth.slack", growth?.slack ?? defaults.growth.slack)
  InvalidOption.unsafeDuration("Audit.cleanUpBudget", cleanUpBudget ?? defaults.cleanUpBudget, anyLength)
}

/** What one look has found. */
interface Look {
  readonly at: number
  readonly found: ReadonlyArray<Found>
  readonly counts: Readonly<Record<string, number>>
  readonly memory: Option.Option<Probes.Memory>
  readonly lag: Option.Option<Probes.Lag>
}

/** Looks, and remembers what it has to from one look to the next. */
class Eye {
  private readonly orphanAfter: number
  private readonly firstSeen = new WeakMap<Fiber.RuntimeFiber<unknown, unknown>, number>()
  private baseline: Readonly<Record<string, number>> | undefined

  constructor(
    readonly options: Options,
    readonly registry: FiberRegistry.Service,
    readonly memoryProbe: Option.Option<Context.Tag.Service<Probes.MemoryProbe>>,
    readonly lagProbe: Option.Option<Context.Tag.Service<Probes.LagProbe>>
  ) {
    this.orphanAfter = Duration.toMillis(options.orphanAfter ?? defaults.orphanAfter)
  }

  readonly look = Effect.withFiberRuntime<Look>((self) =>
    Effect.gen(this, function*() {
      const at = yield* Clock.currentTimeMillis
      const { tracked, untracked } = this.registry.unsafeSurvey()
      const found: Array<Found> = []
      for (const entries of [tracked, untracked]) {
        for (const entry of entries) {
          if (entry.fiber === self) continue
          this.orphan(entry, found)
          this.overAge(entry, found)
        }
      }
      const counts: Record<string, number> = { untracked: untracked.length }
      for (const { kind } of tracked) counts[kind] = (counts[kind] ?? 0) + 1
      this.baseline ??= counts
      found.push(...growth(this.baseline, counts, this.options.growth))
      const memory = yield* Effect.transposeMapOption(this.memoryProbe, (probe) => probe.read)
      if (Option.isSome(memory)) found.push(...highMemory(memory.value, this.options.memory))
      const lag = yield* Effect.transposeMapOption(this.lagProbe, (probe) => probe.read)
      if (Option.isSome(lag)) found.push(...highLag(lag.value, this.options.lag))
      return { at, found, counts, memory, lag }
    })
  )

  readonly rebase = Effect.map(this.look, ({ counts }) => {
    this.baseline = counts
  })

  private orphan(entry: FiberRegistry.Entry, found: Array<Found>) {
    const why = orphaned(entry)
    if (why === undefined) return
    const now = Monotonic.unsafeOfProcess()
    const since = this.firstSeen.get(entry.fiber) ?? now
    this.firstSeen.set(entry.fiber, since)
    const millis = why === "scope-closed" ? now - since : entry.ageMillis
    if (millis >= this.orphanAfter) found.push(about(entry, Finding.Orphan({ suspect: suspectOf(entry), why })))
  }

  private overAge(entry: FiberRegistry.Entry, found: Array<Found>) {
    const limit = this.options.maxAge?.[entry.kind]
    if (limit === undefined) return
    const limitMillis = Duration.toMillis(limit)
    if (entry.ageMillis > limitMillis) {
      found.push(about(entry, Finding.OverAge({ suspect: suspectOf(entry), limitMillis })))
    }
  }
}

/** All at once, each within the budget. */
const interrupt = (
  found: ReadonlyArray<Found>,
  budget: Duration.DurationInput
): Effect.Effect<ReadonlyArray<CleanedUp>> => {
  const fibers = new Map<Fiber.RuntimeFiber<unknown, unknown>, Suspect>()
  for (const { fiber, finding } of found) {
    if (fiber !== undefined && "suspect" in finding) fibers.set(fiber, finding.suspect)
  }
  return Effect.forEach(
    fibers,
    ([fiber, suspect]) =>
      Cleanup.run({ label: `end ${suspect.path}`, budget }, Fiber.interrupt(fiber)).pipe(
        Effect.map((outcome): CleanedUp => ({
          suspect,
          outcome: outcome._tag === "Completed" ? "ended" : "abandoned",
          elapsedMillis: outcome.elapsedMillis
        }))
      ),
    { concurrency: "unbounded" }
  )
}

const suspectOf = (entry: FiberRegistry.Entry): Suspect => ({
  id: entry.id,
  path: (entry.tracked ? entry.owner : [...entry.owner, `${entry.name} ${entry.id}`]).join("/"),
  kind: entry.kind,
  ageMillis: entry.ageMillis,
  status: entry.status
})

const about = (entry: FiberRegistry.Entry, finding: Finding): Found => ({
  finding,
  key: `${finding._tag} ${entry.id}`,
  fiber: entry.fiber
})

const orphaned = (entry: FiberRegistry.Entry) => {
  if (entry.tracked) return entry.ownership === "scope-closed" ? "scope-closed" as const : undefined
  // What something waits for, a scope or a join, is not alone, whoever forked it.
  if (!entry.detached) return undefined
  // Concurrent streams leave such a fiber to itself: it ends with the one that it waits for.
  if (entry.ownership === "owner" && entry.waitingFor !== undefined) return undefined
  return entry.ownership === "owner-ended" ? "owner-ended" as const : "detached" as const
}

const growth = (
  baseline: Readonly<Record<string, number>>,
  counts: Readonly<Record<string, number>>,
  options: Options["growth"] = {}
): ReadonlyArray<Found> => {
  const { factor = defaults.growth.factor, slack = defaults.growth.slack } = options
  return Object.entries(counts).flatMap(([kind, count]) => {
    const before = baseline[kind] ?? 0
    const limit = Math.floor(before * factor + slack)
    return count > limit
      ? [{ key: `Growth ${kind}`, finding: Finding.Growth({ kind, baseline: before, count, limit }) }]
      : []
  })
}

const levelOf = (value: number, { hard = Infinity, soft = Infinity }: Threshold) =>
  value > hard
    ? { level: "hard" as const, limit: hard }
    : value > soft
    ? { level: "soft" as const, limit: soft }
    : undefined

const highMemory = (memory: Probes.Memory, thresholds: Options["memory"] = {}): ReadonlyArray<Found> =>
  (["heapUsed", "rss", "external"] as const).flatMap((what) => {
    const over = levelOf(memory[what], thresholds[what] ?? {})
    return over === undefined
      ? []
      : [{
        key: `HighMemory ${what} ${over.level}`,
        finding: Finding.HighMemory({ what, bytes: memory[what], ...over })
      }]
  })

const highLag = (lag: Probes.Lag, threshold: Threshold = {}): ReadonlyArray<Found> => {
  const over = levelOf(lag.p99, threshold)
  return over === undefined
    ? []
    : [{ key: `HighLag ${over.level}`, finding: Finding.HighLag({ millis: lag.p99, ...over }) }]
}

const mebibytes = (bytes: number) => `${(bytes / 1_048_576).toFixed(1)} MiB`

/**
 * A finding in one line.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render: (finding: Finding) => string = Finding.$match({
  Orphan: ({ suspect, why }) =>
    `orphan ${suspect.path} [${suspect.kind}] ${suspect.id}: ${why}, ${suspect.ageMillis} ms old`,
  OverAge: ({ limitMillis, suspect }) =>
    `${suspect.path} [${suspect.kind}] ${suspect.id} is ${suspect.ageMillis} ms old, its kind may be ${limitMillis} ms`,
  Growth: ({ baseline, count, kind, limit }) =>
    `${count} fibers of kind ${kind}, ${baseline} at first, at most ${limit}`,
  HighMemory: ({ bytes, level, limit, what }) => `${what} is ${mebibytes(bytes)}, ${level} limit ${mebibytes(limit)}`,
  HighLag: ({ level, limit, millis }) => `event loop lag is ${millis.toFixed(0)} ms, ${level} limit ${limit} ms`
})

const log = (finding: Finding): Effect.Effect<void> =>
  Effect.logWarning(`Audit: ${render(finding)}`).pipe(
    Effect.annotateLogs({ finding: finding._tag, ..."suspect" in finding ? { path: finding.suspect.path } : {} })
  )

const logCleanUp = (done: ReadonlyArray<CleanedUp>): Effect.Effect<void> => {
  const abandoned = done.filter(({ outcome }) => outcome === "abandoned").map(({ suspect }) => suspect.path)
  const message = `Audit: cleaned up ${done.length - abandoned.length} of ${done.length} fibers`
  return abandoned.length === 0
    ? Effect.logInfo(message)
    : Effect.logError(`${message}; these refuse to end: ${abandoned.slice(0, 20).join(", ")}`)
}

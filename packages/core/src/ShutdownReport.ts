/**
 * What a shutdown did, phase by phase and item by item, and what still lives.
 *
 * A report is plain data: a `Schema.Class` whose encoded form is its JSON. Counts are exact. Of the items, everything
 * that did not simply complete is listed; completed ones are listed up to a limit per phase and counted beyond it.
 *
 * Durations are in milliseconds.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * Why a shutdown was started.
 *
 * @since 0.1.0
 * @category models
 */
export const ShutdownReason = Schema.Union(
  /** A signal of the operating system, such as `SIGTERM`. */
  Schema.TaggedStruct("Signal", { signal: Schema.String }),
  /** Somebody inside asked for it. */
  Schema.TaggedStruct("Requested", { by: Schema.String }),
  /** The program did not come up. */
  Schema.TaggedStruct("StartFailed", { cause: Schema.String }),
  /** An exception or a rejection that nobody handled. */
  Schema.TaggedStruct("Crash", { origin: Schema.String, cause: Schema.String })
)

/**
 * What began the shutdown.
 *
 * @since 0.1.0
 * @category models
 */
export type ShutdownReason = typeof ShutdownReason.Type

/**
 * Where the process stands between accepting and stopped.
 *
 * @since 0.1.0
 * @category models
 */
export const Phase = Schema.Literal(
  "accepting",
  "unready",
  "draining",
  "stopping-sources",
  "stopping-workers",
  "releasing",
  "done"
)

/**
 * Where the process stands between accepting and stopped.
 *
 * @since 0.1.0
 * @category models
 */
export type Phase = typeof Phase.Type

/**
 * How one item ended.
 *
 * - `completed`: it did what it had to do, within its budget
 * - `interrupted`: work that did not finish in the time that draining had, and was interrupted
 * - `failed`: it ended by itself, with an error
 * - `abandoned`: its budget ran out. It was interrupted; the code may still be running
 *
 * @since 0.1.0
 * @category models
 */
export const Status = Schema.Literal("completed", "interrupted", "failed", "abandoned")

/**
 * What became of one hook or finalizer.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = typeof Status.Type

/** A limit in milliseconds; without one it is `Infinity`, which JSON writes as `null`. */
const Limit = Schema.transform(Schema.NullOr(Schema.Number), Schema.Number, {
  strict: true,
  decode: (limit) => limit ?? Number.POSITIVE_INFINITY,
  encode: (limit) => limit === Number.POSITIVE_INFINITY ? null : limit
})

/** Kinds whose label names something by itself; that of the others is what a program calls it. */
const plain: ReadonlySet<string> = new Set(["fiber", "exception", "listener", "thread", "events"])

/** What went wrong beside all fibers has no budget of its own. */
const timed = (item: Item): boolean => item.kind === "fiber" || !plain.has(item.kind)

/**
 * One hook, fiber, finalizer, piece of admitted work or scope; or what went wrong beside all fibers: an exception or
 * rejection that nobody caught, a listener of the process's exit that threw, a thread that holds the process, events of
 * which nobody knows whether they are in the log.
 *
 * @since 0.1.0
 * @category models
 */
export class Item extends Schema.Class<Item>("@holdfast/core/ShutdownReport/Item")({
  kind: Schema.Literal("hook", "fiber", "finalizer", "admitted", "scope", "exception", "listener", "thread", "events"),
  label: Schema.String,
  /** The names of its owners from the outermost inwards, without its own. */
  owner: Schema.Array(Schema.String),
  status: Status,
  elapsedMillis: Schema.Number,
  budgetMillis: Limit,
  /** First line of the error, or what is known about why it took so long. */
  detail: Schema.optionalWith(Schema.String, { exact: true }),
  /** Of kind `events`: publishes that nobody confirmed. The label is the name of their bus. */
  unconfirmed: Schema.optionalWith(
    Schema.Array(Schema.Struct({ attempt: Schema.String, events: Schema.Number, topics: Schema.Array(Schema.String) })),
    { exact: true }
  )
}) {
  /** `mud/http/session-3 "farewell"` */
  get path(): string {
    const label = plain.has(this.kind) ? this.label : `"${this.label}"`
    return this.owner.length === 0 ? label : this.kind === "fiber"
      ? `${this.owner.join("/")}/${label}`
      : `${this.owner.join("/")} ${label}`
  }
}

/** How many topics a line names. */
const namedTopics = 5

/**
 * The item for publishes on a bus that nobody confirmed.
 *
 * @example
 * ```ts
 * import { ShutdownReport } from "@holdfast/core"
 *
 * const item = ShutdownReport.unconfirmed("shop/Orders", [{ attempt: "a-1", events: 2, topics: ["order.7"] }])
 * console.log(item.status, item.detail)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const unconfirmed = (bus: string, publishes: NonNullable<Item["unconfirmed"]>): Item => {
  const events = publishes.reduce((sum, { events }) => sum + events, 0)
  const topics = [...new Set(publishes.flatMap(({ topics }) => topics))]
  return new Item({
    kind: "events",
    label: bus,
    owner: [],
    status: "failed",
    elapsedMillis: 0,
    budgetMillis: 0,
    detail:
      `${events} unconfirmed, of ${listed(topics, namedTopics)}: they may be in the log or not; look there before ` +
      "they are published again",
    unconfirmed: publishes
  })
}

/**
 * What one phase did, and in which time.
 *
 * @since 0.1.0
 * @category models
 */
export class PhaseReport extends Schema.Class<PhaseReport>("@holdfast/core/ShutdownReport/PhaseReport")({
  phase: Phase,
  elapsedMillis: Schema.Number,
  budgetMillis: Limit,
  completed: Schema.Number,
  interrupted: Schema.Number,
  failed: Schema.Number,
  abandoned: Schema.Number,
  /** Everything that did not complete, and completed items up to a limit. */
  items: Schema.Array(Item),
  /** Completed items that are counted and not listed. */
  omitted: Schema.Number
}) {}

/**
 * A fiber that lived when the shutdown was over.
 *
 * @since 0.1.0
 * @category models
 */
export class LiveFiber extends Schema.Class<LiveFiber>("@holdfast/core/ShutdownReport/LiveFiber")({
  id: Schema.String,
  name: Schema.String,
  kind: Schema.String,
  /** From the outermost inwards; for a tracked fiber the last one is its own name. */
  owner: Schema.Array(Schema.String),
  ageMillis: Schema.Number
}) {}

/**
 * - `clean`: everything ended in its time, and no fiber lives
 * - `failed`: everything ended, and something with an error
 * - `forced`: something was abandoned, still lives, or was cut off by the deadline
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = "clean" | "failed" | "forced"

/**
 * What the shutdown did, phase by phase.
 *
 * @since 0.1.0
 * @category models
 */
export class ShutdownReport extends Schema.Class<ShutdownReport>("@holdfast/core/ShutdownReport")({
  name: Schema.String,
  reason: ShutdownReason,
  /** Milliseconds since the epoch. */
  startedAt: Schema.Number,
  elapsedMillis: Schema.Number,
  /** `gracefulShutdownTimeout` */
  timeoutMillis: Limit,
  /** The time was cut short, as by a second signal. */
  hurried: Schema.Boolean,
  /** All phases were gone through. False when a deadline or a third signal cut the shutdown off. */
  finished: Schema.Boolean,
  phases: Schema.Array(PhaseReport),
  /** The fibers that live at the end. */
  live: Schema.Array(LiveFiber)
}) {
  /** How many items ended with this status, over all phases. */
  count(status: Status): number {
    return this.phases.reduce((sum, phase) => sum + phase[status], 0)
  }

  /** The items with this status, in the order of the phases. */
  items(status: Status): ReadonlyArray<Item> {
    return this.phases.flatMap((phase) => phase.items.filter((item) => item.status === status))
  }

  get verdict(): Verdict {
    if (!this.finished || this.count("abandoned") > 0 || this.live.length > 0) return "forced"
    return this.count("failed") > 0 || isFailure(this.reason) ? "failed" : "clean"
  }
}

/**
 * The shutdown was started by something that went wrong.
 *
 * @since 0.1.0
 * @category guards
 */
export const isFailure = (reason: ShutdownReason): boolean => reason._tag === "Crash" || reason._tag === "StartFailed"

/**
 * The report with one more item in its last phase.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withItem = (report: ShutdownReport, item: Item): ShutdownReport =>
  new ShutdownReport({
    ...report,
    phases: report.phases.map((phase, index) =>
      index < report.phases.length - 1
        ? phase
        : new PhaseReport({ ...phase, [item.status]: phase[item.status] + 1, items: [...phase.items, item] })
    )
  })

/**
 * `SIGTERM`, `crash (uncaughtException)`, `requested by audit`
 *
 * @since 0.1.0
 * @category rendering
 */
export const renderReason = (reason: ShutdownReason): string => {
  switch (reason._tag) {
    case "Signal":
      return reason.signal
    case "Requested":
      return `requested by ${reason.by}`
    case "StartFailed":
      return "start failed"
    case "Crash":
      return `crash (${reason.origin})`
  }
}

/**
 * The report as one line of JSON.
 *
 * @since 0.1.0
 * @category encoding
 */
export const toJson: (report: ShutdownReport) => string = Schema.encodeSync(Schema.parseJson(ShutdownReport))

/**
 * A report out of its JSON. Throws a `ParseError` for anything else.
 *
 * @since 0.1.0
 * @category encoding
 */
export const fromJson: (json: string) => ShutdownReport = Schema.decodeUnknownSync(Schema.parseJson(ShutdownReport))

const seconds = (millis: number): string =>
  millis === Number.POSITIVE_INFINITY ? "no limit" : `${(millis / 1000).toFixed(millis < 100 ? 3 : 2)} s`

const listed = (names: ReadonlyArray<string>, max: number): string =>
  names.length <= max ? names.join(", ") : `${names.slice(0, max).join(", ")} and ${names.length - max} more`

/** The fibers that live and are not named as an item. */
const unnamed = (report: ShutdownReport): ReadonlyArray<string> => {
  const named = new Set(
    [...report.items("abandoned"), ...report.items("interrupted")].map((item) => [...item.owner, item.label].join("/"))
  )
  return report.live.map((fiber) => fiber.owner.join("/")).filter((path) => !named.has(path))
}

/**
 * The report in one line, of a bounded length: what everything that overran is called comes first.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (report: ShutdownReport, options: { readonly maxNames?: number } = {}): string => {
  const { maxNames = 8 } = options
  const parts: Array<string> = []
  const abandoned = report.items("abandoned").map((item) =>
    `${item.kind} ${item.path}` +
    (timed(item) ? ` (${item.kind === "fiber" ? "asked to stop" : "budget"} ${seconds(item.budgetMillis)})` : "")
  )
  if (abandoned.length > 0) parts.push(`${abandoned.length} abandoned: ${listed(abandoned, maxNames)}`)
  const live = unnamed(report)
  if (live.length > 0) parts.push(`${live.length} still live: ${listed(live, maxNames)}`)
  const failed = report.items("failed").map((item) =>
    `${item.kind} ${item.path}${item.detail === undefined ? "" : ` (${item.detail})`}`
  )
  if (failed.length > 0) parts.push(`${failed.length} failed: ${listed(failed, maxNames)}`)
  const interrupted = report.items("interrupted").map((item) => item.path)
  if (interrupted.length > 0) parts.push(`${interrupted.length} interrupted: ${listed(interrupted, maxNames)}`)
  parts.push(`${report.count("completed")} completed`)
  const took = `${seconds(report.elapsedMillis)} of ${seconds(report.timeoutMillis)}${
    report.hurried ? ", hurried" : ""
  }`
  return `shutdown: ${report.name}, ${renderReason(report.reason)}, ${report.verdict}, ${took}` +
    `${report.finished ? "" : ", cut off"}; ${parts.join("; ")}`
}

/**
 * The report as a few lines per phase, with every item that did not complete.
 *
 * @since 0.1.0
 * @category rendering
 */
export const renderDetails = (report: ShutdownReport): string => {
  const lines: Array<string> = []
  for (const phase of report.phases) {
    lines.push(
      `${phase.phase}: ${seconds(phase.elapsedMillis)} of ${
        seconds(phase.budgetMillis)
      }, ${phase.completed} completed` +
        (["interrupted", "failed", "abandoned"] as const)
          .filter((status) => phase[status] > 0).map((status) => `, ${phase[status]} ${status}`).join("")
    )
    for (const item of phase.items) {
      if (item.status === "completed") continue
      lines.push(
        `  ${item.status}: ${item.kind} ${item.path}` +
          (timed(item) ? `, ${seconds(item.elapsedMillis)} of ${seconds(item.budgetMillis)}` : "") +
          (item.detail === undefined ? "" : `: ${item.detail}`)
      )
    }
  }
  for (const fiber of report.live) {
    lines.push(`live: ${fiber.owner.join("/")} [${fiber.kind}] ${fiber.id}, ${seconds(fiber.ageMillis)} old`)
  }
  return lines.join("\n")
}

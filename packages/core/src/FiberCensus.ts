/**
 * What a census of fibers holds, as values, as a forest, and as text that reads like a process tree.
 *
 * Fibers are placed under the fiber that owns them. An owner that is a name only (`FiberRegistry.withOwner`), or that has
 * ended, is shown as a group, so that the path of every fiber can be read off the tree.
 *
 * @since 0.1.0
 */
import { Cause } from "effect"
import type { Fiber } from "effect"

/**
 * What a fiber is for. Shutdown phases and audits select by it.
 *
 * @since 0.1.0
 * @category models
 */
export type FiberKind =
  | "lifecycle"
  | "service"
  | "handler"
  | "ticker"
  | "session"
  | "request"
  | "cleanup"
  | "audit"
  | "supervisor"
  | "worker"
  | (string & {})

/**
 * The names of a fiber's owners from the outermost inwards; the last one is its own.
 *
 * @since 0.1.0
 * @category models
 */
export type OwnerPath = ReadonlyArray<string>

/**
 * `running` is on the processor or ready for it, `suspended` waits, `stopping` has been interrupted and is not gone yet.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "running" | "suspended" | "stopping"

/**
 * Who is answerable for a fiber.
 *
 * - `scope`: it was forked into a scope that is open
 * - `scope-closed`: its scope is closed, and it still lives
 * - `owner`: no scope of its own, and who forked it lives (or, for `track`, answers for it)
 * - `owner-ended`: untracked, and the tracked fiber it was forked under is gone
 * - `none`: no tracked fiber above it
 *
 * @since 0.1.0
 * @category models
 */
export type Ownership = "scope" | "scope-closed" | "owner" | "owner-ended" | "none"

/**
 * One live fiber, as it was when the census was taken.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry {
  /** `#12`, as in log lines. */
  readonly id: string
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  readonly name: string
  /** `"untracked"` for a fiber that was not forked through the registry. */
  readonly kind: FiberKind
  readonly tracked: boolean
  readonly owner: OwnerPath
  /** The id of the nearest live tracked fiber above. */
  readonly parent: string | undefined
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** How long it has lived, by the monotonic clock. */
  readonly ageMillis: number
  readonly status: Status
  /** The fiber that this one waits for, where Effect knows it. */
  readonly waitingFor: string | undefined
  readonly span: { readonly name: string; readonly traceId: string; readonly spanId: string } | undefined
  readonly restarts: number
  readonly lastFailure: Cause.Cause<unknown> | undefined
  readonly supervised: boolean
  readonly ownership: Ownership
  /**
   * No scope will end it and no other fiber waits for it: a daemon. Always false for tracked fibers, whose `ownership`
   * says more.
   */
  readonly detached: boolean
  /** Number of fibers directly under this one. */
  readonly children: number
}

/**
 * A tracked fiber that is gone.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ended {
  readonly id: string
  readonly name: string
  readonly kind: FiberKind
  readonly owner: OwnerPath
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  readonly endedAt: number
  /** How long it lived, by the monotonic clock. */
  readonly ageMillis: number
  readonly outcome: "success" | "failure" | "interrupted"
  readonly cause: Cause.Cause<unknown> | undefined
  readonly restarts: number
}

/**
 * A tracked fiber that failed or died.
 *
 * @since 0.1.0
 * @category models
 */
export interface CrashReport {
  readonly id: string
  readonly name: string
  readonly kind: FiberKind
  readonly owner: OwnerPath
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly ageMillis: number
  readonly restarts: number
  readonly cause: Cause.Cause<unknown>
  /** What was decided about it, e.g. `restart in 200 ms`; undefined when nobody supervises the fiber. */
  readonly action: string | undefined
}

/**
 * `started`, `ended` and `crashed` count since the registry was made; the rest is of this moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counts {
  readonly live: number
  readonly byKind: Readonly<Record<string, number>>
  readonly started: number
  readonly ended: number
  readonly crashed: number
}

/**
 * A fiber, or a name that groups fibers (`entry` is undefined).
 *
 * @since 0.1.0
 * @category models
 */
export interface Node {
  readonly label: string
  readonly entry: Entry | undefined
  readonly children: ReadonlyArray<Node>
}

/**
 * How much of a large census is printed.
 *
 * @since 0.1.0
 * @category options
 */
export interface RenderOptions {
  /** Siblings shown under one owner before the rest is summed up. Default 50. */
  readonly maxSiblings?: number
  /** How many of the recently ended fibers are shown. Default 10. */
  readonly maxEnded?: number
}

interface Building {
  label: string
  entry: Entry | undefined
  children: Array<Building>
  groups: Map<string, Building>
}

const building = (label: string, entry: Entry | undefined): Building => ({
  label,
  entry,
  children: [],
  groups: new Map()
})

/**
 * The entries as a forest: fibers under their owners.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (entries: ReadonlyArray<Entry>): ReadonlyArray<Node> => {
  const root = building("", undefined)
  const byId = new Map(entries.map((entry) => [entry.id, building(entry.name, entry)]))
  for (const node of byId.values()) {
    const entry = node.entry!
    const parent = entry.parent === undefined ? undefined : byId.get(entry.parent)
    // A tracked fiber is the last segment of its own path, an untracked one only inherits the path.
    const above = entry.tracked ? entry.owner.slice(0, -1) : entry.owner
    let at = parent ?? root
    for (const name of above.slice(parent === undefined ? 0 : parent.entry!.owner.length)) {
      let group = at.groups.get(name)
      if (group === undefined) {
        group = building(name, undefined)
        at.groups.set(name, group)
        at.children.push(group)
      }
      at = group
    }
    at.children.push(node)
  }
  return root.children
}

/** `3h12m`, `4m05s`, `12.3s`, `87ms`. */
const duration = (millis: number): string => {
  if (millis < 1000) return `${Math.round(millis)}ms`
  if (millis < 60_000) return `${(millis / 1000).toFixed(1)}s`
  const minutes = Math.floor(millis / 60_000)
  if (minutes < 60) return `${minutes}m${String(Math.floor(millis / 1000) % 60).padStart(2, "0")}s`
  return `${Math.floor(minutes / 60)}h${String(minutes % 60).padStart(2, "0")}m`
}

/** The first line of what went wrong. */
const summary = (cause: Cause.Cause<unknown>): string => {
  const line = Cause.pretty(cause).split("\n", 1)[0]!
  return line.length > 120 ? `${line.slice(0, 119)}…` : line
}

const describe = (node: Node): string => {
  const entry = node.entry
  if (entry === undefined) return node.label
  const parts = [`${node.label} [${entry.kind}]`, entry.id, entry.status]
  if (entry.waitingFor !== undefined) parts.push(`on ${entry.waitingFor}`)
  parts.push(duration(entry.ageMillis))
  if (entry.span !== undefined && entry.span.name !== node.label) parts.push(`span=${entry.span.name}`)
  if (entry.restarts > 0) parts.push(`restarts=${entry.restarts}`)
  if (entry.ownership === "scope-closed") parts.push("SCOPE CLOSED")
  if (entry.ownership === "owner-ended") parts.push("OWNER ENDED")
  if (entry.detached) parts.push("DETACHED")
  if (entry.lastFailure !== undefined) parts.push(`last failure: ${summary(entry.lastFailure)}`)
  return parts.join(" ")
}

/** Siblings that are not shown, by kind. */
const rest = (nodes: ReadonlyArray<Node>): string => {
  const kinds = new Map<string, number>()
  for (const { entry } of nodes) kinds.set(entry?.kind ?? "group", (kinds.get(entry?.kind ?? "group") ?? 0) + 1)
  return `… and ${nodes.length} more (${Array.from(kinds, ([kind, count]) => `${count} ${kind}`).join(", ")})`
}

/**
 * The census as text, one fiber a line.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (
  entries: ReadonlyArray<Entry>,
  ended: ReadonlyArray<Ended>,
  counts: Counts,
  options: RenderOptions = {}
): string => {
  const { maxEnded = 10, maxSiblings = 50 } = options
  const untracked = entries.length - counts.live
  const lines = [
    `fibers: ${counts.live} tracked, ${untracked} inside or beside; since start ${counts.started} started, ` +
    `${counts.ended} ended, ${counts.crashed} crashed`
  ]
  const walk = (nodes: ReadonlyArray<Node>, indent: string, top: boolean) => {
    const shown = nodes.length > maxSiblings ? nodes.slice(0, maxSiblings) : nodes
    const hidden = nodes.slice(shown.length)
    shown.forEach((node, index) => {
      const last = index === shown.length - 1 && hidden.length === 0
      lines.push(`${indent}${top ? "" : last ? "└─ " : "├─ "}${describe(node)}`)
      walk(node.children, top ? indent : `${indent}${last ? "   " : "│  "}`, false)
    })
    if (hidden.length > 0) lines.push(`${indent}${top ? "" : "└─ "}${rest(hidden)}`)
  }
  walk(make(entries), "", true)
  const latest = ended.slice(Math.max(0, ended.length - maxEnded)).toReversed()
  if (latest.length > 0) {
    lines.push("recently ended:")
    for (const one of latest) {
      const failure = one.outcome === "failure" && one.cause !== undefined ? `: ${summary(one.cause)}` : ""
      lines.push(
        `  ${one.owner.join("/")} [${one.kind}] ${one.id} ${one.outcome} after ${duration(one.ageMillis)}` +
          failure
      )
    }
  }
  return lines.join("\n")
}

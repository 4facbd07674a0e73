/**
 * One pass over the tracked fibers, their children and the roots of the process.
 */
import { Fiber } from "effect"
import type { Cause, Scope } from "effect"
import type { Entry, FiberKind, OwnerPath, Ownership } from "../../FiberCensus.js"
import * as Monotonic from "../../Monotonic.js"
import { isClosed } from "../scopes.js"
import { childrenOf, fiberName, isDetached, spanOf, statusOf, waitingFor } from "./fiberState.js"
import { answerable, currentOwner } from "./owner.js"

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** What the registry knows of a fiber that it tracks. */
export interface Known {
  readonly fiber: AnyFiber | undefined
  /** When it came, on the monotonic clock of the process. */
  readonly since: number
  readonly path: OwnerPath
  readonly parentPath: OwnerPath
  readonly scope: Scope.Scope | undefined
  readonly options: {
    readonly name: string
    readonly kind?: FiberKind | undefined
    readonly restarts?: number | undefined
    readonly lastFailure?: Cause.Cause<unknown> | undefined
    readonly supervised?: boolean | undefined
  }
}

export interface Survey {
  readonly tracked: ReadonlyArray<Entry>
  readonly untracked: ReadonlyArray<Entry>
}

interface Stray {
  readonly fiber: AnyFiber
  readonly ownership: Ownership
  readonly detached: boolean
}

/** What is known of a fiber from where it was found. */
type Said = Pick<
  Entry,
  "name" | "kind" | "tracked" | "owner" | "ownership" | "detached" | "supervised" | "restarts" | "lastFailure"
>

/** Who hangs below whom, and how many. */
class Kinship {
  private readonly parents = new Map<AnyFiber, string>()
  private readonly counts = new Map<string, number>()

  add(fiber: AnyFiber, parent: AnyFiber | undefined) {
    if (parent === undefined) return
    const name = fiberName(parent)
    this.parents.set(fiber, name)
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1)
  }

  /**
   * What is said of a fiber. All fields are named here, in one literal: spread into it, those that differ cost ten times as much
   * for 10,000 fibers.
   */
  entry(fiber: AnyFiber, ageMillis: number, said: Said): Entry {
    const id = fiberName(fiber)
    return {
      id,
      fiber,
      name: said.name,
      kind: said.kind,
      tracked: said.tracked,
      owner: said.owner,
      parent: this.parents.get(fiber),
      startedAt: fiber.id().startTimeMillis,
      ageMillis: Math.max(0, Math.round(ageMillis)),
      status: statusOf(fiber),
      waitingFor: waitingFor(fiber),
      span: spanOf(fiber),
      restarts: said.restarts,
      lastFailure: said.lastFailure,
      supervised: said.supervised,
      ownership: said.ownership,
      detached: said.detached,
      children: this.counts.get(id) ?? 0
    }
  }
}

const births = new WeakMap<AnyFiber, number>()

/**
 * When a fiber began that nobody stamped: by effect's stamp of the wall clock when it is first seen, and not before the
 * process. Who sets the clock later on changes no age.
 */
const birthOf = (fiber: AnyFiber, now: number): number => {
  let birth = births.get(fiber)
  if (birth === undefined) {
    birth = Math.max(0, now - Math.max(0, Date.now() - fiber.id().startTimeMillis))
    births.set(fiber, birth)
  }
  return birth
}

/** The live fibers that are not tracked: roots that belong here, and all that hangs below them and below tracked ones. */
const findStrays = (
  live: ReadonlySet<Known>,
  owners: ReadonlyMap<OwnerPath, Known>,
  kinship: Kinship,
  belongs: (root: AnyFiber) => boolean
): ReadonlyArray<Stray> => {
  const found: Array<Stray> = []
  const queue = Array.from(live, ({ fiber }) => fiber!)
  const seen = new Set(queue)
  for (const root of Fiber.unsafeRoots()) {
    if (seen.has(root) || !belongs(root)) continue
    seen.add(root)
    const owner = answerable(owners, root.getFiberRef(currentOwner))
    kinship.add(root, typeof owner === "string" ? undefined : owner.fiber)
    found.push({
      fiber: root,
      ownership: typeof owner === "string" ? owner : "owner",
      detached: isDetached(root)
    })
    queue.push(root)
  }
  for (let parent = queue.pop(); parent !== undefined; parent = queue.pop()) {
    for (const child of childrenOf(parent)) {
      if (seen.has(child)) continue
      seen.add(child)
      kinship.add(child, parent)
      found.push({ fiber: child, ownership: "owner", detached: false })
      queue.push(child)
    }
  }
  return found
}

export const survey = (live: ReadonlySet<Known>, belongs: (root: AnyFiber) => boolean): Survey => {
  const now = Monotonic.unsafeOfProcess()
  const owners = new Map(Array.from(live, (known) => [known.path, known] as const))
  const kinship = new Kinship()
  for (const { fiber, parentPath } of live) {
    const owner = answerable(owners, parentPath)
    kinship.add(fiber!, typeof owner === "string" ? undefined : owner.fiber)
  }
  const strays = findStrays(live, owners, kinship, belongs)
  return {
    tracked: Array.from(live, ({ fiber, options, path, scope, since }) =>
      kinship.entry(fiber!, now - since, {
        name: options.name,
        kind: options.kind ?? "worker",
        tracked: true,
        owner: path,
        ownership: scope === undefined ? "owner" : isClosed(scope) ? "scope-closed" : "scope",
        detached: false,
        supervised: options.supervised === true,
        restarts: options.restarts ?? 0,
        lastFailure: options.lastFailure
      })),
    untracked: strays.map(({ detached, fiber, ownership }) =>
      kinship.entry(fiber, now - birthOf(fiber, now), {
        name: fiber.currentSpan?._tag === "Span" ? fiber.currentSpan.name : "fiber",
        kind: "untracked",
        tracked: false,
        owner: fiber.getFiberRef(currentOwner),
        ownership,
        detached,
        supervised: false,
        restarts: 0,
        lastFailure: undefined
      })
    )
  }
}

/**
 * The owner path of fibers, and how a fork comes by its own.
 */
import { Differ, Effect, FiberRef } from "effect"
import { identity } from "effect/Function"
import type { OwnerPath } from "../../FiberCensus.js"

/**
 * Set for the one fork that is made in the same breath: the child gets its own path while its references are copied from the
 * parent anyway. Setting it afterwards would copy all of them once more, a tenth of the cost of a fork.
 */
let pathOfNextFork: OwnerPath | undefined = undefined

const noOwner: OwnerPath = []

export const currentOwner: FiberRef.FiberRef<OwnerPath> = FiberRef.unsafeMakePatch<
  OwnerPath,
  (path: OwnerPath) => OwnerPath
>(noOwner, {
  differ: Differ.make({
    empty: identity,
    combine: (first, second) => (path) => second(first(path)),
    diff: (_, path) => () => path,
    patch: (patch, path) => patch(path)
  }),
  fork: (path) => {
    const next = pathOfNextFork ?? path
    pathOfNextFork = undefined
    return next
  },
  join: (parent) => parent
})

/** The path of the next fork, when it is not that of the fiber that forks; taken back behind it. */
export const unsafeSetNext = (path: OwnerPath | undefined) => {
  pathOfNextFork = path
}

/** Owner paths that `withOwner` made, with the path around them. Paths of tracked fibers are in their records. */
const regions = new WeakMap<OwnerPath, OwnerPath>()

export const withOwner = (name: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) => {
    const outer = fiber.getFiberRef(currentOwner)
    const path = [...outer, name]
    regions.set(path, outer)
    return Effect.locally(self, currentOwner, path)
  })

/** The live owner that a path leads to. */
export const answerable = <Owner extends object>(
  owners: ReadonlyMap<OwnerPath, Owner>,
  path: OwnerPath
): Owner | "owner-ended" | "none" => {
  for (let at: OwnerPath | undefined = path; at !== undefined && at.length > 0; at = regions.get(at)) {
    const owner = owners.get(at)
    if (owner !== undefined) return owner
    if (!regions.has(at)) return "owner-ended"
  }
  return "none"
}

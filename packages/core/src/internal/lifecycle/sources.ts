/**
 * Which fibers stop first: those that make work by themselves.
 */
import type * as FiberRegistry from "../../FiberRegistry.js"

const kinds: ReadonlySet<string> = new Set(["lifecycle", "ticker", "audit"])

/** Those of the kinds that stop first, and supervisors that have no other children. */
export const sourcesIn = (census: ReadonlyArray<FiberRegistry.Entry>) => {
  const first = new Set<string>()
  const later = new Set<string>()
  for (const { kind, owner } of census) {
    if (kind === "supervisor") continue
    const above = kinds.has(kind) ? first : later
    for (let depth = 1; depth < owner.length; depth++) above.add(owner.slice(0, depth).join("/"))
  }
  return (entry: FiberRegistry.Entry): boolean => {
    if (entry.kind !== "supervisor") return !entry.supervised && kinds.has(entry.kind)
    const path = entry.owner.join("/")
    return !entry.supervised && first.has(path) && !later.has(path)
  }
}

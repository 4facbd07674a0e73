/** A memo map in which some layers stand for others: the way into an app that is composed already. */
import type * as Layer from "effect/Layer"

export interface Replacement {
  readonly original: Layer.Layer.Any
  readonly by: Layer.Layer.Any
  /** the app may do without */
  readonly optional: boolean
}

interface RawMemoMap extends Layer.MemoMap {
  getOrElseMemoize(layer: unknown, scope: unknown): never
}

/** `onUse` is told of each replacement that is made. */
export const memoMap = (
  base: Layer.MemoMap,
  replacements: ReadonlyArray<Replacement>,
  onUse: (replacement: Replacement) => void
): Layer.MemoMap => {
  const raw = base as RawMemoMap
  const map = Object.create(raw) as RawMemoMap
  map.getOrElseMemoize = (layer, scope) => {
    const found = replacements.find(({ original }) => original === layer)
    if (found === undefined) return raw.getOrElseMemoize.call(map, layer, scope)
    onUse(found)
    // below the replacement the original means itself
    const rest = memoMap(base, replacements.filter((other) => other !== found), onUse) as RawMemoMap
    return rest.getOrElseMemoize(found.by, scope)
  }
  return map
}

/**
 * Faults that acceptance tests plant: `HOLDFAST_FAULT` names them, separated by commas. Nothing here is for operation.
 *
 * - `hang-finalizer`: the first stream leaves a finalizer that never returns.
 * - `leak`: the first stream leaves a fiber that nobody ends.
 * - `leak-each`: every stream leaves one.
 *
 * @since 0.1.0
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import { Effect, type Scope } from "effect"

/**
 * What the first stream plants in its scope.
 *
 * @since 0.1.0
 * @category faults
 */
export const make = (names: string | undefined): Effect.Effect<void, never, Scope.Scope> => {
  const wanted = new Set((names ?? "").split(","))
  let first = true
  const planted = Effect.forkDaemon(Effect.withSpan(Effect.never, "planted-leak"))
  return Effect.suspend(() => {
    if (wanted.has("leak-each")) return planted
    if (!first) return Effect.void
    first = false
    const hang = wanted.has("hang-finalizer")
      ? Cleanup.addFinalizer(
        { label: "finalizer that never returns", budget: "2 seconds" },
        () => Effect.uninterruptible(Effect.never)
      )
      : Effect.void
    const leak = wanted.has("leak") ? planted : Effect.void
    return Effect.zipRight(hang, leak)
  })
}

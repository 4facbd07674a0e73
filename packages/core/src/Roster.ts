/**
 * What is present in a process: its buses, tickers, hubs, servers. Each enters itself for as long as its scope is open, so
 * that a page, a scrape or a test finds it without being told.
 *
 * It is not for finding a service that code depends on: that is what a `Context.Tag` is for. Being in the roster costs one
 * entry of a set, and nothing until somebody looks.
 *
 * @example
 * ```ts
 * import { Roster } from "@holdfast/core"
 * import { Effect } from "effect"
 *
 * const caches = Roster.kind<{ readonly name: string; readonly size: Effect.Effect<number> }>("my-app/caches")
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   yield* Roster.add(caches, { name: "prices", size: Effect.succeed(3) })
 *   return (yield* Roster.all(caches)).map(({ name }) => name)
 * }))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * What sort of thing is entered; two with the same name are the same kind.
 *
 * @since 0.1.0
 * @category models
 */
export interface Kind<in out A> {
  readonly name: string
  readonly _A: (a: A) => A
}

/**
 * The kind under which the census knows its fibers.
 *
 * @since 0.1.0
 * @category constructors
 */
export const kind = <A>(name: string): Kind<A> => ({ name, _A: (a) => a })

interface Entry {
  readonly kind: string
  readonly value: unknown
}

/**
 * The roster in use. There is one for the process unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class Roster extends Context.Reference<Roster>()("@holdfast/core/Roster", {
  defaultValue: (): Set<Entry> => new Set()
}) {}

/**
 * Enters a value for as long as the scope is open.
 *
 * @since 0.1.0
 * @category combinators
 */
export const add = <A>(kind: Kind<A>, value: A): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Roster, (roster) => {
    const entry: Entry = { kind: kind.name, value }
    return Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => roster.add(entry)),
      () => Effect.sync(() => roster.delete(entry))
    ))
  })

/**
 * Those of a kind that are present, in the order in which they came.
 *
 * @since 0.1.0
 * @category accessors
 */
export const all = <A>(kind: Kind<A>): Effect.Effect<ReadonlyArray<A>> =>
  Effect.map(Roster, (roster) => {
    const found: Array<A> = []
    for (const entry of roster) if (entry.kind === kind.name) found.push(entry.value as A)
    return found
  })

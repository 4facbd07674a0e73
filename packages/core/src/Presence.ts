/**
 * Who is where: which members (players, sessions, devices) are on which nodes of an application.
 *
 * **For** showing it, and for deciding what can wait a few seconds. **Not for** deciding what must be right at once: what one
 * node knows of the others is as old as the last time that it heard from them.
 *
 * **What an adapter guarantees**
 * - Each node tells its whole roster, and nobody else's: whoever has left is in none, so nothing has to be merged.
 * - What this node announces is in `members` at once; what others announce comes soon, and at the latest a beat after
 *   their `changed`.
 * - A node that ends well is gone at once. One that is heard no more is gone after a time that the adapter names, counted in
 *   time in which it could have been heard, by the monotonic clock.
 *
 * `@holdfast/testing/PresenceConformance` checks an adapter for this.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

/**
 * Somebody who is present on this node.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry {
  readonly id: string
  /** Milliseconds since it last did something. */
  readonly idleMillis: number
}

/**
 * Somebody who is present, and where.
 *
 * @since 0.1.0
 * @category models
 */
export interface Member {
  /** Sorted by name. */
  readonly nodes: ReadonlyArray<string>
  /** The least of all nodes. */
  readonly idleMillis: number
}

/**
 * A node that was heard of.
 *
 * @since 0.1.0
 * @category models
 */
export interface Node {
  readonly node: string
  readonly heardMillisAgo: number
  /** What the node says about itself, such as its version. */
  readonly about: Readonly<Record<string, string>>
}

/**
 * Who is present on which of the nodes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The name of this node. */
  readonly node: string
  /** Asks this roster whenever the node tells what is on it, until the scope is closed. Several are added up. */
  readonly announce: (roster: Effect.Effect<ReadonlyArray<Entry>>) => Effect.Effect<void, never, Scope.Scope>
  /** Tells the others now, not at the next beat. */
  readonly changed: Effect.Effect<void>
  readonly members: Effect.Effect<ReadonlyMap<string, Member>>
  /** All nodes that are there, this one included, sorted by name. */
  readonly nodes: Effect.Effect<ReadonlyArray<Node>>
}

/**
 * The port through which nodes tell each other who is there.
 *
 * @since 0.1.0
 * @category tags
 */
export class Presence extends Context.Tag("@holdfast/core/Presence")<Presence, Service>() {}

/**
 * The name of this node, and what it tells of itself.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly node: string
  readonly about?: Readonly<Record<string, string>> | undefined
}

interface Told {
  readonly about: Readonly<Record<string, string>>
  readonly rosters: Set<Effect.Effect<ReadonlyArray<Entry>>>
}

/**
 * Adds up what the nodes told.
 *
 * @since 0.1.0
 * @category combinators
 */
export const members = (
  rosters: Iterable<readonly [node: string, entries: ReadonlyArray<Entry>]>
): ReadonlyMap<string, Member> => {
  const found = new Map<string, { readonly nodes: Set<string>; idleMillis: number }>()
  for (const [node, entries] of rosters) {
    for (const { id, idleMillis } of entries) {
      const known = found.get(id)
      if (known === undefined) found.set(id, { nodes: new Set([node]), idleMillis })
      else {
        known.nodes.add(node)
        known.idleMillis = Math.min(known.idleMillis, idleMillis)
      }
    }
  }
  return new Map([...found].map(([id, { idleMillis, nodes }]) => [id, { nodes: [...nodes].sort(), idleMillis }]))
}

/**
 * Where nodes of one process meet: one per cluster that is simulated.
 *
 * @since 0.1.0
 * @category models
 */
export class Meeting {
  /** @internal */
  readonly nodes = new Map<string, Told>()
}

/**
 * One node of those at a meeting, until the scope is closed. They hear of one another at once, so `changed` does nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory = (
  options: Options & { readonly meeting: Meeting }
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { about = {}, meeting: { nodes }, node } = options
    const own: Told = { about, rosters: new Set() }
    yield* Effect.acquireRelease(
      Effect.sync(() => nodes.set(node, own)),
      () =>
        Effect.sync(() => {
          if (nodes.get(node) === own) nodes.delete(node)
        })
    )
    return {
      node,
      announce: (roster) =>
        Effect.asVoid(Effect.acquireRelease(
          Effect.sync(() => own.rosters.add(roster)),
          () => Effect.sync(() => own.rosters.delete(roster))
        )),
      changed: Effect.void,
      members: Effect.suspend(() =>
        Effect.map(
          Effect.forEach(
            [...nodes],
            ([name, { rosters }]) => Effect.map(Effect.all([...rosters]), (told) => [name, told.flat()] as const)
          ),
          members
        )
      ),
      nodes: Effect.sync(() =>
        Array.from(nodes, ([name, { about }]) => ({ node: name, heardMillisAgo: 0, about }))
          .sort((a, b) => a.node < b.node ? -1 : 1)
      )
    }
  })

/**
 * `makeMemory` as a Layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory = (options: Options & { readonly meeting: Meeting }): Layer.Layer<Presence> =>
  Layer.scoped(Presence, makeMemory(options))

/**
 * The only node there is.
 *
 * @example
 * ```ts
 * import { Presence } from "@holdfast/core"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const program = Effect.gen(function*() {
 *   const presence = yield* Presence.Presence
 *   yield* presence.announce(Effect.succeed([{ id: "ann", idleMillis: 0 }]))
 *   assert((yield* presence.members).has("ann"))
 * })
 *
 * await Effect.runPromise(Effect.provide(Effect.scoped(program), Presence.layerLocal))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLocal: Layer.Layer<Presence> = Layer.scoped(
  Presence,
  Effect.suspend(() => makeMemory({ node: "local", meeting: new Meeting() }))
)

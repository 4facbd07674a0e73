/**
 * One owner at a time among the nodes of an application: for what exactly one of them should do, such as ticking a world.
 *
 * **For** work that goes on for long and moves to another node when its owner ends. **Not for** mutual exclusion of single
 * steps: what an owner writes must carry its term to where it is checked, since no lease can stop a process that was
 * suspended and wakes up late. A log that refuses what belongs to an earlier term is the lock; this says who should try.
 *
 * **What an adapter guarantees**
 * - While a node is the owner it runs `owned`; when it is no longer, `owned` is interrupted, and has `budget` to end before
 *   another node may begin. What does not end in time is named as abandoned.
 * - Terms grow: whoever becomes the owner later has a greater term, on whatever node.
 * - Closing the scope of `whileOwner` gives the ownership up at once, after `owned` has ended.
 * - When `owned` fails, the crash is logged, the ownership is free for others, and this node tries again after `pause`.
 *
 * `@holdfast/testing/LeadershipConformance` checks an adapter for this.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Cleanup from "./Cleanup.js"
import * as FiberRegistry from "./FiberRegistry.js"
import type { InvalidOption } from "./InvalidOption.js"
import { check, unsafeDuration } from "./InvalidOption.js"
import { Signal } from "./Signal.js"

/**
 * What is owned, and the times of a change of owner.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** What is owned. */
  readonly name: string
  /** How long `owned` may take to end when it is interrupted. Default 2 seconds. */
  readonly budget?: Duration.DurationInput | undefined
  /** How long this node lets others try first, after `owned` has failed here. Default 1 second. */
  readonly pause?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  budget: Duration.seconds(2),
  pause: Duration.seconds(1)
} as const

/**
 * Who owns something now, and in which term.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owner {
  readonly node: string
  readonly term: number
  /** Whether it is this node. */
  readonly mine: boolean
}

/**
 * At most one owner of a name at a time, among the nodes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The name of this node. */
  readonly node: string
  /**
   * Runs `owned` whenever this node is the owner, in a scope of its own, until the scope in use is closed. It returns at
   * once; the fiber is in the census as `leadership/<name>`.
   */
  readonly whileOwner: <E, R>(
    options: Options,
    owned: (term: number) => Effect.Effect<never, E, R>
  ) => Effect.Effect<void, InvalidOption, Exclude<R, Scope.Scope> | Scope.Scope>
  /** Who owns it now, as far as this node knows. */
  readonly owner: (name: string) => Effect.Effect<Option.Option<Owner>>
}

/**
 * The port through which nodes agree on owners.
 *
 * @since 0.1.0
 * @category tags
 */
export class Leadership extends Context.Tag("@holdfast/core/Leadership")<Leadership, Service>() {}

interface Seat {
  term: number
  holder: { readonly node: string; readonly term: number; revoked: boolean } | undefined
  /** Woken when the holder changes, or is to go. */
  readonly changed: Signal
}

/**
 * Where nodes of one process meet: one per cluster that is simulated.
 *
 * @since 0.1.0
 * @category models
 */
export class Seats {
  private readonly seats = new Map<string, Seat>()

  /** @internal */
  seat(name: string): Seat {
    const known = this.seats.get(name)
    if (known !== undefined) return known
    const made: Seat = { term: 0, holder: undefined, changed: new Signal() }
    this.seats.set(name, made)
    return made
  }

  /** Takes the ownership from whoever has it, as a lease that ran out does. */
  revoke(name: string): Effect.Effect<void> {
    return Effect.sync(() => {
      const { changed, holder } = this.seat(name)
      if (holder === undefined) return
      holder.revoked = true
      changed.wake()
    })
  }
}

/** Runs `owned` as the holder of the seat until it ends, the seat is taken away, or the caller is interrupted. */
const hold = <E, R>(
  seat: Seat,
  node: string,
  name: string,
  budget: number,
  owned: (term: number) => Effect.Effect<never, E, R>
) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      // In one step with the look: two nodes never both find the seat free.
      if (seat.holder !== undefined) return Effect.succeed("busy" as const)
      const holder = seat.holder = { node, term: ++seat.term, revoked: false }
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const child = yield* Scope.extend(
          FiberRegistry.forkScoped(restore(Effect.scoped(owned(holder.term))), {
            name: `term ${holder.term}`,
            kind: "service"
          }),
          scope
        )
        let failed = false
        const onEnd = () => {
          failed = true
          seat.changed.wake()
        }
        child.addObserver(onEnd)
        const exit = yield* Effect.exit(restore(seat.changed.wait(() => failed || holder.revoked)))
        child.removeObserver(onEnd)
        yield* Cleanup.run(
          { label: `leadership of ${name}, term ${holder.term}`, budget },
          Scope.close(scope, Exit.void)
        )
        seat.holder = undefined
        seat.changed.wake()
        yield* exit
        return failed ? "failed" as const : "over" as const
      })
    })
  )

/**
 * One node of those that meet at `seats`. For tests and simulations, and for an application that is one process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory = (options: { readonly node: string; readonly seats: Seats }): Service => {
  const { node, seats } = options
  return {
    node,
    whileOwner: (given, owned) =>
      Effect.gen(function*() {
        const { name } = given
        const [budget, pause] = yield* check(() => [
          unsafeDuration("Leadership.budget", given.budget ?? defaults.budget, { zero: true }),
          unsafeDuration("Leadership.pause", given.pause ?? defaults.pause, { zero: true })
        ])
        const seat = seats.seat(name)
        const term = Effect.zipRight(
          seat.changed.wait(() => seat.holder === undefined),
          Effect.flatMap(
            hold(seat, node, name, budget, owned),
            // the others first
            (how) => how === "failed" ? Effect.sleep(Duration.millis(pause)) : Effect.yieldNow()
          )
        )
        yield* FiberRegistry.forkScoped(Effect.forever(term), { name: `leadership/${name}`, kind: "service" })
      }),
    owner: (name) =>
      Effect.sync(() => {
        const { holder } = seats.seat(name)
        return holder === undefined
          ? Option.none()
          : Option.some({ node: holder.node, term: holder.term, mine: holder.node === node })
      })
  }
}

/**
 * `makeMemory` as a Layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory = (options: { readonly node: string; readonly seats: Seats }): Layer.Layer<Leadership> =>
  Layer.succeed(Leadership, makeMemory(options))

/**
 * The only node there is: it owns everything, and each term begins when the one before has ended.
 *
 * @example
 * ```ts
 * import { Leadership } from "@holdfast/core"
 * import { Deferred, Effect } from "effect"
 * import assert from "node:assert"
 *
 * const program = Effect.gen(function*() {
 *   const leadership = yield* Leadership.Leadership
 *   const began = yield* Deferred.make<number>()
 *   yield* leadership.whileOwner(
 *     { name: "ticker" },
 *     (term) => Effect.zipRight(Deferred.succeed(began, term), Effect.never)
 *   )
 *   assert.strictEqual(yield* Deferred.await(began), 1)
 * })
 *
 * await Effect.runPromise(Effect.provide(Effect.scoped(program), Leadership.layerAlone))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAlone: Layer.Layer<Leadership> = Layer.sync(
  Leadership,
  () => makeMemory({ node: "local", seats: new Seats() })
)

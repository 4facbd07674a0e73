/**
 * A simulated network link between two ends: messages are delayed, may be lost or duplicated, and the link can be
 * partitioned. Messages of one direction arrive in order, as over TCP, unless `reorder` is set. All of it is decided by
 * `Faults`, so that a seed reproduces it.
 *
 * **For** protocols between nodes, and between a client and a server, under a bad network. **Not for** bytes on a socket: that
 * is what `Transport` and real ports are for.
 *
 * Points: `<name>.lost` · `<name>.duplicated` · `<name>.partitions` (for up to `outage`, decided at every send).
 *
 * **Guarantees.** A message arrives at most once, unless it is duplicated. What is sent while the link is partitioned is lost,
 * without an error: the sender cannot know. Everything that is in flight when the scope closes is dropped, and its fiber ends.
 *
 * @since 0.1.0
 */
import { Inbox } from "@holdfast/core/Inbox"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { Faults } from "./Faults.js"
import * as Check from "./internal/options.js"
import type { InvalidOption } from "./InvalidOption.js"

/**
 * How slow and how unreliable the link is.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly name: string
  /** time that a message takes at most. Default 50 ms. */
  readonly latency?: Duration.DurationInput | undefined
  /** longest time that the link stays partitioned when a fault partitions it. Default 30 s. */
  readonly outage?: Duration.DurationInput | undefined
  /** messages may overtake one another. Default false. */
  readonly reorder?: boolean | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { latency: Duration.millis(50), outage: Duration.seconds(30), reorder: false } as const

/**
 * One end of a link.
 *
 * @since 0.1.0
 * @category models
 */
export interface End<Out, In> {
  readonly send: (message: Out) => Effect.Effect<void>
  /** waits for the next message */
  readonly receive: Effect.Effect<In>
  /** what has arrived, without waiting */
  readonly poll: Effect.Effect<ReadonlyArray<In>>
}

/**
 * Two ends, and the partition between them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Link<A, B> {
  readonly left: End<A, B>
  readonly right: End<B, A>
  /** nothing arrives any more, until `heal` */
  readonly partition: Effect.Effect<void>
  readonly heal: Effect.Effect<void>
  readonly isPartitioned: Effect.Effect<boolean>
}

/** Several may wait: one that finds the message taken by another waits again. */
const receive = <M>(inbox: Inbox<M>): Effect.Effect<M> =>
  Effect.zipRight(
    inbox.filled,
    Effect.suspend(() => {
      const taken = inbox.unsafeTake(1)
      return taken.length === 0 ? receive(inbox) : Effect.succeed(taken[0])
    })
  )

/**
 * A link that lasts as long as the scope.
 *
 * @example
 * ```ts
 * import * as Link from "@holdfast/testing/Link"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const test = Effect.gen(function*() {
 *   const { left, right } = yield* Link.make<string>({ name: "wire", latency: "1 millis" })
 *   yield* left.send("hello")
 *   assert.strictEqual(yield* right.receive, "hello")
 * })
 *
 * await Effect.runPromise(Effect.scoped(test))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, B = A>(options: Options): Effect.Effect<Link<A, B>, InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const { name, reorder = defaults.reorder } = options
    const latency = yield* Check.finite("Link.latency", options.latency ?? defaults.latency)
    const outage = yield* Check.finite("Link.outage", options.outage ?? defaults.outage)
    const faults = yield* Faults
    const scope = yield* Effect.scope
    // how often it has been partitioned and not healed; an outage heals only its own
    const outages = yield* Ref.make(0)
    const byHand = yield* Ref.make(false)
    const isPartitioned = Effect.zipWith(Ref.get(outages), Ref.get(byHand), (count, cut) => cut || count > 0)

    const wire = <M>(direction: string) =>
      Effect.gen(function*() {
        const inbox = new Inbox<M>()
        const transit = new Inbox<M>()
        const point = `${name}.${direction}`
        const deliver = (message: M) =>
          Effect.suspend(() => Effect.sleep(faults.between(point, 0, latency))).pipe(
            Effect.zipRight(Effect.unlessEffect(inbox.offer(message), isPartitioned))
          )
        // one message after another, unless they may overtake
        yield* Effect.forkScoped(transit.each(([message], restore) =>
          restore<unknown, never, never>(reorder ? Effect.forkIn(deliver(message), scope) : deliver(message))
        ))
        const send = (message: M) =>
          Effect.gen(function*() {
            if (faults.decide(`${name}.partitions`)) {
              yield* Ref.update(outages, (n) =>
                n + 1)
              const heals = Effect.sleep(faults.between(`${name}.partitions`, 1, outage))
              yield* Effect.forkIn(Effect.zipRight(heals, Ref.update(outages, (n) => n - 1)), scope)
            }
            if ((yield* isPartitioned) || faults.decide(`${name}.lost`)) return
            const copies = faults.decide(`${name}.duplicated`) ? 2 : 1
            for (let copy = 0; copy < copies; copy++) yield* transit.offer(message)
          })
        return { send, inbox }
      })

    const there = yield* wire<A>("there")
    const back = yield* wire<B>("back")
    const end = <Out, In>(send: (message: Out) => Effect.Effect<void>, inbox: Inbox<In>): End<Out, In> => ({
      send,
      receive: receive(inbox),
      poll: Effect.sync(() => inbox.unsafeTake())
    })
    return {
      left: end(there.send, back.inbox),
      right: end(back.send, there.inbox),
      partition: Ref.set(byHand, true),
      heal: Ref.set(byHand, false),
      isPartitioned
    }
  })

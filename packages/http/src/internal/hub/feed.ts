/**
 * From the source of events to the fan-out: the last events that are known at the start, then what the subscription
 * brings, and what it lost, from history.
 */
import type { Lock } from "@holdfast/core/Lock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Gap, Source, Subscription } from "../../HubSource.js"
import { isGap } from "../../HubSource.js"
import type { Envelope } from "../../SseFormat.js"
import type { CatchUp } from "./catchUp.js"
import { deliver } from "./delivery.js"
import type { FanOut } from "./fanOut.js"
import type { SessionTable } from "./sessionTable.js"

const batchSize = 512

/** Fills the ring from history. Without one, or when it cannot be read, the hub begins with an empty ring. */
export const begin = <A>(source: Source<A>, fanOut: FanOut, recent: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    const position = yield* source.lastId
    const { history } = source
    const last = history === undefined || position === 0
      ? []
      : yield* history.after(Math.max(0, position - recent), { topics: ["*"], limit: recent }).pipe(
        Effect.map(({ items }) => items.filter((item): item is Envelope<A> => !isGap(item))),
        Effect.catchAllCause((cause) =>
          Effect.as(Effect.logWarning("A hub could not read the last events from history", cause), [])
        )
      )
    fanOut.reset(position, consecutive(last.filter((envelope) => envelope.id <= position)))
  })

/** Fans out what comes, batch by batch, until the subscription fails. */
export const run = <A>(
  subscription: Subscription<A>,
  hub: {
    readonly table: SessionTable
    readonly fanOut: FanOut
    readonly catchUp: CatchUp
    readonly lock: Lock
    /** Of sessions that fetch what the subscription has lost. */
    readonly scope: Scope.Scope
    readonly afterBatch: Effect.Effect<void>
  }
): Effect.Effect<never, unknown> => {
  const { afterBatch, catchUp, fanOut, lock, scope, table } = hub

  /** The hub's own subscription has lost events: live sessions fetch them, one by one. */
  const recover = (gap: Gap) =>
    Effect.suspend(() => {
      if (gap.lastId <= fanOut.position) {
        return Effect.void
      }
      const behind = table.all().filter((session) => session.state === "live")
      for (const session of behind) {
        session.offered = fanOut.position
        fanOut.leave(session)
        session.state = "catching-up"
      }
      fanOut.reset(gap.lastId, [])
      return Effect.forEach(behind, (session) => catchUp.run(session, scope), { discard: true })
    })

  const fan = (items: ReadonlyArray<Envelope<A> | Gap>) =>
    Effect.gen(function*() {
      let envelopes: Array<Envelope<A>> = []
      for (const item of items) {
        if (isGap(item)) {
          yield* deliver(fanOut.dispatch(envelopes))
          envelopes = []
          yield* recover(item)
        } else {
          envelopes.push(item)
        }
      }
      yield* deliver(fanOut.dispatch(envelopes))
      yield* afterBatch
    })

  return Effect.forever(Effect.flatMap(subscription.takeBatch(batchSize), (items) => lock.withLock(fan(items))))
}

/** The last events as far as no id is missing between them. */
const consecutive = <A>(envelopes: ReadonlyArray<Envelope<A>>): ReadonlyArray<Envelope<A>> => {
  let from = envelopes.length - 1
  while (from > 0 && envelopes[from - 1].id === envelopes[from].id - 1) {
    from--
  }
  return envelopes.slice(Math.max(0, from))
}

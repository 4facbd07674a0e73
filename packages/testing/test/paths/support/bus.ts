import * as EventBus from "@holdfast/core/EventBus"
import type * as EventLogStore from "@holdfast/core/EventLogStore"
import type { Subscription } from "@holdfast/core/EventSubscription"
import { Effect, Schema } from "effect"

const Said = Schema.TaggedStruct("Said", { by: Schema.Number, n: Schema.Number })
export type Said = typeof Said.Type

export const said = (by: number, n: number): Said => ({ _tag: "Said", by, n })

export const makeBus = (store?: EventLogStore.Store["Type"]) =>
  EventBus.make({
    name: "bus",
    schema: Said,
    topic: ({ by }) => `room.${by}`,
    ...(store === undefined ? {} : { store })
  })

/** Everything until the subscription closes: ids, and gaps as pairs. */
export const drink = (subscription: Subscription<Said>, sip: Effect.Effect<unknown>, max?: number) =>
  Effect.gen(function*() {
    const got: Array<number | readonly [number, number]> = []
    yield* subscription.takeBatch(max).pipe(
      Effect.tap((batch) =>
        Effect.sync(() => {
          for (const item of batch) {
            got.push("_tag" in item && item._tag === "Gap" ? [item.firstId, item.lastId] : (item as { id: number }).id)
          }
        })
      ),
      Effect.zipRight(sip),
      Effect.forever,
      Effect.catchTag("SubscriptionClosed", () => Effect.void)
    )
    return got
  })

/** Ids with their gaps filled: must be `first..last` without a hole or a repetition. */
export const flatten = (got: ReadonlyArray<number | readonly [number, number]>): ReadonlyArray<number> =>
  got.flatMap((item) =>
    typeof item === "number" ? [item] : Array.from({ length: item[1] - item[0] + 1 }, (_, i) => item[0] + i)
  )

export const range = (first: number, last: number) =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i)

export const publishers = (
  bus: EventBus.EventBus<Said>,
  count: number,
  each: number,
  pause: Effect.Effect<unknown> = Effect.void
) =>
  Effect.forEach(
    range(1, count),
    (by) => Effect.forEach(range(1, each), (n) => Effect.zipRight(pause, Effect.exit(bus.publish(said(by, n))))),
    { concurrency: "unbounded" }
  ).pipe(Effect.map((all) => all.flat()))

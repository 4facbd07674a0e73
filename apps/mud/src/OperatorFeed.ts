/**
 * What the operator sees: a picture of the whole process, taken once a second while somebody looks, over a hub of its own.
 *
 * @since 0.1.0
 */
import * as Audit from "@holdfast/core/Audit"
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import * as NodeProbes from "@holdfast/node/NodeProbes"
import { Context, Effect, Layer } from "effect"
import * as LastShutdown from "./LastShutdown.js"
import * as OperatorSnapshot from "./OperatorSnapshot.js"
import type { Settings } from "./Settings.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class OperatorFeed extends Context.Tag("@holdfast/mud/OperatorFeed")<OperatorFeed, {
  readonly hub: SseHub.Service
  readonly snapshot: Effect.Effect<OperatorSnapshot.Snapshot>
}>() {}

/** A subscription that takes a picture each second, as long as somebody looks. */
const source = (
  snapshot: Effect.Effect<OperatorSnapshot.Snapshot>,
  watched: Effect.Effect<boolean>
): SseHub.Source<OperatorSnapshot.Snapshot> => {
  let id = 0
  const next = Effect.gen(function*() {
    yield* Effect.sleep("1 second")
    while (!(yield* watched)) yield* Effect.sleep("250 millis")
    const event = yield* snapshot
    id += 1
    return [{ id, at: event.at, topic: "operator", event }]
  })
  return { subscribe: Effect.succeed({ takeBatch: () => next }), lastId: Effect.sync(() => id) }
}

const make = Effect.gen(function*() {
  const snapshot = yield* OperatorSnapshot.make
  let hub: SseHub.Service | undefined
  const watched = Effect.suspend(() =>
    hub === undefined ? Effect.succeed(false) : Effect.map(hub.stats, ({ open }) => open > 0)
  )
  hub = yield* SseHub.make<OperatorSnapshot.Snapshot>({
    name: "operators",
    source: source(snapshot, watched),
    retry: "1 second",
    heartbeat: "5 seconds",
    // Nobody wants yesterday's picture: a slow reader skips.
    policy: { _tag: "sliding" },
    recent: 1,
    limits: { sessions: 32 }
  })
  return OperatorFeed.of({ hub, snapshot })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Pick<Settings, "data">) =>
  Layer.scoped(OperatorFeed, make).pipe(
    Layer.provide([Audit.layer({ orphanAfter: "3 seconds" }), LastShutdown.layer(settings)]),
    Layer.provide(NodeProbes.layer)
  )

/**
 * How a picture goes over the wire.
 *
 * @since 0.1.0
 * @category formats
 */
export const format = SseFormat.make<OperatorSnapshot.Snapshot>({
  encode: ({ event }) => ({ event: "Snapshot", data: JSON.stringify(event) })
})

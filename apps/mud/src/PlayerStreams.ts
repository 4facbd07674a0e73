/**
 * The players' streams: one hub, whose sessions follow their players from room to room. It shows what the fold of the world
 * has taken in, so that windows change before the events that move a player are shown, whoever decided them.
 *
 * Frames are `id`, the event's tag, and as data the event with the instant `at` at which it happened.
 *
 * @since 0.1.0
 */
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import { Context, Effect, Layer } from "effect"
import type { WorldEvent } from "./domain/WorldEvent.js"
import type { Settings } from "./Settings.js"
import { WorldBus } from "./WorldBus.js"
import { WorldFold } from "./WorldFold.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class PlayerStreams extends Context.Tag("@holdfast/mud/PlayerStreams")<PlayerStreams, {
  readonly hub: SseHub.Service
}>() {}

/**
 * How an event goes over the wire.
 *
 * @since 0.1.0
 * @category formats
 */
export const format = SseFormat.make<WorldEvent>({
  encode: ({ at, event }) => ({ event: event._tag, data: JSON.stringify({ ...event, at }) })
})

const make = ({ perAddress }: Pick<Settings, "perAddress">) =>
  Effect.gen(function*() {
    const bus = yield* WorldBus
    const fold = yield* WorldFold
    const hub = yield* SseHub.make<WorldEvent>({
      name: "players",
      source: { ...SseHub.fromBus(bus), ...fold.source },
      retry: "1 second",
      // Twice: a player may have a page open in two places.
      limits: { perPrincipal: 8, onPrincipalLimit: "replace", perAddress: perAddress * 2 },
      drain: { retry: "1 second", jitter: "1 second" }
    })
    yield* fold.onTurn((player, { opened, window: { after, topic, upTo } }) =>
      opened
        ? hub.follow(player, { topic, after, ...(upTo === undefined ? {} : { upTo }) })
        : hub.unfollow(player, { topic, ...(upTo === undefined ? {} : { upTo }) })
    )
    return PlayerStreams.of({ hub })
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Pick<Settings, "perAddress">) => Layer.scoped(PlayerStreams, make(settings))

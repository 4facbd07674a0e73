/**
 * The players' streams: one hub on the bus, whose sessions follow their players from room to room.
 *
 * Frames are `id`, the event's tag, and as data the event with the instant `at` at which it happened.
 *
 * @since 0.1.0
 */
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import { Context, Effect, Layer } from "effect"
import type { Window } from "./domain/World.js"
import type { WorldEvent } from "./domain/WorldEvent.js"
import type { Settings } from "./Settings.js"
import { WorldBus } from "./WorldBus.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class PlayerStreams extends Context.Tag("@holdfast/mud/PlayerStreams")<PlayerStreams, {
  readonly hub: SseHub.Service
  /** The open streams of a player keep to a window that has just been closed or opened. */
  readonly turn: (player: string, window: Window) => Effect.Effect<void>
  /** The streams of a player end, and its clients come back with the windows as they are then. */
  readonly reset: (player: string) => Effect.Effect<void>
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
    const hub = yield* SseHub.make<WorldEvent>({
      name: "players",
      source: SseHub.fromBus(bus, { name: "player-streams" }),
      retry: "1 second",
      // Twice: a player may have a page open in two places.
      limits: { perPrincipal: 8, onPrincipalLimit: "replace", perAddress: perAddress * 2 },
      drain: { retry: "1 second", jitter: "1 second" }
    })
    return PlayerStreams.of({
      hub,
      turn: (player, { after, topic, upTo }) =>
        upTo === undefined ? hub.follow(player, { topic, after }) : hub.unfollow(player, { topic, upTo }),
      reset: (player) => hub.kick(player, "replaced")
    })
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Pick<Settings, "perAddress">) => Layer.scoped(PlayerStreams, make(settings))

/**
 * The one bus of the application: everything that happens in the world goes over it, and into its log first.
 *
 * @since 0.1.0
 */
import * as EventBus from "@holdfast/core/EventBus"
import { topicOf, WorldEvent } from "./domain/WorldEvent.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class WorldBus extends EventBus.Tag("@holdfast/mud/WorldBus")<WorldBus, WorldEvent>() {}

/**
 * A quarter of an hour of a busy world in memory, a day of a quiet one in the store.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = WorldBus.layerDurable({
  schema: WorldEvent,
  topic: topicOf,
  log: { maxCount: 20_000, maxStored: 100_000 }
})

/**
 * The same over a journal that other nodes write, too. How much of the log is kept is up to the journal.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerShared = WorldBus.layerShared({ schema: WorldEvent, topic: topicOf, log: { maxCount: 20_000 } })

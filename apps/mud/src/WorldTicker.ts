/**
 * The clock of the world: one slot is one world minute. It stands still until this node drives the world.
 *
 * The minute is part of the world's state, so the ticker's own number only counts what this node did.
 *
 * @since 0.1.0
 */
import * as Ticker from "@holdfast/core/Ticker"
import type { Settings } from "./Settings.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class WorldTicker extends Ticker.Tag("@holdfast/mud/WorldTicker")<WorldTicker>() {}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = ({ tick }: Pick<Settings, "tick">) =>
  WorldTicker.layerDurable({ name: "world", interval: tick, paused: true })

/**
 * The clock of the world: one slot is one world minute.
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
export const layer = ({ tick }: Pick<Settings, "tick">) => WorldTicker.layerDurable({ name: "world", interval: tick })

/**
 * Where the state is kept: one SQLite file for the log, the clocks and the rest, or nothing but memory.
 *
 * @since 0.1.0
 */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Layer } from "effect"
import { join } from "node:path"
import type { Settings } from "./Settings.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  { data }: Pick<Settings, "data">
): Layer.Layer<EventLogStore.Store | TickerStore.Store | KeyValueStore.KeyValueStore, SqliteStore.OpenError> =>
  data === "memory"
    ? Layer.mergeAll(EventLogStore.layerStoreMemory, TickerStore.layerStoreMemory, KeyValueStore.layerMemory)
    : SqliteStore.layer({ path: join(data, "mud.db") })

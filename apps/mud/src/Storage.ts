/**
 * Where the state is kept: one SQLite file for the log, the clocks and the rest, or nothing but memory.
 *
 * The file holds the key that signs tokens: whoever reads it can act as anybody. The store makes it readable for its owner
 * alone; one that others can read is warned of.
 *
 * @since 0.1.0
 */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import type * as InvalidOption from "@holdfast/core/InvalidOption"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Effect, Layer } from "effect"
import { statSync } from "node:fs"
import { join } from "node:path"
import type { Settings } from "./Settings.js"

/**
 * The file in which the state is kept, for messages.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fileOf = ({ data, nats, natsName }: Pick<Settings, "data"> & Partial<Settings>): string =>
  nats !== undefined ? `${natsName} on ${nats.join(",")}` : data === "memory" ? data : join(data, "mud.db")

const warnIfWider = (path: string, command: string) =>
  Effect.gen(function*() {
    const mode = yield* Effect.try(() => statSync(path).mode & 0o777)
    if ((mode & 0o077) === 0) return
    yield* Effect.logWarning(
      `${path} can be read by other users of this machine (mode ${
        mode.toString(8).padStart(4, "0")
      }): it leads to the key that signs tokens. Run: ${command} ${path}`
    )
  }).pipe(Effect.ignore)

const warnings = (folder: string, file: string) =>
  Effect.gen(function*() {
    yield* warnIfWider(folder, "chmod 700")
    yield* warnIfWider(file, "chmod 600")
    if (process.getuid?.() === 0) {
      yield* Effect.logWarning("The server runs as root and needs nothing of that: run it as a user of its own")
    }
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  { data }: Pick<Settings, "data">
): Layer.Layer<
  EventLogStore.Store | TickerStore.Store | KeyValueStore.KeyValueStore,
  SqliteStore.OpenError | InvalidOption.InvalidOption
> => {
  if (data === "memory") {
    return Layer.mergeAll(EventLogStore.layerStoreMemory, TickerStore.layerStoreMemory, KeyValueStore.layerMemory)
  }
  const file = fileOf({ data })
  return Layer.unwrapEffect(Effect.as(warnings(data, file), SqliteStore.layer({ path: file })))
}

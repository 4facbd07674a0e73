import * as EventBus from "@holdfast/core/EventBus"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import * as EventBusConformance from "@holdfast/testing/EventBusConformance"
import { Context, Effect, Layer } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

EventBusConformance.suite({
  name: "SQLite",
  durable: true,
  medium: Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-"))),
      (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
    ),
    (directory) => (config) =>
      Effect.flatMap(
        Layer.build(Layer.fresh(SqliteStore.layer({ path: join(directory, "store.db") }))),
        (context) => EventBus.make({ name: "sqlite", store: Context.get(context, EventLogStore.Store), ...config })
      )
  )
})

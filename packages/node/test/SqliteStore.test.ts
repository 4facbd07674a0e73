import * as SqliteStore from "@holdfast/node/SqliteStore"
import * as EventStoreConformance from "@holdfast/testing/EventStoreConformance"
import { Effect } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

EventStoreConformance.suite({
  name: "SQLite",
  durable: true,
  medium: Effect.map(temporary, (directory) => SqliteStore.layer({ path: `${directory}/store.db` })),
  runs: process.env.HOLDFAST_NIGHTLY === "1" ? 500 : 30
})

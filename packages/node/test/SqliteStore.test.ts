import * as SqliteStore from "@holdfast/node/SqliteStore"
import * as EventStoreConformance from "@holdfast/testing/EventStoreConformance"
import * as TickerStoreConformance from "@holdfast/testing/TickerStoreConformance"
import { Effect } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { sized } from "../../../scripts/sized.js"

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

const medium = Effect.map(temporary, (directory) => SqliteStore.layer({ path: join(directory, "store.db") }))

EventStoreConformance.suite({
  name: "SQLite",
  durable: true,
  medium,
  runs: sized(30, 500, 10)
})

TickerStoreConformance.suite({ name: "SQLite", durable: true, medium })

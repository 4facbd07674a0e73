import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as EventStoreConformance from "@holdfast/testing/EventStoreConformance"
import { Effect } from "effect"

EventStoreConformance.suite({
  name: "memory",
  durable: false,
  medium: Effect.succeed(EventLogStore.layerStoreMemory),
  runs: process.env.HOLDFAST_NIGHTLY === "1" ? 5000 : 200
})

import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as EventStoreConformance from "@holdfast/testing/EventStoreConformance"
import { Effect } from "effect"
import { sized } from "../../../scripts/sized.js"

EventStoreConformance.suite({
  name: "memory",
  durable: false,
  medium: Effect.succeed(EventLogStore.layerStoreMemory),
  runs: sized(200, 5000, 50)
})

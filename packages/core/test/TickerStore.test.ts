import * as TickerStore from "@holdfast/core/TickerStore"
import * as TickerStoreConformance from "@holdfast/testing/TickerStoreConformance"
import { Effect } from "effect"

TickerStoreConformance.suite({ name: "memory", durable: false, medium: Effect.succeed(TickerStore.layerStoreMemory) })

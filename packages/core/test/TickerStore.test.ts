import * as Ticker from "@holdfast/core/Ticker"
import * as TickerStoreConformance from "@holdfast/testing/TickerStoreConformance"
import { Effect } from "effect"

TickerStoreConformance.suite({ name: "memory", durable: false, medium: Effect.succeed(Ticker.layerStoreMemory) })

import * as EventBus from "@holdfast/core/EventBus"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as EventBusConformance from "@holdfast/testing/EventBusConformance"
import { Context, Effect, Layer } from "effect"

EventBusConformance.suite({
  name: "memory",
  durable: false,
  medium: Effect.succeed((config) => EventBus.make({ name: "memory", ...config }))
})

EventBusConformance.suite({
  name: "memory store",
  durable: true,
  medium: Effect.map(Layer.build(Layer.fresh(EventLogStore.layerStoreMemory)), (context) => {
    const store = Context.get(context, EventLogStore.Store)
    return (config) => EventBus.make({ name: "stored", store, ...config })
  })
})

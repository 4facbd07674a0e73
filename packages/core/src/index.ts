export * as EventLogStore from "./EventLogStore.js"
export * as FiberCensus from "./FiberCensus.js"
export * as FiberRegistry from "./FiberRegistry.js"
export * as Ticker from "./Ticker.js"

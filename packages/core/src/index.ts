export * as FiberCensus from "./FiberCensus.js"
export * as FiberRegistry from "./FiberRegistry.js"

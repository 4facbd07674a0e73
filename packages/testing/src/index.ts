export * as EventStoreConformance from "./EventStoreConformance.js"
export * as Explore from "./Explore.js"
export * as LeakCheck from "./LeakCheck.js"
export * as Vitest from "./Vitest.js"

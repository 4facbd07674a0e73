export * as NodeRequest from "./NodeRequest.js"
export * as NodeServer from "./NodeServer.js"
export * as NodeSseSink from "./NodeSseSink.js"
export * as SqliteStore from "./SqliteStore.js"

export * as NodeRequest from "./NodeRequest.js"
export * as NodeServer from "./NodeServer.js"
export * as SqliteStore from "./SqliteStore.js"
export * as NodeSseSink from "./NodeSseSink.js"

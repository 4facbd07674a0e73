export * as Ticker from "./Ticker.js"

export * as Explore from "./Explore.js"

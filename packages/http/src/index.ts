export * as HttpErrors from "./HttpErrors.js"
export * as Sse from "./Sse.js"

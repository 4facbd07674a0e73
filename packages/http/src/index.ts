export * as HttpErrors from "./HttpErrors.js"

export * as NatsConnection from "./NatsConnection.js"
export * as NatsJournal from "./NatsJournal.js"
export * as NatsStream from "./NatsStream.js"
export * as NatsSubject from "./NatsSubject.js"

import { describe } from "@effect/vitest"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import * as EventJournalConformance from "@holdfast/testing/EventJournalConformance"
import { Effect } from "effect"
import { missing, named, server } from "./support/server.js"

describe.skipIf(missing)(named("over a real server"), () => {
  EventJournalConformance.suite({
    name: "NATS",
    medium: Effect.map(server(), ({ url }) =>
      Effect.gen(function*() {
        const connection = yield* NatsConnection.make({ servers: [url] })
        const { journal } = yield* Effect.provideService(
          NatsJournal.make({ name: "world" }),
          NatsConnection.NatsConnection,
          connection
        )
        return journal
      }))
  })
})

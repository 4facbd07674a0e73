import { describe, vi } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsEventStore from "@holdfast/nats/NatsEventStore"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import * as EventBusConformance from "@holdfast/testing/EventBusConformance"
import * as EventJournalConformance from "@holdfast/testing/EventJournalConformance"
import * as EventStoreConformance from "@holdfast/testing/EventStoreConformance"
import { Effect, Layer } from "effect"
import { sized } from "../../../scripts/sized.js"
import { missing, named, server } from "./support/server.js"

// each test starts a server of its own, which takes its time on a busy machine
vi.setConfig({ testTimeout: 60_000 })

const journalOn = (url: string) =>
  Effect.gen(function*() {
    const connection = yield* NatsConnection.make({ servers: [url] })
    const { journal } = yield* Effect.provideService(
      NatsJournal.make({ name: "world" }),
      NatsConnection.NatsConnection,
      connection
    )
    return journal
  })

describe.skipIf(missing)(named("over a real server"), () => {
  EventJournalConformance.suite({ name: "NATS", medium: Effect.map(server(), ({ url }) => journalOn(url)) })

  EventBusConformance.suite({
    name: "NATS",
    durable: true,
    shared: true,
    medium: Effect.map(
      server(),
      ({ url }) => (config) =>
        Effect.flatMap(journalOn(url), (journal) => EventBus.make({ ...config, name: "world", journal }))
    )
  })

  EventStoreConformance.suite({
    name: "NATS",
    durable: true,
    runs: sized(3, 50),
    medium: Effect.map(
      server(),
      ({ url }) => Layer.provide(NatsEventStore.layer({ name: "world" }), NatsConnection.layer({ servers: [url] }))
    )
  })
})

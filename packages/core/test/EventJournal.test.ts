import * as EventBus from "@holdfast/core/EventBus"
import * as EventJournal from "@holdfast/core/EventJournal"
import * as EventBusConformance from "@holdfast/testing/EventBusConformance"
import * as EventJournalConformance from "@holdfast/testing/EventJournalConformance"
import { Effect } from "effect"

EventJournalConformance.suite({
  name: "memory",
  medium: Effect.map(EventJournal.makeMemory(), (journal) => Effect.succeed(journal))
})

EventBusConformance.suite({
  name: "memory journal",
  durable: true,
  shared: true,
  medium: Effect.map(
    EventJournal.makeMemory(),
    (journal) => (config) => EventBus.make({ name: "shared", journal, ...config })
  )
})

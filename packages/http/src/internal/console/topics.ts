/**
 * What is published on which topic. A bus does not count its topics, so that publishing costs nothing for it: while somebody
 * looks, the events since the look before are read from its history, and when there are many, the latest of them stand for all.
 */
import * as EventBus from "@holdfast/core/EventBus"
import * as Roster from "@holdfast/core/Roster"
import * as Effect from "effect/Effect"
import type { Row } from "../../ConsoleFeed.js"
import type { Section } from "../../ConsoleSection.js"
import * as ConsoleSection from "../../ConsoleSection.js"
import { Rates } from "./rates.js"

/** Events that are read of a bus in one look. */
const mostEvents = 500

/** Topics that are remembered of all buses. The one that was silent longest goes first. */
const mostTopics = 1000

interface Topic {
  readonly bus: string
  readonly topic: string
  readonly count: number
  readonly at: number
}

class Topics {
  private readonly known = new Map<string, Topic>()
  /** Up to which id each bus was read. */
  private readonly read = new Map<string, number>()

  look(
    bus: string,
    lastId: number,
    log: Parameters<typeof EventBus.present["_A"]>[0]["log"]
  ): Effect.Effect<void, unknown> {
    const before = this.read.get(bus)
    const from = Math.max(0, lastId - mostEvents, before ?? 0)
    // Another bus of the same name, which has counted less far.
    if (before !== undefined && before > lastId) this.read.delete(bus)
    if (from >= lastId) return Effect.void
    return Effect.map(log.after(from, { limit: mostEvents }), ({ cursor, items }) => {
      const events = items.filter((item) => "event" in item)
      const weight = before === undefined || events.length === 0 ? 1 : Math.max(1, (cursor - before) / events.length)
      for (const { at, topic } of events) {
        const key = `${bus} ${topic}`
        const count = (this.known.get(key)?.count ?? 0) + weight
        this.known.delete(key)
        this.known.set(key, { bus, topic, count, at })
      }
      this.read.set(bus, cursor)
      for (const key of this.known.keys()) {
        if (this.known.size <= mostTopics) break
        this.known.delete(key)
      }
    })
  }

  all(): IterableIterator<[string, Topic]> {
    return this.known.entries()
  }
}

export const topicSection = (): Section => {
  const topics = new Topics()
  const rates = new Rates()
  return ConsoleSection.table({
    id: "topics",
    title: "Topics",
    note:
      "Events by topic since somebody first looked, and a few from before. Of more than 500 a second, the latest stand for all.",
    empty: "nothing was published yet",
    columns: {
      topic: "text",
      bus: { title: "bus", format: "text", choice: true },
      rate: { title: "events", format: "rate" },
      count: { title: "seen", format: "count" },
      at: { title: "last", format: "at" }
    },
    sort: "-rate",
    rows: Effect.gen(function*() {
      for (const bus of yield* Roster.all(EventBus.present)) {
        const { bus: name, lastId } = yield* bus.stats
        // Of what cannot be read now nothing is known.
        yield* Effect.ignore(topics.look(name, lastId, bus.log))
      }
      return Array.from(topics.all(), ([key, { at, bus, count, topic }]): Row => ({
        key,
        cells: { topic, bus, rate: rates.steady(key, count), count: Math.round(count), at }
      }))
    })
  })
}

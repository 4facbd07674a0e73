import type { Draft, EventJournal, Lost, Row } from "@holdfast/core/EventJournal"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import { Effect, Schedule } from "effect"
import type { Scope } from "effect"

export type Journal = EventJournal["Type"]

/** A node with a journal, in the scope in use. */
export const node = (
  url: string,
  options: Partial<NatsJournal.Options> = {}
): Effect.Effect<
  {
    readonly connection: NatsConnection.Service
    readonly journal: Journal
    readonly stats: NatsJournal.Service["stats"]
  },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const connection = yield* NatsConnection.make({
      servers: [url],
      reconnect: Schedule.spaced("50 millis")
    })
    const { journal, stats } = yield* Effect.provideService(
      NatsJournal.make({ name: "world", ...options }),
      NatsConnection.NatsConnection,
      connection
    )
    return { connection, journal, stats }
  }).pipe(Effect.orDie)

export const draft = (text: string): Draft => ({
  at: 1,
  topic: "room.1",
  tag: "Said",
  payload: JSON.stringify({ text }),
  meta: "{}"
})

/** What the tail of a journal brings; `ended` is why it ended. */
export const following = (journal: Journal, after = 0) =>
  Effect.gen(function*() {
    const seen: { readonly rows: Array<Row | Lost>; ended: string | undefined } = { rows: [], ended: undefined }
    yield* Effect.forkScoped(Effect.catchAll(journal.follow(after, (rows) => seen.rows.push(...rows)), (error) =>
      Effect.sync(() => {
        seen.ended = error.reason
      })))
    return seen
  })

export const sleep = (millis: number) =>
  Effect.async<void>((resume) => {
    const timer = setTimeout(() => resume(Effect.void), millis)
    return Effect.sync(() => clearTimeout(timer))
  })

/** Polls, 30 seconds at most. */
export const until = (what: string, ready: (() => boolean) | Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const end = performance.now() + 30_000
    while (!(typeof ready === "function" ? ready() : yield* ready)) {
      if (performance.now() > end) return yield* Effect.die(new Error(`not within 30 s: ${what}`))
      yield* sleep(10)
    }
  })

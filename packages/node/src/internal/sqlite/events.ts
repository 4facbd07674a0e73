/**
 * The events of a file, as the store of an `EventLog`.
 */
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as Effect from "effect/Effect"
import type { Connection } from "./connection.js"
import { decodeText, encodeText } from "./driver.js"
import type { Failure, Reason } from "./failure.js"
import type { Submit } from "./submit.js"

/** Rows that are deleted in one go, so that trimming does not hold up the event loop or an append. */
const trimmedAtOnce = 2000

export const makeEvents = async (connection: Connection, path: string, submit: Submit) => {
  const insert = await connection.prepare(
    "INSERT INTO events (id, at, topic, tag, payload, meta) VALUES (?, ?, ?, ?, ?, ?)"
  )
  const select = await connection.prepare(
    "SELECT id, at, topic, tag, payload, meta FROM events WHERE id > ? ORDER BY id LIMIT ?"
  )
  // Two questions: asked for both at once, SQLite reads the whole table.
  const ends = await connection.prepare(
    "SELECT (SELECT min(id) FROM events) AS first, (SELECT max(id) FROM events) AS last, (SELECT value FROM counters WHERE name = 'events.last') AS trimmed"
  )
  const remember = await connection.prepare("INSERT OR REPLACE INTO counters (name, value) VALUES ('events.last', ?)")
  const remove = await connection.prepare("DELETE FROM events WHERE id < ?")

  // This process is the only one that writes, so the bounds are known without asking; `tentative` is what they become
  // when the transaction commits.
  const load = () => {
    const row = ends.get([])
    const last = Math.max(Number(row?.last ?? 0), Number(row?.trimmed ?? 0))
    return { first: row?.first === null ? last + 1 : Number(row?.first), last }
  }
  let current = load()
  let tentative = current
  connection.mirror = {
    begin: () => {
      tentative = current
    },
    commit: () => {
      current = tentative
    }
  }

  const events: EventLogStore.Store["Type"] = {
    append: (rows) =>
      submit(true, () => {
        const refused = EventLogStore.outOfOrder(tentative.last, rows)
        if (refused !== undefined) return refused
        for (const row of rows) {
          insert.run([
            row.id,
            row.at,
            encodeText(row.topic),
            encodeText(row.tag),
            encodeText(row.payload),
            encodeText(row.meta)
          ])
        }
        tentative = { first: tentative.first, last: tentative.last + rows.length }
        return undefined
      }).pipe(
        Effect.mapError(storeError(path, "append")),
        Effect.flatMap((refused) => refused ?? Effect.void)
      ),
    read: ({ after, limit }) =>
      submit(false, () => select.all([after, limit])).pipe(
        Effect.map((rows) =>
          rows.map((row) => ({
            id: Number(row.id),
            at: Number(row.at),
            topic: decodeText(row.topic),
            tag: decodeText(row.tag),
            payload: decodeText(row.payload),
            meta: decodeText(row.meta)
          }))
        ),
        Effect.mapError(storeError(path, "read"))
      ),
    bounds: Effect.sync(() => current),
    trim: (beforeId) =>
      Effect.iterate(false, {
        while: (done) => !done,
        body: () =>
          submit(true, () => {
            const until = Math.min(beforeId, tentative.last + 1, tentative.first + trimmedAtOnce)
            if (until > tentative.first) {
              remember.run([tentative.last])
              remove.run([until])
              tentative = { first: until, last: tentative.last }
            }
            return tentative.first >= Math.min(beforeId, tentative.last + 1)
          })
      }).pipe(Effect.asVoid, Effect.mapError(storeError(path, "trim")))
  }
  return { events, bounds: () => current }
}

/** The reasons to refuse a file cannot come from an open one, but for what the driver says of a damaged page. */
const storeReason = (reason: Reason): EventLogStore.StoreError["reason"] =>
  reason === "Foreign"
    ? "Corrupt"
    : reason === "Newer" || reason === "InUse" || reason === "NoDriver" || reason === "Exists"
    ? "Io"
    : reason

const storeError = (path: string, operation: EventLogStore.StoreError["operation"]) => (failure: Failure) =>
  new EventLogStore.StoreError({
    operation,
    reason: storeReason(failure.reason),
    details: `${path}: expected ${failure.expected}, found ${failure.found}`,
    ...(failure.cause === undefined ? {} : { cause: failure.cause })
  })

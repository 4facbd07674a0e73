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

const infinite = Number.POSITIVE_INFINITY

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
  const fresh = await connection.prepare(
    "SELECT id FROM events WHERE id >= ? AND id < ? AND at >= ? ORDER BY id LIMIT 1"
  )
  const size = "octet_length(topic) + octet_length(tag) + octet_length(payload) + octet_length(meta)"
  const sum = `SELECT coalesce(sum(${size}), 0) AS bytes FROM events WHERE id < ?`
  // Two statements: one that was read with `all` keeps its parameters when it is asked with `get`.
  const sumAll = await connection.prepare(sum)
  const sumSome = await connection.prepare(sum)
  const upTo = await connection.prepare(
    `SELECT id FROM (SELECT id, sum(${size}) OVER (ORDER BY id) AS bytes FROM events WHERE id >= ? AND id < ?) WHERE bytes >= ? ORDER BY id LIMIT 1`
  )

  // This process is the only one that writes, so the bounds are known without asking; `tentative` is what they become
  // when the transaction commits.
  const load = () => {
    const row = ends.get([])
    const last = Math.max(Number(row?.last ?? 0), Number(row?.trimmed ?? 0))
    return { first: row?.first === null ? last + 1 : Number(row?.first), last, bytes: undefined }
  }
  let current: Known = load()
  let tentative = current
  connection.mirror = {
    begin: () => {
      tentative = current
    },
    commit: () => {
      current = tentative
    }
  }

  const bounds = (): EventLogStore.Bounds => ({ first: current.first, last: current.last })

  /** Counts the bytes once. No transaction is begun before a read is over. */
  const measured = ({ bytes = infinite }: EventLogStore.Limits) =>
    bytes === infinite || current.bytes !== undefined ? Effect.void : submit(false, async () => {
      const [row] = await sumAll.all([current.last + 1])
      current = { ...current, bytes: Number(row.bytes) }
    })

  /** Forgets some of the oldest rows. Returns whether none is left that should go. */
  const trimSome = (beforeId: number, { bytes: mostBytes = infinite, since = -infinite }: EventLogStore.Limits) => {
    const { bytes = 0, first, last } = tentative
    const end = Math.min(last + 1, first + trimmedAtOnce)
    // the newest row does not go for its age or its size
    const most = Math.min(last, end)
    let until = Math.max(first, Math.min(beforeId, end))
    if (since > -infinite && until < most) until = Number(fresh.get([until, most, since])?.id ?? most)
    if (bytes > mostBytes && until < most) {
      const row = upTo.get([first, most, bytes - mostBytes])
      until = row === undefined ? most : Math.max(until, Math.min(most, Number(row.id) + 1))
    }
    if (until > first) {
      const left = tentative.bytes === undefined ? undefined : bytes - Number(sumSome.get([until])?.bytes)
      remember.run([last])
      remove.run([until])
      tentative = { first: until, last, bytes: left }
    }
    return until < end || end > last
  }

  const events: EventLogStore.Store["Type"] = {
    append: (rows) =>
      submit(true, () => {
        const refused = EventLogStore.outOfOrder(tentative.last, rows)
        if (refused !== undefined) return refused
        let { bytes } = tentative
        for (const row of rows) {
          const texts = [encodeText(row.topic), encodeText(row.tag), encodeText(row.payload), encodeText(row.meta)]
          insert.run([row.id, row.at, ...texts])
          if (bytes !== undefined) { for (const text of texts) bytes += Buffer.byteLength(text) }
        }
        tentative = { first: tentative.first, last: tentative.last + rows.length, bytes }
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
    bounds: Effect.sync(bounds),
    trim: (beforeId, limits = {}) =>
      Effect.zipRight(
        measured(limits),
        Effect.iterate(false, { while: (done) => !done, body: () => submit(true, () => trimSome(beforeId, limits)) })
      ).pipe(Effect.asVoid, Effect.mapError(storeError(path, "trim")))
  }
  return { events, bounds }
}

/** What is known of the table without asking it. Its bytes are counted when somebody limits them. */
interface Known extends EventLogStore.Bounds {
  readonly bytes: number | undefined
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

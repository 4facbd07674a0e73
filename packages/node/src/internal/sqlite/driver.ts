/**
 * The driver, what it makes of texts, and how to ask it without leaving anything behind.
 */
import type { default as Database } from "libsql/promise"
import { Buffer } from "node:buffer"
import { Failure, isSqliteError } from "./failure.js"

export type { Database }

/** Loaded when the first store is made: who has none does not need its binary. */
export const loadDriver = async (): Promise<typeof Database> => {
  try {
    return (await import("libsql/promise")).default
  } catch (cause) {
    throw new Failure(
      "NoDriver",
      "the package libsql with its binary for this platform (npm i libsql@0.5)",
      cause instanceof Error ? cause.message.split("\n")[0] : String(cause),
      cause
    )
  }
}

export type Row = Readonly<Record<string, unknown>>

/**
 * A prepared statement. Parameters go in as one array: the driver takes a single object for named parameters, and ends
 * the process when it is a buffer.
 */
export interface Statement {
  readonly run: (parameters: ReadonlyArray<unknown>) => { readonly changes: number }
  readonly get: (parameters: ReadonlyArray<unknown>) => Row | undefined
  readonly all: (parameters: ReadonlyArray<unknown>) => Promise<ReadonlyArray<Row>>
}

// oxlint-disable-next-line no-control-regex
const notPlain = /[\0\ud800-\udfff]/

/**
 * The driver cuts a text at its first NUL and replaces lone surrogates. Such texts are stored as UTF-16, as a blob, so
 * that every string comes back as it was.
 */
export const encodeText = (text: string): string | Buffer =>
  notPlain.test(text) && (text.includes("\0") || /\p{Surrogate}/u.test(text)) ? Buffer.from(text, "utf16le") : text

export const bytesOf = (value: unknown): Buffer => Buffer.isBuffer(value) ? value : Buffer.from(value as ArrayBuffer)

export const decodeText = (value: unknown): string =>
  typeof value === "string" ? value : bytesOf(value).toString("utf16le")

/**
 * The result of a query, by way of an error message: `exec` frees its statement at once, whereas a prepared one lives
 * until it is collected and keeps its connection, with file descriptor and lock, alive for as long.
 */
export const ask = async (database: Database, query: string): Promise<string> => {
  const prefix = "bad JSON path: 'x"
  try {
    await database.exec(`SELECT json_extract('[]', 'x' || (${query}))`)
  } catch (cause) {
    if (!isSqliteError(cause) || !cause.message.startsWith(prefix)) throw cause
    return cause.message.slice(prefix.length, -1).replaceAll("''", "'")
  }
  return ""
}

/** How long a lock is waited for, in milliseconds. */
const lockPatience = 1000

/**
 * Takes the lock and keeps it: a second process is refused from here on. The driver closes a connection a little after
 * it was told to, on another thread, so the one that `checkContent` used may still be there.
 */
export const lock = async (database: Database): Promise<void> => {
  await database.exec("PRAGMA locking_mode = EXCLUSIVE")
  const since = performance.now()
  for (;;) {
    try {
      return await database.exec("BEGIN EXCLUSIVE; COMMIT")
    } catch (cause) {
      if (!isSqliteError(cause) || cause.rawCode !== 5 || performance.now() - since > lockPatience) throw cause
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export const unlock = async (database: Database): Promise<void> => {
  await database.exec("PRAGMA locking_mode = NORMAL")
  // The change takes effect at the end of the next transaction.
  await database.exec("SELECT count(*) FROM sqlite_master")
}

/**
 * What is in a file: its marks, its tables, and their check.
 */
import { ask, type Database } from "./driver.js"

/** "HOLD", in the header of every file. */
export const applicationId = 0x484f4c44

export const schemaVersion = 1

/** Names as in `sqlite_master`, which keeps the text of each statement: it is compared when a file is opened. */
export const schema: Readonly<Record<string, string>> = {
  events:
    "CREATE TABLE events (id INTEGER PRIMARY KEY, at NUMERIC NOT NULL, topic TEXT NOT NULL, tag TEXT NOT NULL, payload TEXT NOT NULL, meta TEXT NOT NULL)",
  counters: "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
  tickers:
    "CREATE TABLE tickers (name TEXT PRIMARY KEY, number INTEGER NOT NULL, world NUMERIC NOT NULL, at NUMERIC NOT NULL) WITHOUT ROWID",
  entries: "CREATE TABLE entries (key TEXT PRIMARY KEY, bytes INTEGER NOT NULL, value NOT NULL) WITHOUT ROWID"
}

export const createSchema = async (database: Database): Promise<void> => {
  if (await ask(database, "SELECT count(*) FROM sqlite_master") !== "0") return
  await database.exec([
    "BEGIN EXCLUSIVE",
    ...Object.values(schema),
    `PRAGMA application_id = ${applicationId}`,
    `PRAGMA user_version = ${schemaVersion}`,
    "COMMIT"
  ].join("; "))
}

/** In the main file while no log belongs to it. */
const closedMark = "store.closed"

export const isClosed = async (database: Database): Promise<boolean> =>
  await ask(database, `SELECT count(*) FROM counters WHERE name = '${closedMark}'`) !== "0"

/** In the main file itself: to be called before the log is begun. */
export const markOpen = async (database: Database): Promise<void> => {
  if (await isClosed(database)) await database.exec(`DELETE FROM counters WHERE name = '${closedMark}'`)
}

export const markClosed = (database: Database): Promise<void> =>
  database.exec(`INSERT OR REPLACE INTO counters (name, value) VALUES ('${closedMark}', 1)`)

/**
 * What is looked at, and made, before a file is opened for good.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { ask, type Database, lock, unlock } from "./driver.js"
import { Failure, isSqliteError } from "./failure.js"
import { readStart } from "./openFiles.js"
import { applicationId, createSchema, isClosed, schema, schemaVersion } from "./schema.js"

/** A new file comes into being complete, under another name, so that no crash leaves half of one behind. */
export const createMissing = async (Driver: typeof Database, path: string): Promise<void> => {
  const size = Fs.statSync(path, { throwIfNoEntry: false })?.size
  if (size !== undefined && size > 0) return
  // SQLite would either delete such a log or play it into the new file.
  const log = Fs.statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  if (log > 0) {
    throw new Failure("Corrupt", "the file that belongs to its log", `no file, and ${path}-wal of ${log} bytes`)
  }
  if (size === 0) return
  const temporary = `${path}.new`
  // Says why it cannot be made, which the driver does not.
  const made = Fs.openSync(temporary, "a", privateFile)
  Fs.fchmodSync(made, privateFile)
  Fs.closeSync(made)
  const database = new Driver(temporary, {})
  try {
    await lock(database)
    await database.exec("PRAGMA synchronous = FULL")
    await createSchema(database)
    try {
      // Unlike a rename it replaces nothing.
      Fs.linkSync(temporary, path)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") Fs.renameSync(temporary, path)
    }
    Fs.rmSync(temporary, { force: true })
    await unlock(database)
  } finally {
    database.close()
  }
  syncFile(Path.dirname(path))
}

/** A file, or the entries of a directory. */
export const syncFile = (path: string): void => {
  const descriptor = Fs.openSync(path, "r")
  try {
    Fs.fsyncSync(descriptor)
  } finally {
    Fs.closeSync(descriptor)
  }
}

/** What is made here is for its owner alone. */
export const privateFile = 0o600
export const privateDirectory = 0o700

const magic = "SQLite format 3\0"

/**
 * Reads the first bytes only: a file that is not ours is not even opened by SQLite, which could change it by recovering
 * it. Offsets: https://www.sqlite.org/fileformat2.html#the_database_header
 */
export const inspectHeader = (path: string): { readonly hasLog: boolean } => {
  const { bytes: header, stat } = readStart(path, 100)
  if (!stat.isFile()) throw new Failure("Foreign", "a file", "something else, perhaps a directory")
  if (header.length === 0) return { hasLog: false }
  const expected = `a SQLite file of Holdfast, with application id ${applicationId}`
  if (header.length < 100 || header.toString("latin1", 0, 16) !== magic) {
    throw new Failure("Foreign", expected, "a file of another kind")
  }
  const application = header.readUInt32BE(68)
  if (application !== applicationId) {
    throw new Failure("Foreign", expected, `a SQLite file with application id ${application}`)
  }
  const version = header.readUInt32BE(60)
  if (version > schemaVersion) {
    throw new Failure("Newer", `schema version ${schemaVersion} at most`, `version ${version}, of a newer release`)
  }
  const page = header.readUInt16BE(16) === 1 ? 65_536 : header.readUInt16BE(16)
  // A log may hold what is missing here.
  if (stat.size % page !== 0 && !Fs.existsSync(`${path}-wal`)) {
    throw new Failure("Corrupt", `a whole number of pages of ${page} bytes`, `${stat.size} bytes`)
  }
  return { hasLog: header[18] === 2 }
}

/**
 * A file that was open has its newest writes in its log. Without it, what is left may well be an empty store: a copy of one
 * of the two files. Only a close that was cut off after the log was folded leaves such a file too, and that one is marked.
 */
export const requireLog = async (Driver: typeof Database, path: string): Promise<void> => {
  const log = `${path}-wal`
  if (Fs.existsSync(log)) return
  // Immutable: SQLite makes no files beside it.
  const database = new Driver(`${pathToFileURL(path).href}?immutable=1`, {})
  try {
    if (await isClosed(database)) return
  } finally {
    database.close()
  }
  throw new Failure(
    "Corrupt",
    `the log ${log} of a store that was open`,
    "no such file: this is a copy that was made without it, or it was removed, and the newest writes are gone. Copy both files, or use `backup`; `missingLog: \"accept\"` opens what is left"
  )
}

/**
 * Looks at everything through a connection that cannot write, so that a damaged file stays as it is for whoever wants to
 * save what is left of it.
 */
export const checkContent = async (Driver: typeof Database, path: string): Promise<void> => {
  if (Fs.statSync(path).size === 0) return
  const database = new Driver(`${pathToFileURL(path).href}?mode=ro`, {})
  const corrupt = (expected: string, found: string) => new Failure("Corrupt", expected, found)
  try {
    const found = await ask(database, "SELECT group_concat(quick_check, '; ') FROM pragma_quick_check(3)")
    if (found !== "ok") throw corrupt("an undamaged file", found)
    const tables = JSON.parse(await ask(database, "SELECT json_group_object(name, sql) FROM sqlite_master"))
    for (const [name, sql] of Object.entries(schema)) {
      if (tables[name] !== sql) throw corrupt(`the table ${name} as "${sql}"`, String(tables[name] ?? "no such table"))
    }
    const [count, first, last] = JSON.parse(
      await ask(database, "SELECT json_array(count(*), min(id), max(id)) FROM events")
    )
    if (count !== 0 && last - first + 1 !== count) {
      throw corrupt("events without a gap", `${count} events with ids from ${first} to ${last}`)
    }
  } catch (cause) {
    // A rollback journal that is left from the very first transaction: to be recovered with the right to write.
    if (isSqliteError(cause) && cause.rawCode === 776) return
    throw cause
  } finally {
    database.close()
  }
}

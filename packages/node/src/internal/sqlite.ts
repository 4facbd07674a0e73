/**
 * One SQLite file held by one process: opening it (or refusing to), and writing to it in groups.
 *
 * The driver is synchronous but for `exec`, which runs on a thread of its own. So the statements of a group run on the
 * event loop, microseconds each, and its `COMMIT`, which waits for the disk, does not. What is asked for during a commit
 * goes into the next group.
 *
 * This is plain promise code and no fiber on purpose: a store is closed in the last phase of a shutdown, when every
 * fiber has been stopped already and finalizers still have something to save.
 */
import Database from "libsql/promise"
import { Buffer } from "node:buffer"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"

/** "HOLD", in the header of every file. */
export const applicationId = 0x484f4c44

export const schemaVersion = 1

/** Names as in `sqlite_master`, which keeps the text of each statement: it is compared when a file is opened. */
const schema: Readonly<Record<string, string>> = {
  events:
    "CREATE TABLE events (id INTEGER PRIMARY KEY, at NUMERIC NOT NULL, topic TEXT NOT NULL, tag TEXT NOT NULL, payload TEXT NOT NULL, meta TEXT NOT NULL)",
  counters: "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
  tickers:
    "CREATE TABLE tickers (name TEXT PRIMARY KEY, number INTEGER NOT NULL, world NUMERIC NOT NULL, at NUMERIC NOT NULL) WITHOUT ROWID",
  entries: "CREATE TABLE entries (key TEXT PRIMARY KEY, bytes INTEGER NOT NULL, value NOT NULL) WITHOUT ROWID"
}

export type Reason = "Foreign" | "Newer" | "Corrupt" | "InUse" | "ReadOnly" | "Full" | "TooBig" | "Io" | "Closed"

/** What the driver or the file system said, sorted. */
export class Failure extends Error {
  constructor(
    readonly reason: Reason,
    readonly expected: string,
    readonly found: string,
    cause: unknown = undefined
  ) {
    super(`expected ${expected}, found ${found}`, cause === undefined ? {} : { cause })
    this.name = `SqliteFailure (${reason})`
  }
}

const moved = () => new Failure("Io", "the file that was opened", "it was removed or replaced")

const causeText = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

/** Result codes: https://www.sqlite.org/rescode.html, of which the low byte is the class. */
const reasons: ReadonlyMap<number, readonly [Reason, string]> = new Map([
  [5, ["InUse", "a file that no other process has open"]],
  [6, ["InUse", "a file that no other process has open"]],
  [8, ["ReadOnly", "a file and a directory that can be written"]],
  [11, ["Corrupt", "an undamaged file"]],
  [13, ["Full", "space for more data"]],
  [14, ["Io", "a file that can be opened"]],
  [18, ["TooBig", "a value within the limits of SQLite"]],
  [26, ["Foreign", "a SQLite file"]]
])

const isSqliteError = (cause: unknown): cause is Error & { readonly code: string; readonly rawCode?: number } =>
  cause instanceof Error && "rawCode" in cause

export const isDriverFailure = (cause: unknown): boolean => cause instanceof Failure || isSqliteError(cause)

export const failureOf = (cause: unknown): Failure => {
  if (cause instanceof Failure) return cause
  if (isSqliteError(cause)) {
    // SQLITE_READONLY_DBMOVED
    if (cause.rawCode === 1032) return moved()
    const known = reasons.get((cause.rawCode ?? 0) & 0xff)
    const found = `${cause.message} (${cause.code})`
    return known === undefined
      ? new Failure("Io", "a working file", found, cause)
      : new Failure(known[0], known[1], found, cause)
  }
  const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : ""
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
    return new Failure("ReadOnly", "a file and a directory that can be written", causeText(cause), cause)
  }
  if (code === "ENOSPC" || code === "EDQUOT") return new Failure("Full", "space for more data", causeText(cause), cause)
  return new Failure("Io", "a file that can be opened", causeText(cause), cause)
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

interface Job {
  readonly write: boolean
  readonly run: () => unknown
  readonly settle: (value: unknown, failure: unknown) => void
  started: boolean
}

/** Who keeps a copy of the state in memory: what was written between the two counts from `commit` on, or never. */
export interface Mirror {
  readonly begin: () => void
  readonly commit: () => void
}

/** Writes of one group: enough to share the wait for the disk, few enough not to hold the event loop for long. */
const largestGroup = 512

/** In milliseconds. */
const lookEvery = 1000

export class Connection {
  commits = 0
  writes = 0
  mirror: Mirror | undefined = undefined
  onCommit: ((millis: number, writes: number) => void) | undefined = undefined
  private reads: Array<Job> = []
  private pending: Array<Job> = []
  private pumping: Promise<void> | undefined = undefined
  private closed = false
  private lookedAt = performance.now()

  private constructor(
    readonly path: string,
    private readonly database: Database,
    private readonly begin: Statement,
    private readonly rollback: Statement,
    private readonly inode: number,
    private readonly release: () => void
  ) {}

  static async open(
    path: string,
    options: { readonly synchronous: "full" | "normal"; readonly maxPages: number | undefined; readonly check: boolean }
  ): Promise<Connection> {
    const claimed = claim(path)
    let database: Database | undefined
    try {
      Fs.accessSync(Path.dirname(path), Fs.constants.R_OK | Fs.constants.W_OK | Fs.constants.X_OK)
      await createMissing(path)
      inspectHeader(path)
      Fs.accessSync(path, Fs.constants.R_OK | Fs.constants.W_OK)
      if (options.check) await checkContent(path)
      database = new Database(path, {})
      await lock(database)
      await createSchema(database)
      await database.exec("PRAGMA journal_mode = WAL")
      const mode = await ask(database, "SELECT journal_mode FROM pragma_journal_mode")
      if (mode !== "wal") {
        throw new Failure("Io", "a file system that can hold a write-ahead log", `journal_mode ${mode}`)
      }
      await database.exec(
        `PRAGMA synchronous = ${options.synchronous}; PRAGMA journal_size_limit = 16777216; PRAGMA temp_store = MEMORY`
      )
      if (options.maxPages !== undefined) await database.exec(`PRAGMA max_page_count = ${options.maxPages}`)
      return new Connection(
        path,
        database,
        await database.prepare("BEGIN IMMEDIATE"),
        await database.prepare("ROLLBACK"),
        Fs.statSync(path).ino,
        claimed
      )
    } catch (cause) {
      database?.close()
      claimed()
      throw failureOf(cause)
    }
  }

  prepare(sql: string): Promise<Statement> {
    return this.database.prepare(sql)
  }

  /**
   * Calls `run` later: a write within a transaction, where it must be synchronous, a read outside of one. Answers a
   * function that takes the job back, or says that it is too late.
   */
  submit(write: boolean, run: () => unknown, settle: (value: unknown, failure: unknown) => void): () => boolean {
    if (this.closed) {
      settle(undefined, new Failure("Closed", "an open store", "a closed one"))
      return () => false
    }
    const job: Job = { write, run, settle, started: false }
    const queue = write ? this.pending : this.reads
    queue.push(job)
    this.pumping ??= Promise.resolve().then(() => this.pump())
    return () => {
      if (job.started) return false
      const index = queue.indexOf(job)
      if (index >= 0) queue.splice(index, 1)
      return true
    }
  }

  /** Lets what was asked for finish, folds the log into the file and gives the lock back. */
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    await this.pumping
    try {
      // The driver keeps a connection until its statements are collected, and the connection keeps its lock. Leaving
      // write-ahead mode is what lets go of it at once; it also leaves one file behind instead of three. When that fails,
      // on a full disk say, the log stays for the next opening, and the lock goes with the process.
      await this.database.exec("PRAGMA journal_mode = DELETE")
      Fs.rmSync(`${this.path}-shm`, { force: true })
      await unlock(this.database)
    } finally {
      this.database.close()
      this.release()
    }
  }

  private async pump(): Promise<void> {
    while (this.reads.length > 0 || this.pending.length > 0) {
      const reads = this.reads
      this.reads = []
      for (const job of reads) {
        job.started = true
        try {
          job.settle(await job.run(), undefined)
        } catch (cause) {
          job.settle(undefined, cause)
        }
      }
      if (this.pending.length > 0) await this.commit(this.pending.splice(0, largestGroup))
    }
    this.pumping = undefined
  }

  /**
   * Now and then: a file that was removed or replaced takes writes as before, and nobody would ever see them again.
   */
  private look(): void {
    const now = performance.now()
    if (now - this.lookedAt < lookEvery) return
    if (Fs.statSync(this.path, { throwIfNoEntry: false })?.ino !== this.inode) {
      throw moved()
    }
    this.lookedAt = now
  }

  private async commit(group: ReadonlyArray<Job>): Promise<void> {
    const results: Array<{ readonly value: unknown; readonly failure: unknown }> = []
    const since = performance.now()
    for (const job of group) job.started = true
    try {
      this.look()
      this.mirror?.begin()
      this.begin.run([])
      for (const job of group) {
        try {
          results.push({ value: job.run(), failure: undefined })
        } catch (cause) {
          // What the job itself refused, before it wrote anything, is its own business.
          if (isSqliteError(cause)) throw cause
          results.push({ value: undefined, failure: cause })
        }
      }
      await this.database.exec("COMMIT")
      this.mirror?.commit()
    } catch (cause) {
      try {
        this.rollback.run([])
      } catch {
        // SQLite has rolled back already: https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction
      }
      if (group.length === 1) return group[0].settle(undefined, cause)
      // One of them cannot be written (too big, say): the others shall not pay for it.
      for (const job of group) await this.commit([job])
      return
    }
    this.commits++
    this.writes += group.length
    this.onCommit?.(performance.now() - since, group.length)
    group.forEach((job, index) => job.settle(results[index].value, results[index].failure))
  }
}

/** Files that this process has open. A second look at one of them, by opening and closing it, would drop its lock. */
const held = new Set<string>()

const claim = (path: string): () => void => {
  Fs.mkdirSync(Path.dirname(path), { recursive: true })
  const name = Fs.existsSync(path)
    ? Fs.realpathSync(path)
    : Path.join(Fs.realpathSync(Path.dirname(path)), Path.basename(path))
  if (held.has(name)) throw new Failure("InUse", "a file that is open once", "a store of this process has it open")
  held.add(name)
  return () => void held.delete(name)
}

/** How long a lock is waited for, in milliseconds. */
const lockPatience = 1000

/**
 * Takes the lock and keeps it: a second process is refused from here on. The driver closes a connection a little after
 * it was told to, on another thread, so the one that `checkContent` used may still be there.
 */
const lock = async (database: Database): Promise<void> => {
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

const unlock = async (database: Database): Promise<void> => {
  await database.exec("PRAGMA locking_mode = NORMAL")
  // The change takes effect at the end of the next transaction.
  await database.exec("SELECT count(*) FROM sqlite_master")
}

/** A new file comes into being complete, under another name, so that no crash leaves half of one behind. */
const createMissing = async (path: string): Promise<void> => {
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
  Fs.closeSync(Fs.openSync(temporary, "a"))
  const database = new Database(temporary, {})
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
  const directory = Fs.openSync(Path.dirname(path), "r")
  try {
    Fs.fsyncSync(directory)
  } finally {
    Fs.closeSync(directory)
  }
}

/**
 * The answer of a query, by way of an error message: `exec` frees its statement at once, whereas a prepared one lives
 * until it is collected and keeps its connection, with file descriptor and lock, alive for as long.
 */
const ask = async (database: Database, query: string): Promise<string> => {
  const prefix = "bad JSON path: 'x"
  try {
    await database.exec(`SELECT json_extract('[]', 'x' || (${query}))`)
  } catch (cause) {
    if (!isSqliteError(cause) || !cause.message.startsWith(prefix)) throw cause
    return cause.message.slice(prefix.length, -1).replaceAll("''", "'")
  }
  return ""
}

const createSchema = async (database: Database): Promise<void> => {
  if (await ask(database, "SELECT count(*) FROM sqlite_master") !== "0") return
  await database.exec([
    "BEGIN EXCLUSIVE",
    ...Object.values(schema),
    `PRAGMA application_id = ${applicationId}`,
    `PRAGMA user_version = ${schemaVersion}`,
    "COMMIT"
  ].join("; "))
}

const magic = "SQLite format 3\0"

/**
 * Reads the first bytes only: a file that is not ours is not even opened by SQLite, which could change it by recovering
 * it. Offsets: https://www.sqlite.org/fileformat2.html#the_database_header
 */
const inspectHeader = (path: string): void => {
  const header = Buffer.alloc(100)
  const file = Fs.openSync(path, "r")
  let size: number
  let total: number
  try {
    const stat = Fs.fstatSync(file)
    total = stat.size
    if (!stat.isFile()) throw new Failure("Foreign", "a file", "something else, perhaps a directory")
    size = Fs.readSync(file, header, 0, 100, 0)
  } finally {
    Fs.closeSync(file)
  }
  if (size === 0) return
  const expected = `a SQLite file of Holdfast, with application id ${applicationId}`
  if (size < 100 || header.toString("latin1", 0, 16) !== magic) {
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
  if (total % page !== 0 && !Fs.existsSync(`${path}-wal`)) {
    throw new Failure("Corrupt", `a whole number of pages of ${page} bytes`, `${total} bytes`)
  }
}

/**
 * Looks at everything through a connection that cannot write, so that a damaged file stays as it is for whoever wants to
 * save what is left of it.
 */
const checkContent = async (path: string): Promise<void> => {
  if (Fs.statSync(path).size === 0) return
  const database = new Database(`${pathToFileURL(path).href}?mode=ro`, {})
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

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
import * as Fs from "node:fs"
import * as Path from "node:path"
import { ask, type Database, loadDriver, lock, type Statement, unlock } from "./driver.js"
import { Failure, failureOf, isSqliteError, moved } from "./failure.js"
import { Claim } from "./openFiles.js"
import {
  checkContent,
  createMissing,
  inspectHeader,
  privateDirectory,
  privateFile,
  requireLog,
  syncFile
} from "./opening.js"
import { createSchema, markClosed, markOpen } from "./schema.js"

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

export interface Settings {
  readonly synchronous: "full" | "normal"
  readonly maxPages: number | undefined
  readonly check: boolean
  readonly acceptMissingLog: boolean
}

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
    private readonly identity: Fs.BigIntStats,
    private readonly claim: Claim
  ) {}

  static async open(path: string, settings: Settings): Promise<Connection> {
    const Driver = await loadDriver()
    Fs.mkdirSync(Path.dirname(path), { recursive: true, mode: privateDirectory })
    const claim = new Claim(path)
    let database: Database | undefined
    try {
      Fs.accessSync(Path.dirname(path), Fs.constants.R_OK | Fs.constants.W_OK | Fs.constants.X_OK)
      await createMissing(Driver, path)
      claim.settle()
      const { hasLog } = inspectHeader(path)
      Fs.accessSync(path, Fs.constants.R_OK | Fs.constants.W_OK)
      if (hasLog && !settings.acceptMissingLog) await requireLog(Driver, path)
      if (settings.check) await checkContent(Driver, path)
      database = new Driver(path, {})
      await lock(database)
      await createSchema(database)
      // Folds what a process left that was killed.
      if (hasLog) await setJournalMode(database, "delete")
      await markOpen(database)
      await setJournalMode(database, "wal")
      await database.exec(
        `PRAGMA synchronous = ${settings.synchronous}; PRAGMA journal_size_limit = 16777216; PRAGMA temp_store = MEMORY`
      )
      if (settings.maxPages !== undefined) await database.exec(`PRAGMA max_page_count = ${settings.maxPages}`)
      return new Connection(
        path,
        database,
        await database.prepare("BEGIN IMMEDIATE"),
        await database.prepare("ROLLBACK"),
        Fs.statSync(path, { bigint: true }),
        claim
      )
    } catch (cause) {
      database?.close()
      claim.release()
      throw failureOf(cause)
    }
  }

  /** Of the file, in octal: `600`. */
  get mode(): string {
    return (Number(this.identity.mode) & 0o777).toString(8)
  }

  get openToOthers(): boolean {
    return process.platform !== "win32" && (Number(this.identity.mode) & 0o077) !== 0
  }

  prepare(sql: string): Promise<Statement> {
    return this.database.prepare(sql)
  }

  /**
   * Calls `run` later: a write within a transaction, where it must be synchronous, a read outside of one. Returns a
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

  /** A complete copy, of one file. Writes wait for it. */
  async backup(target: string): Promise<void> {
    if (Fs.existsSync(target)) throw new Failure("Exists", "a file that does not exist yet", `${target} does`)
    const temporary = `${target}.part`
    try {
      // Of a process that was killed.
      Fs.rmSync(temporary, { force: true })
      // With the right mode from the beginning. SQLite fills an empty file.
      Fs.closeSync(Fs.openSync(temporary, "wx", privateFile))
      await this.database.exec(`VACUUM INTO '${temporary.replaceAll("'", "''")}'`)
      syncFile(temporary)
      // Unlike a rename it replaces nothing.
      Fs.linkSync(temporary, target)
      syncFile(Path.dirname(target))
    } catch (cause) {
      throw failureOf(cause)
    } finally {
      Fs.rmSync(temporary, { force: true })
    }
  }

  /** Lets what was asked for finish, folds the log into the file and gives the lock back. */
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    await this.pumping
    try {
      await this.mark()
      // The driver keeps a connection until its statements are collected, and the connection keeps its lock. Leaving
      // write-ahead mode is what lets go of it at once; it also leaves one file behind instead of three. When that fails,
      // on a full disk say, the log stays for the next opening, and the lock goes with the process.
      await setJournalMode(this.database, "delete")
      Fs.rmSync(`${this.path}-shm`, { force: true })
      await unlock(this.database)
    } finally {
      this.database.close()
      this.claim.release()
    }
  }

  private async mark(): Promise<void> {
    try {
      await markClosed(this.database)
    } catch {
      try {
        // The disk is full, say: folding the log makes room.
        await this.database.exec("PRAGMA wal_checkpoint(TRUNCATE)")
        await markClosed(this.database)
      } catch {
        // Missed only when the process is killed between folding the log and leaving write-ahead mode.
      }
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
    const found = Fs.statSync(this.path, { bigint: true, throwIfNoEntry: false })
    if (found?.ino !== this.identity.ino || found.dev !== this.identity.dev) throw moved()
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

const setJournalMode = async (database: Database, mode: "wal" | "delete"): Promise<void> => {
  await database.exec(`PRAGMA journal_mode = ${mode}`)
  const found = await ask(database, "SELECT journal_mode FROM pragma_journal_mode")
  if (found === mode) return
  throw new Failure("Io", "a file system that can hold a write-ahead log", `journal_mode ${found}`)
}

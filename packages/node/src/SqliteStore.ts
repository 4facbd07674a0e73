/**
 * One SQLite file for everything that has to outlast the process: the events of an `EventLog`, the state of the
 * `Ticker`s, and a `KeyValueStore` of `@effect/platform` for the rest.
 *
 * **Guarantees**
 * - What has returned is on the disk: write-ahead log, synced at every commit. After a kill or a loss of power every
 *   acknowledged write is there, and of an unacknowledged one all or nothing. With `synchronous: "normal"` a kill of the
 *   process loses nothing either, a loss of power may lose the last writes.
 * - Group commit: writes that are asked for while a commit is under way share the next one. The wait for the disk is
 *   off the event loop.
 * - A file that is not ours, damaged, written by a newer version, or a copy of an open store without its log is refused
 *   with an `OpenError` that names the path, what was expected and what was found. It is not changed.
 * - One store at a time: the file is locked for as long as it is open, and the kernel drops the lock of a process that was
 *   killed. A second store in the same process is refused by device and inode, whatever the name of the file.
 * - Files are made for their owner alone (0600, new directories 0700). One that others can read is warned about.
 * - Shutdown: a finalizer of the scope waits for what was asked for, folds the log into the file and unlocks it. Nothing
 *   runs in a fiber that an earlier phase of the shutdown would have stopped.
 *
 * **Limits**
 * - Opening reads the whole file once (`check: false` turns that off): a few seconds per gigabyte.
 * - The check finds pages that are not what they should be and events that are missing. It does not find a bit that
 *   flipped inside of a text, and damage to the write-ahead log itself looks to SQLite like the end of the log.
 * - A file that is removed or replaced while it is open is noticed within a second; what was acknowledged in between is
 *   gone with it.
 * - One event log per file. No network file systems: locks and write-ahead logs do not work there.
 * - Do not copy the file while it is open, above all not from within the process that has it open: closing any descriptor
 *   of a file drops the locks of the process on it. `backup` makes a copy.
 * - The driver `libsql` is an optional peer, to be installed beside this package (`npm i libsql@0.5`). It is loaded when the
 *   first store is made; a process that makes none does not need it.
 *
 * @since 0.1.0
 */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as TickerStore from "@holdfast/core/TickerStore"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Path from "node:path"
import { Connection } from "./internal/sqlite/connection.js"
import { makeEntries } from "./internal/sqlite/entries.js"
import { makeEvents } from "./internal/sqlite/events.js"
import { type Failure, failureOf } from "./internal/sqlite/failure.js"
import { makeSubmit } from "./internal/sqlite/submit.js"
import { makeTickers } from "./internal/sqlite/tickers.js"

/**
 * The file, and how safely it is written.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The file. It and its directory are made when they are missing. */
  readonly path: string
  /** `"full"` waits for the disk at every commit, `"normal"` leaves that to the operating system. Default `"full"`. */
  readonly synchronous?: "full" | "normal" | undefined
  /** The file does not grow beyond this many bytes, 65536 at least: writes fail with the reason `Full`. Default: no limit. */
  readonly maxBytes?: number | undefined
  /** Read the whole file when it is opened, and refuse it when it is damaged. Default `true`. */
  readonly check?: boolean | undefined
  /**
   * What to do with a file that was open when its log went missing, as a copy of one of the two files is: `"refuse"` it,
   * or `"accept"` that the newest writes are gone. Default `"refuse"`.
   */
  readonly missingLog?: "refuse" | "accept" | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category models
 */
export const defaults = {
  synchronous: "full",
  check: true,
  missingLog: "refuse"
} as const satisfies Partial<Options>

/**
 * What keeps a file from being opened.
 *
 * - `Foreign`: not a SQLite file, or one of another application.
 * - `Newer`: written by a newer release.
 * - `Corrupt`: damaged, or without the log that belongs to it.
 * - `InUse`: open already, in another process or in this one.
 * - `ReadOnly`, `Full`, `Io`: the file system says no.
 * - `NoDriver`: the package `libsql`, or its binary for this platform, is not installed.
 *
 * @since 0.1.0
 * @category errors
 */
export class OpenError extends Schema.TaggedError<OpenError>("@holdfast/node/SqliteStore/OpenError")(
  "SqliteOpenError",
  {
    path: Schema.String,
    reason: Schema.Literal("Foreign", "Newer", "Corrupt", "InUse", "ReadOnly", "Full", "Io", "NoDriver"),
    expected: Schema.String,
    found: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  override get message(): string {
    return `Cannot open the store ${this.path}: expected ${this.expected}, found ${this.found}`
  }
}

/**
 * What keeps a backup from being made. Nothing is left at its path.
 *
 * - `Exists`: there is a file at the path.
 * - `ReadOnly`, `Full`, `Io`: the file system says no. `Corrupt`: the store is damaged. `Closed`: it has been closed.
 *
 * @since 0.1.0
 * @category errors
 */
export class BackupError extends Schema.TaggedError<BackupError>("@holdfast/node/SqliteStore/BackupError")(
  "SqliteBackupError",
  {
    path: Schema.String,
    reason: Schema.Literal("Exists", "ReadOnly", "Full", "Corrupt", "Closed", "Io"),
    expected: Schema.String,
    found: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  override get message(): string {
    return `Cannot make the backup ${this.path}: expected ${this.expected}, found ${this.found}`
  }
}

/**
 * What the store has written, and what it holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly path: string
  /** Transactions since the file was opened. */
  readonly commits: number
  /** Writes in these. `writes / commits` is what group commit gains. */
  readonly writes: number
  /** The events that are stored; none when `first` is `last + 1`. */
  readonly events: { readonly first: number; readonly last: number }
}

/**
 * An open file.
 *
 * @since 0.1.0
 * @category tags
 */
export class SqliteStore extends Context.Tag("@holdfast/node/SqliteStore")<SqliteStore, {
  readonly path: string
  readonly events: EventLogStore.Store["Type"]
  readonly tickers: TickerStore.Service
  readonly entries: KeyValueStore.KeyValueStore
  readonly stats: Effect.Effect<Stats>
  /**
   * Makes a complete copy of the open store, as one file that can be opened as a store. It appears at `path` when it is
   * whole and on the disk; a file that is there already is not replaced. Writes wait meanwhile, seconds per gigabyte.
   */
  readonly backup: (path: string) => Effect.Effect<void, BackupError>
}>() {}

const commitDuration = Metric.histogram(
  "holdfast_sqlite_commit_duration_seconds",
  MetricBoundaries.fromIterable([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1]),
  "Seconds that a commit took, the wait for the disk included"
)

const writesTotal = Metric.counter("holdfast_sqlite_writes_total", {
  description: "Writes that were committed",
  incremental: true
})

const noTags: ReadonlyArray<never> = []

/**
 * Opens a file for as long as the scope.
 *
 * @example
 * ```ts
 * import * as SqliteStore from "@holdfast/node/SqliteStore"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* SqliteStore.make({ path: "data/world.db" })
 *   yield* store.entries.set("motd", "Welcome")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<SqliteStore["Type"], OpenError | InvalidOption.InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const { path, ...settings } = yield* InvalidOption.check(() => checked(options))
    const connection = yield* Cleanup.acquireRelease(
      Effect.tryPromise({
        try: () => Connection.open(path, settings),
        catch: (cause) => openError(path, failureOf(cause))
      }),
      { label: `sqlite ${path}: close` },
      (connection) => Effect.tryPromise({ try: () => connection.close(), catch: failureOf })
    )
    connection.onCommit = (millis, writes) => {
      commitDuration.unsafeUpdate(millis / 1000, noTags)
      writesTotal.unsafeUpdate(writes, noTags)
    }
    if (connection.openToOthers) {
      yield* Effect.logWarning(
        `The store ${path} can be opened by others than its owner (mode ${connection.mode}): chmod 600 it, unless that is meant`
      )
    }
    const submit = makeSubmit(connection)
    const { bounds, events } = yield* Effect.tryPromise({
      try: () => makeEvents(connection, path, submit),
      catch: (cause) => openError(path, failureOf(cause))
    })
    return {
      path,
      events,
      tickers: yield* Effect.promise(() => makeTickers(connection, path, submit)),
      entries: yield* Effect.promise(() => makeEntries(connection, path, submit)),
      stats: Effect.sync(() => ({ path, commits: connection.commits, writes: connection.writes, events: bounds() })),
      backup: (target) =>
        Effect.suspend(() => {
          const path = Path.resolve(target)
          return Effect.mapError(submit(false, () => connection.backup(path)), (failure) => backupError(path, failure))
        })
    }
  })

/** What the driver makes of these is not a file of that name. */
const noFile = (path: string) => path === "" || path === ":memory:" || path.startsWith("file:") || path.includes("\0")

const checked = ({
  check = defaults.check,
  maxBytes,
  missingLog = defaults.missingLog,
  path,
  synchronous = defaults.synchronous
}: Options) => {
  const { unsafeCheck, unsafeWhole } = InvalidOption
  unsafeCheck(
    "SqliteStore.path",
    path,
    (path) => typeof path === "string" && !noFile(path),
    "the path of a file; what need not outlast the process is kept by EventLogStore.layerStoreMemory, TickerStore.layerStoreMemory and KeyValueStore.layerMemory"
  )
  unsafeCheck("SqliteStore.synchronous", synchronous, (s) => s === "full" || s === "normal", "\"full\" or \"normal\"")
  unsafeCheck("SqliteStore.missingLog", missingLog, (m) => m === "refuse" || m === "accept", "\"refuse\" or \"accept\"")
  unsafeCheck("SqliteStore.check", check, (check) => typeof check === "boolean", "true or false")
  if (maxBytes !== undefined) unsafeWhole("SqliteStore.maxBytes", maxBytes, { min: 65_536 })
  return {
    path: Path.resolve(path),
    synchronous,
    check,
    maxPages: maxBytes === undefined ? undefined : Math.floor(maxBytes / 4096),
    acceptMissingLog: missingLog === "accept"
  }
}

const openError = (path: string, { cause, expected, found, reason }: Failure): OpenError =>
  new OpenError({
    path,
    reason: reason === "TooBig" || reason === "Closed" || reason === "Exists" ? "Io" : reason,
    expected,
    found,
    ...(cause === undefined ? {} : { cause })
  })

const backupError = (path: string, { cause, expected, found, reason }: Failure): BackupError =>
  new BackupError({
    path,
    reason:
      reason === "Exists" || reason === "ReadOnly" || reason === "Full" || reason === "Corrupt" || reason === "Closed"
        ? reason
        : "Io",
    expected,
    found,
    ...(cause === undefined ? {} : { cause })
  })

/**
 * Everything that the file holds, each under its own tag.
 *
 * @example
 * ```ts
 * import * as SqliteStore from "@holdfast/node/SqliteStore"
 *
 * const stores = SqliteStore.layer({ path: "data/world.db" })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  SqliteStore | EventLogStore.Store | TickerStore.Store | KeyValueStore.KeyValueStore,
  OpenError | InvalidOption.InvalidOption
> =>
  Layer.scopedContext(Effect.map(make(options), (store) =>
    Context.make(SqliteStore, store).pipe(
      Context.add(EventLogStore.Store, store.events),
      Context.add(TickerStore.Store, store.tickers),
      Context.add(KeyValueStore.KeyValueStore, store.entries)
    )))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<
  SqliteStore | EventLogStore.Store | TickerStore.Store | KeyValueStore.KeyValueStore,
  OpenError | InvalidOption.InvalidOption | ConfigError.ConfigError
> = InvalidOption.fromConfig(layer)

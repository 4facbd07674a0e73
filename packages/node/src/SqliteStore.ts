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
 * - A file that is not ours, damaged, or written by a newer version is refused with an `OpenError` that names the path,
 *   what was expected and what was found. It is not changed.
 * - One process at a time: the file is locked for as long as it is open, and the kernel drops the lock of a process that
 *   was killed.
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
 *   of a file drops the locks of the process on it.
 *
 * @since 0.1.0
 */
import * as PlatformError from "@effect/platform/Error"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Path from "node:path"
import {
  bytesOf,
  Connection,
  decodeText,
  encodeText,
  type Failure,
  failureOf,
  isDriverFailure,
  type Reason
} from "./internal/sqlite.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The file. It and its directory are made when they are missing. */
  readonly path: string
  /** `"full"` waits for the disk at every commit, `"normal"` leaves that to the operating system. Default `"full"`. */
  readonly synchronous?: "full" | "normal"
  /** The file does not grow beyond this many bytes: writes fail with the reason `"Full"`. Default: no limit. */
  readonly maxBytes?: number
  /** Read the whole file when it is opened, and refuse it when it is damaged. Default `true`. */
  readonly check?: boolean
}

/**
 * What keeps a file from being opened.
 *
 * - `Foreign`: not a SQLite file, or one of another application.
 * - `Newer`: written by a newer release.
 * - `Corrupt`: damaged.
 * - `InUse`: open already, in another process or in this one.
 * - `ReadOnly`, `Full`, `Io`: the file system says no.
 *
 * @since 0.1.0
 * @category errors
 */
export class OpenError extends Schema.TaggedError<OpenError>("@holdfast/node/SqliteStore/OpenError")(
  "SqliteOpenError",
  {
    path: Schema.String,
    reason: Schema.Literal("Foreign", "Newer", "Corrupt", "InUse", "ReadOnly", "Full", "Io"),
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
}>() {}

const commitMillis = Metric.histogram(
  "holdfast_sqlite_commit_ms",
  MetricBoundaries.fromIterable([0.5, 1, 2, 5, 10, 20, 50, 100, 500, 1000]),
  "Milliseconds that a commit took, the wait for the disk included"
)

const writesTotal = Metric.counter("holdfast_sqlite_writes_total", {
  description: "Writes that were committed",
  incremental: true
})

const noTags: ReadonlyArray<never> = []

/** Rows that are deleted in one go, so that trimming does not hold up the event loop or an append. */
const trimmedAtOnce = 2000

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
export const make = (options: Options): Effect.Effect<SqliteStore["Type"], OpenError, Scope.Scope> =>
  Effect.gen(function*() {
    const path = Path.resolve(options.path)
    const maxPages = options.maxBytes === undefined ? undefined : Math.max(1, Math.floor(options.maxBytes / 4096))
    const connection = yield* Cleanup.acquireRelease(
      Effect.tryPromise({
        try: () =>
          Connection.open(path, {
            synchronous: options.synchronous ?? "full",
            maxPages,
            check: options.check ?? true
          }),
        catch: (cause) => openError(path, failureOf(cause))
      }),
      { label: `sqlite ${path}: close` },
      (connection) => Effect.tryPromise({ try: () => connection.close(), catch: failureOf })
    )
    connection.onCommit = (millis, writes) => {
      commitMillis.unsafeUpdate(millis, noTags)
      writesTotal.unsafeUpdate(writes, noTags)
    }

    /**
     * Interrupting a write that waits for its turn takes it back. One that is under way is waited for, so that nobody is
     * told that it did not happen when it does.
     */
    const submit = <A>(write: boolean, run: () => A | PromiseLike<A>): Effect.Effect<A, Failure> =>
      Effect.suspend(() => {
        let over = false
        let onOver = () => {}
        let takeBack = () => true
        const result = Effect.async<A, Failure>((resume) => {
          takeBack = connection.submit(write, run, (value, failure) => {
            resume(
              failure === undefined
                ? Effect.succeed(value as A)
                : isDriverFailure(failure)
                ? Effect.fail(failureOf(failure))
                : Effect.die(failure)
            )
            over = true
            onOver()
          })
        })
        // around the wait: one that `async` answers is lost on a fiber that is interrupted between registering and waiting
        return Effect.onInterrupt(result, () =>
          Effect.async<void>((done) => {
            onOver = () => done(Effect.void)
            if (over || takeBack()) done(Effect.void)
          }))
      })

    const { bounds, events } = yield* Effect.tryPromise({
      try: () => makeEvents(connection, path, submit),
      catch: (cause) => openError(path, failureOf(cause))
    })
    return {
      path,
      events,
      tickers: yield* Effect.promise(() => makeTickers(connection, path, submit)),
      entries: yield* Effect.promise(() => makeEntries(connection, path, submit)),
      stats: Effect.sync(() => ({ path, commits: connection.commits, writes: connection.writes, events: bounds() }))
    }
  })

type Submit = <A>(write: boolean, run: () => A | PromiseLike<A>) => Effect.Effect<A, Failure>

const openError = (path: string, { cause, expected, found, reason }: Failure): OpenError =>
  new OpenError({
    path,
    reason: reason === "TooBig" || reason === "Closed" ? "Io" : reason,
    expected,
    found,
    ...(cause === undefined ? {} : { cause })
  })

/** The reasons to refuse a file cannot come from an open one, but for what the driver says of a damaged page. */
const openReason = (reason: Reason) =>
  reason === "Foreign" ? "Corrupt" : reason === "Newer" || reason === "InUse" ? "Io" : reason

const storeError = (path: string, operation: EventLogStore.StoreError["operation"]) => (failure: Failure) =>
  new EventLogStore.StoreError({
    operation,
    reason: openReason(failure.reason),
    details: `${path}: expected ${failure.expected}, found ${failure.found}`,
    ...(failure.cause === undefined ? {} : { cause: failure.cause })
  })

const makeEvents = async (connection: Connection, path: string, submit: Submit) => {
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

const makeTickers = async (connection: Connection, path: string, submit: Submit): Promise<TickerStore.Service> => {
  const select = await connection.prepare("SELECT number, world, at FROM tickers WHERE name = ?")
  const replace = await connection.prepare(
    "INSERT OR REPLACE INTO tickers (name, number, world, at) VALUES (?, ?, ?, ?)"
  )
  const failed = (ticker: string, operation: "load" | "save") => (failure: Failure) =>
    new TickerStore.StoreError({
      ticker,
      operation,
      reason: `${path}: expected ${failure.expected}, found ${failure.found}`,
      cause: failure.cause
    })
  return {
    load: (name) =>
      submit(false, () => {
        const row = select.get([encodeText(name)])
        return row === undefined
          ? Option.none()
          : Option.some({ number: Number(row.number), elapsedMillis: Number(row.world), at: Number(row.at) })
      }).pipe(Effect.mapError(failed(name, "load"))),
    save: (name, state) =>
      submit(true, () => void replace.run([encodeText(name), state.number, state.elapsedMillis, state.at])).pipe(
        Effect.mapError(failed(name, "save"))
      )
  }
}

const systemReasons: Partial<Record<Reason, PlatformError.SystemErrorReason>> = {
  Corrupt: "InvalidData",
  Foreign: "InvalidData",
  InUse: "Busy",
  ReadOnly: "PermissionDenied",
  Full: "WriteZero",
  Closed: "BadResource"
}

const makeEntries = async (
  connection: Connection,
  path: string,
  submit: Submit
): Promise<KeyValueStore.KeyValueStore> => {
  const select = await connection.prepare("SELECT bytes, value FROM entries WHERE key = ?")
  const replace = await connection.prepare("INSERT OR REPLACE INTO entries (key, bytes, value) VALUES (?, ?, ?)")
  const remove = await connection.prepare("DELETE FROM entries WHERE key = ?")
  const clear = await connection.prepare("DELETE FROM entries")
  const count = await connection.prepare("SELECT count(*) AS count FROM entries")

  const failed = (method: string) => (failure: Failure) =>
    new PlatformError.SystemError({
      reason: systemReasons[failure.reason] ?? "Unknown",
      module: "KeyValueStore",
      method,
      pathOrDescriptor: path,
      description: `expected ${failure.expected}, found ${failure.found}`,
      cause: failure.cause
    })
  const find = (key: string): string | Uint8Array | undefined => {
    const row = select.get([encodeText(key)])
    if (row === undefined) return undefined
    return row.bytes === 1 ? new Uint8Array(bytesOf(row.value)) : decodeText(row.value)
  }
  const put = (key: string, value: string | Uint8Array): void => {
    if (typeof value === "string") replace.run([encodeText(key), 0, encodeText(value)])
    else replace.run([encodeText(key), 1, bytesOf(value)])
  }
  const text = (value: string | Uint8Array) => typeof value === "string" ? value : Encoding.encodeBase64(value)
  const bytes = (value: string | Uint8Array) => typeof value === "string" ? new TextEncoder().encode(value) : value
  const get = <A>(method: string, key: string, as: (value: string | Uint8Array) => A) =>
    submit(false, () => Option.map(Option.fromNullable(find(key)), as)).pipe(Effect.mapError(failed(method)))
  /** Reads and writes in one transaction: nothing gets in between. */
  const modify = <A extends string | Uint8Array>(
    method: string,
    key: string,
    as: (value: string | Uint8Array) => A,
    f: (value: A) => A
  ) =>
    submit(true, () =>
      Option.map(Option.fromNullable(find(key)), (value) => {
        const next = f(as(value))
        put(key, next)
        return next
      })).pipe(Effect.mapError(failed(method)))

  return KeyValueStore.make({
    get: (key) => get("get", key, text),
    getUint8Array: (key) => get("getUint8Array", key, bytes),
    set: (key, value) => submit(true, () => put(key, value)).pipe(Effect.mapError(failed("set"))),
    remove: (key) => submit(true, () => void remove.run([encodeText(key)])).pipe(Effect.mapError(failed("remove"))),
    clear: submit(true, () => void clear.run([])).pipe(Effect.mapError(failed("clear"))),
    size: submit(false, () => Number(count.get([])?.count)).pipe(Effect.mapError(failed("size"))),
    modify: (key, f) => modify("modify", key, text, f),
    modifyUint8Array: (key, f) => modify("modifyUint8Array", key, bytes, f)
  })
}

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
): Layer.Layer<SqliteStore | EventLogStore.Store | TickerStore.Store | KeyValueStore.KeyValueStore, OpenError> =>
  Layer.scopedContext(Effect.map(make(options), (store) =>
    Context.make(SqliteStore, store).pipe(
      Context.add(EventLogStore.Store, store.events),
      Context.add(TickerStore.Store, store.tickers),
      Context.add(KeyValueStore.KeyValueStore, store.entries)
    )))

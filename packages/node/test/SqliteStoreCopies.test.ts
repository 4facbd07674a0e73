import { assert, describe, it } from "@effect/vitest"
import { assertSome } from "@effect/vitest/utils"
import type * as EventLogStore from "@holdfast/core/EventLogStore"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Effect, Exit, Fiber, Logger, Scope } from "effect"
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const scratch = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-copy-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const rows = (from: number, to: number): Array<EventLogStore.Stored> =>
  Array.from({ length: to - from + 1 }, (_, index) => ({
    id: from + index,
    at: from + index,
    topic: "room.1",
    tag: "Moved",
    payload: JSON.stringify({ text: "x".repeat(200) }),
    meta: "{}"
  }))

const openError = (options: SqliteStore.Options) =>
  Effect.flip(Effect.catchTag(Effect.scoped(SqliteStore.make(options)), "InvalidOption", Effect.die))

const boundsOf = (path: string) =>
  Effect.scoped(Effect.flatMap(SqliteStore.make({ path }), (store) => store.events.bounds))

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8)

describe("SqliteStore.backup", () => {
  it.scopedLive("makes a whole copy of an open store, while others write", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const store = yield* SqliteStore.make({ path: join(directory, "store.db") })
      yield* store.events.append(rows(1, 500))
      yield* store.tickers.save("world", { number: 7, elapsedMillis: 700, at: 1 })
      yield* store.entries.set("motd", "Welcome")
      const writing = yield* Effect.fork(
        Effect.forEach(rows(501, 700), (row) => store.events.append([row]), { discard: true })
      )
      const copy = join(directory, "o'clock \"backup\".db")
      yield* store.backup(copy)
      yield* Fiber.join(writing)
      assert.deepStrictEqual(yield* store.events.bounds, { first: 1, last: 700 })
      assert.deepStrictEqual(
        readdirSync(directory).filter((name) => !name.startsWith("store.db")),
        ["o'clock \"backup\".db"]
      )
      assert.strictEqual(mode(copy), "600")
      const copied = yield* SqliteStore.make({ path: copy })
      const { first, last } = yield* copied.events.bounds
      assert.strictEqual(first, 1)
      assert.isAtLeast(last, 500)
      assert.deepStrictEqual(yield* copied.events.read({ after: 0, limit: 1000 }), rows(1, last))
      assertSome(yield* copied.tickers.load("world"), { number: 7, elapsedMillis: 700, at: 1 })
      assertSome(yield* copied.entries.get("motd"), "Welcome")
      // The two are independent from here on.
      yield* copied.events.append(rows(last + 1, last + 1))
    }))

  it.scopedLive("replaces nothing, and leaves nothing behind when it fails", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "store.db")
      const scope = yield* Scope.make()
      const store = yield* Scope.extend(SqliteStore.make({ path }), scope)
      yield* store.events.append(rows(1, 3))
      writeFileSync(join(directory, "precious"), "diary")
      const failure = (target: string) => Effect.map(Effect.flip(store.backup(target)), ({ reason }) => reason)
      assert.strictEqual(yield* failure(join(directory, "precious")), "Exists")
      assert.strictEqual(yield* failure(path), "Exists")
      assert.strictEqual(readFileSync(join(directory, "precious"), "utf8"), "diary")
      const error = yield* Effect.flip(store.backup(join(directory, "missing", "copy.db")))
      assert.strictEqual(error.reason, "Io")
      assert.include(error.message, join(directory, "missing", "copy.db"))
      yield* store.events.append(rows(4, 4))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* failure(join(directory, "late.db")), "Closed")
      assert.deepStrictEqual(readdirSync(directory).sort(), ["precious", "store.db"])
    }))
})

describe("SqliteStore refuses a copy that was made without the log", () => {
  it.scopedLive("and opens what is left when it is told to", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "store.db")
      const copy = join(directory, "copy.db")
      const store = yield* SqliteStore.make({ path })
      yield* store.events.append(rows(1, 3))
      copyFileSync(path, copy)
      const before = readFileSync(copy)
      for (const check of [true, false]) {
        const error = yield* openError({ path: copy, check })
        assert.strictEqual(error.reason, "Corrupt")
        assert.include(error.expected, `${copy}-wal`)
        assert.include(error.found, "copy")
        assert.isTrue(before.equals(readFileSync(copy)))
        assert.deepStrictEqual(readdirSync(directory).filter((name) => name.startsWith("copy")), ["copy.db"])
      }
      yield* Effect.scoped(SqliteStore.make({ path: copy, missingLog: "accept" }))
      assert.deepStrictEqual(yield* boundsOf(copy), { first: 1, last: 0 })
      // With both files nothing is lost.
      copyFileSync(path, join(directory, "both.db"))
      copyFileSync(`${path}-wal`, join(directory, "both.db-wal"))
      assert.deepStrictEqual(yield* boundsOf(join(directory, "both.db")), { first: 1, last: 3 })
    }))

  it.scopedLive("but not what was closed, reopened, or cut off at the end of its close", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "store.db")
      for (let round = 1; round <= 3; round++) {
        yield* Effect.scoped(
          Effect.flatMap(SqliteStore.make({ path }), (store) => store.events.append(rows(round, round)))
        )
        copyFileSync(path, join(directory, `closed-${round}.db`))
        assert.deepStrictEqual(yield* boundsOf(join(directory, `closed-${round}.db`)), { first: 1, last: round })
      }
      // As a kill leaves it between folding the log and leaving write-ahead mode: the header says that there is a log.
      const bytes = readFileSync(path)
      bytes[18] = bytes[19] = 2
      writeFileSync(path, bytes)
      const store = yield* SqliteStore.make({ path })
      assert.deepStrictEqual(yield* store.events.bounds, { first: 1, last: 3 })
      // Open again, it is one that a copy must not be made of.
      copyFileSync(path, join(directory, "copy.db"))
      assert.strictEqual((yield* openError({ path: join(directory, "copy.db") })).reason, "Corrupt")
    }))
})

describe("SqliteStore is for its owner", () => {
  const umask = (mask: number) =>
    Effect.acquireRelease(Effect.sync(() => process.umask(mask)), (before) => Effect.sync(() => process.umask(before)))

  const warnings = <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        if (logLevel.label === "WARN") lines.push(String(message))
      })
      return Effect.as(Effect.provide(self, Logger.replace(Logger.defaultLogger, logger)), lines)
    })

  it.scopedLive("alone, whatever the umask: the file, its log, and the directories that it makes", () =>
    Effect.gen(function*() {
      yield* umask(0)
      const directory = yield* scratch
      const path = join(directory, "a", "b", "store.db")
      const lines = yield* warnings(Effect.scoped(Effect.gen(function*() {
        const store = yield* SqliteStore.make({ path })
        yield* store.events.append(rows(1, 3))
        assert.strictEqual(mode(`${path}-wal`), "600")
        yield* store.backup(join(directory, "copy.db"))
      })))
      assert.deepStrictEqual(lines, [])
      assert.deepStrictEqual([mode(join(directory, "a")), mode(join(directory, "a", "b"))], ["700", "700"])
      assert.deepStrictEqual([mode(path), mode(join(directory, "copy.db"))], ["600", "600"])
    }))

  it.scopedLive("and says so when others can open it", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      yield* Effect.scoped(SqliteStore.make({ path }))
      for (const [bits, warned] of [[0o600, 0], [0o640, 1], [0o604, 1], [0o666, 1], [0o700, 0]] as const) {
        chmodSync(path, bits)
        const lines = yield* warnings(Effect.scoped(SqliteStore.make({ path })))
        assert.strictEqual(lines.length, warned, bits.toString(8))
        assert.isTrue(lines.every((line) => line.includes(path) && line.includes(bits.toString(8))))
        // What its owner chose stays.
        assert.strictEqual(mode(path), bits.toString(8))
      }
    }))
})

describe("SqliteStore refuses options that make no sense", () => {
  const nonsense: ReadonlyArray<readonly [option: string, options: Record<string, unknown>]> = [
    ["path", { path: ":memory:" }],
    ["path", { path: "" }],
    ["path", { path: "file:x.db?mode=memory" }],
    ["path", { path: "a\0b" }],
    ["path", { path: undefined }],
    ["path", { path: 7 }],
    ["synchronous", { synchronous: "off" }],
    ["synchronous", { synchronous: null }],
    ["missingLog", { missingLog: "ignore" }],
    ["check", { check: "yes" }],
    ["maxBytes", { maxBytes: Number.NaN }],
    ["maxBytes", { maxBytes: -5 }],
    ["maxBytes", { maxBytes: 0 }],
    ["maxBytes", { maxBytes: 4096 }],
    ["maxBytes", { maxBytes: 1e5 + 0.5 }],
    ["maxBytes", { maxBytes: Number.POSITIVE_INFINITY }]
  ]
  for (const [option, options] of nonsense) {
    it.scopedLive(`${option}: ${JSON.stringify(options, (_, value) => typeof value === "number" ? String(value) : value)}`, () =>
      Effect.gen(function*() {
        const directory = yield* scratch
        const error = yield* Effect.flip(
          Effect.scoped(SqliteStore.make({ path: join(directory, "store.db"), ...options } as SqliteStore.Options))
        )
        assert.strictEqual(error._tag, "InvalidOption")
        if (error._tag === "InvalidOption") assert.strictEqual(error.option, `SqliteStore.${option}`)
        if (option === "path") assert.include(error.message, "layerStoreMemory")
        assert.deepStrictEqual(readdirSync(directory), [])
        assert.isFalse(existsSync(":memory:"))
      }))
  }
})

describe("@holdfast/node without the binary of the driver", () => {
  /** Node, with a hook that finds no `libsql`. */
  const withoutDriver = (program: string) => {
    const hook = `export const resolve = (name, context, next) => {
      if (name.startsWith("libsql")) throw Object.assign(new Error("Cannot find package 'libsql'"), { code: "ERR_MODULE_NOT_FOUND" })
      return next(name, context)
    }`
    const register = `import { register } from "node:module"; register("data:text/javascript,${
      encodeURIComponent(hook)
    }")`
    const { stderr, stdout } = spawnSync(process.execPath, [
      "--import",
      `data:text/javascript,${encodeURIComponent(register)}`,
      "--input-type=module",
      "-e",
      program
    ], { cwd: import.meta.dirname, encoding: "utf8" })
    assert.strictEqual(stderr, "")
    return stdout.trim()
  }

  it("is imported all the same; making a store says what is missing (daily)", () => {
    assert.strictEqual(
      withoutDriver(`
        import { NodeServer, SqliteStore } from "@holdfast/node"
        import { Effect } from "effect"
        const error = await Effect.runPromise(Effect.flip(Effect.scoped(SqliteStore.make({ path: "nowhere/x.db" }))))
        console.log(typeof NodeServer.layer, error._tag, error.reason, error.message.includes("npm i libsql"))
      `),
      "function SqliteOpenError NoDriver true"
    )
    assert.isFalse(existsSync(join(import.meta.dirname, "nowhere")))
  }, 60_000)
})

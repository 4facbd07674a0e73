import { KeyValueStore } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { assertFailure, assertNone, assertSome } from "@effect/vitest/utils"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as EventBus from "@holdfast/core/EventBus"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Ticker from "@holdfast/core/Ticker"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Cause, Context, Effect, Either, Exit, Fiber, Layer, Option, Schema, Scope, TestClock } from "effect"
import Database from "libsql"
import { spawn } from "node:child_process"
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const scratch = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-file-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const rows = (from: number, to: number, text = "x"): Array<EventLogStore.Stored> =>
  Array.from({ length: to - from + 1 }, (_, index) => ({
    id: from + index,
    at: from + index,
    topic: "room.1",
    tag: "Moved",
    payload: JSON.stringify({ text }),
    meta: "{}"
  }))

const openError = (path: string) =>
  Effect.flip(Effect.catchTag(Effect.scoped(SqliteStore.make({ path })), "InvalidOption", Effect.die))

const refused = (path: string) =>
  Effect.gen(function*() {
    const before = existsSync(path) && statSync(path).isFile() ? readFileSync(path) : undefined
    const error = yield* openError(path)
    if (before !== undefined) assert.isTrue(before.equals(readFileSync(path)), "the file was changed")
    assert.strictEqual(error._tag, "SqliteOpenError")
    assert.strictEqual(error.path, path)
    assert.include(error.message, path)
    assert.include(error.message, error.expected)
    assert.include(error.message, error.found)
    return error.reason
  })

/** A copy of the file and of its log, as a power cut would leave them: the store is still open and writing. */
const crash = (from: string, to: string) => {
  copyFileSync(from, to)
  if (existsSync(`${from}-wal`)) copyFileSync(`${from}-wal`, `${to}-wal`)
}

describe("SqliteStore opens", () => {
  it.scopedLive("a missing file, in a missing directory, and leaves one file behind", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "some", "where", "store.db")
      yield* Effect.scoped(Effect.flatMap(SqliteStore.make({ path }), (store) => store.events.append(rows(1, 3))))
      assert.deepStrictEqual(readdirSync(join(directory, "some", "where")), ["store.db"])
    }))

  it.scopedLive("an empty file, a path with odd characters, and a link", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "a b%20?mode=ro#'é.db")
      writeFileSync(path, "")
      yield* Effect.scoped(Effect.flatMap(SqliteStore.make({ path }), (store) => store.events.append(rows(1, 3))))
      symlinkSync(path, join(directory, "link.db"))
      const store = yield* SqliteStore.make({ path: join(directory, "link.db") })
      assert.deepStrictEqual(yield* store.events.bounds, { first: 1, last: 3 })
      assert.strictEqual(yield* refused(join(directory, "link.db")), "InUse")
    }))
})

describe("SqliteStore refuses", () => {
  it.scopedLive("what is not its own, and does not touch it", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const text = join(directory, "notes.txt")
      writeFileSync(text, "Dear diary,\n".repeat(1000))
      assert.strictEqual(yield* refused(text), "Foreign")
      const short = join(directory, "short")
      writeFileSync(short, "SQLite format 3\0")
      assert.strictEqual(yield* refused(short), "Foreign")
      const other = join(directory, "other.db")
      const database = new Database(other)
      database.exec("CREATE TABLE precious (a); INSERT INTO precious VALUES (1)")
      database.close()
      assert.strictEqual(yield* refused(other), "Foreign")
      assert.deepStrictEqual(readdirSync(directory).sort(), ["notes.txt", "other.db", "short"])
      mkdirSync(join(directory, "d"))
      assert.include(["Foreign", "Io"], yield* refused(join(directory, "d")))
    }))

  it.scopedLive("a log whose file is gone", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "store.db")
      const lost = join(directory, "lost.db")
      const store = yield* SqliteStore.make({ path })
      yield* store.events.append(rows(1, 3))
      copyFileSync(`${path}-wal`, `${lost}-wal`)
      const log = readFileSync(`${lost}-wal`)
      assert.strictEqual((yield* openError(lost)).reason, "Corrupt")
      writeFileSync(lost, "")
      assert.strictEqual(yield* refused(lost), "Corrupt")
      assert.isTrue(log.equals(readFileSync(`${lost}-wal`)))
    }))

  it.scopedLive("a newer file", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      yield* Effect.scoped(SqliteStore.make({ path }))
      const bytes = readFileSync(path)
      bytes.writeUInt32BE(2, 60)
      writeFileSync(path, bytes)
      assert.strictEqual(yield* refused(path), "Newer")
    }))

  it.scopedLive("a damaged file, cut short or overwritten, with or without a log", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "store.db")
      yield* Effect.scoped(
        Effect.flatMap(SqliteStore.make({ path }), (store) => store.events.append(rows(1, 500, "y".repeat(200))))
      )
      const good = readFileSync(path)
      const damaged = join(directory, "damaged.db")
      for (let page = 1; page < good.length / 4096; page++) {
        const bytes = Buffer.from(good)
        bytes.fill(0xa5, page * 4096, (page + 1) * 4096)
        writeFileSync(damaged, bytes)
        assert.deepStrictEqual([page, yield* Effect.either(refused(damaged))], [page, Either.right("Corrupt")])
      }
      for (const size of [100, 4096, 10_000, good.length - 1, good.length - 4096]) {
        writeFileSync(damaged, good.subarray(0, size))
        assert.strictEqual(yield* refused(damaged), "Corrupt", `${size} bytes`)
      }
      // With events missing in the middle.
      const gap = join(directory, "gap.db")
      writeFileSync(gap, good)
      const database = new Database(gap)
      database.exec("DELETE FROM events WHERE id = 250")
      database.close()
      assert.strictEqual(yield* refused(gap), "Corrupt")
      // With a log that was not folded in yet: neither of the two is changed.
      const store = yield* SqliteStore.make({ path })
      yield* store.events.append(rows(501, 600))
      crash(path, damaged)
      const bytes = readFileSync(damaged)
      bytes.fill(0xa5, 4096 * 8, 4096 * 9)
      writeFileSync(damaged, bytes)
      const log = readFileSync(`${damaged}-wal`)
      assert.strictEqual(yield* refused(damaged), "Corrupt")
      assert.isTrue(log.equals(readFileSync(`${damaged}-wal`)))
    }), 60_000)

  it.scopedLive("a file that this process, or another one, has open", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "store.db")
      const scope = yield* Scope.make()
      yield* Scope.extend(SqliteStore.make({ path }), scope)
      assert.include((yield* openError(path)).found, "this process")
      const holder = Effect.scoped(Effect.gen(function*() {
        const child = spawn(process.execPath, [
          "--input-type=module",
          "-e",
          `import Database from "libsql"; const d = new Database(process.argv[1]);
           try { d.exec("BEGIN EXCLUSIVE"); console.log("held"); setInterval(() => {}, 1000) }
           catch (e) { console.log(e.code); process.exit(0) }`,
          path
        ], { cwd: import.meta.dirname })
        yield* Effect.addFinalizer(() =>
          Effect.async<void>((resume) => {
            if (child.exitCode !== null) return resume(Effect.void)
            child.on("exit", () => resume(Effect.void))
            child.kill("SIGKILL")
          })
        )
        const said = yield* Effect.async<string>((resume) => {
          child.stdout.once("data", (chunk) => resume(Effect.succeed(String(chunk).trim())))
        })
        return { said, reason: said === "held" ? (yield* openError(path)).reason : undefined }
      }))
      assert.deepStrictEqual(yield* holder, { said: "SQLITE_BUSY", reason: undefined })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* holder, { said: "held", reason: "InUse" })
      yield* SqliteStore.make({ path })
    }))

  it.scopedLive("a file or a directory that cannot be written", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "store.db")
      yield* Effect.scoped(SqliteStore.make({ path }))
      const asNobody = <A, E, R>(self: Effect.Effect<A, E, R>) =>
        process.getuid?.() !== 0 ? self : Effect.acquireUseRelease(
          Effect.sync(() => process.seteuid?.(65_534)),
          () => self,
          () => Effect.sync(() => process.seteuid?.(0))
        )
      chmodSync(directory, 0o755)
      chmodSync(path, 0o444)
      assert.strictEqual(yield* asNobody(refused(path)), "ReadOnly")
      chmodSync(path, 0o666)
      chmodSync(directory, 0o555)
      assert.strictEqual(yield* asNobody(refused(path)), "ReadOnly")
      assert.strictEqual(yield* asNobody(refused(join(directory, "new.db"))), "ReadOnly")
      chmodSync(directory, 0o755)
    }))
})

describe("SqliteStore recovers", () => {
  it.scopedLive(
    "from a log that was torn anywhere: a prefix of the writes, whole ones only",
    () =>
      Effect.gen(function*() {
        const directory = yield* scratch
        const path = join(directory, "store.db")
        const store = yield* SqliteStore.make({ path })
        // Where the log ends after each append.
        const ends: Array<number> = []
        for (let batch = 0; batch < 12; batch++) {
          yield* store.events.append(rows(batch * 5 + 1, batch * 5 + 5, "z".repeat(batch * 100)))
          ends.push(readFileSync(`${path}-wal`).length)
        }
        const torn = join(directory, "torn.db")
        const size = ends[ends.length - 1]
        for (let cut = 0; cut <= size; cut += 1487) {
          crash(path, torn)
          truncateSync(`${torn}-wal`, cut)
          // What a disk may leave behind a torn write.
          if (cut % 2 === 1) appendFileSync(`${torn}-wal`, Buffer.alloc(3000, 0x5a))
          const last = yield* Effect.scoped(Effect.gen(function*() {
            const again = yield* SqliteStore.make({ path: torn })
            const { first, last } = yield* again.events.bounds
            assert.strictEqual(first, 1)
            const found = yield* again.events.read({ after: 0, limit: 1000 })
            assert.deepStrictEqual(found.map(({ id }) => id), Array.from({ length: last }, (_, index) => index + 1))
            yield* again.events.append(rows(last + 1, last + 1))
            return last
          }))
          assert.strictEqual(last % 5, 0)
          // Everything that was complete before the cut is there.
          assert.isAtLeast(last, 5 * ends.filter((end) => end <= cut).length)
          rmSync(torn)
        }
      }),
    60_000
  )

  it.scopedLive("when there is no space, with a typed error, and goes on", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      const store = yield* SqliteStore.make({ path, maxBytes: 200_000 })
      yield* store.events.append(rows(1, 10))
      const big = yield* Effect.flip(store.events.append(rows(11, 20, "x".repeat(100_000))))
      assert.strictEqual(big.reason, "Full")
      assert.include(big.message, path)
      assert.deepStrictEqual(yield* store.events.bounds, { first: 1, last: 10 })
      // One that does not fit takes no other down with it.
      const exits = yield* Effect.all([
        Effect.exit(store.entries.set("small", "fits")),
        Effect.exit(store.entries.set("big", "x".repeat(1_000_000))),
        Effect.exit(store.tickers.save("world", { number: 1, elapsedMillis: 1, at: 1 })),
        Effect.exit(store.events.append(rows(11, 11)))
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(exits.map((exit) => exit._tag === "Success"), [true, false, true, true])
      const error = yield* Effect.flip(store.entries.set("big", "x".repeat(1_000_000)))
      assert.strictEqual(error._tag, "SystemError")
      assert.strictEqual(error._tag === "SystemError" && error.reason, "WriteZero")
      assert.deepStrictEqual(yield* store.events.bounds, { first: 1, last: 11 })
    }))
})

describe("SqliteStore", () => {
  it.scopedLive("notices when its file is removed", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      const store = yield* SqliteStore.make({ path })
      yield* store.events.append(rows(1, 1))
      rmSync(path)
      writeFileSync(path, "another")
      yield* Effect.sleep("1100 millis")
      const error = yield* Effect.flip(store.events.append(rows(2, 2)))
      assert.strictEqual(error.reason, "Io")
      assert.include(error.message, "removed or replaced")
      assert.strictEqual((yield* Effect.flip(store.events.append(rows(2, 2)))).reason, "Io")
      assert.strictEqual(readFileSync(path, "utf8"), "another")
    }))

  it.scopedLive("shares commits between writes that are asked for at the same time", () =>
    Effect.gen(function*() {
      const store = yield* SqliteStore.make({ path: join(yield* scratch, "store.db") })
      yield* Effect.forEach(
        Array.from({ length: 300 }, (_, index) => index + 1),
        (id) => store.events.append(rows(id, id)),
        { concurrency: "unbounded" }
      )
      const { commits, events, writes } = yield* store.stats
      assert.deepStrictEqual(events, { first: 1, last: 300 })
      assert.strictEqual(writes, 300)
      assert.isBelow(commits, 30)
    }))

  it.scopedLive("writes nothing for who was interrupted, whenever that happens", () =>
    Effect.gen(function*() {
      const { events } = yield* SqliteStore.make({ path: join(yield* scratch, "store.db") })
      let takenBack = 0
      // the scheduler lets the interrupt come after each number of operations
      for (let operations = 10; operations < 60; operations++) {
        const { last } = yield* events.bounds
        const append = events.append(rows(last + 1, last + 1))
        const writer = yield* Effect.fork(Effect.withMaxOpsBeforeYield(append, operations))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(writer)
        const kept = (yield* events.bounds).last
        // behind whatever is still queued
        yield* events.trim(0)
        assert.strictEqual((yield* events.bounds).last, kept, `interrupted after ${operations} operations`)
        if (kept === last) takenBack++
      }
      assert.isAbove(takenBack, 0)
    }))

  it.scopedLive("takes an interrupted write back, or waits for it", () =>
    Effect.gen(function*() {
      const store = yield* SqliteStore.make({ path: join(yield* scratch, "store.db") })
      for (let round = 0; round < 20; round++) {
        const { last } = yield* store.events.bounds
        const first = yield* Effect.fork(store.events.append(rows(last + 1, last + 1)))
        for (let i = 0; i < round; i++) yield* Effect.yieldNow()
        const second = yield* Effect.fork(store.entries.set("second", `${round}`))
        yield* Effect.yieldNow()
        const exit = yield* Fiber.interrupt(second)
        yield* Fiber.join(first)
        const entry = Option.getOrElse(yield* store.entries.get("second"), () => "")
        // Told that it did not happen, or told nothing: then nothing moves any more.
        if (Exit.isSuccess(exit)) assert.strictEqual(entry, `${round}`)
        yield* store.entries.set("other", "x")
        assert.strictEqual(Option.getOrElse(yield* store.entries.get("second"), () => ""), entry)
      }
    }))

  it.scopedLive("writes what was asked for before it closes, and refuses what comes after", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      const scope = yield* Scope.make()
      const store = yield* Scope.extend(SqliteStore.make({ path }), scope)
      const fibers = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, index) => index + 1),
        (id) => Effect.fork(store.events.append(rows(id, id)))
      )
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual((yield* Effect.flip(store.events.append(rows(51, 51)))).reason, "Closed")
      assert.strictEqual((yield* Effect.flip(store.events.read({ after: 0, limit: 1 }))).reason, "Closed")
      const again = yield* SqliteStore.make({ path })
      assert.deepStrictEqual(yield* again.events.bounds, { first: 1, last: 50 })
    }))

  it.scopedLive("trims a long log in steps, between which others write", () =>
    Effect.gen(function*() {
      const store = yield* SqliteStore.make({ path: join(yield* scratch, "store.db") })
      yield* store.events.append(rows(1, 10_000))
      const [, after] = yield* Effect.all([
        store.events.trim(9_001),
        Effect.zipRight(store.events.append(rows(10_001, 10_001)), store.events.bounds)
      ], { concurrency: "unbounded" })
      assert.isBelow(after.first, 9_001)
      assert.deepStrictEqual(yield* store.events.bounds, { first: 9_001, last: 10_001 })
    }))

  it.scopedLive("uses the space of what was trimmed again: the file does not grow", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      const { events } = yield* SqliteStore.make({ path })
      const onDisk = () => statSync(path).size + statSync(`${path}-wal`).size
      const sizes: Array<number> = []
      for (let round = 0; round < 30; round++) {
        yield* events.append(rows(round * 200 + 1, round * 200 + 200, "x".repeat(1000)))
        yield* events.trim(0, { bytes: 250_000 })
        sizes.push(onDisk())
      }
      const { first, last } = yield* events.bounds
      assert.strictEqual(last, 6000)
      assert.isAbove(last - first, 200)
      // six megabytes went through it
      assert.isBelow(statSync(path).size, 1_000_000)
      assert.isBelow(onDisk(), 1.2 * Math.max(...sizes.slice(0, 20)))
    }))

  it.scopedLive("is a KeyValueStore, text and bytes", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      const stores = SqliteStore.layer({ path })
      const awkward = ["", "a\0b", "\ud800", "😀", "x".repeat(1_000_000)]
      yield* Effect.provide(
        Effect.gen(function*() {
          const entries = yield* KeyValueStore.KeyValueStore
          assert.isTrue(yield* entries.isEmpty)
          for (const text of awkward) yield* entries.set(text, text)
          yield* entries.set("bytes", new Uint8Array([0, 255, 0]))
          yield* entries.set("none", new Uint8Array(0))
          assert.strictEqual(yield* entries.size, awkward.length + 2)
          assertNone(yield* entries.get("missing"))
          yield* entries.set("gone", "x")
          yield* entries.remove("gone")
          yield* entries.remove("gone")
          assert.isFalse(yield* entries.has("gone"))
          // Nothing gets in between the reading and the writing.
          yield* entries.set("count", "0")
          yield* Effect.forEach(
            Array.from({ length: 100 }),
            () => entries.modify("count", (text) => String(Number(text) + 1)),
            { concurrency: "unbounded" }
          )
          assertSome(yield* entries.get("count"), "100")
          assertNone(yield* entries.modify("missing", () => "x"))
          const users = entries.forSchema(Schema.Struct({ name: Schema.String }))
          yield* users.set("user", { name: "Ada" })
          assertSome(yield* users.get("user"), { name: "Ada" })
          const crash = new Error("no")
          const exit = yield* Effect.exit(entries.modify("count", () => {
            throw crash
          }))
          assertFailure(exit, Cause.die(crash))
        }),
        stores
      )
      yield* Effect.provide(
        Effect.gen(function*() {
          const entries = yield* KeyValueStore.KeyValueStore
          for (const text of awkward) assertSome(yield* entries.get(text), text)
          assertSome(yield* entries.getUint8Array("bytes"), new Uint8Array([0, 255, 0]))
          assertSome(yield* entries.get("bytes"), "AP8A")
          assertSome(yield* entries.getUint8Array("none"), new Uint8Array(0))
          assertSome(yield* entries.modifyUint8Array("bytes", (bytes) => bytes.slice(1)), new Uint8Array([255, 0]))
          yield* entries.clear
          assert.isTrue(yield* entries.isEmpty)
        }),
        SqliteStore.layer({ path })
      )
    }))

  it.scoped("keeps the tickers of an application over a restart", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      const run = Effect.gen(function*() {
        const ticker = yield* Ticker.Ticker
        yield* TestClock.adjust("5 seconds")
        return yield* ticker.state
      }).pipe(
        Effect.provide(
          Layer.provide(Ticker.layerDurable({ name: "world\0", interval: "1 second" }), SqliteStore.layer({ path }))
        )
      )
      assert.deepStrictEqual(yield* run, { number: 5, elapsedMillis: 5000, at: 5000 })
      assert.deepStrictEqual(yield* run, { number: 10, elapsedMillis: 10_000, at: 10_000 })
    }))

  it.scopedLive("is there until the last phase of a shutdown, for the last save of a ticker", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      const application = yield* Scope.make()
      const lifecycle = yield* Lifecycle.make({ scope: application, log: false })
      const context = yield* Layer.buildWithScope(
        Layer.provideMerge(
          Ticker.layerDurable({ name: "world", interval: "5 millis" }),
          SqliteStore.layer({ path })
        ),
        application
      )
      const ticker = Context.get(context, Ticker.Ticker)
      const { events } = Context.get(context, SqliteStore.SqliteStore)
      let last = 0
      yield* Scope.extend(
        ticker.onTick({ name: "record" }, () =>
          Effect.uninterruptible(Effect.suspend(() => {
            const id = last + 1
            return Effect.map(events.append(rows(id, id)), () => {
              last = id
            })
          }))),
        application
      )
      const enough = () => last >= 10
      while (!enough()) yield* Effect.sleep("5 millis")
      const report = yield* lifecycle.shutdown({ _tag: "Requested", by: "test" })
      assert.strictEqual(report.verdict, "clean")
      assert.deepStrictEqual(report.live, [])
      const { number } = yield* ticker.state
      assert.strictEqual((yield* ticker.stats).phase, "stopped")
      const again = yield* SqliteStore.make({ path })
      assert.strictEqual(Option.getOrThrow(yield* again.tickers.load("world")).number, number)
      assert.strictEqual((yield* again.events.bounds).last, last)
    }).pipe(Effect.provide(Layer.merge(FiberRegistry.layer, Cleanup.layerMonitor))))

  it.scopedLive("continues a bus after a restart, with a subscriber that was away", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      const Said = Schema.TaggedStruct("Said", { text: Schema.String })
      class Bus extends EventBus.Tag("test/Bus")<Bus, typeof Said.Type>() {}
      const bus = Layer.provide(
        Bus.layerDurable({ schema: Said, topic: () => "room.1", log: { maxCount: 4 } }),
        SqliteStore.layer({ path })
      )
      const say = (text: string) => Effect.flatMap(Bus, (bus) => bus.publish({ _tag: "Said", text }))
      const texts = Array.from({ length: 50 }, (_, index) => `text ${index + 1}`)
      yield* Effect.provide(Effect.forEach(texts, say, { discard: true }), bus)
      yield* Effect.provide(
        Effect.scoped(Effect.gen(function*() {
          const { lastId, log } = yield* Bus
          assert.strictEqual(yield* lastId, 50)
          const subscription = yield* log.subscribeAfter(10)
          yield* say("back")
          const seen: Array<string> = []
          while (seen.length < 41) {
            for (const item of yield* subscription.takeBatch()) {
              seen.push("event" in item ? item.event.text : "a gap")
            }
          }
          assert.deepStrictEqual(seen, [...texts.slice(10), "back"])
        })),
        bus
      )
    }))
})

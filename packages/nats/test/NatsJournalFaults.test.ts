import { assert, describe, it } from "@effect/vitest"
import { isLost } from "@holdfast/core/EventJournal"
import type { JournalError, Row } from "@holdfast/core/EventJournal"
import { Effect, Either, Exit, Fiber, Logger, LogLevel, Scope } from "effect"
import { cpSync, rmSync } from "node:fs"
import { join } from "node:path"
import { sized } from "../../../scripts/sized.js"
import { api, publish } from "./support/foreign.js"
import type { Journal } from "./support/nodes.js"
import { draft, following, node, sleep, until } from "./support/nodes.js"
import { proxy } from "./support/proxy.js"
import { missing, named, server } from "./support/server.js"
import type { Server } from "./support/server.js"

const test = (name: string, body: Effect.Effect<unknown, unknown, Scope.Scope>, timeout = 60_000) =>
  it.scoped(name, () => body.pipe(Logger.withMinimumLogLevel(LogLevel.None)), timeout)

const ids = (rows: ReadonlyArray<unknown>) => (rows as ReadonlyArray<Row>).map((row) => row.id)
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)
const stored = (journal: Journal) => journal.read({ after: 0, limit: 10_000 })

/** Copies what the server stores; it must not run. */
const keep = ({ directory }: Server) =>
  Effect.sync(() => cpSync(join(directory, "store"), join(directory, "kept"), { recursive: true }))
const rollBack = ({ directory }: Server) =>
  Effect.sync(() => {
    rmSync(join(directory, "store"), { recursive: true, force: true })
    cpSync(join(directory, "kept"), join(directory, "store"), { recursive: true })
  })

describe.skipIf(missing)(named("NatsJournal under faults"), () => {
  for (const where of ["beforeSend", "afterSend"] as const) {
    for (const count of [1, 5]) {
      for (const ifLast of [undefined, 1]) {
        const behind = ifLast === undefined ? "" : " behind an id"
        test(
          `cut ${where === "beforeSend" ? "before" : "after"} sending ${count}${behind}: stored once`,
          Effect.gen(function*() {
            const { port } = yield* server()
            const link = yield* proxy(port)
            const { journal } = yield* node(link.url)
            const seen = yield* following(journal)
            yield* journal.append([draft("first")], { attempt: "first" })
            let cuts = 0
            link[where] = (chunk) => chunk.includes("cut-me") && cuts++ === 0
            const rows = range(1, count).map((n) => draft(`${n}`))
            assert.strictEqual(yield* journal.append(rows, { attempt: "cut-me", ifLast }), 2)
            assert.isAtLeast(cuts, 1)
            yield* until("the tail", () => seen.rows.length >= count + 1)
            assert.deepStrictEqual(ids(seen.rows), range(1, count + 1))
            // and again, when it is known
            assert.strictEqual(yield* journal.append(rows, { attempt: "cut-me", ifLast }), 2)
            assert.deepStrictEqual(ids(yield* stored(journal)), range(1, count + 1))
          })
        )
      }
    }
  }

  test(
    "whose answer was lost and was overtaken meanwhile is told so, and stored nothing",
    Effect.gen(function*() {
      const { port, url } = yield* server()
      const link = yield* proxy(port)
      const { journal } = yield* node(link.url)
      const other = yield* node(url)
      let cuts = 0
      link.beforeSend = (chunk) => chunk.includes("cut-me") && cuts++ === 0
      const fiber = yield* Effect.fork(Effect.flip(journal.append([draft("x")], { attempt: "cut-me", ifLast: 0 })))
      yield* until("the cut", () => cuts > 0)
      yield* other.journal.append([draft("y")], { attempt: "other", ifLast: 0 })
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.reason, "Overtaken")
      assert.strictEqual((yield* stored(journal)).length, 1)
    })
  )

  test(
    "a frozen server stores what timed out: the append is settled, once",
    Effect.gen(function*() {
      const frozen = yield* server()
      const { journal } = yield* node(frozen.url)
      yield* journal.append([draft("1")], { attempt: "1" })
      yield* frozen.signal("SIGSTOP")
      const fiber = yield* Effect.fork(journal.append([draft("2")], { attempt: "2", ifLast: 1 }))
      yield* sleep(2500)
      yield* frozen.signal("SIGCONT")
      assert.strictEqual(yield* Fiber.join(fiber), 2)
      assert.deepStrictEqual(ids(yield* stored(journal)), [1, 2])
    })
  )

  test(
    "without a server: unsent is Unreachable, sent is Unsure, and refuse does not wait",
    Effect.gen(function*() {
      const away = yield* server()
      const patient = yield* node(away.url, { patience: "300 millis" })
      const refusing = yield* node(away.url, { whileAway: "refuse" })
      yield* away.signal("SIGSTOP")
      const unsure = yield* Effect.flip(patient.journal.append([draft("1")], { attempt: "1" }))
      assert.strictEqual(unsure.reason, "Unsure")
      yield* away.kill()
      yield* until("away", Effect.map(patient.journal.state, ({ current }) => current === "away"))
      yield* until("away", Effect.map(refusing.journal.state, ({ current }) => current === "away"))
      assert.strictEqual(
        (yield* Effect.flip(patient.journal.append([draft("2")], { attempt: "2" }))).reason,
        "Unreachable"
      )
      assert.strictEqual(
        (yield* Effect.flip(refusing.journal.append([draft("3")], { attempt: "3" }))).reason,
        "Unreachable"
      )
      assert.strictEqual((yield* Effect.flip(patient.connection.check))._tag, "NatsNotConnected")
    })
  )

  test(
    "kill -9 under load, again and again: each append is stored once or not, as was told",
    Effect.gen(function*() {
      const killed = yield* server()
      const { journal } = yield* node(killed.url, { patience: "20 seconds" })
      const seen = yield* following(journal)
      const told = new Map<string, Either.Either<number, JournalError>>()
      const load = { stop: false }
      let count = 0
      const worker = (name: number) =>
        Effect.gen(function*() {
          for (let n = 1; !load.stop; n++) {
            const attempt = `${name}-${n}`
            const rows = n % 7 === 0 ? [draft(attempt), draft(attempt)] : [draft(attempt)]
            told.set(attempt, yield* Effect.either(journal.append(rows, { attempt })))
            count++
          }
        })
      const workers = yield* Effect.forEach(range(1, 16), (name) => Effect.fork(worker(name)))
      let slowest = 0
      for (let round = 0; round < sized(6, 100); round++) {
        const enough = count + 60
        yield* until("appends", () => count >= enough)
        yield* killed.kill("SIGKILL")
        yield* killed.start
        const from = performance.now()
        const before = count
        yield* until("an append after the restart", () => count > before + 16)
        slowest = Math.max(slowest, performance.now() - from)
      }
      load.stop = true
      yield* Effect.forEach(workers, Fiber.join)
      const { last } = yield* journal.bounds
      yield* until("the tail", () => seen.rows.length >= last)
      assert.deepStrictEqual(ids(seen.rows), range(1, last))
      const places = new Map<string, Array<number>>()
      for (const row of seen.rows as ReadonlyArray<Row>) {
        places.set(row.attempt ?? "", [...places.get(row.attempt ?? "") ?? [], row.id])
      }
      let rows = 0
      for (const [attempt, outcome] of told) {
        const found = places.get(attempt) ?? []
        const size = Number(attempt.split("-")[1]) % 7 === 0 ? 2 : 1
        if (Either.isRight(outcome)) {
          assert.deepStrictEqual(found, range(outcome.right, outcome.right + size - 1), attempt)
        } else assert.include([0, size], found.length, attempt)
        rows += found.length
      }
      assert.strictEqual(rows, last)
      assert.isBelow(slowest, 15_000)
    }),
    200_000
  )

  test(
    "a rollback of ten events is found by every node at once, and the epoch changes",
    Effect.gen(function*() {
      const rolled = yield* server()
      const [a, b] = [yield* node(rolled.url), yield* node(rolled.url)]
      const seen = [yield* following(a.journal), yield* following(b.journal)]
      for (const n of range(1, 5)) yield* a.journal.append([draft(`${n}`)], { attempt: `${n}` })
      yield* rolled.kill("SIGTERM")
      yield* keep(rolled)
      yield* rolled.start
      for (const n of range(6, 15)) yield* a.journal.append([draft(`${n}`)], { attempt: `${n}` })
      yield* until("the tails", () => seen.every(({ rows }) => rows.length === 15))
      yield* rolled.kill("SIGKILL")
      yield* rollBack(rolled)
      // while nobody knows, this append has to wait, and is never stored
      const waiting = yield* Effect.fork(Effect.flip(b.journal.append([draft("16")], { attempt: "16" })))
      yield* rolled.start
      yield* until("both nodes", () => seen.every(({ ended }) => ended === "Diverged"))
      assert.include(["Diverged", "Unsure"], (yield* Fiber.join(waiting)).reason)
      assert.strictEqual((yield* Effect.flip(a.journal.append([draft("x")], { attempt: "x" }))).reason, "Diverged")
      assert.strictEqual((yield* a.journal.state).current, "failed")
      for (const { rows } of seen) assert.deepStrictEqual(ids(rows), range(1, 15))
      yield* sleep(300)
      const next = yield* node(rolled.url)
      assert.notStrictEqual(next.journal.epoch, a.journal.epoch)
      assert.deepStrictEqual(ids(yield* stored(next.journal)), range(1, 5))
    })
  )

  test(
    "the epoch changes though the node that heard of the rollback ends at once",
    Effect.gen(function*() {
      const rolled = yield* server()
      const scope = yield* Scope.make()
      const { journal } = yield* Scope.extend(node(rolled.url), scope)
      yield* journal.append([draft("1")], { attempt: "1" })
      yield* rolled.kill("SIGTERM")
      yield* keep(rolled)
      yield* rolled.start
      yield* journal.append([draft("2")], { attempt: "2" })
      yield* rolled.kill("SIGKILL")
      yield* rollBack(rolled)
      const heard = yield* Effect.fork(Effect.flip(journal.follow(2, () => {})))
      yield* rolled.start
      assert.strictEqual((yield* Fiber.join(heard)).reason, "Diverged")
      yield* Scope.close(scope, Exit.void)
      const next = yield* node(rolled.url)
      assert.notStrictEqual(next.journal.epoch, journal.epoch)
    })
  )

  test(
    "a rollback whose ids were given again is found, too",
    Effect.gen(function*() {
      const rolled = yield* server()
      const a = yield* node(rolled.url)
      const seen = yield* following(a.journal)
      yield* a.journal.append([draft("1")], { attempt: "1" })
      yield* rolled.kill("SIGTERM")
      yield* keep(rolled)
      yield* rolled.start
      yield* a.journal.append([draft("2")], { attempt: "2" })
      yield* until("the tail", () => seen.rows.length === 2)
      yield* rolled.kill("SIGKILL")
      yield* rollBack(rolled)
      // somebody who has seen nothing goes on at once, under another address
      yield* rolled.start
      yield* publish(rolled.url, "world.room.1", "not ours").pipe(Effect.ignore)
      yield* publish(rolled.url, "world.room.1", "nor this").pipe(Effect.ignore)
      yield* until("the end", () => seen.ended !== undefined)
      assert.strictEqual(seen.ended, "Diverged")
      assert.deepStrictEqual(ids(seen.rows), [1, 2])
    })
  )

  test(
    "holes and messages of others are told as lost, a stream that is gone ends everything",
    Effect.gen(function*() {
      const { url } = yield* server()
      const { journal, stats } = yield* node(url)
      for (const n of range(1, 3)) yield* journal.append([draft(`${n}`)], { attempt: `${n}` })
      yield* publish(url, "world.room.1", "not ours")
      yield* journal.append([draft("5")], { attempt: "5" })
      yield* api(url, "STREAM.PURGE.world", { seq: 3 })
      const seen = yield* following(journal)
      yield* until("the tail", () => seen.rows.length === 4)
      assert.deepStrictEqual(
        seen.rows.map((row) => isLost(row) ? [row.firstId, row.lastId] : row.id),
        [[1, 2], 3, [4, 4], 5]
      )
      assert.deepStrictEqual(yield* journal.bounds, { first: 3, last: 5 })
      assert.deepStrictEqual(ids(yield* stored(journal)), [3, 5])
      const { foreign, holes } = yield* stats
      assert.deepStrictEqual([foreign, holes], [1, 3])
      yield* api(url, "STREAM.DELETE.world")
      yield* until("the end", () => seen.ended !== undefined)
      assert.strictEqual(seen.ended, "Gone")
    })
  )

  test(
    "what is too big is not sent",
    Effect.gen(function*() {
      const { url } = yield* server()
      const { journal } = yield* node(url)
      const many = Array.from({ length: 1001 }, (_, index) => draft(`${index}`))
      assert.strictEqual((yield* Effect.flip(journal.append(many, { attempt: "1" }))).reason, "TooBig")
      const big = draft("x".repeat(1_100_000))
      assert.strictEqual((yield* Effect.flip(journal.append([big], { attempt: "2" }))).reason, "TooBig")
      assert.strictEqual(yield* journal.append(many.slice(0, 1000), { attempt: "3" }), 1)
      assert.deepStrictEqual(yield* journal.bounds, { first: 1, last: 1000 })
    })
  )

  test(
    "twenty reconnects lose no event and leave nothing behind",
    Effect.gen(function*() {
      const { port } = yield* server()
      const link = yield* proxy(port)
      const { connection, journal } = yield* node(link.url)
      const seen = yield* following(journal)
      const rounds = sized(20, 200)
      for (let n = 1; n <= rounds; n++) {
        yield* link.cut
        assert.strictEqual(yield* journal.append([draft(`${n}`)], { attempt: `${n}` }), n)
        yield* until("the tail", () => seen.rows.length === n)
      }
      assert.deepStrictEqual(ids(seen.rows), range(1, rounds))
      assert.isAtLeast((yield* connection.stats).reconnects, rounds / 2)
    }),
    200_000
  )
})

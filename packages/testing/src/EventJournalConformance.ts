/**
 * What every adapter of `EventJournal` has to do, as a vitest suite.
 *
 * ```ts no-run
 * import * as EventJournal from "@holdfast/core/EventJournal"
 * import * as EventJournalConformance from "@holdfast/testing/EventJournalConformance"
 * import { Effect } from "effect"
 *
 * EventJournalConformance.suite({
 *   name: "memory",
 *   medium: Effect.map(EventJournal.makeMemory(), (journal) => Effect.succeed(journal))
 * })
 * ```
 *
 * `EventBusConformance` with `shared: true` is the suite for buses over it.
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import type { Draft, EventJournal, Lost, Row } from "@holdfast/core/EventJournal"
import { isLost } from "@holdfast/core/EventJournal"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { range, until } from "./internal/eventBusFixture.js"

type Journal = EventJournal["Type"]

/**
 * The journal to test.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly name: string
  /** A fresh, empty medium: what it returns opens a journal on it, as a node does, each time that it is run. */
  readonly medium: Effect.Effect<Effect.Effect<Journal, unknown, Scope.Scope>, unknown, Scope.Scope>
}

const draft = (text: string): Draft => ({
  at: 1_700_000_000_000,
  topic: `room.${text}`,
  tag: "Said",
  payload: JSON.stringify({ text }),
  meta: JSON.stringify({ depth: 0 })
})

const drafts = (count: number, text = "x") => range(1, count).map((n) => draft(`${text}${n}`))

/** Follows from `after` in the background; the array fills as rows come. */
const following = (journal: Journal, after: number) =>
  Effect.gen(function*() {
    const rows: Array<Row | Lost> = []
    yield* Effect.forkScoped(journal.follow(after, (more) => rows.push(...more)))
    return rows
  })

const ids = (rows: ReadonlyArray<Row | Lost>) => rows.map((row) => isLost(row) ? [row.firstId, row.lastId] : row.id)

/**
 * Registers the suite, under `describe`.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = (options: Options): void => {
  const test = (
    name: string,
    body: (a: Journal, b: Journal) => Effect.Effect<unknown, unknown, Scope.Scope>
  ) =>
    it.scoped(name, () =>
      Effect.gen(function*() {
        const open = yield* options.medium
        yield* body(yield* open, yield* open)
      }))

  describe(`EventJournal conformance: ${options.name}`, () => {
    test("starts empty, before the first id, in one epoch for all", (a, b) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* a.bounds, { first: 1, last: 0 })
        assert.deepStrictEqual(yield* a.read({ after: 0, limit: 10 }), [])
        assert.strictEqual(a.epoch, b.epoch)
        assert.notStrictEqual(a.epoch, "")
        assert.strictEqual((yield* a.state).current, "connected")
      }))

    test("numbers what anybody appends, in one order, and gives it back", (a, b) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* a.append(drafts(3), { attempt: "1" }), 1)
        assert.strictEqual(yield* b.append(drafts(2, "y"), { attempt: "2" }), 4)
        const rows = yield* a.read({ after: 0, limit: 100 })
        assert.deepStrictEqual(
          rows.map(({ id, topic }) => [id, topic]),
          [[1, "room.x1"], [2, "room.x2"], [3, "room.x3"], [4, "room.y1"], [5, "room.y2"]]
        )
        assert.deepStrictEqual(ids(yield* b.read({ after: 1, limit: 3 })), [2, 3, 4])
        assert.deepStrictEqual(yield* b.read({ after: 5, limit: 3 }), [])
        assert.deepStrictEqual(yield* b.bounds, { first: 1, last: 5 })
      }))

    test("gives every string back as it was", (a, b) =>
      Effect.gen(function*() {
        const texts = ["", " ", "\0", "a\0b", "é", "😀", "\ud800", "\udc00x", "\r\n", "*.>", "x".repeat(20_000)]
        const given = texts.map((text): Draft => ({ at: 0.5, topic: text, tag: text, payload: text, meta: text }))
        yield* a.append(given, { attempt: "1" })
        const rows = yield* b.read({ after: 0, limit: 100 })
        assert.deepStrictEqual(
          rows.map(({ at, meta, payload, tag, topic }) => ({ at, topic, tag, payload, meta })),
          given
        )
      }))

    test("the same attempt again appends nothing, and returns the same id", (a, b) =>
      Effect.gen(function*() {
        yield* a.append(drafts(1), { attempt: "before" })
        const first = yield* a.append(drafts(2), { attempt: "same" })
        yield* a.append(drafts(1), { attempt: "after" })
        assert.strictEqual(yield* a.append(drafts(2), { attempt: "same" }), first)
        assert.strictEqual(yield* b.append(drafts(2), { attempt: "same" }), first)
        // also when it was accepted only if nothing came between
        assert.strictEqual(yield* b.append(drafts(1), { attempt: "decided", ifLast: 4 }), 5)
        assert.strictEqual(yield* b.append(drafts(1), { attempt: "decided", ifLast: 4 }), 5)
        assert.deepStrictEqual(yield* b.bounds, { first: 1, last: 5 })
      }))

    test("ifLast appends directly behind that id, or not at all", (a, b) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* a.append(drafts(2), { attempt: "1", ifLast: 0 }), 1)
        for (const ifLast of [0, 1, 3]) {
          const error = yield* Effect.flip(b.append(drafts(2), { attempt: `late ${ifLast}`, ifLast }))
          assert.deepStrictEqual([error.reason, error.lastId], ["Overtaken", 2])
        }
        assert.deepStrictEqual(yield* a.bounds, { first: 1, last: 2 })
      }))

    test("of racers from all nodes behind the same id, one is accepted", (a, b) =>
      Effect.gen(function*() {
        for (let round = 0; round < 5; round++) {
          const exits = yield* Effect.forEach(
            range(1, 40),
            (n) =>
              Effect.exit((n % 2 === 0 ? a : b).append(drafts(1, `${n}`), { attempt: `${round}/${n}`, ifLast: round })),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        }
        assert.deepStrictEqual(ids(yield* a.read({ after: 0, limit: 10 })), range(1, 5))
      }))

    test("follows everybody from any id, each row once, in order, with its attempt", (a, b) =>
      Effect.gen(function*() {
        yield* a.append(drafts(3), { attempt: "early" })
        const fromStart = yield* following(a, 0)
        const fromTwo = yield* following(b, 2)
        yield* Effect.forEach(
          range(1, 30),
          (n) => (n % 2 === 0 ? a : b).append(drafts(2, `${n}`), { attempt: `${n}` }),
          { concurrency: 8, discard: true }
        )
        yield* until(Effect.sync(() => fromStart.length >= 63 && fromTwo.length >= 61))
        assert.deepStrictEqual(ids(fromStart), range(1, 63))
        assert.deepStrictEqual(ids(fromTwo), range(3, 63))
        for (const row of fromStart as ReadonlyArray<Row>) {
          if (row.attempt !== undefined && row.id > 3) assert.include(row.topic, `room.${row.attempt}`)
        }
      }))

    test("an interrupted follower hears nothing more, and holds nobody up", (a, b) =>
      Effect.gen(function*() {
        const heard: Array<number> = []
        const fiber = yield* Effect.fork(a.follow(0, (rows) => heard.push(...rows.map((row) => (row as Row).id))))
        yield* b.append(drafts(1), { attempt: "1" })
        yield* until(Effect.sync(() => heard.length === 1))
        yield* Fiber.interrupt(fiber)
        yield* b.append(drafts(1), { attempt: "2" })
        const other = yield* following(b, 0)
        yield* until(Effect.sync(() => other.length === 2))
        assert.deepStrictEqual(heard, [1])
      }))
  })
}

/**
 * What every adapter of `EventLogStore.Store` has to do, as a vitest suite.
 *
 * ```ts no-run
 * import * as EventLogStore from "@holdfast/core/EventLogStore"
 * import * as EventStoreConformance from "@holdfast/testing/EventStoreConformance"
 * import { Effect } from "effect"
 *
 * EventStoreConformance.suite({
 *   name: "memory",
 *   durable: false,
 *   medium: Effect.succeed(EventLogStore.layerStoreMemory)
 * })
 * ```
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

/**
 * The store to test.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly name: string
  /** Whether the events are there when the layer is built again over the same medium. */
  readonly durable: boolean
  /** A fresh, empty medium, as a layer: each time that it is built the store is opened. */
  readonly medium: Effect.Effect<Layer.Layer<EventLogStore.Store, unknown>, unknown, Scope.Scope>
  /** Sequences of operations that the property tries. Default 50. */
  readonly runs?: number
}

const row = (id: number, text = "x"): EventLogStore.Stored => ({
  id,
  at: 1_700_000_000_000 + id,
  topic: `room.${id % 3}`,
  tag: "Moved",
  payload: JSON.stringify({ id, text }),
  meta: JSON.stringify({ depth: 0 })
})

const rows = (from: number, to: number): Array<EventLogStore.Stored> =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => row(from + index))

const bytes = (from: number, to: number): number =>
  rows(from, to).reduce((sum, row) => sum + EventLogStore.sizeOf(row), 0)

type Operation =
  | { readonly _tag: "Append"; readonly count: number }
  | { readonly _tag: "AppendWrong"; readonly shift: number; readonly count: number }
  | { readonly _tag: "Trim"; readonly share: number }
  | { readonly _tag: "Limit"; readonly bytes: number | undefined; readonly since: number | undefined }
  | { readonly _tag: "Read"; readonly after: number; readonly limit: number }
  | { readonly _tag: "Reopen" }

const operations: FastCheck.Arbitrary<ReadonlyArray<Operation>> = FastCheck.array(
  FastCheck.oneof(
    {
      weight: 5,
      arbitrary: FastCheck.record({ _tag: FastCheck.constant("Append" as const), count: FastCheck.nat(20) })
    },
    {
      weight: 1,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("AppendWrong" as const),
        shift: FastCheck.integer({ min: -3, max: 3 }).filter((shift) => shift !== 0),
        count: FastCheck.integer({ min: 1, max: 3 })
      })
    },
    {
      weight: 2,
      arbitrary: FastCheck.record({ _tag: FastCheck.constant("Trim" as const), share: FastCheck.nat(120) })
    },
    {
      weight: 2,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("Limit" as const),
        bytes: FastCheck.option(FastCheck.nat(5000), { nil: undefined }),
        since: FastCheck.option(FastCheck.nat(100).map((id) => row(id).at), { nil: undefined })
      })
    },
    {
      weight: 3,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("Read" as const),
        after: FastCheck.nat(150),
        limit: FastCheck.nat(50)
      })
    },
    { weight: 1, arbitrary: FastCheck.record({ _tag: FastCheck.constant("Reopen" as const) }) }
  ),
  { maxLength: 30 }
)

/**
 * Registers the suite, under `describe`.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = (options: Options): void => {
  describe(`EventLogStore conformance: ${options.name}`, () => {
    const withStore = <A, E>(
      use: (store: EventLogStore.Store["Type"]) => Effect.Effect<A, E>
    ) => Effect.scoped(Effect.flatMap(options.medium, (layer) => open(layer, use)))
    const open = <A, E>(
      layer: Layer.Layer<EventLogStore.Store, unknown>,
      use: (store: EventLogStore.Store["Type"]) => Effect.Effect<A, E>
    ) => Effect.provide(Effect.flatMap(EventLogStore.Store, use), Layer.fresh(layer))

    it.effect("starts empty, before the first id", () =>
      withStore((store) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* store.bounds, { first: 1, last: 0 })
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 10 }), [])
        })
      ))

    it.effect("gives back what was appended, in order", () =>
      withStore((store) =>
        Effect.gen(function*() {
          yield* store.append(rows(1, 3))
          yield* store.append([])
          yield* store.append(rows(4, 10))
          assert.deepStrictEqual(yield* store.bounds, { first: 1, last: 10 })
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 100 }), rows(1, 10))
          assert.deepStrictEqual(yield* store.read({ after: 4, limit: 3 }), rows(5, 7))
          assert.deepStrictEqual(yield* store.read({ after: 10, limit: 3 }), [])
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 0 }), [])
        })
      ))

    it.effect("gives every string back as it was", () =>
      withStore((store) =>
        Effect.gen(function*() {
          const texts = [
            "",
            " ",
            "\0",
            "a\0b",
            "é",
            "😀",
            "\ud800",
            "\udc00x",
            "'; DROP TABLE events; --",
            "\r\n",
            "x".repeat(100_000)
          ]
          const all = texts.map((text, index) => ({
            id: index + 1,
            at: index + 0.5,
            topic: text,
            tag: text,
            payload: text,
            meta: text
          }))
          yield* store.append(all)
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 100 }), all)
        })
      ))

    it.effect("keeps its own copy", () =>
      withStore((store) =>
        Effect.gen(function*() {
          const mutable = { ...row(1) }
          yield* store.append([mutable])
          mutable.topic = "changed"
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 1 }), [row(1)])
        })
      ))

    it.effect("refuses rows that do not continue, and writes none of them", () =>
      withStore((store) =>
        Effect.gen(function*() {
          yield* store.append(rows(1, 2))
          for (
            const wrong of [[row(2)], [row(4)], [row(0)], [row(3), row(3)], [row(3), row(5)], [row(1), row(2), row(3)]]
          ) {
            const error = yield* Effect.flip(store.append(wrong))
            assert.strictEqual(error._tag, "StoreError")
            assert.strictEqual(error.reason, "OutOfOrder")
          }
          assert.deepStrictEqual(yield* store.bounds, { first: 1, last: 2 })
          yield* store.append([row(3)])
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 10 }), rows(1, 3))
        })
      ))

    it.effect("takes each of many racing appends once, or refuses it", () =>
      withStore((store) =>
        Effect.gen(function*() {
          const fibers = yield* Effect.forEach(
            Array.from({ length: 40 }, (_, index) => index),
            (index) => Effect.fork(Effect.exit(store.append([row(1 + Math.floor(index / 4), `${index}`)])))
          )
          const exits = yield* Effect.forEach(fibers, Fiber.join)
          const accepted = exits.flatMap((exit, index) => Exit.isSuccess(exit) ? [`${index}`] : [])
          const stored = yield* store.read({ after: 0, limit: 100 })
          assert.deepStrictEqual(stored.map(({ id }) => id), stored.map((_, index) => index + 1))
          assert.deepStrictEqual(stored.map(({ payload }) => JSON.parse(payload).text), accepted)
          assert.isAtLeast(accepted.length, 1)
        })
      ))

    it.effect("trims, and remembers the last id", () =>
      withStore((store) =>
        Effect.gen(function*() {
          yield* store.append(rows(1, 10))
          yield* store.trim(0)
          yield* store.trim(1)
          assert.deepStrictEqual(yield* store.bounds, { first: 1, last: 10 })
          yield* store.trim(4)
          assert.deepStrictEqual(yield* store.bounds, { first: 4, last: 10 })
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 100 }), rows(4, 10))
          yield* store.trim(2)
          assert.deepStrictEqual(yield* store.bounds, { first: 4, last: 10 })
          yield* store.trim(1000)
          assert.deepStrictEqual(yield* store.bounds, { first: 11, last: 10 })
          assert.strictEqual((yield* Effect.flip(store.append([row(1)]))).reason, "OutOfOrder")
          yield* store.append([row(11)])
          assert.deepStrictEqual(yield* store.bounds, { first: 11, last: 11 })
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 100 }), [row(11)])
        })
      ))

    it.effect("trims by age and by bytes, the oldest first, but never the newest", () =>
      withStore((store) =>
        Effect.gen(function*() {
          yield* store.trim(0, { bytes: 0, since: Number.MAX_SAFE_INTEGER })
          assert.deepStrictEqual(yield* store.bounds, { first: 1, last: 0 })
          yield* store.append(rows(1, 10))
          yield* store.trim(0, {})
          yield* store.trim(0, { since: row(1).at, bytes: bytes(1, 10) })
          assert.deepStrictEqual(yield* store.bounds, { first: 1, last: 10 })
          yield* store.trim(0, { since: row(3).at })
          assert.deepStrictEqual(yield* store.bounds, { first: 3, last: 10 })
          yield* store.trim(0, { bytes: bytes(3, 10) - 1 })
          assert.deepStrictEqual(yield* store.bounds, { first: 4, last: 10 })
          yield* store.trim(5, { bytes: bytes(7, 10), since: row(6).at })
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 100 }), rows(7, 10))
          yield* store.append([row(11, "é".repeat(1000)), row(12)])
          yield* store.trim(0, { bytes: bytes(12, 12) + 2000 })
          assert.deepStrictEqual(yield* store.bounds, { first: 12, last: 12 })
          yield* store.append([row(13)])
          yield* store.trim(0, { bytes: 0 })
          assert.deepStrictEqual(yield* store.bounds, { first: 13, last: 13 })
          yield* store.trim(0, { since: Number.MAX_SAFE_INTEGER })
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 100 }), [row(13)])
          yield* store.append([row(14)])
          assert.deepStrictEqual(yield* store.bounds, { first: 13, last: 14 })
        })
      ))

    it.effect("stops at the first row that is young enough, whatever is behind it", () =>
      withStore((store) =>
        Effect.gen(function*() {
          const ages = [5, 4, 9, 3, 8].map((at, index) => ({ ...row(index + 1), at }))
          yield* store.append(ages)
          yield* store.trim(0, { since: 6 })
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 10 }), ages.slice(2))
        })
      ))

    it.effect("trims everything that has to go at once, however much it is", () =>
      withStore((store) =>
        Effect.gen(function*() {
          yield* store.append(rows(1, 9000))
          yield* store.trim(0, { since: row(4500).at })
          assert.deepStrictEqual(yield* store.bounds, { first: 4500, last: 9000 })
          yield* store.trim(0, { bytes: bytes(8990, 9000) })
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 100 }), rows(8990, 9000))
        })
      ))

    it.effect("agrees with a model over any sequence of operations", () =>
      Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(operations, (sequence) => Effect.runPromise(agrees(options, sequence))),
          { numRuns: options.runs ?? 50 }
        )
      ), 300_000)

    if (options.durable) {
      it.effect("continues where it was after a restart, also when everything was trimmed", () =>
        Effect.scoped(Effect.gen(function*() {
          const layer = yield* options.medium
          yield* open(layer, (store) => Effect.zipRight(store.append(rows(1, 5)), store.trim(3)))
          yield* open(layer, (store) =>
            Effect.gen(function*() {
              assert.deepStrictEqual(yield* store.bounds, { first: 3, last: 5 })
              assert.deepStrictEqual(yield* store.read({ after: 0, limit: 10 }), rows(3, 5))
              yield* store.append([row(6)])
              yield* store.trim(100)
            }))
          yield* open(layer, (store) =>
            Effect.gen(function*() {
              assert.deepStrictEqual(yield* store.bounds, { first: 7, last: 6 })
              yield* store.append([row(7)])
            }))
        })))

      it.effect("an append that was interrupted is there whole or not at all", () =>
        withStore((store) =>
          Effect.gen(function*() {
            const fiber = yield* Effect.fork(store.append(rows(1, 50)))
            yield* Effect.yieldNow()
            yield* Fiber.interrupt(fiber)
            const { last } = yield* store.bounds
            assert.include([0, 50], last)
            yield* store.append([row(last + 1)])
            assert.deepStrictEqual((yield* store.read({ after: 0, limit: 100 })).length, last + 1)
          })
        ))
    }
  })
}

/** Runs the sequence against the store and against a plain array. */
const agrees = (options: Options, sequence: ReadonlyArray<Operation>): Effect.Effect<void, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const layer = yield* options.medium
    let first = 1
    let last = 0
    let left = sequence
    while (left.length > 0) {
      const end = left.findIndex(({ _tag }) => _tag === "Reopen")
      const part = end < 0 ? left : left.slice(0, end)
      left = end < 0 ? [] : left.slice(end + 1)
      if (!options.durable) {
        first = 1
        last = 0
      }
      yield* Effect.provide(
        Effect.gen(function*() {
          const store = yield* EventLogStore.Store
          assert.deepStrictEqual(yield* store.bounds, { first, last })
          for (const operation of part) {
            switch (operation._tag) {
              case "Append": {
                yield* store.append(rows(last + 1, last + operation.count))
                last += operation.count
                break
              }
              case "AppendWrong": {
                const from = last + 1 + operation.shift
                const error = yield* Effect.flip(store.append(rows(from, from + operation.count - 1)))
                assert.strictEqual(error.reason, "OutOfOrder")
                break
              }
              case "Trim": {
                const before = Math.ceil(first + (last + 1 - first) * operation.share / 100)
                yield* store.trim(before)
                first = Math.max(first, Math.min(before, last + 1))
                break
              }
              case "Limit": {
                const most = operation.bytes ?? Number.POSITIVE_INFINITY
                yield* store.trim(0, operation)
                while (first < last && (row(first).at < (operation.since ?? 0) || bytes(first, last) > most)) first++
                break
              }
              case "Read": {
                const from = Math.max(first, operation.after + 1)
                assert.deepStrictEqual(
                  yield* store.read(operation),
                  rows(from, Math.min(last, from + operation.limit - 1))
                )
                break
              }
            }
            assert.deepStrictEqual(yield* store.bounds, { first, last })
          }
          assert.deepStrictEqual(yield* store.read({ after: 0, limit: 10_000 }), rows(first, last))
        }),
        Layer.fresh(layer)
      )
    }
  }))

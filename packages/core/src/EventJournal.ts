/**
 * The port of an `EventBus` to a log that several processes write: it numbers events, keeps them, and tells every process
 * of all of them. `EventLogStore` is its sibling for a log that one process writes.
 *
 * **For** one bus on many nodes: each node has a bus over the same journal, and all of them see the same events in the same
 * order. **Not for** one process: a bus in memory or over a store does without the way to the log and back.
 *
 * **What an adapter guarantees**
 * - `append` gives all rows ids that follow one another, or appends none of them. What it has acknowledged is durable. The
 *   same `attempt` appended again returns the same id and appends nothing.
 * - With `ifLast` the rows are appended only directly behind that id; otherwise it fails with `Overtaken`.
 * - When nobody can say whether rows were appended it fails with `Unsure`, and only then. Asking again with the same
 *   `attempt` settles it.
 * - `follow` calls back for every row behind `after` once, in the order of ids, whoever wrote it, synchronously, and never
 *   waits for what it calls. Ids that can no longer be had come as `Lost`, in their place.
 * - A log that lost what it had acknowledged is `Diverged`. It is found before an id of another life is shown under a number
 *   that was given before.
 * - Every string comes back as it was, also with NUL characters or lone surrogates in it.
 *
 * `@holdfast/testing/EventJournalConformance` checks an adapter for this.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { Bounds, Stored } from "./EventLogStore.js"
import { Signal } from "./Signal.js"

/**
 * One event before the journal has numbered it.
 *
 * @since 0.1.0
 * @category models
 */
export type Draft = Omit<Stored, "id">

/**
 * One event of the journal. `attempt` says whose append it was, as long as the journal knows.
 *
 * @since 0.1.0
 * @category models
 */
export interface Row extends Stored {
  readonly attempt?: string | undefined
}

/**
 * Ids that the journal has given and no longer has, both inclusive.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lost {
  readonly _tag: "Lost"
  readonly firstId: number
  readonly lastId: number
}

/**
 * Whether this stands for rows that the journal no longer has.
 *
 * @since 0.1.0
 * @category guards
 */
export const isLost = (row: Row | Lost): row is Lost => "_tag" in row

/**
 * Whether the journal can be reached, and since when.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  readonly current: "connected" | "away" | "failed"
  /** Since when, in milliseconds since the epoch. */
  readonly since: number
}

/**
 * - `Unreachable`: nothing was sent. `Unsure`: it may have been appended, or not.
 * - `Overtaken`: the last id is another one than `ifLast`; `lastId` says which. Nothing was appended.
 * - `TooBig`: more than the log takes at once. `Full`: no space. `Denied`: not allowed.
 * - `Unfit`: what is there is not such a log. `Gone`: it is no longer there.
 * - `Diverged`: it lost what it had acknowledged. `Io`: anything else.
 *
 * @since 0.1.0
 * @category errors
 */
export class JournalError extends Schema.TaggedError<JournalError>("@holdfast/core/EventJournal/JournalError")(
  "JournalError",
  {
    operation: Schema.Literal("append", "read", "follow", "bounds"),
    reason: Schema.Literal(
      "Unreachable",
      "Unsure",
      "Overtaken",
      "TooBig",
      "Full",
      "Unfit",
      "Gone",
      "Diverged",
      "Denied",
      "Io"
    ),
    details: Schema.String,
    lastId: Schema.optional(Schema.Number),
    cause: Schema.optional(Schema.Defect)
  }
) {
  override get message(): string {
    return `The event journal cannot ${this.operation}: ${this.reason}, ${this.details}`
  }
}

/**
 * The name of the attempt, and the condition under which it counts.
 *
 * @since 0.1.0
 * @category options
 */
export interface AppendOptions {
  /** Names the append: unique among all nodes, and the same one when it is tried again. */
  readonly attempt: string
  /** Appends only if this is the last id, 0 for none. */
  readonly ifLast?: number | undefined
}

/**
 * An ordered log that several processes append to and follow.
 *
 * @since 0.1.0
 * @category tags
 */
export class EventJournal extends Context.Tag("@holdfast/core/EventJournal")<EventJournal, {
  /** Returns the id of the first row. */
  readonly append: (rows: ReadonlyArray<Draft>, options: AppendOptions) => Effect.Effect<number, JournalError>
  /**
   * Calls back for all rows behind `after`, those to come included. It ends only by failing with `Gone`, `Diverged` or
   * `Denied`, or when it is interrupted; it reconnects by itself.
   */
  readonly follow: (
    after: number,
    onRows: (rows: ReadonlyArray<Row | Lost>) => void
  ) => Effect.Effect<never, JournalError>
  /** Rows with ids greater than `after`, in order, `limit` at most. */
  readonly read: (
    options: { readonly after: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<Row>, JournalError>
  /** Asks the log itself. */
  readonly bounds: Effect.Effect<Bounds, JournalError>
  /** Names the life of the log: ids of another epoch mean nothing in this one. */
  readonly epoch: string
  readonly state: Effect.Effect<State>
}>() {}

/**
 * A journal in memory, for several buses of one process: tests, and simulations of many nodes. It keeps every row.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory = (
  options: { readonly epoch?: string | undefined } = {}
): Effect.Effect<EventJournal["Type"]> =>
  Effect.map(Effect.clock, (clock) => {
    const rows: Array<Row> = []
    const attempts = new Map<string, number>()
    const appended = new Signal()
    const since = clock.unsafeCurrentTimeMillis()
    return {
      append: (drafts, { attempt, ifLast }) =>
        Effect.suspend(() => {
          const known = attempts.get(attempt)
          if (known !== undefined) return Effect.succeed(known)
          if (ifLast !== undefined && ifLast !== rows.length) {
            return new JournalError({
              operation: "append",
              reason: "Overtaken",
              details: `expected the last id to be ${ifLast}, it is ${rows.length}`,
              lastId: rows.length
            })
          }
          const first = rows.length + 1
          attempts.set(attempt, first)
          for (const draft of drafts) rows.push({ ...draft, id: rows.length + 1, attempt })
          appended.wake()
          return Effect.succeed(first)
        }),
      follow: (after, onRows) => {
        let cursor = after
        return Effect.forever(Effect.zipRight(
          appended.wait(() => rows.length > cursor),
          Effect.sync(() => {
            const found = rows.slice(cursor)
            cursor = rows.length
            onRows(found)
          })
        ))
      },
      read: ({ after, limit }) => Effect.sync(() => rows.slice(after, after + limit)),
      bounds: Effect.sync(() => ({ first: 1, last: rows.length })),
      epoch: options.epoch ?? since.toString(36),
      state: Effect.succeed({ current: "connected", since })
    }
  })

/**
 * A journal that lasts as long as the layer.
 *
 * @example
 * ```ts
 * import { EventJournal } from "@holdfast/core"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const program = Effect.gen(function*() {
 *   const journal = yield* EventJournal.EventJournal
 *   assert.deepStrictEqual(yield* journal.read({ after: 0, limit: 10 }), [])
 * })
 *
 * await Effect.runPromise(Effect.provide(program, EventJournal.layerMemory))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<EventJournal> = Layer.effect(EventJournal, makeMemory())

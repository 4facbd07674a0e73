import type { EventJournal, Row, State } from "@holdfast/core/EventJournal"
import { JournalError } from "@holdfast/core/EventJournal"
import type { Bounds } from "@holdfast/core/EventLogStore"
import * as Race from "@holdfast/core/Race"
import { Signal } from "@holdfast/core/Signal"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import type { Found, Unavailable } from "../NatsStream.js"
import type { ApiError } from "./api.js"
import * as Api from "./api.js"
import { Bucket } from "./bucket.js"
import type { Connection } from "./connection.js"
import * as Live from "./live.js"
import type { OutboxOptions } from "./outbox.js"
import { Outbox } from "./outbox.js"
import { page } from "./reading.js"
import { Sight } from "./sight.js"
import type { Item } from "./tail.js"
import { consume } from "./tail.js"
import * as Wire from "./wire.js"

interface Settings extends OutboxOptions {
  readonly replicas: 1 | 3 | 5
  readonly storage: "file" | "memory"
  /** Milliseconds. */
  readonly duplicateWindow: number
}

type Operation = JournalError["operation"]

const errorOf = (operation: Operation, error: ApiError): JournalError => {
  const reason = (): JournalError["reason"] => {
    if (error._tag === "Denied") return "Denied"
    if (error._tag !== "Refusal") return "Unreachable"
    return error.code === Api.codes.noStream ? "Gone" : "Io"
  }
  return new JournalError({ operation, reason: reason(), details: error.details })
}

const epochKey = "epoch"

/** The epoch of a log that was created at this time, after what became of it. */
const epochOf = (created: string, suffix: string | undefined): string =>
  `${Date.parse(created).toString(36)}${suffix === undefined ? "" : `-${suffix}`}`

/**
 * The journal of a node: one outbox, any number of followers, and one watch over the log that both depend on. Nothing is
 * written or shown before the watch has found the log to be the one that was seen before.
 */
export class Journal {
  readonly sight = new Sight()
  private readonly outbox: Outbox
  private readonly changed = new Signal()
  /** Whether the log has been looked at since the last connect. */
  private looked = true
  private broken: JournalError | undefined
  private since = Date.now()
  private consumers = 0
  private holes = 0
  private foreign = 0
  private problems: Array<string> = []
  private closed = false
  private readonly unlisten: () => void

  private constructor(
    private readonly connection: Connection,
    private readonly found: Found,
    private readonly settings: Settings,
    readonly epoch: string
  ) {
    this.outbox = new Outbox({
      connection,
      stream: found.name,
      sight: this.sight,
      isOpen: () => this.isOpen,
      broken: () => this.broken,
      onReused: (id) => this.diverge(`another event was acknowledged under id ${id}, which was given before`),
      findAttempt: (attempt) => this.findAttempt(attempt)
    }, settings)
    this.unlisten = connection.listen(() => {
      this.looked = false
      this.since = Date.now()
      const { current, details } = connection.state
      if (current === "failed") this.break("Denied", details ?? "the connection has ended")
      this.wake()
    })
  }

  static readonly open = (
    connection: Connection,
    found: Found,
    settings: Settings
  ): Effect.Effect<Journal, Unavailable> =>
    Effect.map(
      // a bucket that nobody has made yet: nothing has ever diverged
      Effect.orElseSucceed(new Bucket(connection, `${found.name}_life`).get(epochKey), () => undefined),
      (entry) => new Journal(connection, found, settings, epochOf(found.created, entry?.value?.toString("utf8")))
    )

  get state(): State {
    if (this.broken !== undefined) return { current: "failed", since: this.since }
    return { current: this.isOpen ? "connected" : "away", since: this.since }
  }

  get stats() {
    return {
      inFlight: this.outbox.inFlight,
      waiting: this.outbox.waiting,
      lastId: this.sight.witness.id,
      consumers: this.consumers,
      holes: this.holes,
      foreign: this.foreign
    }
  }

  get append(): EventJournal["Type"]["append"] {
    return this.outbox.append
  }

  close() {
    this.closed = true
    this.unlisten()
    this.break("Unreachable", "the journal is closed")
  }

  private get isOpen(): boolean {
    return this.looked && this.connection.isConnected && this.broken === undefined
  }

  private wake() {
    this.outbox.wake()
    this.changed.wake()
  }

  private break(reason: JournalError["reason"], details: string) {
    if (this.broken !== undefined) return
    this.since = Date.now()
    this.broken = new JournalError({ operation: "follow", reason, details })
    if (!this.closed) this.report(`the journal ${this.found.name} has ended: ${reason}, ${details}`)
    this.wake()
  }

  private diverge(details: string) {
    this.break("Diverged", details)
  }

  private report(problem: string) {
    this.problems.push(problem)
    this.changed.wake()
  }

  /** Looks at the log whenever there is a reason to, and says in the log of the application what is wrong. */
  readonly watch: Effect.Effect<void> = Effect.suspend(() => {
    const due = () =>
      this.problems.length > 0 || (!this.looked && this.connection.isConnected && this.broken === undefined)
    return this.changed.wait(due).pipe(
      Effect.zipRight(
        Effect.suspend(() =>
          Effect.forEach(this.problems.splice(0), (problem) => Effect.logError(problem), { discard: true })
        )
      ),
      Effect.zipRight(
        Effect.suspend(() =>
          this.looked || !this.connection.isConnected || this.broken !== undefined ? this.renewEpoch : this.look
        )
      ),
      Effect.forever
    )
  })

  private renewed = false

  /**
   * Ids of a log that lost some mean something else from now on: the first node that finds out renews the epoch. Who hears of
   * the loss ends its node, so nothing interrupts this, and closing the journal does what was not done by then.
   */
  readonly renewEpoch: Effect.Effect<void> = Effect.uninterruptible(Effect.suspend(() => {
    if (this.renewed || this.broken?.reason !== "Diverged") return Effect.void
    const { replicas, storage } = this.settings
    const suffix = this.epoch.split("-")[1]
    return Bucket.ensure(this.connection, { name: `${this.found.name}_life`, replicas, storage }, 2000).pipe(
      Effect.flatMap((bucket) =>
        Effect.flatMap(bucket.get(epochKey, 2000), (entry) => {
          // somebody else was first
          if (entry?.value?.toString("utf8") !== suffix) return Effect.void
          const next = randomBytes(4).toString("hex")
          return Effect.asVoid(
            bucket.write(epochKey, next, { id: next, expected: entry?.revision ?? 0, patience: 2000 })
          )
        })
      ),
      Effect.catchAll((error) =>
        Effect.logError(
          `The epoch of ${this.found.name} could not be renewed: ${"details" in error ? error.details : error.message}`
        )
      ),
      Effect.zipRight(Effect.sync(() => {
        this.renewed = true
      }))
    )
  }))

  /** Whether the log is the one that this node has seen. */
  private readonly look: Effect.Effect<void> = Effect.suspend(() => {
    const { connection, found } = this
    const reconnects = connection.reconnects
    const { attempt, id } = this.sight.witness
    return Effect.gen(this, function*() {
      const { created, state } = yield* Api.call<Api.StreamInfo>(connection, `STREAM.INFO.${found.name}`)
      if (created !== found.created) return `it was created anew, at ${created}`
      if (state.last_seq < id) return `it ends at ${state.last_seq}, and had acknowledged ${id}`
      if (id < state.first_seq || attempt === undefined) return undefined
      const message = yield* Api.message(connection, found.name, { seq: id }, 2000)
      if (message === undefined) return undefined
      const other = Wire.headOf(message.data)?.head.attempt
      return other === attempt ? undefined : `it has another event under id ${id}`
    }).pipe(
      Effect.flatMap((loss) =>
        Effect.sync(() => {
          if (loss !== undefined) this.diverge(loss)
          else if (reconnects === connection.reconnects && connection.isConnected) {
            this.looked = true
            this.wake()
          }
        })
      ),
      Effect.catchAll((error) => {
        if (error._tag === "Denied") return Effect.sync(() => this.break("Denied", error.details))
        if (error._tag === "Refusal" && error.code === Api.codes.noStream) {
          return Effect.sync(() => this.break("Gone", "the stream is no longer there"))
        }
        return Live.sleep(50)
      })
    )
  })

  readonly follow: EventJournal["Type"]["follow"] = (after, onRows) =>
    Effect.suspend(() => {
      let position = after
      const pauses = Live.backoff(20, 1000)
      const life = this.changed.wait(() => this.isOpen || this.broken !== undefined).pipe(
        Effect.zipRight(Effect.suspend((): Effect.Effect<string, ApiError | JournalError> =>
          this.broken ?? consume({
            connection: this.connection,
            stream: this.found.name,
            position: () => position,
            onItems: (items) => {
              pauses.reset()
              if (!this.seen(items)) return
              const last = items[items.length - 1]
              position = "_tag" in last ? last.lastId : last.id
              onRows(items)
            },
            onForeign: (id) => {
              this.foreign++
              this.report(`message ${id} of the stream ${this.found.name} was not written by this application`)
            }
          })
        )),
        Effect.catchAll((error) => {
          if (error._tag === "JournalError") return Effect.fail(error)
          if (error._tag === "Denied") return Effect.fail(errorOf("follow", error))
          return Live.sleep(pauses.next())
        }),
        Effect.zipRight(Effect.sync(() => {
          // a consumer that is made anew begins with a look
          this.consumers++
          this.looked = false
          this.wake()
        }))
      )
      return Race.first(
        Effect.forever(life),
        Effect.flatMap(this.changed.wait(() => this.broken !== undefined), () => this.broken!)
      )
    })

  /** Notes whose events came. False when one of them has an id that was another one's. */
  private seen(items: ReadonlyArray<Item>): boolean {
    if (this.broken !== undefined) return false
    for (const item of items) {
      if ("_tag" in item) {
        this.holes += item.lastId - item.firstId + 1
        if (!this.sight.note(item.lastId, undefined)) return false
      } else if (!this.sight.note(item.id, item.attempt)) {
        this.diverge(`another event came under id ${item.id}, which was given before`)
        return false
      }
    }
    return true
  }

  readonly read: EventJournal["Type"]["read"] = ({ after, limit }) =>
    Effect.suspend(() => {
      const { connection, found: { name }, sight } = this
      if (this.broken !== undefined) return this.broken
      if (limit <= 0) return Effect.succeed([])
      const more = (rows: ReadonlyArray<Row>, from: number): Effect.Effect<ReadonlyArray<Row>, ApiError> =>
        Effect.flatMap(page(connection, name, from, limit - rows.length, sight.witness.id), (found) => {
          const all = rows.length === 0 ? found.rows : [...rows, ...found.rows]
          // it ends where nothing came, or nothing of a whole answer was ours
          return found.lastId === 0 || all.length >= limit || found.lastId >= sight.witness.id
            ? Effect.succeed(all)
            : more(all, found.lastId)
        })
      return Effect.mapBoth(more([], Math.max(0, after)), {
        onFailure: (error) => errorOf("read", error),
        onSuccess: (rows) => {
          for (const row of rows) {
            if (!sight.note(row.id, row.attempt)) this.diverge(`another event was read under id ${row.id}`)
          }
          return rows
        }
      })
    })

  readonly bounds: Effect.Effect<Bounds, JournalError> = Effect.suspend((): Effect.Effect<Bounds, JournalError> =>
    this.broken !== undefined ? this.broken : Effect.mapBoth(Api.info(this.connection, this.found.name), {
      onFailure: (error) => errorOf("bounds", error),
      onSuccess: ({ state }) => ({ first: Math.max(1, state.first_seq), last: state.last_seq })
    })
  )

  /** The first id of an append that the server has seen before: from memory, or by reading back through the log. */
  private findAttempt(attempt: string): Effect.Effect<number | undefined, ApiError> {
    const known = this.sight.firstOf(attempt)
    if (known !== undefined) return Effect.succeed(known)
    const { connection, found: { name }, settings: { duplicateWindow } } = this
    const size = 500
    return Effect.flatMap(Api.info(connection, name, 2000), ({ state }) => {
      const oldest = Date.now() - 2 * duplicateWindow
      const back = (end: number, later: number | undefined): Effect.Effect<number | undefined, ApiError> => {
        if (end < state.first_seq) return Effect.succeed(later)
        const from = Math.max(0, end - size)
        return Effect.flatMap(page(connection, name, from, end - from, end, 2000), ({ rows, storedAt }) => {
          const first = rows.find((row) => row.id <= end && row.attempt === attempt)?.id
          if (first === undefined && later !== undefined) return Effect.succeed(later)
          if (first !== undefined && first > from + 1) return Effect.succeed(first)
          return storedAt < oldest && first === undefined ? Effect.succeed(undefined) : back(from, first ?? later)
        })
      }
      return back(state.last_seq, undefined)
    })
  }
}

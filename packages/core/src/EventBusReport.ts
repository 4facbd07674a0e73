/**
 * What an `EventBus` reports about itself.
 *
 * @since 0.1.0
 */
import type * as EventSubscription from "./EventSubscription.js"

/**
 * Events that a subscriber had not taken when the bus closed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Undelivered {
  readonly subscriber: string
  readonly count: number
  readonly firstId: number
  readonly lastId: number
}

/**
 * A publish that ended `Unconfirmed` in the last minute, or had no answer of the journal when the bus closed: its events may be
 * in the log, or not.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unsettled {
  /** To settle it with: the same events, published under this `attempt`. */
  readonly attempt: string
  readonly events: number
  readonly topics: ReadonlyArray<string>
}

/**
 * How a bus ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface DrainReport {
  readonly bus: string
  readonly lastId: number
  /** Accepted events that were not taken, or not handled to the end, by subscriber. Empty when all went well. */
  readonly undelivered: ReadonlyArray<Undelivered>
  /** Publishers that waited for room when the drain began. They failed with `BusClosed`. */
  readonly rejected: number
  /** Publishes that ended `Unconfirmed`, over an `EventJournal`: nobody knows whether they were accepted. */
  readonly unconfirmed: number
  /** What of that nobody has settled since. */
  readonly unsettled: ReadonlyArray<Unsettled>
  readonly elapsedMillis: number
}

/**
 * How a bus over a journal stands to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface JournalStats {
  readonly state: "connected" | "away" | "failed"
  /** Publishes under way. */
  readonly pending: number
  /** Publishes that ended `Unconfirmed`. */
  readonly unconfirmed: number
  /** Ids that the journal no longer had when they were due. */
  readonly holes: number
}

/**
 * How a bus over a store stands to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoreStats {
  /** `failing`: the last events could not be written down, and their publishers failed. */
  readonly state: "writing" | "failing"
  /** Writes that failed. */
  readonly failures: number
  /** What the last one of them said. */
  readonly lastFailure: string | undefined
}

/**
 * The numbers of a bus, counted since its start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly bus: string
  readonly state: "open" | "draining" | "closed"
  readonly lastId: number
  readonly published: number
  readonly refused: number
  readonly delivered: number
  readonly dropped: number
  /** Events in all queues. */
  readonly queued: number
  /** Publishers that wait for room. */
  readonly waiting: number
  readonly deadLetters: number
  readonly subscribers: ReadonlyArray<EventSubscription.Stats>
  /** Over an `EventJournal` only. */
  readonly journal?: JournalStats | undefined
  /** Over an `EventLog.Store` only. */
  readonly store?: StoreStats | undefined
}

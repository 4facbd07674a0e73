/**
 * What a hub is told and what it tells: its options, its sessions, its reports. `SseHub` gives all of it under its own name.
 *
 * @since 0.1.0
 */
import type * as Cleanup from "@holdfast/core/Cleanup"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Source } from "./HubSource.js"
import type { EndReason, Format, Sink, WireId } from "./SessionSink.js"
import type { Ended, Policy, SessionInfo } from "./SseSession.js"
import type * as TopicWindow from "./TopicWindow.js"

/**
 * One source of events, and the sessions that follow it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly name: string
  /** The epoch of its source. */
  readonly epoch: string | undefined
  /** An id as clients see it and come back with: for answers that say behind which event a stream is to begin. */
  readonly idOf: (id: number) => WireId
  /**
   * Opens a session for as long as the scope. Dies with `InvalidOption` for a capacity, an id or an expiry that makes no
   * sense: a permission that ends at `NaN` would never end.
   */
  readonly open: (options: OpenOptions) => Effect.Effect<Session, SessionRefused, Scope.Scope>
  /** Fails with what `open` would be refused with now. It opens nothing, and is not counted as a refusal. */
  readonly check: (options: Pick<OpenOptions, "principal" | "address">) => Effect.Effect<void, SessionRefused>
  /** Every open session of the principal follows one more topic. Returns how many sessions there are. */
  readonly follow: (principal: string, following: TopicWindow.TopicWindow) => Effect.Effect<number>
  /** Every open session of the principal follows the topic no longer, behind `upTo` (default: now). */
  readonly unfollow: (principal: string, options: Unfollow) => Effect.Effect<number>
  /** Ends every session of the principal, with a farewell. Default reason: `kicked`. */
  readonly kick: (principal: string, reason?: EndReason) => Effect.Effect<number>
  /**
   * Ends every session of the principal with the reason `banned`, and refuses new ones for so long: `SessionRefused`, 403.
   * A later ban takes the place of an earlier one. It is this hub's, and forgotten with it. Returns how many sessions ended.
   * Dies with `InvalidOption` for a duration that makes no sense.
   */
  readonly ban: (principal: string, duration: Duration.DurationInput) => Effect.Effect<number>
  /** Lets the principal in again. False: it was not banned. */
  readonly unban: (principal: string) => Effect.Effect<boolean>
  /** The ban of the principal, for requests beside the stream: nothing else is looked at. `undefined`: it is let in. */
  readonly banned: (principal: string) => Effect.Effect<Ban | undefined>
  readonly bans: Effect.Effect<ReadonlyArray<Ban>>
  readonly sessions: Effect.Effect<ReadonlyArray<SessionInfo>>
  /** The last sessions that ended, oldest first, 256 at most. */
  readonly ended: Effect.Effect<ReadonlyArray<Ended>>
  readonly stats: Effect.Effect<Stats>
  /** Refuses new sessions and ends the open ones in chunks. Calling it again waits for the same drain. */
  readonly drain: (options?: DrainOptions) => Effect.Effect<DrainReport>
}

/**
 * A principal that is kept out.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ban {
  readonly principal: string
  /** `Infinity`: for as long as the hub. */
  readonly remainingMillis: number
}

/**
 * A client that is connected.
 *
 * @since 0.1.0
 * @category models
 */
export interface Session {
  readonly id: string
  readonly principal: string | undefined
  readonly address: string | undefined
  readonly info: Effect.Effect<SessionInfo>
  /** Waits for the end, whoever brings it about. */
  readonly awaitEnd: Effect.Effect<Ended>
  /** Ends it with a farewell; for the reason `drained` with a `retry` as in a drain of the hub. */
  readonly end: (reason: EndReason) => Effect.Effect<void>
  /** Something for this session alone, in its format, behind what it has been sent. False: it has ended. */
  readonly send: (bytes: Uint8Array) => Effect.Effect<boolean>
  readonly follow: (following: TopicWindow.TopicWindow) => Effect.Effect<void>
  readonly unfollow: (options: Unfollow) => Effect.Effect<void>
  /** Ends it with the reason `expired` at that time, milliseconds since the epoch; undefined: never. */
  readonly expireAt: (at: number | undefined) => Effect.Effect<void>
}

/**
 * What is no longer followed behind `upTo` (default: now): the same topic, or the same prefix.
 *
 * @since 0.1.0
 * @category models
 */
export type Unfollow = TopicWindow.Target & { readonly upTo?: number | undefined }

/**
 * The numbers of a hub, counted since its start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly name: string
  readonly open: number
  readonly opened: number
  readonly refused: number
  readonly draining: boolean
  /** The id of the last event that was fanned out. */
  readonly position: number
  /** Events times sessions, of sessions that have ended or are open. */
  readonly events: number
  readonly bytes: number
  readonly dropped: number
  readonly stalled: number
  readonly encodeErrors: number
  readonly ended: Readonly<Record<string, number>>
}

/**
 * Where a session writes to, what it follows, and where it begins.
 *
 * @since 0.1.0
 * @category options
 */
export interface OpenOptions {
  readonly sink: Sink
  readonly format: Format<never>
  /**
   * As an effect where it may change while the session opens. It is asked when the session has its slot, and every `follow`
   * and `unfollow` from then on counts for the session, too: whoever changes the answer first and calls those then loses no
   * change.
   */
  readonly following:
    | ReadonlyArray<TopicWindow.TopicWindow>
    | Effect.Effect<ReadonlyArray<TopicWindow.TopicWindow>>
  readonly principal?: string | undefined
  readonly address?: string | undefined
  /** The last id that the client has seen. Default: it begins now, or where its windows say. */
  readonly lastEventId?: number | undefined
  /** Default: that of the hub. */
  readonly policy?: Policy | undefined
  /** Default: that of the hub. */
  readonly capacity?: number | undefined
  /** Milliseconds since the epoch. Default: never. */
  readonly expiresAt?: number | undefined
}

/**
 * How many sessions there may be.
 *
 * @since 0.1.0
 * @category options
 */
export interface Limits {
  /** Sessions of this hub. Default 20,000. SessionRefused with 503. */
  readonly sessions?: number | undefined
  /** Sessions of one address. Default: no limit, since a proxy or a school may be one address. SessionRefused with 429. */
  readonly perAddress?: number | undefined
  /** Sessions of one principal. Default 16. SessionRefused with 429. */
  readonly perPrincipal?: number | undefined
  /** At the limit of a principal: refuse the new session, or end the oldest with the reason `replaced`. Default `refuse`. */
  readonly onPrincipalLimit?: "refuse" | "replace" | undefined
  /** What a refused client is told to wait. Default 5 seconds. */
  readonly retryAfter?: Duration.DurationInput | undefined
}

/**
 * How fast sessions end in a drain, and when they may come back.
 *
 * @since 0.1.0
 * @category options
 */
export interface DrainOptions {
  /** The least time after which clients come back. Default 1 second. */
  readonly retry?: Duration.DurationInput | undefined
  /** On top of it, evenly distributed. Default: 1 second, or more, so that 500 clients come back per second. */
  readonly jitter?: Duration.DurationInput | undefined
  /** Farewells per second. Default 10,000. */
  readonly perSecond?: number | undefined
}

/**
 * How many sessions a drain ended, and in which time.
 *
 * @since 0.1.0
 * @category models
 */
export interface DrainReport {
  readonly sessions: number
  readonly elapsedMillis: number
}

/**
 * The source of a hub, its limits, and what a slow client gets.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<A, R = never> {
  readonly source: Source<A>
  /** In logs, fiber names and metrics. Default `sse`. */
  readonly name?: string | undefined
  /** Bytes that wait for a slow reader, beyond what its transport holds. Default 256 KiB. */
  readonly capacity?: number | undefined
  /** What happens when they are used up. Default `disconnect`. */
  readonly policy?: Policy | undefined
  /** A reader that takes nothing for this long is cut off. Default 30 seconds. */
  readonly sendTimeout?: Duration.DurationInput | undefined
  /** Sent to sessions that got nothing else. Default 15 seconds. */
  readonly heartbeat?: Duration.DurationInput | undefined
  /** What clients are told to wait before they come back after a failure. Default 2 seconds. */
  readonly retry?: Duration.DurationInput | undefined
  /** Encoded events that are kept for short catch-ups, whether or not there is a history. Default 1024. */
  readonly recent?: number | undefined
  readonly limits?: Limits | undefined
  /** Runs for each session before its first byte, for example to announce presence. */
  readonly onOpen?: ((session: Session) => Effect.Effect<unknown, never, R>) | undefined
  /** Runs for each session after its end, when its slot is free already. */
  readonly onClose?: OnClose<R> | undefined
  /** Of the drain by the application's `Lifecycle`, and the default of `drain`. */
  readonly drain?: DrainOptions | undefined
}

/**
 * What holds where the options say nothing.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  name: "sse",
  /** Bytes. */
  capacity: 256 * 1024,
  policy: { _tag: "disconnect" },
  sendTimeout: "30 seconds",
  heartbeat: "15 seconds",
  retry: "2 seconds",
  recent: 1024,
  limits: {
    sessions: 20_000,
    perAddress: Infinity,
    perPrincipal: 16,
    onPrincipalLimit: "refuse",
    retryAfter: "5 seconds"
  },
  /** The jitter grows with the number of sessions. */
  drain: { retry: "1 second", perSecond: 10_000 }
} as const

/**
 * What to clean up behind a session. It runs in the scope of the session within its budget, whatever happens; if it fails
 * or overruns, the fallbacks are tried, each within its own. See `Cleanup`.
 *
 * @since 0.1.0
 * @category options
 */
export interface OnClose<R = never> {
  /** In reports. Default `session closed`. */
  readonly label?: string | undefined
  /** Default 5 seconds. */
  readonly budget?: Duration.DurationInput | undefined
  readonly run: (ended: Ended) => Effect.Effect<unknown, unknown, R>
  readonly fallbacks?: ReadonlyArray<Cleanup.Fallback<R>> | undefined
}

/**
 * A session was not opened: a limit is reached, the principal is banned, or the hub is draining.
 *
 * @since 0.1.0
 * @category errors
 */
export class SessionRefused extends Data.TaggedError("SessionRefused")<{
  readonly reason: "sessions" | "address" | "principal" | "banned" | "draining"
  readonly limit: number
  readonly retryAfter: Duration.Duration
}> {
  /** @since 0.1.0 */
  override get message() {
    return this.reason === "draining"
      ? "the server is shutting down"
      : this.reason === "banned"
      ? "this client is kept out for now"
      : `there are already ${this.limit} sessions of this ${this.reason === "sessions" ? "server" : this.reason}`
  }
}

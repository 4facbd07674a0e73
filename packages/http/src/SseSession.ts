/**
 * What is known of a session of a hub, open or ended, and what happens when its reader is slower than its events.
 *
 * Applications meet a session as the `Session` that `SseHub.open` returns; this module has no way to change one.
 *
 * @since 0.1.0
 */
import type { EndReason } from "./SessionSink.js"
import type { BoundedWindow } from "./TopicWindow.js"

/**
 * What happens when the buffer of a session is full.
 *
 * - `disconnect`: the session ends with the reason `slow`. The client comes back with its last id and gets what it missed
 *   from history, so nothing is lost as long as history reaches back.
 * - `sliding`: the oldest buffered events are dropped, and a gap says which.
 * - `dropping`: the newest events are dropped, and a gap says which.
 *
 * @since 0.1.0
 * @category models
 */
export type Policy =
  | { readonly _tag: "disconnect" }
  | { readonly _tag: "sliding" }
  | { readonly _tag: "dropping" }

/**
 * A session as it is now.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionInfo {
  readonly id: string
  readonly format: string
  readonly principal: string | undefined
  readonly address: string | undefined
  /** Milliseconds since the epoch. */
  readonly openedAt: number
  readonly following: ReadonlyArray<BoundedWindow>
  /** The id of the last event that it was given. */
  readonly cursor: number
  readonly state: "catching-up" | "live" | "ended"
  readonly events: number
  readonly bytes: number
  readonly dropped: number
  /** Bytes in its buffer and in its sink. */
  readonly buffered: number
  /** Since when its reader takes nothing, milliseconds since the epoch. */
  readonly stalledSince: number | undefined
}

/**
 * A session that ended, and why.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ended extends SessionInfo {
  readonly endedAt: number
  readonly reason: EndReason
}

/**
 * One session of a hub: its place in the log, its bounded buffer and what happens when its reader is slower than its
 * events. Applications meet it as the `Session` that `SseHub.open` gives them; the rest is for the hub.
 *
 * A session is in one of three states. While it catches up it is fed from history, at its reader's pace. While it is
 * live the hub hands it payloads; those that its sink cannot take are buffered, at most `capacity` bytes, and then the
 * policy decides. When it has ended nothing is written any more, and it is in no index of the hub.
 *
 * @since 0.1.0
 */
import type * as Following from "./Following.js"
import type { EndReason, Format, Frame, GapInfo, Sink, SinkHandlers } from "./SessionSink.js"
import { Payload } from "./SessionSink.js"

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
  readonly following: ReadonlyArray<Following.Window>
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
 * @since 0.1.0
 * @category models
 */
export interface Ended extends SessionInfo {
  readonly endedAt: number
  readonly reason: EndReason
}

/**
 * What a session needs of its hub.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owner {
  readonly now: () => number
  /** The session's sink is full, or no longer. */
  readonly stalled: (session: SessionState, stalled: boolean) => void
  readonly overflowed: (session: SessionState) => void
}

/**
 * The mutable state of a session. Everything here is synchronous: it runs in the hub's fan-out loop.
 *
 * @since 0.1.0
 * @category models
 */
export class SessionState {
  windows: Array<Following.Window> = []
  cursor = 0
  state: "catching-up" | "live" | "ended" = "catching-up"
  /** While it catches up: the id up to which it has been dealt everything. */
  dealt = 0
  /** Written to since the last heartbeat. */
  active = false
  /** The key of the group of a live session that follows plain topics. */
  group: string | undefined
  expiresAt: number | undefined
  events = 0
  bytes = 0
  dropped = 0
  stalledSince: number | undefined
  /** Called once when there is room again, or when the session ends. */
  onRoom: (() => void) | undefined

  /** Nothing may leave before the head of the connection has. */
  private phase: "new" | "begun" | "destroyed" = "new"
  /** Last words of a session that ended before it had begun. */
  private unsaid: Uint8Array | undefined
  private queue: Array<Payload> | undefined
  private queued = 0
  /** What `sliding` dropped before the queue, or `dropping` after it. */
  private lost: { firstId: number; lastId: number; count: number } | undefined

  constructor(
    readonly owner: Owner,
    readonly id: string,
    readonly format: Format<never>,
    readonly sink: Sink,
    readonly policy: Policy["_tag"],
    readonly capacity: number,
    readonly principal: string | undefined,
    readonly address: string | undefined,
    readonly openedAt: number
  ) {}

  info(): SessionInfo {
    return {
      id: this.id,
      format: this.format.name,
      principal: this.principal,
      address: this.address,
      openedAt: this.openedAt,
      following: this.windows,
      cursor: this.cursor,
      state: this.state,
      events: this.events,
      bytes: this.bytes,
      dropped: this.dropped,
      buffered: this.queued + this.sink.buffered(),
      stalledSince: this.stalledSince
    }
  }

  /** Opens the connection. A session that has been ended meanwhile, by a kick or a drain, still says why. */
  begin(handlers: SinkHandlers, opening: Uint8Array): void {
    if (this.phase !== "new") {
      return
    }
    this.phase = "begun"
    this.sink.start(handlers)
    if (this.state !== "ended") {
      this.control(opening, true)
      return
    }
    for (const bytes of [opening, this.unsaid]) {
      if (bytes !== undefined) {
        this.sink.write(new Payload([{ bytes, id: undefined }]))
      }
    }
    this.sink.end()
  }

  /** Gives a connection up that will not begin any more. */
  discard(): void {
    if (this.phase === "new") {
      this.phase = "destroyed"
      this.sink.destroy()
    }
  }

  /** Hands events over: to the sink when it has room, into the buffer when it has not. */
  deliver(payload: Payload): void {
    if (this.state === "ended") {
      return
    }
    if (this.stalledSince === undefined) {
      this.write(payload)
    } else {
      this.enqueue(payload)
    }
  }

  /** Hands over what is no event. Not for a reader that is behind: false, and nothing is sent. */
  control(bytes: Uint8Array, evenIfStalled: boolean): boolean {
    if (this.state === "ended" || (this.stalledSince !== undefined && !evenIfStalled)) {
      return false
    }
    this.deliver(new Payload([{ bytes, id: undefined }]))
    return true
  }

  gap(info: GapInfo): void {
    this.deliver(new Payload([this.gapFrame(info)]))
  }

  /** The sink has room again. */
  ready(): void {
    if (this.state === "ended" || this.stalledSince === undefined) {
      return
    }
    this.stalledSince = undefined
    if (this.queue !== undefined) {
      this.flush()
    }
    if (this.stalledSince === undefined) {
      this.owner.stalled(this, false)
      const onRoom = this.onRoom
      this.onRoom = undefined
      onRoom?.()
    }
  }

  /** The last words: what is buffered, then the farewell, and the end of the connection in order. */
  finish(farewell: Uint8Array | undefined): void {
    this.state = "ended"
    if (this.phase === "new") {
      this.unsaid = farewell
      return this.released()
    }
    if (this.queue !== undefined) {
      const payload = this.drainQueue()
      if (payload !== undefined) {
        this.sink.write(payload)
      }
    }
    if (farewell !== undefined) {
      this.sink.write(new Payload([{ bytes: farewell, id: undefined }]))
    }
    this.sink.end()
    this.released()
  }

  /** No last words. */
  abort(): void {
    this.state = "ended"
    this.queue = undefined
    this.queued = 0
    this.phase = "destroyed"
    this.sink.destroy()
    this.released()
  }

  private released(): void {
    const onRoom = this.onRoom
    this.onRoom = undefined
    onRoom?.()
  }

  private write(payload: Payload): void {
    this.active = true
    this.events += payload.events
    this.bytes += payload.byteLength
    if (payload.lastId !== undefined && payload.lastId > this.cursor) {
      this.cursor = payload.lastId
    }
    if (!this.sink.write(payload)) {
      this.stalledSince = this.owner.now()
      this.owner.stalled(this, true)
    }
  }

  private enqueue(payload: Payload): void {
    const queue = this.queue ??= []
    if (this.queued + payload.byteLength <= this.capacity) {
      if (this.policy === "dropping" && this.lost !== undefined) {
        // the gap goes where the events would have been
        this.push(new Payload([this.lostFrame(this.lost)]))
        this.lost = undefined
      }
      this.push(payload)
      return
    }
    switch (this.policy) {
      case "disconnect":
        return this.owner.overflowed(this)
      case "dropping":
        return this.lose(payload)
      case "sliding": {
        this.push(payload)
        while (this.queued > this.capacity && queue.length > 0) {
          const oldest = queue.shift()!
          this.queued -= oldest.byteLength
          this.lose(oldest)
        }
      }
    }
  }

  private push(payload: Payload): void {
    this.queue!.push(payload)
    this.queued += payload.byteLength
  }

  private lose(payload: Payload): void {
    for (const { id } of payload.frames) {
      if (id === undefined) {
        continue
      }
      this.dropped++
      if (this.lost === undefined) {
        this.lost = { firstId: id, lastId: id, count: 1 }
      } else {
        this.lost.firstId = Math.min(this.lost.firstId, id)
        this.lost.lastId = Math.max(this.lost.lastId, id)
        this.lost.count++
      }
    }
  }

  private flush(): void {
    const payload = this.drainQueue()
    if (payload !== undefined) {
      this.write(payload)
    }
  }

  private drainQueue(): Payload | undefined {
    const frames: Array<Frame> = []
    if (this.lost !== undefined && this.policy === "sliding") {
      frames.push(this.lostFrame(this.lost))
    }
    for (const payload of this.queue ?? []) {
      for (const frame of payload.frames) {
        frames.push(frame)
      }
    }
    if (this.lost !== undefined && this.policy === "dropping") {
      frames.push(this.lostFrame(this.lost))
    }
    this.queue = undefined
    this.queued = 0
    this.lost = undefined
    return frames.length === 0 ? undefined : new Payload(frames)
  }

  private lostFrame(lost: { firstId: number; lastId: number; count: number }): Frame {
    return this.gapFrame({ reason: "overflow", ...lost })
  }

  private gapFrame(info: GapInfo): Frame {
    return { bytes: this.format.gap(info), id: undefined }
  }
}

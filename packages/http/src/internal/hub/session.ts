/**
 * One session of a hub: its place in the log, its bounded buffer and what happens when its reader is slower than its
 * events.
 *
 * A session is in one of three states. While it catches up it is fed from history, at its reader's pace. While it is
 * live the hub delivers payloads to it; those that its sink cannot take are buffered, at most `capacity` bytes, and then the
 * policy decides. When it has ended nothing is written any more, and it is in no index of the hub.
 */
import type { EndReason, Format, Frame, GapInfo, Sink, SinkHandlers, WireId } from "../../SessionSink.js"
import { Payload } from "../../SessionSink.js"
import type { Policy, SessionInfo } from "../../SseSession.js"
import type { BoundedWindow } from "../../TopicWindow.js"

/**
 * What a session needs of its hub.
 */
export interface Owner {
  readonly now: () => number
  readonly monotonic: () => number
  readonly wireId: (id: number) => WireId
  /** The session's sink is full, or no longer. */
  readonly stalled: (session: SessionState, stalled: boolean) => void
  readonly overflowed: (session: SessionState) => void
}

/** Changes what a session that begins at `start` follows; nothing at or below `floor` counts. */
type Turn = (windows: Array<BoundedWindow>, start: number, floor: number) => Array<BoundedWindow>

/**
 * The mutable state of a session. Everything here is synchronous: it runs in the hub's fan-out loop.
 */
export abstract class SessionState implements SinkHandlers {
  windows: Array<BoundedWindow> = []
  /** What it followed and unfollowed between its slot and its begin: applied when it begins. */
  turns: Array<Turn> | undefined = []
  cursor = 0
  state: "catching-up" | "live" | "ended" = "catching-up"
  /** While it catches up: the id up to which it has been offered everything. */
  offered = 0
  /** The id that its client came back with: what another node of the log had shown it. */
  seen = 0
  /** Written to since the last heartbeat. */
  active = false
  /** The key of the group of a live session that follows plain topics. */
  group: string | undefined
  expiresAt: number | undefined
  events = 0
  bytes = 0
  dropped = 0
  /** For people, milliseconds since the epoch. Undefined: its reader takes. */
  stalledSince: number | undefined
  /** When the time-out began, on the monotonic clock. */
  stalledFrom = 0
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
  begin(opening: Uint8Array): void {
    if (this.phase !== "new") {
      return
    }
    this.phase = "begun"
    this.sink.start(this)
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

  /** Delivers events: to the sink when it has room, into the buffer when it has not. */
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

  /** Delivers what is no event. Not for a reader that is behind: false, and nothing is sent. */
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
  onReady(): void {
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

  /** The connection is gone. */
  abstract onClose(reason: EndReason): void

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
      this.stalledFrom = this.owner.monotonic()
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
    return { bytes: this.format.gap({ ...info, id: this.owner.wireId(info.lastId) }), id: undefined }
  }
}

/**
 * Who gets which bytes: the synchronous heart of `SseHub`.
 *
 * Live sessions that follow the same topics in the same format form a group. A batch of events is encoded once per
 * format, turned into one payload per group, and delivered to the group's members as it is. The few sessions with a window
 * that begins or ends ahead are looked at one by one until the window has passed.
 *
 * The last `recent` events stay, encoded, in a ring: a session that comes back, or that follows a topic a moment late, is
 * caught up from it in the same turn.
 *
 * It is not for applications, and it forks, waits and writes nothing by itself.
 */
import * as Topic from "@holdfast/core/Topic"
import type { Format, Frame, WireId } from "../../SessionSink.js"
import { Payload } from "../../SessionSink.js"
import type { Envelope } from "../../SseFormat.js"
import * as TopicWindow from "../../TopicWindow.js"
import type { SessionState } from "./session.js"
import { wireId } from "./wireId.js"

export interface Delivery {
  readonly payload: Payload
  readonly sessions: ReadonlyArray<SessionState>
}

/** One event, with what each format made of it; null where it could not be encoded. */
class Entry {
  private readonly encoded: Array<{ readonly format: Format<never>; readonly payload: Payload | null }> = []

  constructor(readonly envelope: Envelope<unknown>) {}

  payload(format: Format<never>, fanOut: FanOut): Payload | null {
    for (const one of this.encoded) {
      if (one.format === format || one.format.name === format.name) {
        return one.payload
      }
    }
    const bytes = fanOut.encode(format, this.envelope, this.envelope.id)
    const payload = bytes === undefined ? null : new Payload([{ bytes, id: this.envelope.id }])
    this.encoded.push({ format, payload })
    return payload
  }
}

class Group {
  readonly members = new Set<SessionState>()
  /** The members as an array that does not change under a loop. */
  snapshot: Array<SessionState> | undefined
  payloads: Array<Payload> = []
  /** The id of the last event that it was offered. */
  dirtyAt = 0

  constructor(readonly key: string, readonly format: Format<never>, readonly patterns: ReadonlyArray<string>) {}
}

export class FanOut {
  /** Every live session has been offered everything up to this id. */
  position = 0

  private readonly groups = new Map<string, Group>()
  private readonly index = new Topic.Index<Group>()
  private readonly windowed = new Set<SessionState>()
  /** Consecutive ids, the last one at `position`. Cut back when it has grown to twice its size. */
  private ring: Array<Entry> = []

  constructor(
    private readonly recent: number,
    private readonly toJson: ((event: never) => unknown) | undefined,
    private readonly onEncodeError: (envelope: Envelope<unknown>, error: unknown) => void,
    readonly epoch: string | undefined
  ) {}

  /** The id as clients see it. */
  wireId(id: number): WireId {
    return wireId(this.epoch, id)
  }

  /** Begins at an id, with the events before it as far as they are known. */
  reset(position: number, last: ReadonlyArray<Envelope<unknown>>): void {
    this.position = position
    this.ring = last.length > 0 && last[last.length - 1].id === position
      ? last.slice(-this.recent).map((envelope) => new Entry(envelope))
      : []
  }

  /** The ids behind which the ring knows every event. */
  get reach(): number {
    return this.position - this.ring.length
  }

  /** Up to where a session was offered everything, whether it followed the topic or not. */
  offered(session: SessionState): number {
    return session.state === "live" ? this.position : session.offered
  }

  /** Puts a session that has been offered everything up to `position` where it gets what follows. */
  join(session: SessionState): void {
    this.leave(session)
    session.state = "live"
    const patterns = TopicWindow.plain(session.windows, this.position)
    if (patterns === undefined) {
      this.windowed.add(session)
      return
    }
    // JSON, because no separator is safe from topics
    const key = JSON.stringify([session.format.name, ...patterns])
    let group = this.groups.get(key)
    if (group === undefined) {
      group = new Group(key, session.format, patterns)
      this.groups.set(key, group)
      for (const pattern of patterns) {
        this.index.add(pattern, group)
      }
    }
    group.members.add(session)
    group.snapshot = undefined
    session.group = key
  }

  leave(session: SessionState): void {
    this.windowed.delete(session)
    const group = session.group === undefined ? undefined : this.groups.get(session.group)
    session.group = undefined
    if (group === undefined || !group.members.delete(session)) {
      return
    }
    group.snapshot = undefined
    if (group.members.size === 0) {
      this.groups.delete(group.key)
      for (const pattern of group.patterns) {
        this.index.remove(pattern, group)
      }
    }
  }

  /** Takes the next events in and returns who is to get what. Events from before `position` are left out. */
  dispatch(envelopes: ReadonlyArray<Envelope<unknown>>): ReadonlyArray<Delivery> {
    const dirty: Array<Group> = []
    const shared = new Map<string, Payload>()
    const perSession = new Map<SessionState, Array<Payload>>()
    const found: Array<ReadonlyArray<Group>> = []
    let count = 0
    for (const envelope of envelopes) {
      if (envelope.id <= this.position) {
        continue
      }
      if (envelope.id !== this.position + 1) {
        this.ring = []
      }
      count++
      this.position = envelope.id
      const entry = new Entry(envelope)
      this.ring.push(entry)
      found.length = 0
      for (const groups of this.index.lookup(envelope.topic, found)) {
        for (const group of groups) {
          if (group.dirtyAt === envelope.id) {
            continue
          }
          group.dirtyAt = envelope.id
          const payload = entry.payload(group.format, this)
          if (payload !== null && group.payloads.push(payload) === 1) {
            dirty.push(group)
          }
        }
      }
      for (const session of this.windowed) {
        if (TopicWindow.includes(session.windows, envelope.topic, envelope.id)) {
          const payload = entry.payload(session.format, this)
          if (payload !== null) {
            const own = perSession.get(session)
            if (own === undefined) {
              perSession.set(session, [payload])
            } else {
              own.push(payload)
            }
          }
        }
      }
    }
    if (this.ring.length > 2 * this.recent) {
      this.ring = this.ring.slice(-this.recent)
    }

    const deliveries: Array<Delivery> = []
    const join = (payloads: Array<Payload>, format: Format<never>): Payload => {
      if (payloads.length === 1) {
        return payloads[0]
      }
      // groups that get the shared batch share its bytes
      const same = payloads.length === count ? shared.get(format.name) : undefined
      const payload = same ?? new Payload(payloads.map((one) => one.frames[0]))
      if (payloads.length === count) {
        shared.set(format.name, payload)
      }
      return payload
    }
    for (const group of dirty) {
      deliveries.push({
        payload: join(group.payloads, group.format),
        sessions: group.snapshot ??= Array.from(group.members)
      })
      group.payloads = []
    }
    for (const [session, payloads] of perSession) {
      deliveries.push({ payload: join(payloads, session.format), sessions: [session] })
    }
    if (this.windowed.size > 0) {
      for (const session of Array.from(this.windowed)) {
        if (TopicWindow.plain(session.windows, this.position) !== undefined) {
          this.join(session)
        }
      }
    }
    return deliveries
  }

  /**
   * What the ring holds for a session behind `after`, up to `maxBytes` and at least one frame. `upTo` is the id up to
   * which that is everything.
   */
  read(
    session: SessionState,
    after: number,
    maxBytes: number
  ): { readonly frames: Array<Frame>; readonly upTo: number } {
    const frames: Array<Frame> = []
    let bytes = 0
    for (let i = after - this.reach; i < this.ring.length; i++) {
      const entry = this.ring[i]
      if (TopicWindow.includes(session.windows, entry.envelope.topic, entry.envelope.id)) {
        const frame = entry.payload(session.format, this)?.frames[0]
        if (frame !== undefined) {
          frames.push(frame)
          bytes += frame.bytes.length
          if (bytes >= maxBytes) {
            return { frames, upTo: entry.envelope.id }
          }
        }
      }
    }
    return { frames, upTo: this.position }
  }

  /** The envelopes of the ring in `(after, upTo]`. */
  slice(after: number, upTo: number): ReadonlyArray<Envelope<unknown>> {
    const reach = this.reach
    return this.ring.slice(Math.max(0, after - reach), Math.max(0, upTo - reach)).map((entry) => entry.envelope)
  }

  /** Never throws: an event that cannot be encoded is reported and left out. */
  encode(format: Format<never>, envelope: Envelope<unknown>, id: number): Uint8Array | undefined {
    try {
      const { toJson } = this
      return (format as Format<Envelope<unknown>>).event(
        envelope,
        wireId(this.epoch, id),
        toJson === undefined ? () => envelope.event : () => toJson(envelope.event as never)
      )
    } catch (error) {
      this.onEncodeError(envelope, error)
      return undefined
    }
  }
}

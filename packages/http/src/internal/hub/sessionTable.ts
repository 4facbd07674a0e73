/**
 * The open sessions of a hub: who is let in, who is there, how each one ends, and what is remembered of it.
 *
 * It is synchronous, and not for applications: see `SseHub`.
 */
import * as Monotonic from "@holdfast/core/Monotonic"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import type { OpenOptions, Options, Stats } from "../../HubOptions.js"
import { defaults, SessionRefused } from "../../HubOptions.js"
import type { EndReason, Sink, WireId } from "../../SessionSink.js"
import type { Ended } from "../../SseSession.js"
import { Bans } from "./bans.js"
import type { FanOut } from "./fanOut.js"
import { Multimap } from "./multimap.js"
import type { Owner } from "./session.js"
import { SessionState } from "./session.js"

const endedCapacity = 256

/**
 * A session that a table knows.
 */
export class LiveSession extends SessionState {
  readonly done = Deferred.unsafeMake<Ended>(FiberId.none)

  constructor(readonly table: SessionTable, id: string, given: OpenOptions) {
    super(
      table,
      id,
      given.format,
      given.sink,
      given.policy?._tag ?? table.policy,
      given.capacity ?? table.capacity,
      given.principal,
      given.address,
      table.now()
    )
    this.expiresAt = given.expiresAt
  }

  override onClose(reason: EndReason): void {
    this.finishWith(reason, "abort")
  }

  /** Ends the session once; later calls change nothing. The slot is free when this returns. */
  finishWith(reason: EndReason, how: "farewell" | "abort", retryMillis?: number): void {
    if (this.state === "ended") {
      return
    }
    const ended: Ended = { ...this.info(), state: "ended", endedAt: this.table.now(), reason }
    this.table.remove(this, ended)
    if (how === "farewell") {
      this.finish(this.format.farewell({ reason, retryMillis }))
      this.table.linger(this.sink)
    } else {
      this.abort()
    }
    Deferred.unsafeDone(this.done, Exit.succeed(ended))
  }
}

export class SessionTable implements Owner {
  readonly policy: NonNullable<OpenOptions["policy"]>["_tag"]
  readonly capacity: number
  readonly sendTimeout: number
  draining = false
  readonly bans = new Bans(() => this.monotonic())

  private readonly sessions = new Map<string, LiveSession>()
  private readonly byPrincipal = new Multimap<string, LiveSession>()
  private readonly byAddress = new Multimap<string, LiveSession>()
  private readonly expiring = new Set<LiveSession>()
  private readonly slow = new Set<SessionState>()
  /** Sinks that were told to end while their reader was behind, with the time at which they are destroyed. */
  private readonly lingering = new Map<Sink, number>()
  private readonly recentlyEnded: Array<Ended> = []
  private readonly reasons: Record<string, number> = {}
  private readonly totals = { events: 0, bytes: 0, dropped: 0 }
  private readonly limits
  private opened = 0
  private refused = 0

  constructor(
    readonly name: string,
    private readonly clock: Clock.Clock,
    private readonly fanOut: FanOut,
    options: Pick<Options<never>, "policy" | "capacity" | "sendTimeout" | "limits">
  ) {
    this.policy = (options.policy ?? defaults.policy)._tag
    this.capacity = options.capacity ?? defaults.capacity
    this.sendTimeout = Duration.toMillis(options.sendTimeout ?? defaults.sendTimeout)
    const limits = options.limits ?? {}
    this.limits = {
      sessions: limits.sessions ?? defaults.limits.sessions,
      address: limits.perAddress ?? defaults.limits.perAddress,
      principal: limits.perPrincipal ?? defaults.limits.perPrincipal,
      replace: (limits.onPrincipalLimit ?? defaults.limits.onPrincipalLimit) === "replace",
      retryAfter: Duration.decode(limits.retryAfter ?? defaults.limits.retryAfter)
    }
  }

  /** Milliseconds since the epoch: for people, and for permissions that end at a time of day. */
  now(): number {
    return this.clock.unsafeCurrentTimeMillis()
  }

  /** Milliseconds that no setting of the clock changes: for time-outs. */
  monotonic(): number {
    return Monotonic.unsafeNow(this.clock)
  }

  wireId(id: number): WireId {
    return this.fanOut.wireId(id)
  }

  /** What would keep a session out now. */
  refusalOf(given: Pick<OpenOptions, "principal" | "address">): SessionRefused | undefined {
    const { limits } = this
    if (this.draining) {
      return this.refusal("draining", 0)
    }
    const banned = this.bans.remaining(given.principal)
    if (banned > 0) {
      return new SessionRefused({ reason: "banned", limit: 0, retryAfter: Duration.millis(banned) })
    }
    if (this.sessions.size >= limits.sessions) {
      return this.refusal("sessions", limits.sessions)
    }
    if (given.address !== undefined && (this.byAddress.get(given.address)?.size ?? 0) >= limits.address) {
      return this.refusal("address", limits.address)
    }
    const own = given.principal === undefined ? 0 : this.byPrincipal.get(given.principal)?.size ?? 0
    return own >= limits.principal && !limits.replace ? this.refusal("principal", limits.principal) : undefined
  }

  /** Counts a session in, or says why not. */
  admit(given: OpenOptions): Either.Either<LiveSession, SessionRefused> {
    const { limits } = this
    const refusal = this.refusalOf(given)
    if (refusal !== undefined) {
      this.refused++
      return Either.left(refusal)
    }
    const own = given.principal === undefined ? [] : this.ofPrincipal(given.principal)
    for (const oldest of own.slice(0, Math.max(0, own.length - limits.principal + 1))) {
      oldest.finishWith("replaced", "farewell")
    }
    this.opened++
    const session = new LiveSession(this, `${this.name}-${this.opened}`, given)
    this.sessions.set(session.id, session)
    if (session.address !== undefined) {
      this.byAddress.add(session.address, session)
    }
    if (session.principal !== undefined) {
      this.byPrincipal.add(session.principal, session)
    }
    this.expire(session, given.expiresAt)
    return Either.right(session)
  }

  /** Takes a session out of every index. */
  remove(session: LiveSession, ended: Ended): void {
    this.fanOut.leave(session)
    this.sessions.delete(session.id)
    this.expiring.delete(session)
    this.slow.delete(session)
    if (session.address !== undefined) {
      this.byAddress.remove(session.address, session)
    }
    if (session.principal !== undefined) {
      this.byPrincipal.remove(session.principal, session)
    }
    this.reasons[ended.reason] = (this.reasons[ended.reason] ?? 0) + 1
    this.totals.events += session.events
    this.totals.bytes += session.bytes
    this.totals.dropped += session.dropped
    this.recentlyEnded.push(ended)
    if (this.recentlyEnded.length > endedCapacity) {
      this.recentlyEnded.shift()
    }
  }

  /** Destroys the sink in a while, should its reader not take the last bytes. */
  linger(sink: Sink): void {
    if (sink.buffered() > 0) {
      this.lingering.set(sink, this.monotonic() + this.sendTimeout)
    }
  }

  expire(session: LiveSession, at: number | undefined): void {
    session.expiresAt = at
    if (at === undefined || session.state === "ended") {
      this.expiring.delete(session)
    } else {
      this.expiring.add(session)
    }
  }

  stalled(session: SessionState, is: boolean): void {
    if (is) {
      this.slow.add(session)
    } else {
      this.slow.delete(session)
    }
  }

  overflowed(session: SessionState): void {
    ;(session as LiveSession).finishWith("slow", "abort")
  }

  /** Ends what has had its time: stalled readers, expired permissions, sinks that linger. */
  sweep(): void {
    if (this.slow.size === 0 && this.expiring.size === 0 && this.lingering.size === 0) {
      return
    }
    const elapsed = this.monotonic()
    for (const session of Array.from(this.slow)) {
      if (session.stalledSince !== undefined && elapsed - session.stalledFrom >= this.sendTimeout) {
        this.overflowed(session)
      }
    }
    const at = this.now()
    for (const session of Array.from(this.expiring)) {
      if (session.expiresAt !== undefined && session.expiresAt <= at) {
        session.finishWith("expired", "farewell")
      }
    }
    for (const [sink, deadline] of Array.from(this.lingering)) {
      if (sink.buffered() === 0) {
        this.lingering.delete(sink)
      } else if (deadline <= elapsed) {
        this.lingering.delete(sink)
        sink.destroy()
      }
    }
  }

  get size(): number {
    return this.sessions.size
  }

  all(): Array<LiveSession> {
    return Array.from(this.sessions.values())
  }

  ofPrincipal(principal: string): Array<LiveSession> {
    return Array.from(this.byPrincipal.get(principal) ?? [])
  }

  /** Ends all of a principal's. */
  kick(principal: string, reason: EndReason): number {
    const own = this.ofPrincipal(principal)
    own.forEach((session) => session.finishWith(reason, "farewell"))
    return own.length
  }

  ended(): ReadonlyArray<Ended> {
    return this.recentlyEnded.slice()
  }

  stats(encodeErrors: number): Stats {
    const sum = { ...this.totals }
    for (const session of this.sessions.values()) {
      sum.events += session.events
      sum.bytes += session.bytes
      sum.dropped += session.dropped
    }
    return {
      name: this.name,
      open: this.sessions.size,
      opened: this.opened,
      refused: this.refused,
      draining: this.draining,
      position: this.fanOut.position,
      ...sum,
      stalled: this.slow.size,
      encodeErrors,
      ended: { ...this.reasons }
    }
  }

  private refusal(reason: SessionRefused["reason"], limit: number): SessionRefused {
    return new SessionRefused({ reason, limit, retryAfter: this.limits.retryAfter })
  }
}

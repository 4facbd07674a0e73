/**
 * One subscription and one fan-out fiber for any number of connections.
 *
 * Each event is encoded once per format. The events of one wake-up are one write per connection, and sessions that get
 * the same events share the same bytes. It is not for the request side: see `SseRoute` and `WebSocketRoute`.
 *
 * **Delivery**
 * - A session sees the events of its topics in the order of their ids, none twice. With `history` it resumes behind any
 *   id: history first, then live, with no gap and no repeat between them. What history no longer has is announced by a
 *   `gap`, never passed over in silence.
 * - Each session has a buffer of `capacity` bytes and a policy (see `SseSession.Policy`). A reader that takes nothing for
 *   `sendTimeout` is cut off with the reason `slow`. Neither costs another session anything.
 * - Following can change while a session is open, exactly to the event (`follow`, `unfollow`). A topic that is followed
 *   from an id that the session has already passed is caught up at once, out of order and without moving the client's
 *   last id back; if the connection breaks in that moment, those late events are not repeated on resume.
 *
 * **Shutdown**
 * - `drain` refuses new sessions, says farewell to the open ones in waves, each with its own jittered `retry`, and ends
 *   them. The hub does so when its scope closes, too, without waves.
 * - A session lives in the `Scope` that `open` is called in, and gives its slot back when that scope closes, whatever
 *   happened before: also when the client has left before the first byte.
 *
 * **Limits**
 * - One hub serves one process. It writes from one thread: what 1000 connections cost is in docs/sse.md.
 * - A peer that has vanished without closing is noticed when the operating system gives up on the heartbeats.
 *
 * @since 0.1.0
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import type { Event } from "@holdfast/core/Envelope"
import type { EventBus } from "@holdfast/core/EventBus"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Lifecycle } from "@holdfast/core/Lifecycle"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type { Delivery } from "./FanOut.js"
import { FanOut } from "./FanOut.js"
import * as Following from "./Following.js"
import { Multimap } from "./internal/multimap.js"
import type { EndReason, Format, Frame, Sink } from "./SessionSink.js"
import { Payload } from "./SessionSink.js"
import type { Envelope } from "./SseFormat.js"
import type { Ended, Policy, SessionInfo } from "./SseSession.js"
import { SessionState } from "./SseSession.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class SseHub extends Context.Tag("@holdfast/http/SseHub")<SseHub, Service>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly name: string
  /** Opens a session for as long as the scope. */
  readonly open: (options: OpenOptions) => Effect.Effect<Session, Refused, Scope.Scope>
  /** Every open session of the principal follows one more topic. Answers how many sessions there are. */
  readonly follow: (principal: string, following: Following.Following) => Effect.Effect<number>
  /** Every open session of the principal follows the topic no longer, behind `upTo` (default: now). */
  readonly unfollow: (
    principal: string,
    options: { readonly topic: string; readonly upTo?: number | undefined }
  ) => Effect.Effect<number>
  /** Ends every session of the principal, with a farewell. Default reason: `kicked`. */
  readonly kick: (principal: string, reason?: EndReason) => Effect.Effect<number>
  readonly sessions: Effect.Effect<ReadonlyArray<SessionInfo>>
  /** The last sessions that ended, oldest first, 256 at most. */
  readonly ended: Effect.Effect<ReadonlyArray<Ended>>
  readonly stats: Effect.Effect<Stats>
  /** Refuses new sessions and ends the open ones in waves. Calling it again waits for the same drain. */
  readonly drain: (options?: DrainOptions) => Effect.Effect<DrainReport>
}

/**
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
  /** Ends it with a farewell. */
  readonly end: (reason: EndReason) => Effect.Effect<void>
  /** Something for this session alone, in its format, behind what it has been sent. False: it has ended. */
  readonly send: (bytes: Uint8Array) => Effect.Effect<boolean>
  readonly follow: (following: Following.Following) => Effect.Effect<void>
  readonly unfollow: (options: { readonly topic: string; readonly upTo?: number | undefined }) => Effect.Effect<void>
  /** Ends it with the reason `expired` at that time, milliseconds since the epoch; undefined: never. */
  readonly expireAt: (at: number | undefined) => Effect.Effect<void>
}

/**
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
 * Where the events come from: a bus, with its log where it has one.
 *
 * @since 0.1.0
 * @category ports
 */
export interface Source<out A> {
  /** Every event from now on. */
  readonly subscribe: Effect.Effect<Subscription<A>, never, Scope.Scope>
  /** The id of the last event that was published. */
  readonly lastId: Effect.Effect<number>
  /** Without it, sessions resume from the last `recent` events alone. */
  readonly history?: History<A> | undefined
}

/**
 * The source has no more events: it was drained or closed. Sessions get their farewell.
 *
 * @since 0.1.0
 * @category errors
 */
export class SourceClosed extends Data.TaggedError("SourceClosed")<{}> {}

/**
 * @since 0.1.0
 * @category ports
 */
export interface Subscription<out A> {
  /**
   * Waits for at least one. A `Gap` stands for events that the subscription has lost. Any failure ends the hub's sessions,
   * with the reason `drained` when it is `SourceClosed`, and `error` otherwise.
   */
  readonly takeBatch: (max: number) => Effect.Effect<ReadonlyArray<Envelope<A> | Gap>, unknown>
}

/**
 * @since 0.1.0
 * @category ports
 */
export interface Gap {
  readonly _tag: "Gap"
  readonly firstId: number
  readonly lastId: number
}

/**
 * @since 0.1.0
 * @category ports
 */
export interface History<out A> {
  /** Events with greater ids, in order, of these topics. A `Gap` stands for events that are no longer kept. */
  readonly after: (
    id: number,
    options: { readonly topics: ReadonlyArray<string>; readonly limit: number }
  ) => Effect.Effect<Page<A>, unknown>
}

/**
 * @since 0.1.0
 * @category ports
 */
export interface Page<out A> {
  readonly items: ReadonlyArray<Envelope<A> | Gap>
  /** Everything up to here has been looked at. */
  readonly cursor: number
}

/**
 * A bus as the source of a hub, with its log as history. The hub never makes a publisher wait: should it fall more than
 * `capacity` events behind (default 16,384), it takes what it missed from the log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBus = <A extends Event>(
  bus: EventBus<A>,
  options?: { readonly name?: string | undefined; readonly capacity?: number | undefined }
): Source<A> => ({
  subscribe: Effect.map(
    bus.subscribe({
      name: options?.name ?? "sse",
      capacity: options?.capacity ?? 16_384,
      policy: { _tag: "sliding" }
    }),
    (subscription) => ({
      takeBatch: (max) =>
        Effect.mapError(
          subscription.takeBatch(max),
          (closed) => closed.reason === "drained" || closed.reason === "closed" ? new SourceClosed() : closed
        )
    })
  ),
  lastId: bus.lastId,
  history: { after: (id, { limit, topics }) => bus.log.after(id, { limit, topics }) }
})

/**
 * @since 0.1.0
 * @category options
 */
export interface OpenOptions {
  readonly sink: Sink
  readonly format: Format<never>
  readonly following: ReadonlyArray<Following.Following>
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
 * @since 0.1.0
 * @category options
 */
export interface Limits {
  /** Sessions of this hub. Default 20,000. Refused with 503. */
  readonly sessions?: number | undefined
  /** Sessions of one address. Default: no limit, since a proxy or a school may be one address. Refused with 429. */
  readonly perAddress?: number | undefined
  /** Sessions of one principal. Default 16. Refused with 429. */
  readonly perPrincipal?: number | undefined
  /** At the limit of a principal: refuse the new session, or end the oldest with the reason `replaced`. Default `refuse`. */
  readonly onPrincipalLimit?: "refuse" | "replace" | undefined
  /** What a refused client is told to wait. Default 5 seconds. */
  readonly retryAfter?: Duration.DurationInput | undefined
}

/**
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
 * @since 0.1.0
 * @category models
 */
export interface DrainReport {
  readonly sessions: number
  readonly millis: number
}

/**
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
 * A session was not opened: a limit is reached, or the hub is draining.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Data.TaggedError("Refused")<{
  readonly reason: "sessions" | "address" | "principal" | "draining"
  readonly limit: number
  readonly retryAfter: Duration.Duration
}> {
  /** @since 0.1.0 */
  override get message() {
    return this.reason === "draining"
      ? "the server is shutting down"
      : `there are already ${this.limit} sessions of this ${this.reason === "sessions" ? "server" : this.reason}`
  }
}

const endedCapacity = 256
const batchSize = 512
const pageSize = 256
const pageBytes = 64 * 1024
/** Writes in one go, before timers and other connections get a turn. */
const turn = 1024
const farewellInterval = 50
const farewellKinds = 32

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, R = never>(options: Options<A, R>): Effect.Effect<Service, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<R>()
    const name = options.name ?? "sse"
    const fiberId = yield* Effect.fiberId
    const clock = yield* Effect.clock
    const now = () => clock.unsafeCurrentTimeMillis()
    const capacity = options.capacity ?? 256 * 1024
    const policy = options.policy?._tag ?? "disconnect"
    const sendTimeout = Duration.toMillis(options.sendTimeout ?? "30 seconds")
    const heartbeat = Duration.toMillis(options.heartbeat ?? "15 seconds")
    const retryMillis = Duration.toMillis(options.retry ?? "2 seconds")
    const limits = {
      sessions: options.limits?.sessions ?? 20_000,
      address: options.limits?.perAddress ?? Infinity,
      principal: options.limits?.perPrincipal ?? 16,
      replace: options.limits?.onPrincipalLimit === "replace",
      retryAfter: Duration.decode(options.limits?.retryAfter ?? "5 seconds")
    }
    const { history } = options.source

    const sessions = new Map<string, Live>()
    const byPrincipal = new Multimap<string, Live>()
    const byAddress = new Multimap<string, Live>()
    const expiring = new Set<Live>()
    const stalled = new Set<SessionState>()
    /** Sinks that were told to end while their reader was behind, with the time at which they are destroyed. */
    const lingering = new Map<Sink, number>()
    const recentlyEnded: Array<Ended> = []
    const reasons: Record<string, number> = {}
    let opened = 0
    let refused = 0
    let encodeErrors = 0
    let draining = false
    const totals = { events: 0, bytes: 0, dropped: 0 }
    const unreported: Array<readonly [Envelope<unknown>, unknown]> = []

    const fanOut = new FanOut(Math.max(1, options.recent ?? 1024), (envelope, error) => {
      encodeErrors++
      if (unreported.length < 16) {
        unreported.push([envelope, error])
      }
    })
    // follow and unfollow wait for a fan-out that has given others a turn: they would apply to half of it
    const lock = yield* Effect.makeSemaphore(1)

    // -- sessions

    class Live extends SessionState {
      readonly done = Deferred.unsafeMake<Ended>(fiberId)

      /** Ends the session once; later calls change nothing. The slot is free when this returns. */
      finishWith(reason: EndReason, how: "farewell" | "abort", farewellRetry?: number): void {
        if (this.state === "ended") {
          return
        }
        const info = this.info()
        fanOut.leave(this)
        sessions.delete(this.id)
        expiring.delete(this)
        stalled.delete(this)
        if (this.address !== undefined) {
          byAddress.remove(this.address, this)
        }
        if (this.principal !== undefined) {
          byPrincipal.remove(this.principal, this)
        }
        reasons[reason] = (reasons[reason] ?? 0) + 1
        totals.events += this.events
        totals.bytes += this.bytes
        totals.dropped += this.dropped
        const ended: Ended = { ...info, state: "ended", endedAt: now(), reason }
        recentlyEnded.push(ended)
        if (recentlyEnded.length > endedCapacity) {
          recentlyEnded.shift()
        }
        if (how === "farewell") {
          this.finish(this.format.farewell({ reason, retryMillis: farewellRetry }))
          if (this.sink.buffered() > 0) {
            lingering.set(this.sink, now() + sendTimeout)
          }
        } else {
          this.abort()
        }
        Deferred.unsafeDone(this.done, Exit.succeed(ended))
      }
    }

    const owner = {
      now,
      stalled: (session: SessionState, is: boolean) => {
        if (is) {
          stalled.add(session)
        } else {
          stalled.delete(session)
        }
      },
      overflowed: (session: SessionState) => (session as Live).finishWith("slow", "abort")
    }

    const refuse = (reason: Refused["reason"], limit: number) =>
      Effect.suspend(() => {
        refused++
        return new Refused({ reason, limit, retryAfter: limits.retryAfter })
      })

    /** Counts the session in, or says why not. */
    const admit = (given: OpenOptions) =>
      Effect.suspend(() => {
        if (draining) {
          return refuse("draining", 0)
        }
        if (sessions.size >= limits.sessions) {
          return refuse("sessions", limits.sessions)
        }
        if (given.address !== undefined && (byAddress.get(given.address)?.size ?? 0) >= limits.address) {
          return refuse("address", limits.address)
        }
        if (given.principal !== undefined) {
          const own = byPrincipal.get(given.principal)
          if (own !== undefined && own.size >= limits.principal) {
            if (!limits.replace) {
              return refuse("principal", limits.principal)
            }
            for (const oldest of Array.from(own).slice(0, own.size - limits.principal + 1)) {
              oldest.finishWith("replaced", "farewell")
            }
          }
        }
        opened++
        const session = new Live(
          owner,
          `${name}-${opened}`,
          given.format,
          given.sink,
          given.policy?._tag ?? policy,
          given.capacity ?? capacity,
          given.principal,
          given.address,
          now()
        )
        sessions.set(session.id, session)
        if (given.address !== undefined) {
          byAddress.add(given.address, session)
        }
        if (given.principal !== undefined) {
          byPrincipal.add(given.principal, session)
        }
        session.expiresAt = given.expiresAt
        if (given.expiresAt !== undefined) {
          expiring.add(session)
        }
        return Effect.succeed(session)
      })

    const { onClose } = options
    const closing: Cleanup.Options = {
      label: `${name}: ${onClose?.label ?? "session closed"}`,
      ...(onClose?.budget === undefined ? {} : { budget: onClose.budget }),
      fallbacks: (onClose?.fallbacks ?? []).map((fallback) => ({
        ...fallback,
        run: (exit) => Effect.provide(fallback.run(exit), context)
      }))
    }

    const open = (given: OpenOptions): Effect.Effect<Session, Refused, Scope.Scope> =>
      Effect.gen(function*() {
        // the slot belongs to the scope before anything else happens
        const session = yield* Effect.acquireRelease(
          admit(given),
          (session, exit) =>
            Effect.sync(() => {
              session.finishWith(reasonOf(exit), "abort")
              session.discard()
            })
        )
        if (onClose !== undefined) {
          yield* Cleanup.addFinalizer(closing, (exit) => {
            session.finishWith(reasonOf(exit), "abort")
            return Effect.provide(Effect.flatMap(Deferred.await(session.done), onClose.run), context)
          })
        }
        if (options.onOpen !== undefined) {
          yield* Effect.provide(options.onOpen(handle(session)), context)
        }
        const { lastEventId } = given
        const position = fanOut.position
        let from = lastEventId ?? position
        let reset = false
        if (from > position) {
          // another hub of the same bus may be ahead of this one
          reset = from > (yield* options.source.lastId)
          from = reset ? position : from
        }
        session.windows = Following.windows(given.following, from, lastEventId === undefined ? 0 : from)
        session.cursor = from
        session.dealt = Math.min(
          position,
          lastEventId === undefined
            ? session.windows.reduce((least, window) => Math.min(least, window.after), from)
            : from
        )
        session.begin({
          onReady: () => session.ready(),
          onClose: (reason) => session.finishWith(reason, "abort")
        }, given.format.opening({ session: session.id, retryMillis }))
        if (reset) {
          session.gap({ reason: "reset", firstId: 1, lastId: position })
        }
        yield* catchUpIn(session, yield* Effect.scope)
        return handle(session)
      })

    // -- catching up

    /** Hands over what the ring has. True when the session has become live or has ended. */
    const catchUpNow = (session: Live): boolean => {
      while (session.state === "catching-up" && session.stalledSince === undefined && session.dealt >= fanOut.reach) {
        const page = fanOut.read(session, session.dealt, pageBytes)
        session.dealt = page.upTo
        if (page.frames.length > 0) {
          session.deliver(new Payload(page.frames))
        }
        if (session.state === "catching-up" && session.dealt === fanOut.position) {
          fanOut.join(session)
        }
      }
      return session.state !== "catching-up"
    }

    /** Waits until the reader has taken what it was sent, or the session has ended. */
    const room = (session: Live) =>
      Effect.async<void>((resume) => {
        if (session.stalledSince === undefined || session.state === "ended") {
          return resume(Effect.void)
        }
        session.onRoom = () => resume(Effect.void)
        return Effect.sync(() => {
          session.onRoom = undefined
        })
      })

    const missing = (session: Live, firstId: number, lastId: number) => {
      if (firstId <= lastId) {
        session.gap({ reason: "history", firstId, lastId })
        session.cursor = Math.max(session.cursor, lastId)
        session.dealt = Math.max(session.dealt, lastId)
      }
    }

    const catchUp = (session: Live): Effect.Effect<void, unknown> =>
      Effect.gen(function*() {
        while (!catchUpNow(session)) {
          if (session.stalledSince !== undefined) {
            yield* room(session)
            continue
          }
          const reach = fanOut.reach
          if (history === undefined) {
            missing(session, session.dealt + 1, reach)
            continue
          }
          const { windows } = session
          const { cursor, items } = yield* history.after(session.dealt, { topics: topicsOf(session), limit: pageSize })
          if (session.windows !== windows) {
            // the page was read for other topics
            continue
          }
          const position = fanOut.position
          let frames: Array<Frame> = []
          for (const item of items) {
            if (isGap(item)) {
              if (frames.length > 0) {
                session.deliver(new Payload(frames))
                frames = []
              }
              missing(session, item.firstId, Math.min(item.lastId, position))
            } else if (item.id <= position && Following.includes(session.windows, item.topic, item.id)) {
              const bytes = fanOut.encode(session.format, item, item.id)
              if (bytes !== undefined) {
                frames.push({ bytes, id: item.id })
              }
            }
          }
          if (frames.length > 0) {
            session.deliver(new Payload(frames))
          }
          if (cursor <= session.dealt) {
            // not as far as the bus: what is not there is missing
            missing(session, session.dealt + 1, reach)
          }
          session.dealt = Math.max(session.dealt, Math.min(cursor, position))
        }
      })

    const topicsOf = (session: Live): ReadonlyArray<string> =>
      Array.from(new Set(session.windows.filter((window) => window.upTo > session.dealt).map(({ topic }) => topic)))

    const catchUpIn = (session: Live, scope: Scope.Scope): Effect.Effect<void> =>
      Effect.suspend(() =>
        catchUpNow(session)
          ? Effect.void
          : catchUp(session).pipe(
            Effect.catchAllCause((cause) =>
              Effect.zipRight(
                Effect.sync(() => session.finishWith("error", "farewell")),
                Effect.logError("A session could not be caught up from history", cause)
              )
            ),
            (self) => FiberRegistry.forkIn(self, scope, { name: `${session.id} catch-up`, kind: "session" }),
            Effect.asVoid
          )
      )

    // -- following

    const follow = (session: Live, { after, topic, upTo = Infinity }: Following.Following): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (session.state === "ended") {
          return Effect.void
        }
        const dealt = fanOut.dealt(session)
        const window: Following.Window = { topic, after: after ?? dealt, upTo }
        const before = session.windows
        // windows that have passed are kept while a late one may still overlap them
        session.windows = before.filter((one) => one.upTo > fanOut.reach)
        session.windows.push(window)
        if (session.state === "live") {
          fanOut.join(session)
        }
        const end = Math.min(upTo, dealt)
        return window.after < end ? late(session, window, before, window.after, end) : Effect.void
      })

    /** Events in `(from, upTo]` that only the new window includes, behind what the session has already seen. */
    const late = (
      session: Live,
      window: Following.Window,
      before: ReadonlyArray<Following.Window>,
      from: number,
      upTo: number
    ): Effect.Effect<void> => {
      const hand = (envelopes: ReadonlyArray<Envelope<unknown>>) => {
        const frames: Array<Frame> = []
        for (const envelope of envelopes) {
          const { id, topic } = envelope
          if (id > upTo || !Following.includes([window], topic, id) || Following.includes(before, topic, id)) {
            continue
          }
          // the client's last id must not go back: a resume would repeat what it has seen
          const bytes = fanOut.encode(session.format, envelope, Math.max(id, session.cursor))
          if (bytes !== undefined) {
            frames.push({ bytes, id })
          }
        }
        if (frames.length > 0) {
          session.deliver(new Payload(frames))
        }
      }
      const fromRing = Effect.suspend(() => {
        const reach = fanOut.reach
        if (from < reach) {
          session.gap({ reason: "history", firstId: from + 1, lastId: Math.min(reach, upTo) })
        }
        hand(fanOut.slice(from, upTo))
        return Effect.void
      })
      if (from >= fanOut.reach || history === undefined) {
        return fromRing
      }
      const pages = (at: number): Effect.Effect<void, unknown> =>
        Effect.flatMap(history.after(at, { topics: [window.topic], limit: pageSize }), ({ cursor, items }) => {
          const envelopes: Array<Envelope<unknown>> = []
          for (const item of items) {
            if (!isGap(item)) {
              envelopes.push(item)
            } else if (item.firstId <= upTo) {
              session.gap({ reason: "history", firstId: item.firstId, lastId: Math.min(item.lastId, upTo) })
            }
          }
          hand(envelopes)
          return cursor > at && cursor < upTo && session.state !== "ended" ? pages(cursor) : Effect.void
        })
      return Effect.catchAllCause(pages(from), (cause) =>
        Effect.zipRight(
          Effect.sync(() => session.finishWith("error", "farewell")),
          Effect.logError("A session could not be caught up from history", cause)
        ))
    }

    const unfollow = (session: Live, given: { readonly topic: string; readonly upTo?: number | undefined }) => {
      if (session.state === "ended") {
        return
      }
      const upTo = given.upTo ?? fanOut.dealt(session)
      session.windows = session.windows.map((window) =>
        window.topic === given.topic && window.upTo > upTo ? { ...window, upTo } : window
      )
      if (session.state === "live") {
        fanOut.join(session)
      }
    }

    const ofPrincipal = (principal: string): Array<Live> => Array.from(byPrincipal.get(principal) ?? [])

    const handle = (session: Live): Session => ({
      id: session.id,
      principal: session.principal,
      address: session.address,
      info: Effect.sync(() => session.info()),
      awaitEnd: Deferred.await(session.done),
      end: (reason) => Effect.sync(() => session.finishWith(reason, "farewell")),
      send: (bytes) => Effect.sync(() => session.control(bytes, true)),
      follow: (following) => lock.withPermits(1)(follow(session, following)),
      unfollow: (given) => lock.withPermits(1)(Effect.sync(() => unfollow(session, given))),
      expireAt: (at) =>
        Effect.sync(() => {
          session.expiresAt = at
          if (at === undefined || session.state === "ended") {
            expiring.delete(session)
          } else {
            expiring.add(session)
          }
        })
    })

    // -- fan-out

    const write = ({ payload, sessions }: Delivery, from: number, count: number) => {
      const end = Math.min(sessions.length, from + count)
      for (let i = from; i < end; i++) {
        sessions[i].deliver(payload)
      }
    }

    /** One turn where it can be, so that nothing comes between; several where that would hold everybody up. */
    const hand = (deliveries: ReadonlyArray<Delivery>): Effect.Effect<void> => {
      let count = 0
      for (const delivery of deliveries) {
        count += delivery.sessions.length
      }
      if (count <= turn) {
        for (const delivery of deliveries) {
          write(delivery, 0, turn)
        }
        return Effect.void
      }
      return Effect.gen(function*() {
        let left = turn
        for (const delivery of deliveries) {
          for (let at = 0; at < delivery.sessions.length;) {
            if (left === 0) {
              // a timer, not a microtask: sockets need a turn of the event loop
              yield* Effect.sleep(1)
              left = turn
            }
            const count = Math.min(left, delivery.sessions.length - at)
            write(delivery, at, count)
            at += count
            left -= count
          }
        }
      })
    }

    /** The hub's own subscription has lost events: live sessions fetch them, one by one. */
    const recover = (gap: Gap, scope: Scope.Scope) =>
      Effect.suspend(() => {
        if (gap.lastId <= fanOut.position) {
          return Effect.void
        }
        const behind = Array.from(sessions.values()).filter((session) => session.state === "live")
        for (const session of behind) {
          session.dealt = fanOut.position
          fanOut.leave(session)
          session.state = "catching-up"
        }
        fanOut.reset(gap.lastId, [])
        return Effect.forEach(behind, (session) => catchUpIn(session, scope), { discard: true })
      })

    const scope = yield* Effect.scope
    const subscription = yield* options.source.subscribe
    const position = yield* options.source.lastId
    const recent = Math.max(1, options.recent ?? 1024)
    const last = history === undefined || position === 0
      ? []
      : yield* history.after(Math.max(0, position - recent), { topics: ["*"], limit: recent }).pipe(
        Effect.map(({ items }) => items.filter((item): item is Envelope<A> => !isGap(item))),
        Effect.catchAllCause((cause) =>
          Effect.as(Effect.logWarning("A hub could not read the last events from history", cause), [])
        )
      )
    fanOut.reset(position, consecutive(last.filter((envelope) => envelope.id <= position)))

    const fan = Effect.forever(
      Effect.flatMap(subscription.takeBatch(batchSize), (batch) =>
        lock.withPermits(1)(Effect.gen(function*() {
          let envelopes: Array<Envelope<A>> = []
          for (const one of batch) {
            if (isGap(one)) {
              yield* hand(fanOut.dispatch(envelopes))
              envelopes = []
              yield* recover(one, scope)
            } else {
              envelopes.push(one)
            }
          }
          yield* hand(fanOut.dispatch(envelopes))
          if (unreported.length > 0) {
            yield* reportEncodeErrors
          }
        })))
    )

    const reportEncodeErrors = Effect.suspend(() =>
      Effect.forEach(
        unreported.splice(0),
        ([{ id, topic }, error]) =>
          Effect.logError(`Event ${id} of ${topic} could not be encoded and was left out`, error),
        { discard: true }
      )
    )

    yield* fan.pipe(
      Effect.catchIf((error) => error instanceof SourceClosed, () => drain()),
      Effect.catchAllCause((cause) =>
        Effect.suspend(() => {
          // A bus that is drained after its hub ends the source: that is the order of a shutdown, not a fault.
          const expected = draining
          draining = true
          for (const session of Array.from(sessions.values())) {
            session.finishWith(expected ? "drained" : "error", "farewell", retryMillis)
          }
          return expected ? Effect.void : Effect.logError(`The hub ${name} has lost its source of events`, cause)
        })
      ),
      (self) => FiberRegistry.forkScoped(self, { name: `${name} fan-out`, kind: "service" })
    )

    // -- time: one fiber for heartbeats, send time-outs and expiry

    const tick = Math.max(10, Math.min(1000, heartbeat, sendTimeout / 2))
    let sinceHeartbeat = 0

    const beat = Effect.gen(function*() {
      const quiet = Array.from(sessions.values()).filter((session) => {
        const was = session.active
        session.active = false
        return !was
      })
      const beats = new Map<string, Payload | undefined>()
      for (let i = 0; i < quiet.length; i++) {
        if (i > 0 && i % turn === 0) {
          yield* Effect.sleep(1)
        }
        const session = quiet[i]
        if (session.state !== "live" || session.stalledSince !== undefined) {
          continue
        }
        const { name } = session.format
        if (!beats.has(name)) {
          const bytes = session.format.heartbeat(fanOut.position)
          beats.set(name, bytes && new Payload([{ bytes, id: undefined }]))
        }
        const payload = beats.get(name)
        if (payload !== undefined) {
          session.deliver(payload)
          session.active = false
        }
      }
    })

    const watch = Effect.sync(() => {
      const at = now()
      for (const session of Array.from(stalled)) {
        if (session.stalledSince !== undefined && at - session.stalledSince >= sendTimeout) {
          ;(session as Live).finishWith("slow", "abort")
        }
      }
      for (const session of Array.from(expiring)) {
        if (session.expiresAt !== undefined && session.expiresAt <= at) {
          session.finishWith("expired", "farewell")
        }
      }
      for (const [sink, deadline] of Array.from(lingering)) {
        if (sink.buffered() === 0) {
          lingering.delete(sink)
        } else if (deadline <= at) {
          lingering.delete(sink)
          sink.destroy()
        }
      }
    })

    yield* Effect.forever(Effect.suspend(() => {
      sinceHeartbeat += tick
      const due = sinceHeartbeat >= heartbeat
      if (due) {
        sinceHeartbeat = 0
      }
      return Effect.zipRight(
        due ? Effect.zipRight(watch, lock.withPermits(1)(beat)) : watch,
        Effect.sleep(tick)
      )
    })).pipe((self) => FiberRegistry.forkScoped(self, { name: `${name} timer`, kind: "service" }))

    // -- the end

    const drainOnce = (given?: DrainOptions): Effect.Effect<DrainReport> =>
      Effect.gen(function*() {
        const start = now()
        draining = true
        const all = Array.from(sessions.values())
        const perSecond = given?.perSecond ?? options.drain?.perSecond ?? 10_000
        const retry = Duration.toMillis(given?.retry ?? options.drain?.retry ?? "1 second")
        const jitter = given?.jitter ?? options.drain?.jitter
        const spread = jitter === undefined ? Math.max(1000, all.length * 2) : Duration.toMillis(jitter)
        const wave = Math.min(all.length, Math.max(1, Math.ceil(perSecond * farewellInterval / 1000)))
        for (let sent = 0; sent < all.length;) {
          // by the clock, so that a late timer does not slow the drain down
          const elapsed = now() - start
          const due = Math.min(all.length, wave + (elapsed === 0 ? 0 : Math.floor(elapsed * perSecond / 1000)))
          for (; sent < due; sent++) {
            // few kinds of farewell, so that their bytes are few
            const kind = yield* Random.nextIntBetween(0, farewellKinds)
            all[sent].finishWith("drained", "farewell", Math.round(retry + spread * kind / (farewellKinds - 1)))
          }
          if (sent < all.length) {
            yield* Effect.sleep(farewellInterval)
          }
        }
        return { sessions: all.length, millis: now() - start }
      })

    let drained: Deferred.Deferred<DrainReport> | undefined
    const drain = (given?: DrainOptions): Effect.Effect<DrainReport> =>
      Effect.suspend(() => {
        if (drained !== undefined) {
          return Deferred.await(drained)
        }
        const deferred = drained = Deferred.unsafeMake<DrainReport>(fiberId)
        return Effect.onExit(drainOnce(given), (exit) =>
          Effect.suspend(() => {
            if (exit._tag === "Failure") {
              drained = undefined
            }
            return Deferred.done(deferred, exit)
          }))
      })

    yield* Effect.addFinalizer(() => drain({ perSecond: Infinity }))
    const lifecycle = yield* Effect.serviceOption(Lifecycle)
    if (lifecycle._tag === "Some") {
      yield* lifecycle.value.onPhase("draining", { label: `farewell to the sessions of ${name}` }, drain())
    }

    return {
      name,
      open,
      follow: (principal, following) =>
        lock.withPermits(1)(Effect.suspend(() => {
          const own = ofPrincipal(principal)
          return Effect.as(Effect.forEach(own, (session) => follow(session, following), { discard: true }), own.length)
        })),
      unfollow: (principal, given) =>
        lock.withPermits(1)(Effect.sync(() => {
          const own = ofPrincipal(principal)
          own.forEach((session) => unfollow(session, given))
          return own.length
        })),
      kick: (principal, reason = "kicked") =>
        Effect.sync(() => {
          const own = ofPrincipal(principal)
          own.forEach((session) => session.finishWith(reason, "farewell"))
          return own.length
        }),
      sessions: Effect.sync(() => Array.from(sessions.values(), (session) => session.info())),
      ended: Effect.sync(() => recentlyEnded.slice()),
      stats: Effect.sync(() => {
        const sum = { ...totals }
        for (const session of sessions.values()) {
          sum.events += session.events
          sum.bytes += session.bytes
          sum.dropped += session.dropped
        }
        return {
          name,
          open: sessions.size,
          opened,
          refused,
          draining,
          position: fanOut.position,
          ...sum,
          stalled: stalled.size,
          encodeErrors,
          ended: { ...reasons }
        }
      }),
      drain
    }
  })

/** The last events as far as no id is missing between them. */
const consecutive = <A>(envelopes: ReadonlyArray<Envelope<A>>): ReadonlyArray<Envelope<A>> => {
  let from = envelopes.length - 1
  while (from > 0 && envelopes[from - 1].id === envelopes[from].id - 1) {
    from--
  }
  return envelopes.slice(Math.max(0, from))
}

const reasonOf = (exit: Exit.Exit<unknown, unknown>): EndReason =>
  exit._tag === "Failure" && !Exit.isInterrupted(exit) ? "error" : "client-left"

const isGap = (one: object): one is Gap => (one as { readonly _tag?: unknown })._tag === "Gap"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = <A, E = never, R = never, R2 = never>(
  options: Options<A, R> | Effect.Effect<Options<A, R>, E, R2>
): Layer.Layer<SseHub, E, Exclude<R | R2, Scope.Scope>> =>
  Layer.scoped(SseHub, Effect.flatMap(Effect.isEffect(options) ? options : Effect.succeed(options), make))

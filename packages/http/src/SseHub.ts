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
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Lifecycle } from "@holdfast/core/Lifecycle"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Following from "./Following.js"
import type { DrainOptions, DrainReport, OpenOptions, Options, Refused, Service, Session } from "./HubOptions.js"
import type { Gap } from "./HubSource.js"
import { isGap, SourceClosed } from "./HubSource.js"
import * as CatchUp from "./internal/hub/catchUp.js"
import type { Delivery } from "./internal/hub/fanOut.js"
import { FanOut } from "./internal/hub/fanOut.js"
import type { LiveSession } from "./internal/hub/sessionTable.js"
import { SessionTable } from "./internal/hub/sessionTable.js"
import type { EndReason } from "./SessionSink.js"
import { Payload } from "./SessionSink.js"
import type { Envelope } from "./SseFormat.js"

export type {
  /** @since 0.1.0 */
  DrainOptions,
  /** @since 0.1.0 */
  DrainReport,
  /** @since 0.1.0 */
  Limits,
  /** @since 0.1.0 */
  OnClose,
  /** @since 0.1.0 */
  OpenOptions,
  /** @since 0.1.0 */
  Options,
  /** @since 0.1.0 */
  Service,
  /** @since 0.1.0 */
  Session,
  /** @since 0.1.0 */
  Stats
} from "./HubOptions.js"
export {
  /** @since 0.1.0 */
  Refused
} from "./HubOptions.js"
export type {
  /** @since 0.1.0 */
  Gap,
  /** @since 0.1.0 */
  History,
  /** @since 0.1.0 */
  Page,
  /** @since 0.1.0 */
  Source,
  /** @since 0.1.0 */
  Subscription
} from "./HubSource.js"
export {
  /** @since 0.1.0 */
  fromBus,
  /** @since 0.1.0 */
  SourceClosed
} from "./HubSource.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class SseHub extends Context.Tag("@holdfast/http/SseHub")<SseHub, Service>() {}

const batchSize = 512
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
    const clock = yield* Effect.clock
    const now = () => clock.unsafeCurrentTimeMillis()
    const heartbeat = Duration.toMillis(options.heartbeat ?? "15 seconds")
    const retryMillis = Duration.toMillis(options.retry ?? "2 seconds")
    const { history } = options.source
    let encodeErrors = 0
    const unreported: Array<readonly [Envelope<unknown>, unknown]> = []

    const fanOut = new FanOut(Math.max(1, options.recent ?? 1024), (envelope, error) => {
      encodeErrors++
      if (unreported.length < 16) {
        unreported.push([envelope, error])
      }
    })
    // follow and unfollow wait for a fan-out that has given others a turn: they would apply to half of it
    const lock = yield* Effect.makeSemaphore(1)

    const table = new SessionTable(name, now, fanOut, options)
    const catchUp = CatchUp.make(fanOut, history)

    // -- sessions

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
          Effect.suspend(() => table.admit(given)),
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
        yield* catchUp.run(session, yield* Effect.scope)
        return handle(session)
      })

    const handle = (session: LiveSession): Session => ({
      id: session.id,
      principal: session.principal,
      address: session.address,
      info: Effect.sync(() => session.info()),
      awaitEnd: Deferred.await(session.done),
      end: (reason) => Effect.sync(() => session.finishWith(reason, "farewell")),
      send: (bytes) => Effect.sync(() => session.control(bytes, true)),
      follow: (following) => lock.withPermits(1)(catchUp.follow(session, following)),
      unfollow: (given) => lock.withPermits(1)(Effect.sync(() => catchUp.unfollow(session, given))),
      expireAt: (at) => Effect.sync(() => table.expire(session, at))
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
        const behind = table.all().filter((session) => session.state === "live")
        for (const session of behind) {
          session.dealt = fanOut.position
          fanOut.leave(session)
          session.state = "catching-up"
        }
        fanOut.reset(gap.lastId, [])
        return Effect.forEach(behind, (session) => catchUp.run(session, scope), { discard: true })
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
          const expected = table.draining
          table.draining = true
          for (const session of table.all()) {
            session.finishWith(expected ? "drained" : "error", "farewell", retryMillis)
          }
          return expected ? Effect.void : Effect.logError(`The hub ${name} has lost its source of events`, cause)
        })
      ),
      (self) => FiberRegistry.forkScoped(self, { name: `${name} fan-out`, kind: "service" })
    )

    // -- time: one fiber for heartbeats, send time-outs and expiry

    const tick = Math.max(10, Math.min(1000, heartbeat, table.sendTimeout / 2))
    let sinceHeartbeat = 0

    const beat = Effect.gen(function*() {
      const quiet = table.all().filter((session) => {
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

    const watch = Effect.sync(() => table.sweep())

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
        table.draining = true
        const all = table.all()
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

    let drained: Deferred.Deferred<DrainReport | undefined> | undefined
    const drain = (given?: DrainOptions): Effect.Effect<DrainReport> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          if (drained !== undefined) {
            // whoever waits for a drain that is interrupted goes on with it
            return restore(Effect.flatMap(
              Deferred.await(drained),
              (report) => report === undefined ? drain(given) : Effect.succeed(report)
            ))
          }
          const deferred = drained = Deferred.unsafeMake<DrainReport | undefined>(FiberId.none)
          return Effect.onExit(restore(drainOnce(given)), (exit) =>
            Effect.sync(() => {
              if (exit._tag === "Failure") {
                drained = undefined
              }
              Deferred.unsafeDone(deferred, Effect.succeed(exit._tag === "Success" ? exit.value : undefined))
            }))
        })
      )

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
          const own = table.ofPrincipal(principal)
          return Effect.as(
            Effect.forEach(own, (session) => catchUp.follow(session, following), { discard: true }),
            own.length
          )
        })),
      unfollow: (principal, given) =>
        lock.withPermits(1)(Effect.sync(() => {
          const own = table.ofPrincipal(principal)
          own.forEach((session) => catchUp.unfollow(session, given))
          return own.length
        })),
      kick: (principal, reason = "kicked") =>
        Effect.sync(() => {
          const own = table.ofPrincipal(principal)
          own.forEach((session) => session.finishWith(reason, "farewell"))
          return own.length
        }),
      sessions: Effect.sync(() => table.all().map((session) => session.info())),
      ended: Effect.sync(() => table.ended()),
      stats: Effect.sync(() => table.stats(encodeErrors)),
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

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = <A, E = never, R = never, R2 = never>(
  options: Options<A, R> | Effect.Effect<Options<A, R>, E, R2>
): Layer.Layer<SseHub, E, Exclude<R | R2, Scope.Scope>> =>
  Layer.scoped(SseHub, Effect.flatMap(Effect.isEffect(options) ? options : Effect.succeed(options), make))

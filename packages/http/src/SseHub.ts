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
 * - `drain` refuses new sessions, says farewell to the open ones in chunks, each with its own jittered `retry`, and ends
 *   them. The hub does so when its scope closes, too, at once.
 * - A session lives in the `Scope` that `open` is called in, and gives its slot back when that scope closes, whatever
 *   happened before: also when the client has left before the first byte.
 *
 * **Limits**
 * - One hub serves one process. It writes from one thread: what 1000 connections cost is in docs/sse.md.
 * - A peer that has vanished without closing is noticed when the operating system gives up on the heartbeats.
 *
 * @since 0.1.0
 */
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import { onPhaseIfPresent } from "@holdfast/core/Lifecycle"
import { Lock } from "@holdfast/core/Lock"
import * as Roster from "@holdfast/core/Roster"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { OnClose, Options, Service } from "./HubOptions.js"
import { defaults } from "./HubOptions.js"
import { SourceClosed } from "./HubSource.js"
import * as CatchUp from "./internal/hub/catchUp.js"
import { FanOut } from "./internal/hub/fanOut.js"
import * as Farewell from "./internal/hub/farewell.js"
import * as Feed from "./internal/hub/feed.js"
import * as Heartbeat from "./internal/hub/heartbeat.js"
import * as Opening from "./internal/hub/opening.js"
import { SessionTable } from "./internal/hub/sessionTable.js"
import type { Envelope } from "./SseFormat.js"

export type {
  /** @since 0.1.0 */
  Ban,
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
  Stats,
  /** @since 0.1.0 */
  Unfollow
} from "./HubOptions.js"
export {
  /** @since 0.1.0 */
  defaults,
  /** @since 0.1.0 */
  SessionRefused
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
 * The hub of an application.
 *
 * @since 0.1.0
 * @category tags
 */
export class SseHub extends Context.Tag("@holdfast/http/SseHub")<SseHub, Service>() {}

/**
 * Fails with `InvalidOption` for a number or a duration that makes no sense.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, R = never>(
  options: Options<A, R>
): Effect.Effect<Service, InvalidOption.InvalidOption, R | Scope.Scope> =>
  Effect.gen(function*() {
    const { heartbeat, name, recent, retryMillis } = yield* settingsOf(options)
    const context = yield* Effect.context<R>()
    const scope = yield* Effect.scope
    const faults = new EncodeFaults()
    const fanOut = new FanOut(recent, options.source.toJson, faults.add, options.source.epoch)
    // follow and unfollow wait for a fan-out that has given others a turn: they would apply to half of it
    const lock = new Lock()
    const table = new SessionTable(name, yield* Effect.clock, fanOut, options)
    const catchUp = CatchUp.make(fanOut, options.source.history)
    const { drain, endOne } = Farewell.make(table, options.drain)

    const subscription = yield* options.source.subscribe
    yield* Feed.begin(options.source, fanOut, recent)
    yield* Feed.run(subscription, { table, fanOut, catchUp, lock, scope, afterBatch: faults.report }).pipe(
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
    yield* FiberRegistry.forkScoped(
      Heartbeat.run(table, fanOut, lock, heartbeat),
      { name: `${name} timer`, kind: "service" }
    )
    yield* Effect.addFinalizer(() => drain({ perSecond: Infinity }))
    yield* onPhaseIfPresent("draining", { label: `farewell to the sessions of ${name}` }, drain())

    const service: Service = {
      name,
      epoch: options.source.epoch,
      idOf: (id) => fanOut.wireId(id),
      open: Opening.make({ name, table, fanOut, catchUp, lock, endOne, context, retryMillis, options }),
      check: (given) =>
        Effect.suspend(() => {
          const refusal = table.refusalOf(given)
          return refusal === undefined ? Effect.void : Effect.fail(refusal)
        }),
      follow: (principal, window) =>
        lock.withLock(Effect.suspend(() => {
          const own = table.ofPrincipal(principal)
          return Effect.as(
            Effect.forEach(own, (session) => catchUp.follow(session, window), { discard: true }),
            own.length
          )
        })),
      unfollow: (principal, given) =>
        lock.withLock(Effect.sync(() => {
          const own = table.ofPrincipal(principal)
          own.forEach((session) => catchUp.unfollow(session, given))
          return own.length
        })),
      kick: (principal, reason = "kicked") => Effect.sync(() => table.kick(principal, reason)),
      ban: (principal, duration) =>
        Effect.sync(() => {
          table.bans.add(principal, InvalidOption.unsafeDuration("SseHub.ban.duration", duration, { infinite: true }))
          return table.kick(principal, "banned")
        }),
      unban: (principal) => Effect.sync(() => table.bans.lift(principal)),
      banned: (principal) => Effect.sync(() => table.bans.of(principal)),
      bans: Effect.sync(() => table.bans.all()),
      sessions: Effect.sync(() => table.all().map((session) => session.info())),
      ended: Effect.sync(() => table.ended()),
      stats: Effect.sync(() => table.stats(faults.count)),
      drain
    }
    yield* Roster.add(present, service)
    return service
  })

/**
 * The hubs that there are, for who shows them.
 *
 * @since 0.1.0
 * @category models
 */
export const present = Roster.kind<Service>("@holdfast/http/SseHub")

const settingsOf = (
  options:
    & Omit<Options<unknown, never>, "source" | "onOpen" | "onClose">
    & { readonly onClose?: Pick<OnClose, "budget"> | undefined }
) =>
  InvalidOption.check(() => {
    const { limits = {} } = options
    const whole = (option: string, value: number | undefined, least: number, infinite = false) => {
      if (value !== undefined) {
        InvalidOption.unsafeWhole(`SseHub.${option}`, value, { min: least, infinite })
      }
    }
    const time = (option: string, value: Duration.DurationInput | undefined, how = {}) => {
      if (value !== undefined) {
        InvalidOption.unsafeDuration(`SseHub.${option}`, value, how)
      }
    }
    whole("capacity", options.capacity, 1, true)
    whole("recent", options.recent, 1)
    time("sendTimeout", options.sendTimeout, { infinite: true })
    whole("limits.sessions", limits.sessions, 0, true)
    whole("limits.perAddress", limits.perAddress, 0, true)
    whole("limits.perPrincipal", limits.perPrincipal, 0, true)
    time("limits.retryAfter", limits.retryAfter, { zero: true })
    Farewell.unsafeCheck(options.drain)
    time("onClose.budget", options.onClose?.budget, { infinite: true, zero: true })
    return {
      name: options.name ?? defaults.name,
      recent: options.recent ?? defaults.recent,
      heartbeat: InvalidOption.unsafeDuration("SseHub.heartbeat", options.heartbeat ?? defaults.heartbeat, {
        infinite: true
      }),
      retryMillis: InvalidOption.unsafeDuration("SseHub.retry", options.retry ?? defaults.retry, { zero: true })
    }
  })

/** Events that a format could not encode: counted, and a few of them reported per batch. */
class EncodeFaults {
  count = 0
  private unreported: Array<readonly [Envelope<unknown>, unknown]> = []

  readonly add = (envelope: Envelope<unknown>, error: unknown): void => {
    this.count++
    if (this.unreported.length < 16) {
      this.unreported.push([envelope, error])
    }
  }

  readonly report: Effect.Effect<void> = Effect.suspend(() =>
    this.unreported.length === 0 ? Effect.void : Effect.forEach(
      this.unreported.splice(0),
      ([{ id, topic }, error]) =>
        Effect.logError(`Event ${id} of ${topic} could not be encoded and was left out`, error),
      { discard: true }
    )
  )
}

/**
 * `make` as a Layer; the options may come from an Effect, such as one that needs the bus.
 *
 * @example
 * ```ts
 * import { EventBus } from "@holdfast/core"
 * import { SseHub } from "@holdfast/http"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const Said = Schema.TaggedStruct("Said", { text: Schema.String })
 * class Talk extends EventBus.Tag("example/Talk")<Talk, typeof Said.Type>() {}
 *
 * const Hub = SseHub.layer(Effect.map(Talk, (bus) => ({ source: SseHub.fromBus(bus) }))).pipe(
 *   Layer.provide(Talk.layer({ schema: Said }))
 * )
 * console.log(Layer.isLayer(Hub))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <A, E = never, R = never, R2 = never>(
  options: Options<A, R> | Effect.Effect<Options<A, R>, E, R2>
): Layer.Layer<SseHub, E | InvalidOption.InvalidOption, Exclude<R | R2, Scope.Scope>> =>
  Layer.scoped(SseHub, Effect.flatMap(Effect.isEffect(options) ? options : Effect.succeed(options), make))

/**
 * `EventJournal` over a stream of JetStream: one log for the buses of many nodes. The id of an event is its sequence in the
 * stream.
 *
 * **For** an `EventBus` on several nodes. **Not for** a stream that somebody else writes: a message that is not ours is a gap of
 * one for everybody.
 *
 * **Guarantees**
 * - An append is stored once, whatever becomes of the connection or the server meanwhile: it is tried again with the same
 *   message ids, and when it is not clear whose event is behind `ifLast`, the log is asked. Only when nobody could be asked
 *   within `patience` it fails, with `Unsure` when it may have been stored and `Unreachable` when it was never sent.
 * - Several events are one atomic batch.
 * - Followers get every event once, in order, over restarts of the server. Ids that are missing come as `Lost`.
 * - After every connect, and before anything else is written or shown, the node looks at the newest id that it has seen. If
 *   the log ends before it, or has another event there, or was created anew, it has lost what it had acknowledged: the epoch
 *   changes, and everything fails with `Diverged`. A stream that is gone is `Gone`; it is never created by a node that runs.
 * - A stream that does not fit is refused with `Unfit`, and not altered.
 *
 * **Limits**
 * - `sync_interval: always` in the configuration of the server is what makes an acknowledged event safe from a loss of power.
 *   A client cannot see it.
 * - The same `attempt` is recognized for as long as `duplicateWindow`, which must be longer than `patience`.
 * - 1000 events at once, and as many bytes for one as the server takes (1 MiB unless it is told otherwise).
 * - A loss is found by a node that has seen the lost events. When no such node is left, nobody can know.
 *
 * @since 0.1.0
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import type { State } from "@holdfast/core/EventJournal"
import { EventJournal, JournalError } from "@holdfast/core/EventJournal"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import { check, fromConfig, unsafeCheck, unsafeDuration, unsafeWhole } from "@holdfast/core/InvalidOption"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Journal } from "./internal/journal.js"
import { NatsConnection, unsafeConnection } from "./NatsConnection.js"
import * as NatsStream from "./NatsStream.js"

/**
 * The stream that holds the journal, and how it is written to.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends NatsStream.Options {
  /** How many requests are on their way at a time. Default 256. */
  readonly inFlight?: number | undefined
  /** How many appends may wait while there is no connection, for `whileAway: "sliding"`. Default 4096. */
  readonly waiting?: number | undefined
  /**
   * What an append does while there is no connection: `"wait"` until its patience is over, `"refuse"` at once, or wait, but
   * `"sliding"`: the oldest one fails when there are more than `waiting`. Default `"wait"`.
   */
  readonly whileAway?: "wait" | "refuse" | "sliding" | undefined
  /** How long an append is tried. Default 10 seconds. */
  readonly patience?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  ...NatsStream.defaults,
  inFlight: 256,
  waiting: 4096,
  whileAway: "wait",
  patience: Duration.seconds(10)
} as const satisfies Partial<Options>

/**
 * The numbers of the journal, counted since its start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Appends that are with the server now, and those that wait for their turn. */
  readonly inFlight: number
  readonly waiting: number
  /** The newest id that this node has seen. */
  readonly lastId: number
  /** Consumers that were made anew: after a connect, a message that was lost, or silence. */
  readonly consumers: number
  /** Ids that were missing, and messages that were not ours. */
  readonly holes: number
  readonly foreign: number
}

/**
 * A journal, and what it says about itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly journal: EventJournal["Type"]
  readonly stats: Effect.Effect<Stats>
}

/**
 * The journal, for as long as the scope is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  Service,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable,
  NatsConnection | Scope.Scope
> =>
  Effect.gen(function*() {
    const settings = yield* check(() => {
      const config = NatsStream.unsafeConfig("NatsJournal", options)
      const patience = unsafeDuration("NatsJournal.patience", options.patience ?? defaults.patience)
      unsafeCheck(
        "NatsJournal.duplicateWindow",
        options.duplicateWindow ?? defaults.duplicateWindow,
        (window) => Duration.toMillis(window) > patience,
        `more than the patience of ${patience} ms`
      )
      return {
        config,
        patience,
        inFlight: unsafeWhole("NatsJournal.inFlight", options.inFlight ?? defaults.inFlight, { min: 1 }),
        waiting: unsafeWhole("NatsJournal.waiting", options.waiting ?? defaults.waiting, { min: 1 }),
        whileAway: unsafeCheck(
          "NatsJournal.whileAway",
          options.whileAway ?? defaults.whileAway,
          (given) => ["wait", "refuse", "sliding"].includes(given),
          "\"wait\", \"refuse\" or \"sliding\""
        )
      }
    })
    const connection = unsafeConnection(yield* NatsConnection)
    const found = yield* NatsStream.ensure(connection, settings.config, options.create ?? defaults.create)
    const journal = yield* Journal.open(connection, found, {
      ...settings,
      replicas: options.replicas ?? defaults.replicas,
      storage: options.storage ?? defaults.storage,
      duplicateWindow: Duration.toMillis(options.duplicateWindow ?? defaults.duplicateWindow)
    })
    yield* Cleanup.addFinalizer({ label: `nats: journal ${options.name}`, budget: "3 seconds" }, () =>
      Effect.zipRight(Effect.sync(() => journal.close()), journal.renewEpoch))
    yield* FiberRegistry.forkScoped(journal.watch, { name: `nats/journal/${options.name}`, kind: "service" })
    return {
      journal: {
        append: journal.append,
        follow: journal.follow,
        read: journal.read,
        bounds: journal.bounds,
        epoch: journal.epoch,
        state: Effect.sync((): State =>
          journal.state
        )
      },
      stats: Effect.sync(() => journal.stats)
    }
  })

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts no-run
 * import { EventJournal } from "@holdfast/core"
 * import { NatsConnection, NatsJournal } from "@holdfast/nats"
 * import { Layer } from "effect"
 *
 * const Journal: Layer.Layer<EventJournal.EventJournal, unknown> = NatsJournal.layer({ name: "world" }).pipe(
 *   Layer.provide(NatsConnection.layer({ servers: ["nats://127.0.0.1:4222"] }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  EventJournal,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable,
  NatsConnection
> => Layer.scoped(EventJournal, Effect.map(make(options), ({ journal }) => journal))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<
  EventJournal,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable | ConfigError.ConfigError,
  NatsConnection
> = fromConfig(layer)

export {
  /** @since 0.1.0 */
  JournalError
}

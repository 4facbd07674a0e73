/**
 * Shows the services of this library to `Metrics` and `Inspector`, for as long as a scope is open.
 *
 * @example
 * ```ts
 * import { Observe, SseHub } from "@holdfast/http"
 * import { Effect, Layer } from "effect"
 *
 * const observed = Layer.scopedDiscard(Effect.flatMap(SseHub.SseHub, Observe.hub))
 * console.log(Layer.isLayer(observed))
 * ```
 *
 * @since 0.1.0
 */
import type { EventBus } from "@holdfast/core/EventBus"
import * as Roster from "@holdfast/core/Roster"
import type * as Ticker from "@holdfast/core/Ticker"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Inspector from "./Inspector.js"
import * as Metrics from "./Metrics.js"
import type * as SseHub from "./SseHub.js"

/**
 * The first digit of a status; `none`: the client left before there was one.
 *
 * @since 0.1.0
 * @category models
 */
export type StatusClass = "2xx" | "3xx" | "4xx" | "5xx" | "none"

/**
 * What a server responded on one route. Counters are since its start, durations of the last one to two minutes, from the
 * header of a request to its flushed response, without event streams and upgraded connections; `NaN` where there were none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Route {
  readonly method: string
  /** The path, with `:id` in place of what looks like an id, and `*` in place of the names of files. */
  readonly route: string
  readonly count: number
  readonly classes: Readonly<Record<StatusClass, number>>
  readonly p50Millis: number
  readonly p99Millis: number
  readonly maxMillis: number
}

/**
 * What a server can tell of itself: counters since its start, but for `connections` and `inFlight`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Server {
  readonly address: string
  readonly stats: Effect.Effect<{
    readonly connections: number
    readonly inFlight: number
    readonly requests: number
    readonly refused: number
    readonly aborted: number
    readonly stalled: number
  }>
  /** Responses by method and status. */
  readonly responses: Effect.Effect<
    ReadonlyArray<{ readonly method: string; readonly status: string; readonly count: number }>
  >
  /** Responses by route. */
  readonly routes?: Effect.Effect<ReadonlyArray<Route>> | undefined
}

/**
 * The servers that there are, for who shows them.
 *
 * @since 0.1.0
 * @category models
 */
export const servers = Roster.kind<Server>("@holdfast/http/Server")

/**
 * Its sessions in the section `sessions`, and what it sent, dropped and cut off.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hub = (hub: SseHub.Service): Effect.Effect<void, never, Scope.Scope> => {
  const { ended, name, sessions, stats } = hub
  return Effect.zipRight(
    Inspector.register("sessions", name, Effect.all({ stats, open: sessions, ended })),
    Metrics.collect(
      Effect.map(
        stats,
        ({ bytes, dropped, encodeErrors, ended, events, open, opened, position, refused, stalled }) => [
          ...Metrics.gauges(
            "holdfast_hub",
            {
              open: "Sessions that are open.",
              stalled: "Sessions whose client takes nothing at the moment.",
              position: "Number of the last event that the hub dealt with."
            },
            { open, stalled, position },
            { hub: name }
          ),
          ...Metrics.counters(
            "holdfast_hub",
            {
              opened: "Sessions that were opened.",
              refused: "Sessions that were refused, by a limit or by authorization.",
              events: "Events that were written to sessions.",
              bytes: "Bytes that were written to sessions.",
              dropped: "Events that sessions missed because their client was too slow.",
              encode_errors: "Events that could not be encoded and were left out."
            },
            { opened, refused, events, bytes, dropped, encode_errors: encodeErrors },
            { hub: name }
          ),
          {
            name: "holdfast_hub_ended_total",
            help: "Sessions that ended, by reason.",
            type: "counter",
            samples: Object.entries(ended).map(([reason, value]) => ({ value, labels: { hub: name, reason } }))
          }
        ]
      )
    )
  )
}

/**
 * Its subscribers and handlers in the section `bus`. Its numbers are Effect metrics already.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bus = (bus: Pick<EventBus<never>, "stats">): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(bus.stats, (first) => Inspector.register("bus", first.bus, bus.stats))

/**
 * Its handlers in the section `tickers`, and how late it is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ticker = (ticker: Pick<Ticker.Service, "stats">): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(ticker.stats, ({ name }) =>
    Effect.zipRight(
      Inspector.register("tickers", name, ticker.stats),
      Metrics.collect(
        Effect.map(ticker.stats, ({ handlers, lateMillis, maxLateMillis, saveFailures, saves, ticks }) => [
          ...Metrics.gauges(
            "holdfast_ticker",
            {
              late_seconds: "Seconds by which the last tick came after its slot.",
              max_late_seconds: "Seconds by which the latest tick since the start came after its slot."
            },
            { late_seconds: lateMillis / 1000, max_late_seconds: maxLateMillis / 1000 },
            { ticker: name }
          ),
          ...Metrics.counters(
            "holdfast_ticker",
            {
              ticks: "Slots that were handed out.",
              saves: "States that were saved.",
              save_failures: "States that could not be saved."
            },
            { ticks, saves, save_failures: saveFailures },
            { ticker: name }
          ),
          ...handlers.flatMap(({ failures, missed, name: handler, overBudget, runs }) =>
            Metrics.counters(
              "holdfast_ticker_handler",
              {
                runs: "Runs of a handler.",
                failures: "Runs that failed or died.",
                missed: "Slots that were skipped or merged while a run took longer.",
                over_budget: "Runs that their budget ended."
              },
              { runs, failures, missed, over_budget: overBudget },
              { ticker: name, handler }
            )
          )
        ])
      )
    ))

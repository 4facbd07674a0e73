/**
 * The port of a `Ticker` to what keeps its state over a restart: one record per ticker.
 *
 * **What an adapter guarantees**
 * - `save` is durable when it returns, and replaces the record of that name.
 * - `load` returns the record that was saved last, or none.
 * - Every name comes back as it was, also with NUL characters or lone surrogates in it.
 *
 * `@holdfast/testing/TickerStoreConformance` checks an adapter for all of this. `SqliteStore` of `@holdfast/node` is one.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * What is kept of a ticker.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  /** The last slot that was handed out. */
  readonly number: number
  /** The time that the ticker had been running at that slot, over all restarts, in milliseconds. */
  readonly elapsedMillis: number
  /** The instant of that slot, in milliseconds since the epoch. */
  readonly at: number
}

/**
 * The state of a ticker that could not be read or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreError extends Schema.TaggedError<StoreError>("@holdfast/core/TickerStore/StoreError")(
  "TickerStoreError",
  { ticker: Schema.String, operation: Schema.Literal("load", "save"), reason: Schema.String, cause: Schema.Defect }
) {
  override get message(): string {
    return `Ticker "${this.ticker}": cannot ${this.operation} its state: ${this.reason}`
  }
}

/**
 * Keeps the number of the last tick over a restart.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly load: (name: string) => Effect.Effect<Option.Option<State>, StoreError>
  readonly save: (name: string, state: State) => Effect.Effect<void, StoreError>
}

/**
 * Where a ticker keeps its state.
 *
 * @since 0.1.0
 * @category tags
 */
export class Store extends Context.Tag("@holdfast/core/TickerStore")<Store, Service>() {}

/**
 * A store that lasts as long as the layer: for tests, and for tickers that are built again within one process.
 *
 * @example
 * ```ts
 * import { Ticker, TickerStore } from "@holdfast/core"
 * import { Layer } from "effect"
 *
 * const durable = Ticker.layerDurable({ name: "world", interval: "1 second" }).pipe(
 *   Layer.provide(TickerStore.layerStoreMemory)
 * )
 * console.log(Layer.isLayer(durable))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStoreMemory: Layer.Layer<Store> = Layer.sync(Store, () => {
  const states = new Map<string, State>()
  return {
    load: (name) => Effect.sync(() => Option.fromNullable(states.get(name))),
    save: (name, state) => Effect.sync(() => void states.set(name, state))
  }
})

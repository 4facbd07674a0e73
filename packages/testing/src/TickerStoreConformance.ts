/**
 * What every adapter of `TickerStore.Store` has to do, as a vitest suite.
 *
 * ```ts no-run
 * import * as TickerStore from "@holdfast/core/TickerStore"
 * import * as TickerStoreConformance from "@holdfast/testing/TickerStoreConformance"
 * import { Effect } from "effect"
 *
 * TickerStoreConformance.suite({ name: "memory", durable: false, medium: Effect.succeed(TickerStore.layerStoreMemory) })
 * ```
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"

/**
 * The store to test.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly name: string
  /** Whether the states are there when the layer is built again over the same medium. */
  readonly durable: boolean
  /** A fresh, empty medium, as a layer: each time that it is built the store is opened. */
  readonly medium: Effect.Effect<Layer.Layer<TickerStore.Store, unknown>, unknown, Scope.Scope>
}

const state = (number: number): TickerStore.State => ({
  number,
  elapsedMillis: number * 100.5,
  at: 1_700_000_000_000 + number
})

/**
 * Registers the suite, under `describe`.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = (options: Options): void => {
  describe(`TickerStore.Store conformance: ${options.name}`, () => {
    const open = <A, E>(
      layer: Layer.Layer<TickerStore.Store, unknown>,
      use: (store: TickerStore.Service) => Effect.Effect<A, E>
    ) => Effect.provide(Effect.flatMap(TickerStore.Store, use), Layer.fresh(layer))
    const withStore = <A, E>(use: (store: TickerStore.Service) => Effect.Effect<A, E>) =>
      Effect.scoped(Effect.flatMap(options.medium, (layer) => open(layer, use)))

    it.effect("knows nothing of a ticker that was never saved", () =>
      withStore((store) =>
        Effect.gen(function*() {
          assert.isNull(Option.getOrNull(yield* store.load("world")))
          yield* store.save("other", state(1))
          assert.isNull(Option.getOrNull(yield* store.load("world")))
        })
      ))

    it.effect("gives back the last state of each ticker, whatever its name", () =>
      withStore((store) =>
        Effect.gen(function*() {
          const names = ["", "world", "World", "a\0b", "a", "😀", "\ud800", "'; DROP TABLE tickers; --"]
          for (const [index, name] of names.entries()) {
            yield* store.save(name, state(index))
            yield* store.save(name, state(index + 10))
          }
          for (const [index, name] of names.entries()) {
            assert.deepStrictEqual(Option.getOrNull(yield* store.load(name)), state(index + 10))
          }
        })
      ))

    it.effect("keeps the newest of many saves that are asked for at once", () =>
      withStore((store) =>
        Effect.gen(function*() {
          yield* Effect.forEach(
            Array.from({ length: 50 }, (_, index) => index + 1),
            (number) => store.save("world", state(number)),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(Option.getOrNull(yield* store.load("world")), state(50))
        })
      ))

    if (options.durable) {
      it.effect("keeps the states over a restart", () =>
        Effect.scoped(Effect.gen(function*() {
          const layer = yield* options.medium
          yield* open(layer, (store) => store.save("world", state(7)))
          yield* open(layer, (store) =>
            Effect.map(store.load("world"), (loaded) =>
              assert.deepStrictEqual(Option.getOrNull(loaded), state(7))))
        })))
    }
  })
}

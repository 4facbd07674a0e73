/**
 * Memory and event-loop lag of this process, for `Audit` and whoever else asks.
 *
 * The lag is measured by a native timer (`perf_hooks.monitorEventLoopDelay`) that costs no JavaScript and keeps no process
 * alive. Its resolution is 10 ms by default, which is subtracted: an idle loop reads about 0.
 *
 * @since 0.1.0
 */
import * as InvalidOption from "@holdfast/core/InvalidOption"
import { LagProbe, MemoryProbe } from "@holdfast/core/Probes"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { monitorEventLoopDelay } from "node:perf_hooks"

/**
 * How exact the lag is.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** How often the lag is sampled, from 1 millisecond to 1 hour. Default 10 milliseconds. */
  readonly resolution?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { resolution: Duration.millis(10) } as const

/**
 * The memory of this process, in bytes.
 *
 * @example
 * ```ts
 * import { Probes } from "@holdfast/core"
 * import { NodeProbes } from "@holdfast/node"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const program = Effect.gen(function*() {
 *   const { rss } = yield* Effect.flatMap(Probes.MemoryProbe, (memory) => memory.read)
 *   assert(rss > 0)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, NodeProbes.layer))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<MemoryProbe> = Layer.succeed(MemoryProbe, {
  read: Effect.sync(() => {
    const { external, heapUsed, rss } = process.memoryUsage()
    return { external, heapUsed, rss }
  })
})

/**
 * Fails with `InvalidOption` for a resolution that makes no sense.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLag = (options: Options = {}): Layer.Layer<LagProbe, InvalidOption.InvalidOption> =>
  Layer.scoped(
    LagProbe,
    Effect.gen(function*() {
      const resolution = yield* InvalidOption.check(() => {
        const millis = InvalidOption.unsafeDuration("NodeProbes.resolution", options.resolution ?? defaults.resolution)
        // The histogram takes whole milliseconds.
        return Math.round(InvalidOption.unsafeNumber("NodeProbes.resolution", millis, { min: 1, max: 3_600_000 }))
      })
      const histogram = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const histogram = monitorEventLoopDelay({ resolution })
          histogram.enable()
          return histogram
        }),
        (histogram) => Effect.sync(() => histogram.disable())
      )
      const millis = (nanos: number) => Number.isFinite(nanos) ? Math.max(0, nanos / 1e6 - resolution) : 0
      return {
        read: Effect.sync(() => {
          const lag = histogram.count === 0
            ? { mean: 0, p99: 0, max: 0 }
            : { mean: millis(histogram.mean), p99: millis(histogram.percentile(99)), max: millis(histogram.max) }
          histogram.reset()
          return lag
        })
      }
    })
  )

/**
 * `layerLag` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLagConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<LagProbe, InvalidOption.InvalidOption | ConfigError.ConfigError> = InvalidOption.fromConfig(layerLag)

/**
 * Both probes with their defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<MemoryProbe | LagProbe> = Layer.mergeAll(layerMemory, Layer.orDie(layerLag()))

/**
 * What Prometheus' clients tell of every process, for `Metrics`: time of the processor, memory, start, open files, the delay
 * of the event loop and garbage collections, under the names that dashboards for Node.js know.
 *
 * `NodeServer` adds them by itself. Several servers of one process count them once.
 *
 * - Seconds and bytes. Counters begin with the process, those of garbage collections with the scope.
 * - The delay is of the time since the last scrape, measured by a native timer every 10 ms, as in `NodeProbes`.
 * - Nothing stays when the scope ends; that, and collections that end in one turn being counted one by one, is why this is not
 *   `collectDefaultMetrics` of `prom-client`.
 *
 * @since 0.1.0
 */
import * as Metrics from "@holdfast/http/Metrics"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { readdirSync } from "node:fs"
import type { IntervalHistogram } from "node:perf_hooks"
import { constants, monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks"

/** Who tells of the process, by the set of collectors: the first does. */
const tellers = new WeakMap<object, Set<object>>()

const resolution = 10

/**
 * Adds them for as long as the scope is open.
 *
 * @example
 * ```ts
 * import { Metrics } from "@holdfast/http"
 * import { NodeMetrics } from "@holdfast/node"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const text = await Effect.runPromise(Effect.scoped(Effect.zipRight(NodeMetrics.collect, Metrics.render)))
 * assert.match(text, /^process_cpu_seconds_total \d/m)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const collect: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function*() {
  const collectors = yield* Metrics.Collectors
  const set = tellers.get(collectors) ?? new Set()
  tellers.set(collectors, set)
  const me = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const me = {}
      set.add(me)
      return me
    }),
    (me) => Effect.sync(() => set.delete(me))
  )
  const delay = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const delay = monitorEventLoopDelay({ resolution })
      delay.enable()
      return delay
    }),
    (delay) => Effect.sync(() => delay.disable())
  )
  const collections = yield* Effect.acquireRelease(
    Effect.sync(() => new Collections()),
    (collections) => Effect.sync(() => collections.end())
  )
  yield* Metrics.collect(
    Effect.sync(() => set.values().next().value === me ? [...ofProcess(), ...ofLoop(delay), collections.family()] : [])
  )
})

/**
 * `collect` as a Layer, for an application that serves `Metrics` from another server.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never> = Layer.scopedDiscard(collect)

const one = (name: string, type: "counter" | "gauge", help: string, value: number): Metrics.Family => ({
  name,
  type,
  help,
  samples: [{ value }]
})

const openFiles = (): ReadonlyArray<Metrics.Family> => {
  try {
    const count = readdirSync("/proc/self/fd").length
    return [one("process_open_fds", "gauge", "Open files, sockets among them.", count)]
  } catch {
    // only Linux tells
    return []
  }
}

const ofProcess = (): ReadonlyArray<Metrics.Family> => {
  const { system, user } = process.cpuUsage()
  const { external, heapTotal, heapUsed, rss } = process.memoryUsage()
  return [
    one("process_cpu_user_seconds_total", "counter", "Processor time spent in the program, in seconds.", user / 1e6),
    one("process_cpu_system_seconds_total", "counter", "Processor time spent in the kernel, in seconds.", system / 1e6),
    one("process_cpu_seconds_total", "counter", "Processor time spent, in seconds.", (user + system) / 1e6),
    one(
      "process_start_time_seconds",
      "gauge",
      "Start of the process, in seconds since 1970.",
      performance.timeOrigin / 1000
    ),
    one("process_resident_memory_bytes", "gauge", "Memory that the process has from the system, in bytes.", rss),
    ...openFiles(),
    one("nodejs_heap_size_total_bytes", "gauge", "Size of the JavaScript heap, in bytes.", heapTotal),
    one("nodejs_heap_size_used_bytes", "gauge", "Use of the JavaScript heap, garbage included, in bytes.", heapUsed),
    one("nodejs_external_memory_bytes", "gauge", "Memory that objects hold outside of the heap, in bytes.", external),
    {
      name: "nodejs_version_info",
      type: "gauge",
      help: "Version of Node.js, as a label.",
      samples: [{ value: 1, labels: { version: process.version } }]
    }
  ]
}

const ofLoop = (delay: IntervalHistogram): ReadonlyArray<Metrics.Family> => {
  const seconds = (nanos: number) => delay.count === 0 ? 0 : Math.max(0, nanos / 1e6 - resolution) / 1000
  const read = (what: string, nanos: number, help: string) =>
    one(
      `nodejs_eventloop_lag_${what}`,
      "gauge",
      `Delay of the event loop since the last scrape, ${help}, in seconds.`,
      seconds(nanos)
    )
  const families = [
    read("seconds", delay.mean, "mean"),
    read("p50_seconds", delay.percentile(50), "median"),
    read("p99_seconds", delay.percentile(99), "99th percentile"),
    read("max_seconds", delay.max, "longest")
  ]
  delay.reset()
  return families
}

const kinds: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MAJOR]: "major",
  [constants.NODE_PERFORMANCE_GC_MINOR]: "minor",
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: "incremental",
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: "weakcb"
}

const bounds = [0.001, 0.01, 0.1, 1, 2, 5]

/** Pauses for garbage collection, by kind. */
class Collections {
  private readonly byKind = new Map<string, { count: number; sum: number; readonly below: Array<number> }>()
  private readonly observer = new PerformanceObserver((list) => this.add(list.getEntries()))

  constructor() {
    this.observer.observe({ entryTypes: ["gc"] })
  }

  private add(entries: ReadonlyArray<{ readonly duration: number }>): void {
    for (
      const { detail, duration } of entries as ReadonlyArray<{ readonly duration: number; readonly detail?: unknown }>
    ) {
      const kind = kinds[(detail as { readonly kind: number } | undefined)?.kind ?? -1] ?? "other"
      const pauses = this.byKind.get(kind) ?? { count: 0, sum: 0, below: bounds.map(() => 0) }
      this.byKind.set(kind, pauses)
      pauses.count++
      pauses.sum += duration / 1000
      bounds.forEach((bound, index) => {
        if (duration / 1000 <= bound) pauses.below[index]!++
      })
    }
  }

  family(): Metrics.Family {
    // What the observer would be told in a later turn.
    this.add(this.observer.takeRecords())
    return {
      name: "nodejs_gc_duration_seconds",
      type: "histogram",
      help: "Pauses for garbage collection, by kind, in seconds.",
      samples: [...this.byKind].flatMap(([kind, { below, count, sum }]) => [
        ...bounds.map((bound, index) => ({
          value: below[index]!,
          labels: { kind, le: String(bound) },
          suffix: "_bucket"
        })),
        { value: count, labels: { kind, le: "+Inf" }, suffix: "_bucket" },
        { value: sum, labels: { kind }, suffix: "_sum" },
        { value: count, labels: { kind }, suffix: "_count" }
      ])
    }
  }

  end(): void {
    this.observer.disconnect()
  }
}

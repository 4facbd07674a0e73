/**
 * Effect's metrics, and what Holdfast knows of itself, as Prometheus text.
 *
 * Every scrape reads the snapshot of Effect's `Metric` registry, the census of fibers, the outcomes of cleanups, the
 * phase of the lifecycle, and whatever was added with `collect` (a server, a hub, a bus). Nothing is sampled between
 * scrapes, so what nobody scrapes costs nothing. `prom-client` writes the text.
 *
 * - Names and labels are brought into Prometheus' alphabet: `http.requests` becomes `http_requests`.
 * - A `Metric.frequency` is a counter with the label `value`; a `Metric.summary` has its quantiles.
 * - When two metrics share a name, but not a type, the later one's name ends in its type.
 * - A collector that fails, or takes more than a second, is left out of that scrape and counted in
 *   `holdfast_scrape_failures`.
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { CleanupMonitor } from "@holdfast/core/Cleanup"
import { FiberRegistry } from "@holdfast/core/FiberRegistry"
import { Lifecycle } from "@holdfast/core/Lifecycle"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as MetricKey from "effect/MetricKey"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as PromClient from "prom-client"
import { fromRouter } from "./internal/layerRoutes.js"
import { bounded, unsafeMake } from "./internal/registry.js"
import type { Registry } from "./internal/registry.js"

/**
 * One line of a family.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sample {
  readonly value: number
  readonly labels?: Readonly<Record<string, string>>
  /** A suffix of the family's name, such as `_bucket`. */
  readonly suffix?: string
}

/**
 * Samples of one name, with a help text and a type.
 *
 * @since 0.1.0
 * @category models
 */
export interface Family {
  readonly name: string
  readonly help: string
  readonly type: "counter" | "gauge" | "histogram" | "summary"
  readonly samples: ReadonlyArray<Sample>
}

/**
 * What is asked at every scrape.
 *
 * @since 0.1.0
 * @category models
 */
export type Collector = Effect.Effect<ReadonlyArray<Family>, unknown>

/**
 * The collectors in use. There is one set for the process unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class Collectors extends Context.Reference<Collectors>()("@holdfast/http/Metrics/Collectors", {
  defaultValue: (): Registry<Collector> => unsafeMake<Collector>()
}) {}

/**
 * Adds a collector for as long as the scope is open.
 *
 * @example
 * ```ts
 * import { Metrics } from "@holdfast/http"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const program = Effect.gen(function*() {
 *   yield* Metrics.collect(Effect.sync(() => Metrics.gauges("shop", "the shop", { orders_open: 3 })))
 *   assert.match(yield* Metrics.render, /shop_orders_open 3/)
 * })
 *
 * await Effect.runPromise(Effect.scoped(program))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const collect = <R>(
  collector: Effect.Effect<ReadonlyArray<Family>, unknown, R>
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.flatMap(
    Effect.context<R>(),
    (context) => Effect.flatMap(Collectors, (collectors) => collectors.add(Effect.provide(collector, context)))
  )

/**
 * What the numbers mean: a text for each of them, or one for all, to which the name of the number is added. Say the unit;
 * Prometheus wants seconds and bytes.
 *
 * @since 0.1.0
 * @category models
 */
export type Help<Key extends string> = string | Readonly<Record<Key, string>>

const helpOf = <Key extends string>(help: Help<Key>, key: Key) =>
  typeof help === "string" ? `${help}: ${key}` : help[key]

/**
 * Numbers as one gauge each, `name_key`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const gauges = <const Key extends string>(
  name: string,
  help: Help<NoInfer<Key>>,
  values: Readonly<Record<Key, number>>,
  labels?: Readonly<Record<string, string>>
): ReadonlyArray<Family> =>
  entriesOf(values).map(([key, value]) => family(`${name}_${key}`, helpOf(help, key), "gauge", [sample(value, labels)]))

const entriesOf = <Key extends string>(values: Readonly<Record<Key, number>>) =>
  Object.entries(values) as unknown as ReadonlyArray<readonly [Key, number]>

/**
 * Numbers as one counter each, `name_key_total`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const counters = <const Key extends string>(
  name: string,
  help: Help<NoInfer<Key>>,
  values: Readonly<Record<Key, number>>,
  labels?: Readonly<Record<string, string>>
): ReadonlyArray<Family> =>
  entriesOf(values).map(([key, value]) =>
    family(`${name}_${key}_total`, helpOf(help, key), "counter", [sample(value, labels)])
  )

/**
 * Everything there is to scrape.
 *
 * @since 0.1.0
 * @category accessors
 */
export const families: Effect.Effect<ReadonlyArray<Family>> = Effect.gen(function*() {
  const collectors = yield* Collectors
  let failures = 0
  const collected = yield* Effect.forEach(
    [own, effectMetrics, ...collectors.all()],
    (collector) =>
      Effect.catchAllCause(bounded(collector, 1000), () =>
        Effect.sync((): ReadonlyArray<Family> => {
          failures++
          return []
        })),
    { concurrency: "unbounded" }
  )
  return merge([
    ...collected.flat(),
    family(
      "holdfast_scrape_failures",
      "Collectors that failed, or took more than a second, in this scrape; what they tell is missing.",
      "gauge",
      [sample(failures)]
    )
  ])
})

/**
 * The families in Prometheus' text format, version 0.0.4.
 *
 * @since 0.1.0
 * @category accessors
 */
export const render: Effect.Effect<string> = Effect.flatMap(families, (families) => {
  const registry = new PromClient.Registry()
  for (const { help, name, samples, type } of families) {
    const values = samples.map(({ labels = {}, suffix = "", value }) => ({ value, labels, metricName: name + suffix }))
    const get = () => Promise.resolve({ name, help, type, values, aggregator: "sum" })
    // A registry asks its metrics for `name` and `get` alone; its own classes cannot take a histogram's counts over.
    registry.registerMetric({ name, get } as never)
  }
  return Effect.promise(() => registry.metrics())
})

/**
 * `GET /metrics`. Its numbers are nobody's secret, but nobody's business either: serve it where only the scraper comes,
 * or wrap it with `OperatorGuard.protect`.
 *
 * @since 0.1.0
 * @category routes
 */
export const routes = (path: `/${string}` = "/metrics"): HttpRouter.HttpRouter =>
  HttpRouter.empty.pipe(
    HttpRouter.get(
      path,
      Effect.map(render, (text) =>
        HttpServerResponse.text(text, {
          contentType: PromClient.Registry.PROMETHEUS_CONTENT_TYPE,
          headers: { "cache-control": "no-store" }
        }))
    )
  )

/**
 * `routes` as a Layer for `HttpLayerRouter`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRoutes = (path?: `/${string}`) => fromRouter(routes(path))

const sample = (value: number, labels?: Readonly<Record<string, string>>, suffix?: string): Sample => ({
  value,
  ...(labels === undefined ? {} : { labels }),
  ...(suffix === undefined ? {} : { suffix })
})

const family = (
  name: string,
  help: string,
  type: Family["type"],
  samples: ReadonlyArray<Sample>
): Family => ({ name, help, type, samples })

/** What this library knows of itself. */
const own: Collector = Effect.gen(function*() {
  const fibers = (yield* FiberRegistry).unsafeCounts()
  const monitor = yield* CleanupMonitor
  const { abandoned, completed, failed, fellBack, overran } = yield* monitor.counts
  const left = yield* monitor.live
  const lifecycle = yield* Effect.serviceOption(Lifecycle)
  const outcome = (name: string, value: number) => sample(value, { outcome: name })
  return [
    family(
      "holdfast_fibers",
      "Fibers that run and are listed in the census, by kind; one that only grows is a leak.",
      "gauge",
      Object.entries(fibers.byKind).map(([kind, value]) => sample(value, { kind }))
    ),
    family("holdfast_fibers_started_total", "Fibers of the census that were started.", "counter", [
      sample(fibers.started)
    ]),
    family("holdfast_fibers_ended_total", "Fibers of the census that ended, in whatever way.", "counter", [
      sample(fibers.ended)
    ]),
    family("holdfast_fibers_crashed_total", "Fibers of the census that ended with a failure or a defect.", "counter", [
      sample(fibers.crashed)
    ]),
    family(
      "holdfast_cleanups_total",
      "Bounded finalizers that were run, by outcome; abandoned ones did not end within their budget and fallbacks.",
      "counter",
      [
        outcome("completed", completed),
        outcome("fell_back", fellBack),
        outcome("failed", failed),
        outcome("abandoned", abandoned)
      ]
    ),
    family("holdfast_cleanups_overran_total", "Bounded finalizers that took longer than their budget.", "counter", [
      sample(overran)
    ]),
    family("holdfast_cleanups_left", "Finalizers that were abandoned and still run; 0 is healthy.", "gauge", [
      sample(left.length)
    ]),
    ...(Option.isNone(lifecycle)
      ? []
      : [family("holdfast_phase", "Phase of the lifecycle, as a label.", "gauge", [
        sample(1, { phase: lifecycle.value.unsafePhase() })
      ])])
  ]
})

const effectMetrics: Collector = Effect.map(Effect.sync(() => Metric.unsafeSnapshot()), (pairs) => pairs.map(fromPair))

const fromPair = (pair: MetricPair.MetricPair.Untyped): Family => {
  const key = pair.metricKey as MetricKey.MetricKey.Untyped
  const labels: Record<string, string> = {}
  for (const label of key.tags) {
    labels[label.key] = label.value
  }
  const help = Option.getOrElse(key.description, () => key.name)
  const state = pair.metricState
  const of = (type: Family["type"], samples: ReadonlyArray<Sample>) => family(key.name, help, type, samples)
  if (MetricState.isCounterState(state)) {
    return of("counter", [sample(Number(state.count), labels)])
  }
  if (MetricState.isGaugeState(state)) {
    return of("gauge", [sample(Number(state.value), labels)])
  }
  if (MetricState.isFrequencyState(state)) {
    return of("counter", Array.from(state.occurrences, ([value, count]) => sample(count, { ...labels, value })))
  }
  if (MetricState.isHistogramState(state)) {
    const finite = state.buckets.filter(([boundary]) => Number.isFinite(boundary))
    return of("histogram", [
      ...finite.map(([le, count]) => sample(count, { ...labels, le: String(le) }, "_bucket")),
      sample(state.count, { ...labels, le: "+Inf" }, "_bucket"),
      sample(state.sum, labels, "_sum"),
      sample(state.count, labels, "_count")
    ])
  }
  if (MetricState.isSummaryState(state)) {
    return of("summary", [
      ...state.quantiles.flatMap(([quantile, value]) =>
        Option.isNone(value) ? [] : [sample(value.value, { ...labels, quantile: String(quantile) })]
      ),
      sample(state.sum, labels, "_sum"),
      sample(state.count, labels, "_count")
    ])
  }
  return of("gauge", [])
}

/** One family per name, in Prometheus' alphabet. */
const merge = (families: ReadonlyArray<Family>): ReadonlyArray<Family> => {
  const merged = new Map<string, { -readonly [K in keyof Family]: Family[K] } & { samples: Array<Sample> }>()
  for (const { help, samples, type, ...family } of families) {
    let name = clean(family.name, /[^a-zA-Z0-9_:]/g)
    if ((merged.get(name)?.type ?? type) !== type) {
      name = `${name}_${type}`
    }
    const into = merged.get(name) ?? { name, help, type, samples: [] }
    merged.set(name, into)
    for (const one of samples) {
      into.samples.push({
        ...one,
        labels: Object.fromEntries(
          Object.entries(one.labels ?? {}).map(([label, value]) => [clean(label, /[^a-zA-Z0-9_]/g), value])
        )
      })
    }
  }
  return Array.from(merged.values()).sort((a, b) => a.name < b.name ? -1 : 1)
}

const clean = (name: string, outside: RegExp): string => {
  const inside = name.replace(outside, "_")
  return /^[0-9]/.test(inside) || inside === "" ? `_${inside}` : inside
}

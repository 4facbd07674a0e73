/**
 * The metrics of tickers.
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import type * as MetricLabel from "effect/MetricLabel"

const seconds = MetricBoundaries.fromIterable([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5])

/** A metric made from its whole key looks its hook up once; `Metric.tagged` would do so on every update. */
export const counter = (name: string, description: string, labels: ReadonlyArray<MetricLabel.MetricLabel>) =>
  Metric.fromMetricKey(
    MetricKey.counter(name, { description, incremental: true }).pipe(MetricKey.taggedWithLabels(labels))
  )

export const histogram = (name: string, description: string, labels: ReadonlyArray<MetricLabel.MetricLabel>) =>
  Metric.fromMetricKey(
    MetricKey.histogram(name, seconds, description).pipe(MetricKey.taggedWithLabels(labels))
  )

export const noTags: ReadonlyArray<MetricLabel.MetricLabel> = []

/**
 * The metrics of tickers.
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import type * as MetricLabel from "effect/MetricLabel"

const milliseconds = MetricBoundaries.fromIterable([0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000])

/** A metric made from its whole key looks its hook up once; `Metric.tagged` would do so on every update. */
export const counter = (name: string, description: string, labels: ReadonlyArray<MetricLabel.MetricLabel>) =>
  Metric.fromMetricKey(
    MetricKey.counter(name, { description, incremental: true }).pipe(MetricKey.taggedWithLabels(labels))
  )

export const histogram = (name: string, description: string, labels: ReadonlyArray<MetricLabel.MetricLabel>) =>
  Metric.fromMetricKey(
    MetricKey.histogram(name, milliseconds, description).pipe(MetricKey.taggedWithLabels(labels))
  )

export const noTags: ReadonlyArray<MetricLabel.MetricLabel> = []

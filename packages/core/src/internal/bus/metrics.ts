import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import type * as MetricLabel from "effect/MetricLabel"

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

const milliseconds = MetricBoundaries.fromIterable([0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 30_000])

// A metric made from its whole key looks its hook up once; `Metric.tagged` would do so on every update.
const counter = (name: string, description: string) => (labels: Labels) =>
  Metric.fromMetricKey(
    MetricKey.counter(name, { description, incremental: true }).pipe(MetricKey.taggedWithLabels(labels))
  )

const histogram = (name: string, description: string) => (labels: Labels) =>
  Metric.fromMetricKey(
    MetricKey.histogram(name, milliseconds, description).pipe(MetricKey.taggedWithLabels(labels))
  )

export const noTags: Labels = []

export const published = counter("holdfast_bus_published_total", "Events that were accepted")
export const delivered = counter("holdfast_bus_delivered_total", "Events that subscribers took")
export const dropped = counter("holdfast_bus_dropped_total", "Events that subscribers missed by their policy")
export const refused = counter("holdfast_bus_refused_total", "Events that were not accepted")
export const deadLetters = counter("holdfast_bus_dead_letters_total", "Events that handlers gave up")
export const lag = histogram(
  "holdfast_bus_lag_milliseconds",
  "From acceptance until a subscriber took it; the oldest event of each batch"
)
export const handlerDuration = histogram("holdfast_bus_handler_milliseconds", "Duration of a handler for one event")
export const queued = (labels: Labels) =>
  Metric.fromMetricKey(
    MetricKey.gauge("holdfast_bus_queued", { description: "Events that wait in the queues of subscribers" }).pipe(
      MetricKey.taggedWithLabels(labels)
    )
  )

import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

const seconds = MetricBoundaries.fromIterable([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30])

// A metric made from its whole key looks its hook up once; `Metric.tagged` would do so on every update.
const counter = (name: string, description: string) => (labels: Labels) =>
  Metric.fromMetricKey(
    MetricKey.counter(name, { description, incremental: true }).pipe(MetricKey.taggedWithLabels(labels))
  )

const histogram = (name: string, description: string) => (labels: Labels) =>
  Metric.fromMetricKey(
    MetricKey.histogram(name, seconds, description).pipe(MetricKey.taggedWithLabels(labels))
  )

export const noTags: Labels = []

const published = counter("holdfast_bus_published_total", "Events that were accepted")
const delivered = counter("holdfast_bus_delivered_total", "Events that subscribers took")
const dropped = counter("holdfast_bus_dropped_total", "Events that subscribers missed by their policy")
const refused = counter("holdfast_bus_refused_total", "Events that were not accepted")
const deadLetters = counter("holdfast_bus_dead_letters_total", "Events that handlers gave up")
const lag = histogram(
  "holdfast_bus_lag_seconds",
  "Seconds from acceptance until a subscriber took it; the oldest event of each batch"
)
export const handlerDuration = histogram(
  "holdfast_bus_handler_duration_seconds",
  "Seconds that a handler took for one event, attempts and pauses included"
)
const queued = (labels: Labels) =>
  Metric.fromMetricKey(
    MetricKey.gauge("holdfast_bus_queued", { description: "Events that wait in the queues of subscribers" }).pipe(
      MetricKey.taggedWithLabels(labels)
    )
  )

/** The metrics of one bus. */
export const ofBus = (name: string) => {
  const labels = [MetricLabel.make("bus", name)]
  return {
    published: published(labels),
    delivered: delivered(labels),
    dropped: dropped(labels),
    refused: refused(labels),
    deadLetters: deadLetters(labels),
    lag: lag(labels),
    queued: queued(labels)
  }
}

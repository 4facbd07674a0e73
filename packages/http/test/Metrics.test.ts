import * as HttpApp from "@effect/platform/HttpApp"
import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Metrics from "@holdfast/http/Metrics"
import { Effect, Metric, MetricBoundaries } from "effect"

describe("Metrics", () => {
  it.scoped("writes counters, gauges, histograms, frequencies and summaries", () =>
    Effect.gen(function*() {
      yield* Metric.incrementBy(Metric.counter("test.orders", { description: "orders \"taken\"" }), 3).pipe(
        Effect.tagMetrics({ "the-room": "hall\n\"x\"" })
      )
      yield* Metric.set(Metric.gauge("test_depth", { bigint: true }), 7n)
      const histogram = Metric.histogram("test_took", MetricBoundaries.fromIterable([1, 5, 10]))
      yield* Effect.forEach([0.5, 1, 4, 7, 50], (value) => Metric.update(histogram, value))
      yield* Metric.update(Metric.frequency("test_words"), "hey")
      yield* Metric.update(
        Metric.summary({ name: "test_delay", maxAge: "1 hour", maxSize: 10, error: 0, quantiles: [0.5] }),
        12
      )
      const text = yield* Metrics.render
      const lines = text.split("\n").filter((line) => line.includes("test_"))
      assert.includeMembers(lines, [
        "# HELP test_orders orders \"taken\"",
        "# TYPE test_orders counter",
        "test_orders{the_room=\"hall\\n\\\"x\\\"\"} 3",
        "# TYPE test_depth gauge",
        "test_depth 7",
        "# TYPE test_took histogram",
        "test_took_bucket{le=\"1\"} 2",
        "test_took_bucket{le=\"5\"} 3",
        "test_took_bucket{le=\"10\"} 4",
        "test_took_bucket{le=\"+Inf\"} 5",
        "test_took_sum 62.5",
        "test_took_count 5",
        "test_words{value=\"hey\"} 1",
        "test_delay{quantile=\"0.5\"} 12",
        "test_delay_count 1"
      ])
    }))

  it.scoped("every line is one that Prometheus reads", () =>
    Effect.gen(function*() {
      yield* Metric.increment(Metric.counter("9 odd näme"))
      const text = yield* Metrics.render
      const line =
        /^(# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* .*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\.)*",?)*\})? (NaN|[+-]?Inf|[-+0-9.e]+))$/
      for (const each of text.split("\n").filter((each) => each !== "")) {
        assert.match(each, line)
      }
      assert.include(text, "_9_odd_n_me 1")
    }))

  it.scoped("knows fibers, cleanups and what was added, for as long as its scope", () =>
    Effect.gen(function*() {
      yield* FiberRegistry.forkScoped(Effect.never, { name: "watch", kind: "service" })
      yield* Cleanup.run({ label: "test" }, Effect.void)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Metrics.collect(Effect.succeed(Metrics.gauges("hub", "a hub", { open: 2 }, { hub: "sse" })))
        yield* Metrics.collect(Effect.succeed(Metrics.gauges("hub", "a hub", { open: 3 }, { hub: "ws" })))
        yield* Metrics.collect(Effect.succeed(Metrics.counters("hub", "a hub", { opened: 5 })))
        yield* Metrics.collect(Effect.fail("down"))
        const text = yield* Metrics.render
        assert.match(text, /holdfast_fibers\{kind="service"\} [1-9]/)
        assert.match(text, /holdfast_cleanups_total\{outcome="completed"\} [1-9]/)
        assert.include(text, "# TYPE hub_open gauge\nhub_open{hub=\"sse\"} 2\nhub_open{hub=\"ws\"} 3\n")
        assert.include(text, "hub_opened_total 5")
        assert.include(text, "holdfast_scrape_failures 1")
      }))
      const after = yield* Metrics.render
      assert.notInclude(after, "hub_open")
      assert.include(after, "holdfast_scrape_failures 0")
    }))

  it.scoped("is a route", () =>
    Effect.gen(function*() {
      const handler = HttpApp.toWebHandler(Effect.orDie(Metrics.routes()))
      const response = yield* Effect.promise(() => handler(new Request("http://localhost/metrics")))
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8")
    }))
})

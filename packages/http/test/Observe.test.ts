import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import * as Ticker from "@holdfast/core/Ticker"
import * as Inspector from "@holdfast/http/Inspector"
import * as Metrics from "@holdfast/http/Metrics"
import * as Observe from "@holdfast/http/Observe"
import * as SseHub from "@holdfast/http/SseHub"
import { Effect, Schema } from "effect"
import { makeBus } from "./support/hub.js"

describe("Observe", () => {
  it.scoped("shows hubs, buses and tickers for as long as its scope", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({ source: makeBus().source, name: "halls" })
      const bus = yield* EventBus.make({ name: "world", schema: Schema.TaggedStruct("Beat", {}) })
      const ticker = yield* Ticker.make({ name: "sun", interval: "1 second" })
      yield* ticker.onTick({ name: "rise" }, () => Effect.void)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Observe.hub(hub)
        yield* Observe.bus(bus)
        yield* Observe.ticker(ticker)
        yield* bus.publish({ _tag: "Beat" })
        const text = yield* Metrics.render
        assert.include(text, "holdfast_hub_open{hub=\"halls\"} 0")
        assert.include(text, "holdfast_ticker_ticks_total{ticker=\"sun\"}")
        assert.include(text, "holdfast_ticker_handler_runs_total{ticker=\"sun\",handler=\"rise\"}")
        assert.include(text, "holdfast_scrape_failures 0")
        const seen = yield* Inspector.snapshot
        assert.hasAllKeys(seen["sessions"], ["halls"])
        assert.deepInclude((seen["bus"] as { readonly world: object }).world, { published: 1 })
        assert.hasAllKeys(seen["tickers"], ["sun"])
      }))
      assert.notInclude(yield* Metrics.render, "holdfast_hub_open")
      assert.notProperty(yield* Inspector.snapshot, "tickers")
    }))
})

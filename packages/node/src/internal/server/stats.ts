/**
 * What a server responded, for `Metrics`: responses by method and status, and how long they took. Event streams and
 * upgraded connections count when they end, and not in the durations.
 */
import * as Monotonic from "@holdfast/core/Monotonic"
import type * as Metrics from "@holdfast/http/Metrics"
import type * as Observe from "@holdfast/http/Observe"
import type { Exchange } from "./exchange.js"
import { Routes } from "./routes.js"

export interface Responses {
  readonly add: (exchange: Exchange) => void
  readonly counts: () => ReadonlyArray<{ readonly method: string; readonly status: string; readonly count: number }>
  readonly routes: () => ReadonlyArray<Observe.Route>
  readonly families: () => ReadonlyArray<Metrics.Family>
}

/** Seconds. */
const bounds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export const unsafeMake = (): Responses => {
  const responses = new Map<string, { readonly method: string; readonly status: string; count: number }>()
  const buckets = bounds.map(() => 0)
  const routes = new Routes()
  let sum = 0
  let count = 0
  return {
    add: (exchange) => {
      const method = exchange.request.method ?? ""
      const status = exchange.upgraded ? "101" : exchange.responded ? String(exchange.response.statusCode) : "none"
      const key = `${method} ${status}`
      const found = responses.get(key)
      if (found === undefined) {
        responses.set(key, { method, status, count: 1 })
      } else {
        found.count++
      }
      const now = Monotonic.unsafeOfProcess()
      routes.add(exchange, exchange.upgraded ? 101 : exchange.responded ? exchange.response.statusCode : 0, now)
      if (!exchange.longLived) {
        const seconds = (now - exchange.since) / 1000
        sum += seconds
        count++
        const at = bounds.findIndex((bound) => seconds <= bound)
        if (at !== -1) {
          buckets[at]++
        }
      }
    },
    counts: () => Array.from(responses.values(), (response) => ({ ...response })),
    routes: () => routes.stats(Monotonic.unsafeOfProcess()),
    families: () => {
      let below = 0
      return [
        {
          name: "http_server_responses_total",
          help: "Responses by method and status; none for a client that left before.",
          type: "counter",
          samples: Array.from(responses.values(), ({ count, method, status }) => ({
            value: count,
            labels: { method, status }
          }))
        },
        {
          name: "http_server_request_duration_seconds",
          help:
            "Seconds from the header of a request to its flushed response; event streams and upgrades are not in it.",
          type: "histogram",
          samples: [
            ...bounds.map((bound, index) => ({
              value: below += buckets[index],
              labels: { le: String(bound) },
              suffix: "_bucket"
            })),
            { value: count, labels: { le: "+Inf" }, suffix: "_bucket" },
            { value: sum, suffix: "_sum" },
            { value: count, suffix: "_count" }
          ]
        }
      ]
    }
  }
}

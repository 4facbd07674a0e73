import { assert, describe, it } from "@effect/vitest"
import type { Exchange } from "../src/internal/server/exchange.js"
import { routeOf, Routes } from "../src/internal/server/routes.js"

const exchange = (url: string, options: { readonly since?: number; readonly longLived?: boolean } = {}) =>
  ({
    request: { method: "GET", url },
    since: options.since ?? 0,
    longLived: options.longLived ?? false
  }) as unknown as Exchange

const one = (routes: Routes, at: number, name: string) => routes.stats(at).find(({ route }) => route === name)!

describe("the routes of a server", () => {
  it("are paths without their ids", () => {
    const table: ReadonlyArray<readonly [string, string]> = [
      ["/", "/"],
      ["/orders/17/lines/3", "/orders/:id/lines/:id"],
      ["/orders/550e8400-e29b-41d4-a716-446655440000", "/orders/:id"],
      ["/blobs/9f86d081884c7d659a2feaa0c55ad015", "/blobs/:id"],
      ["/links/V1StGXR8_Z5jdHi6B-myT", "/links/:id"],
      ["/api/v1/join", "/api/v1/join"],
      ["/a-long-but-readable-name-of-a-page", "/a-long-but-readable-name-of-a-page"],
      ["/assets/logo.svg", "/assets/*"],
      ["/favicon.ico", "/*"],
      ["/api/v1.2/join", "/api/v1.2/join"]
    ]
    for (const [path, route] of table) assert.strictEqual(routeOf(path), route, path)
    assert.isAtMost(routeOf(`/${"word/".repeat(500)}`).length, 200)
  })

  it("count statuses by class, and say how long half and 99 of 100 took in the last minute", () => {
    const routes = new Routes()
    for (let i = 0; i < 100; i++) routes.add(exchange(`/orders/${i}?page=2`, { since: 1000 }), 200, 1010)
    routes.add(exchange("/orders/7", { since: 0 }), 500, 3000)
    routes.add(exchange("/orders/7", { since: 0 }), 0, 3000)
    routes.add(exchange("/orders/7", { longLived: true }), 200, 50_000)
    const stats = one(routes, 50_000, "/orders/:id")
    assert.deepInclude(stats, { method: "GET", count: 103, maxMillis: 3000 })
    assert.deepStrictEqual(stats.classes, { "2xx": 101, "3xx": 0, "4xx": 0, "5xx": 1, none: 1 })
    // Not less than it was, and at most a quarter more.
    assert.isAtLeast(stats.p50Millis, 10)
    assert.isAtMost(stats.p50Millis, 12.5)
    assert.isAtMost(stats.p99Millis, 12.5)
    for (let i = 0; i < 2; i++) routes.add(exchange("/orders/7", { since: 47_000 }), 200, 50_000)
    assert.strictEqual(one(routes, 50_000, "/orders/:id").p99Millis, 3000)
    // A minute later they are still known, and two minutes later not.
    assert.strictEqual(one(routes, 100_000, "/orders/:id").maxMillis, 3000)
    assert.isNaN(one(routes, 250_000, "/orders/:id").p50Millis)
    assert.strictEqual(one(routes, 250_000, "/orders/:id").count, 105)
  })

  it("are bounded, whatever is asked for", () => {
    const routes = new Routes()
    for (let i = 0; i < 5000; i++) routes.add(exchange(`/nothing-${i}`), 404, 1)
    assert.deepStrictEqual(routes.stats(1).map(({ count, route }) => [route, count]), [["what nobody serves", 5000]])
    const word = (n: number): string => n === 0 ? "" : word(Math.floor(n / 26)) + "abcdefghijklmnopqrstuvwxyz"[n % 26]
    for (let i = 1; i <= 5000; i++) routes.add(exchange(`/${word(i)}`), 200, 1)
    const all = routes.stats(1)
    assert.isAtMost(all.length, 201)
    assert.strictEqual(all.reduce((sum, { count }) => sum + count, 0), 10_000)
  })
})

/**
 * What a server responded, by route: how often, with which class of status, and how long it took lately.
 *
 * The server does not know the patterns of the router above it. A route is the path with what looks like an id (a number, a
 * UUID, a long random word) replaced by `:id`; the files of a folder are one route, `/*`. What nobody serves (404, 405) is one route, so that who asks for names at
 * random makes no rows; beyond `maxRoutes` the rest is one route, too.
 */
import type * as Observe from "@holdfast/http/Observe"
import type { Exchange } from "./exchange.js"

const maxRoutes = 200

/** Paths whose route is remembered. */
const maxKnown = 2000

/** Milliseconds after which the durations begin anew: quantiles are of the last one to two of them. */
const windowMillis = 60_000

/** Each one is a quarter longer than the one before: 0.05 ms to a minute and more. */
const least = 0.05
const growth = Math.log(1.25)
const slots = 64

const slotOf = (millis: number): number =>
  millis <= least ? 0 : Math.min(slots - 1, Math.ceil(Math.log(millis / least) / growth))

/** The end of a slot: a quantile is never said to be less than it was, and at most a quarter more. */
const endOf = (slot: number): number => least * Math.exp(slot * growth)

const idLike = /^(?:\d+|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,}|(?=[^/]*\d)[\w.~%-]{20,})$/i

const file = /\/[^/]+\.(?:css|m?js|map|svg|png|jpe?g|gif|webp|avif|ico|woff2?|ttf|wasm|txt|html?|xml)$/i

export const routeOf = (path: string): string =>
  path.replace(file, "/*").split("/").map((part) => idLike.test(part) ? ":id" : part.slice(0, 60)).join("/").slice(
    0,
    200
  )

class Route {
  count = 0
  readonly classes: Record<Observe.StatusClass, number> = { "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0, none: 0 }
  private now = new Uint32Array(slots)
  private before = new Uint32Array(slots)
  private most = 0
  private mostBefore = 0
  private since: number

  constructor(readonly method: string, readonly route: string, at: number) {
    this.since = at
  }

  add(millis: number, at: number) {
    this.roll(at)
    this.now[slotOf(millis)]++
    if (millis > this.most) this.most = millis
  }

  private roll(at: number) {
    const passed = at - this.since
    if (passed < windowMillis) return
    const fresh = passed < 2 * windowMillis
    const old = this.before
    this.before = fresh ? this.now : old.fill(0)
    this.mostBefore = fresh ? this.most : 0
    this.now = fresh ? old.fill(0) : this.now.fill(0)
    this.most = 0
    this.since = at
  }

  stats(at: number): Observe.Route {
    this.roll(at)
    const maxMillis = Math.max(this.most, this.mostBefore)
    let total = 0
    for (let slot = 0; slot < slots; slot++) total += this.now[slot] + this.before[slot]
    const quantile = (share: number) => {
      if (total === 0) return Number.NaN
      let left = Math.ceil(total * share)
      let slot = 0
      while ((left -= this.now[slot] + this.before[slot]) > 0) slot++
      return Math.min(maxMillis, endOf(slot))
    }
    return {
      method: this.method,
      route: this.route,
      count: this.count,
      classes: { ...this.classes },
      p50Millis: quantile(0.5),
      p99Millis: quantile(0.99),
      maxMillis: total === 0 ? Number.NaN : maxMillis
    }
  }
}

const classes = ["2xx", "2xx", "2xx", "3xx", "4xx", "5xx"] as const

export class Routes {
  private readonly all = new Map<string, Route>()
  /** By method and path as they came. */
  private readonly known = new Map<string, Route>()

  /** `status`: 0 where the client left before there was one. */
  add(exchange: Exchange, status: number, at: number) {
    const { method = "", url = "" } = exchange.request
    const route = status === 404 || status === 405
      ? this.of(method, "what nobody serves", at)
      : this.find(method, url, at)
    route.count++
    route.classes[status === 0 ? "none" : classes[Math.floor(status / 100)] ?? "none"]++
    if (!exchange.longLived && status !== 0) route.add(at - exchange.since, at)
  }

  stats(at: number): ReadonlyArray<Observe.Route> {
    return Array.from(this.all.values(), (route) => route.stats(at))
  }

  private find(method: string, url: string, at: number): Route {
    const query = url.indexOf("?")
    const path = query === -1 ? url : url.slice(0, query)
    const key = `${method} ${path}`
    let route = this.known.get(key)
    if (route === undefined) {
      route = this.of(method, routeOf(path), at)
      if (this.known.size >= maxKnown) this.known.clear()
      this.known.set(key, route)
    }
    return route
  }

  private of(method: string, name: string, at: number): Route {
    const key = `${method} ${name}`
    let route = this.all.get(key)
    if (route === undefined) {
      if (this.all.size >= maxRoutes && name !== others) return this.of("", others, at)
      this.all.set(key, route = new Route(method, name, at))
    }
    return route
  }
}

const others = "all others"

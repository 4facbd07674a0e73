import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as EventBus from "@holdfast/core/EventBus"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Effect, Schema } from "effect"
import { sized } from "../../../scripts/sized.js"
import { browsers } from "./support/browsers.js"
import { cutter } from "./support/cutter.js"
import { eventually, serve } from "./support/serve.js"

const required = process.env["HOLDFAST_REQUIRE_INTEGRATION"] === "1"

/** Many streams side by side, each cut again and again: a browser waits before it comes back. */
const streams = 10
const cuts = sized(200, 1000, 40)
/** For the cuts; a page has two minutes more to see the rest. */
const timeout = sized(120_000, 3_600_000)

const Counted = Schema.TaggedStruct("Counted", { n: Schema.Number })

/**
 * A page that is told its ports, each the way to the server of one `EventSource` or one `WebSocket`. Over plain HTTP a
 * browser takes half a head for a whole one, finds no event stream and closes the `EventSource` for good: the page opens
 * another one, as it has to after every refusal.
 */
const page = `<!doctype html><title>cuts</title><script>
  const seen = []
  let closed = 0
  const lists = new URLSearchParams(location.search)
  for (const port of lists.get("eventSources").split(",")) {
    const numbers = []
    seen.push(numbers)
    let place = ""
    const open = () => {
      const source = new EventSource("http://127.0.0.1:" + port + "/events" + place)
      const keep = ({ lastEventId }) => place = "?lastEventId=" + lastEventId
      source.addEventListener("position", keep)
      source.addEventListener("Counted", (event) => {
        keep(event)
        numbers.push(JSON.parse(event.data).n)
      })
      source.onerror = () => {
        if (source.readyState !== EventSource.CLOSED) return
        closed++
        setTimeout(open, 5)
      }
    }
    open()
  }
  for (const port of lists.get("webSockets").split(",")) {
    const numbers = []
    seen.push(numbers)
    let place = ""
    const connect = () => {
      const socket = new WebSocket("ws://127.0.0.1:" + port + "/ws" + place)
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data)
        if (typeof message.id === "number") place = "?lastEventId=" + message.id
        if (message._tag === "event") numbers.push(message.event.n)
      }
      socket.onclose = () => setTimeout(connect, 5)
    }
    connect()
  }
</script>`

describe("a page whose streams are cut at any moment", () => {
  for (const { expected, installed, name, open } of browsers) {
    const title =
      `in ${name}, ${streams} EventSources and ${streams} WebSockets miss nothing in ${cuts} cuts of each kind (daily)`
    if (!installed && !(required && expected)) {
      it.effect.skip(`${title} (skipped: it is not installed)`, () => Effect.void)
      continue
    }
    it.scopedLive(title, () =>
      Effect.gen(function*() {
        assert.isTrue(installed, `${name} is not installed`)
        const bus = yield* EventBus.make({ name: "bus", schema: Counted, topic: () => "numbers" })
        const hub = yield* SseHub.make({ source: SseHub.fromBus(bus), retry: "5 millis" })
        const authorize = () => Effect.succeed({ following: [{ topic: "numbers" }] })
        const { port, url } = yield* serve(
          HttpErrors.handled(HttpRouter.empty.pipe(
            HttpRouter.get("/", HttpServerResponse.html(page)),
            SseRoute.mount("/events", { hub, authorize }),
            WebSocketRoute.mount("/ws", { hub, authorize, origins: "*" })
          )).pipe(HttpMiddleware.cors(), Effect.provide(NodeSseSink.layer))
        )
        const cutters = yield* Effect.replicateEffect(cutter(port, 1500), 2 * streams)
        const ports = cutters.map((one) => one.port)
        const { evaluate } = yield* open(
          `${url}/?eventSources=${ports.slice(0, streams).join()}&webSockets=${ports.slice(streams).join()}`
        )
        const counts = Effect.map(
          evaluate("JSON.stringify(seen.map((numbers) => numbers.length))"),
          (text): ReadonlyArray<number> => JSON.parse(text)
        )
        const made = () => cutters.map((one) => one.cuts())
        const total = (all: ReadonlyArray<number>) => all.reduce((sum, count) => sum + count, 0)
        const leastCuts = () => Math.min(total(made().slice(0, streams)), total(made().slice(streams)))

        // nothing has happened when the first connections go: all that the page has are the openings
        assert.isAbove(
          yield* eventually(Effect.sync(() => Math.min(...made())), (least) => least > 0, 60_000),
          0,
          "each was opened and cut"
        )
        let last = 0
        const end = performance.now() + timeout
        while (leastCuts() < cuts && performance.now() < end) {
          // no further ahead than the log reaches back: what a page is told by a gap it has not missed unknowingly
          const slowest = Math.min(...yield* counts)
          for (let i = 0; i < 20 && last - slowest < 800; i++) {
            yield* bus.publish({ _tag: "Counted", n: ++last })
            yield* Effect.sleep(2)
          }
          yield* Effect.sleep(5)
        }
        for (const one of cutters) one.stop()
        assert.isAtLeast(leastCuts(), cuts, `EventSources, then WebSockets: ${made().join()} of ${last}`)
        yield* bus.publish({ _tag: "Counted", n: ++last })
        yield* eventually(counts, (all) => all.every((count) => count >= last), 60_000)
        yield* Effect.logDebug(`${name} closed ${yield* evaluate("String(closed)")} EventSources for good`)
        const seen: ReadonlyArray<ReadonlyArray<number>> = JSON.parse(yield* evaluate("JSON.stringify(seen)"))
        for (const [index, numbers] of seen.entries()) {
          const stream = index < streams ? `EventSource ${index}` : `WebSocket ${index - streams}`
          const wrong = numbers.findIndex((n, i) => n !== i + 1)
          assert.strictEqual(wrong, -1, `${stream}: behind ${wrong} came ${numbers[wrong]} of ${last}`)
          assert.strictEqual(numbers.length, last, stream)
        }
      }), timeout + 120_000)
  }
})

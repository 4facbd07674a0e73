/**
 * A live dashboard: figures of this process, measured once a second by a ticker, shown by every open page as they come.
 */
import { HttpLayerRouter, HttpServerResponse } from "@effect/platform"
import { EventBus, Ticker } from "@holdfast/core"
import { Health, SseHub, SseRoute } from "@holdfast/http"
import { NodeMain, NodeServer, NodeSseSink } from "@holdfast/node"
import { Config, Effect, Layer, Schema } from "effect"

const Measured = Schema.TaggedStruct("Measured", {
  heapMiB: Schema.Number,
  cpuPercent: Schema.Number,
  pages: Schema.Number
})

/** The last events are kept, so that a page that opens or comes back begins with a full picture. */
class Figures extends EventBus.Tag("dashboard/Figures")<Figures, typeof Measured.Type>() {}

const Measure = Layer.scopedDiscard(Effect.gen(function*() {
  const figures = yield* Figures
  const hub = yield* SseHub.SseHub
  const ticker = yield* Ticker.make({ name: "measure", interval: "1 second" })
  let before = process.cpuUsage()
  yield* ticker.onTick({ name: "publish" }, () =>
    Effect.gen(function*() {
      const { system, user } = process.cpuUsage(before)
      before = process.cpuUsage()
      yield* figures.publish({
        _tag: "Measured",
        heapMiB: Math.round(process.memoryUsage().heapUsed / 2 ** 20 * 10) / 10,
        cpuPercent: Math.round((system + user) / 1e4),
        pages: (yield* hub.stats).open
      })
    }))
}))

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Dashboard</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color: #222 }
  dl { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem }
  dt { color: #595959 } dd { margin: 0; font-size: 2rem; font-variant-numeric: tabular-nums }
  svg { width: 100%; height: 6rem; background: #f4f4f4 } polyline { fill: none; stroke: #0b6e4f; stroke-width: 2 }
</style>
<main>
  <h1>This process</h1>
  <dl>
    <div><dt>Heap, MiB</dt><dd id="heapMiB">…</dd></div>
    <div><dt>CPU, %</dt><dd id="cpuPercent">…</dd></div>
    <div><dt>Open pages</dt><dd id="pages">…</dd></div>
  </dl>
  <svg viewBox="0 0 120 40" preserveAspectRatio="none" role="img" aria-label="Heap over two minutes"><polyline /></svg>
  <p id="state" role="status">connecting</p>
</main>
<script>
  const heap = []
  const events = new EventSource("/events?topic=Measured&lastEventId=0")
  events.onopen = () => state.textContent = "live"
  events.onerror = () => state.textContent = "reconnecting"
  events.addEventListener("Measured", ({ data }) => {
    const figures = JSON.parse(data)
    for (const id of ["heapMiB", "cpuPercent", "pages"]) document.getElementById(id).textContent = figures[id]
    heap.push(figures.heapMiB)
    if (heap.length > 120) heap.shift()
    const top = Math.max(...heap)
    document.querySelector("polyline").setAttribute("points", heap.map((y, x) => x + "," + (40 - 36 * y / top)).join(" "))
  })
</script>
`

const Routes = Layer.mergeAll(
  HttpLayerRouter.add("GET", "/", HttpServerResponse.html(page)),
  SseRoute.layer("/events", Effect.map(SseHub.SseHub, (hub) => ({ hub, topics: { authorize: () => Effect.void } }))),
  Health.layerRoutes()
)

const App = Layer.merge(HttpLayerRouter.serve(Routes, { disableLogger: true }), Measure).pipe(
  Layer.provide(NodeSseSink.layer),
  Layer.provide(NodeServer.layerConfig({ port: Config.withDefault(Config.integer("PORT"), 3000) })),
  Layer.provide(SseHub.layer(Effect.map(Figures, (bus) => ({ source: SseHub.fromBus(bus) })))),
  Layer.provide([Figures.layer({ schema: Measured }), Health.layer()])
)

NodeMain.runMain(App, { name: "dashboard", gracefulShutdownTimeout: "5 seconds" })

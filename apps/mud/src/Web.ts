/**
 * Everything that is asked over HTTP, put together: the pages, what players and the operator ask, health and metrics.
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Console from "@holdfast/http/Console"
import * as Health from "@holdfast/http/Health"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Metrics from "@holdfast/http/Metrics"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { Effect, Layer, Option } from "effect"
import * as Faults from "./Faults.js"
import { Game } from "./Game.js"
import * as Nodes from "./Nodes.js"
import * as OperatorSections from "./OperatorSections.js"
import * as Pages from "./Pages.js"
import * as PlayerApi from "./PlayerApi.js"
import type { Settings } from "./Settings.js"

const maxBody = 16 * 1024

/**
 * Serves it all.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Settings) =>
  Effect.gen(function*() {
    const game = yield* Game
    const health = yield* Health.Health
    const nodes = yield* Nodes.Nodes
    yield* health.check({ name: "store", run: game.writable })
    if (Option.isSome(nodes.check)) yield* health.check({ name: "nats", run: nodes.check.value })
    const sections = [...(yield* OperatorSections.make), yield* Nodes.section]
    const router = HttpRouter.concatAll(
      yield* Pages.make,
      PlayerApi.router(settings),
      Health.routes(),
      Metrics.routes(),
      yield* Console.routes({ path: "/operator", name: "mud", sections })
    ).pipe(yield* PlayerApi.events(settings, Faults.make(process.env["HOLDFAST_FAULT"])))
    return HttpErrors.handled(router, { problem: PlayerApi.problem }).pipe(
      // Nothing that is sent from here is to be taken for something else than it says.
      Effect.map(HttpServerResponse.setHeader("x-content-type-options", "nosniff")),
      HttpServerRequest.withMaxBodySize(Option.some(maxBody)),
      HttpServer.serve()
    )
  }).pipe(Layer.unwrapScoped, Layer.provide([Health.layer(), NodeSseSink.layer]))

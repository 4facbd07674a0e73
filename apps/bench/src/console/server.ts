/**
 * An application with a stream and a bus that speaks ten times a second, in a process of its own, with a console or without.
 */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as EventBus from "@holdfast/core/EventBus"
import * as Console from "@holdfast/http/Console"
import * as ConsoleLog from "@holdfast/http/ConsoleLog"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { Effect, Layer, Redacted, Schedule, Schema } from "effect"

const Said = Schema.TaggedStruct("Said", { at: Schema.Number })
class Bus extends EventBus.Tag("bench/Bus")<Bus, typeof Said.Type>() {}

let number = 0
const streams = SseRoute.layer(
  "/events",
  Effect.map(SseHub.SseHub, (hub) => ({
    hub,
    authorize: () => Effect.sync(() => ({ principal: `reader-${number++}`, following: [{ topic: "Said" }] }))
  }))
)

const routes = process.argv[2] === "with"
  ? Layer.merge(streams, Console.layer({ access: { token: Redacted.make("a-token-for-the-operator") } }))
  : streams

const speak = Effect.flatMap(
  Bus,
  (bus) =>
    bus.publish({ _tag: "Said", at: performance.timeOrigin + performance.now() }).pipe(
      Effect.repeat(Schedule.fixed("100 millis")),
      Effect.forkScoped
    )
)

const told = Effect.gen(function*() {
  const { address } = yield* HttpServer.HttpServer
  process.send!({ port: address._tag === "TcpAddress" ? address.port : 0 })
})

const app = Layer.mergeAll(
  HttpLayerRouter.serve(routes, { disableListenLog: true, disableLogger: true }),
  Layer.scopedDiscard(speak),
  Layer.effectDiscard(told)
).pipe(
  Layer.provide([NodeSseSink.layer, NodeServer.layer({ port: 0 })]),
  Layer.provide(SseHub.layer(Effect.map(Bus, (bus) => ({ name: "bench", source: SseHub.fromBus(bus) })))),
  Layer.provide([Bus.layer({ schema: Said }), ConsoleLog.layer()])
)

process.once("message", () => process.exit(0))
await Effect.runPromise(Layer.launch(app))

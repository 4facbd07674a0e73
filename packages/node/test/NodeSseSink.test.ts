import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import * as SseTransportConformance from "@holdfast/testing/SseTransportConformance"
import { Context, Effect, Layer, Logger, LogLevel } from "effect"
import { createServer } from "node:http"

const portOf = (context: Context.Context<HttpServer.HttpServer>) => {
  const { address } = Context.get(context, HttpServer.HttpServer)
  return { port: address._tag === "TcpAddress" ? address.port : 0 }
}

const onNodeServer = (transport: Layer.Layer<never>): SseTransportConformance.Options["serve"] => (app) =>
  Effect.map(
    Layer.build(
      HttpServer.serve(app).pipe(
        // streams that are still open at the end of a test are cut off, and the server says so
        Layer.provide([transport, Logger.minimumLogLevel(LogLevel.None)]),
        Layer.provideMerge(
          NodeServer.layerServer({ port: 0, halfOpenTimeout: "100 millis", drain: { requests: "1 second" } })
        )
      )
    ),
    portOf
  )

const onPlatform = (transport: Layer.Layer<never>): SseTransportConformance.Options["serve"] => (app) =>
  Effect.gen(function*() {
    const server = createServer()
    const context = yield* Layer.build(
      HttpServer.serve(app).pipe(
        Layer.provide(transport),
        Layer.provideMerge(NodeHttpServer.layerServer(() => server, { port: 0, host: "127.0.0.1" }))
      )
    )
    // the platform's server waits for its clients for ever
    yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    return portOf(context)
  })

SseTransportConformance.suite({ name: "NodeSseSink on NodeServer", serve: onNodeServer(NodeSseSink.layer) })

SseTransportConformance.suite({
  name: "portable on NodeServer",
  serve: onNodeServer(Layer.empty),
  destroysStalled: false
})

SseTransportConformance.suite({ name: "NodeSseSink on the platform's server", serve: onPlatform(NodeSseSink.layer) })

SseTransportConformance.suite({
  name: "portable on the platform's server",
  serve: onPlatform(Layer.empty),
  destroysStalled: false,
  discardsBody: false
})

/** The least that a server of `@effect/platform` is. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Layer } from "effect"
import { createServer } from "node:http"

NodeRuntime.runMain(Layer.launch(
  HttpServer.serve(HttpServerResponse.text("hello")).pipe(
    HttpServer.withLogAddress,
    Layer.provide(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
  )
))

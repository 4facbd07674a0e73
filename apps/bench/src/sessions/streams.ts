/** Servers of event streams. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as EventBus from "@holdfast/core/EventBus"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Sse from "@holdfast/http/Sse"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { createChannel, createSession } from "better-sse"
import { Context, Effect, Layer, PubSub, Scope, Stream } from "effect"
import * as Http from "node:http"
import { listen, portOf, Said, scope } from "./shared.js"
import type { Server } from "./shared.js"

const frameOf = (id: number, event: Said) => `event: Said\nid: ${id}\ndata: ${JSON.stringify(event)}\n\n`

const head = { "content-type": "text/event-stream", "cache-control": "no-store, no-transform" }

/** What a careful person writes without a library: encode once, one write per connection. */
const raw = (asBuffer: boolean) => async (): Promise<Server> => {
  const open = new Set<Http.ServerResponse>()
  const port = await listen(Http.createServer((request, response) => {
    response.writeHead(200, head)
    response.write(": open\n\n")
    open.add(response)
    request.on("close", () => open.delete(response))
  }))
  let id = 0
  return {
    port,
    publish: (event) => {
      const frame = frameOf(++id, event)
      const data = asBuffer ? Buffer.from(frame) : frame
      for (const response of open) {
        response.write(data)
      }
    },
    drain: async () => {
      for (const response of open) {
        response.end("event: farewell\ndata: {}\n\n")
      }
    }
  }
}

const betterSse = async (): Promise<Server> => {
  const channel = createChannel()
  const port = await listen(Http.createServer((request, response) => {
    void createSession(request, response).then((session) => channel.register(session))
  }))
  let id = 0
  return { port, publish: (event) => channel.broadcast(event, "Said", { eventId: String(++id) }) }
}

/** The obvious Effect route: one stream of the PubSub per connection. */
const naive = (): Promise<Server> =>
  Effect.gen(function*() {
    const pubsub = yield* PubSub.unbounded<Said>()
    let id = 0
    const app = HttpRouter.empty.pipe(
      HttpRouter.get(
        "/events",
        HttpServerResponse.stream(
          Stream.concat(
            Stream.make(Sse.encodeBytes({ comment: "open" })),
            Stream.fromPubSub(pubsub).pipe(
              Stream.map((event) =>
                Sse.encodeBytes({ event: "Said", id: String(event.n), data: JSON.stringify(event) })
              )
            )
          ),
          { contentType: "text/event-stream", headers: head }
        )
      )
    )
    const context = yield* Layer.build(
      HttpServer.serve(HttpErrors.handled(app)).pipe(
        Layer.provideMerge(NodeHttpServer.layer(() => Http.createServer(), {
          port: 0,
          host: "127.0.0.1",
          backlog: 2048
        }))
      )
    )
    return {
      port: portOf(Context.get(context, HttpServer.HttpServer).address),
      publish: (event: Said) => {
        pubsub.unsafeOffer({ ...event, n: ++id })
      }
    }
  }).pipe(Scope.extend(scope), Effect.runPromise)

const holdfast = (fast: boolean) => (): Promise<Server> =>
  Effect.gen(function*() {
    const bus = yield* EventBus.make({ name: "bench", schema: Said, topic: () => "all" })
    const hub = yield* SseHub.make({ source: SseHub.fromBus(bus) })
    const app = HttpRouter.empty.pipe(
      SseRoute.mount("/events", { hub, topics: { authorize: () => Effect.void } })
    )
    const context = yield* Layer.build(
      HttpServer.serve(HttpErrors.handled(app)).pipe(
        Layer.provide(fast ? NodeSseSink.layer : Layer.empty),
        Layer.provideMerge(NodeServer.layerServer({ port: 0 }))
      )
    )
    return {
      port: portOf(Context.get(context, NodeServer.NodeServer).address),
      publish: (event: Said) => {
        Effect.runFork(bus.publish(event))
      },
      drain: () => Effect.runPromise(hub.drain()),
      stats: () => Effect.runPromise(hub.stats)
    }
  }).pipe(Scope.extend(scope), Effect.runPromise)

export const streams: Record<string, () => Promise<Server>> = {
  "raw": raw(false),
  "raw-buffer": raw(true),
  "better-sse": betterSse,
  "naive": naive,
  "holdfast": holdfast(true),
  "holdfast-portable": holdfast(false)
}

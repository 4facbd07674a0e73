/**
 * One server of event streams, chosen by the first argument, in a process of its own. Told what to do over IPC by
 * `sse.ts`; it measures its own CPU and heap, and the readers are elsewhere.
 */
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
import { Context, Effect, Exit, Layer, PubSub, Schema, Scope, Stream } from "effect"
import * as Http from "node:http"

const Said = Schema.TaggedStruct("Said", { n: Schema.Number, text: Schema.String, at: Schema.Number })
type Said = typeof Said.Type

interface Server {
  readonly port: number
  readonly publish: (event: Said) => void
  readonly drain?: () => Promise<unknown>
  readonly stats?: () => Promise<object>
}

const frameOf = (id: number, event: Said) => `event: Said\nid: ${id}\ndata: ${JSON.stringify(event)}\n\n`

const listen = (server: Http.Server) =>
  new Promise<number>((resolve) => {
    server.listen({ port: 0, host: "127.0.0.1", backlog: 2048 }, () => {
      const address = server.address()
      resolve(typeof address === "object" && address !== null ? address.port : 0)
    })
  })

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

const scope = Effect.runSync(Scope.make())

const portOf = (address: HttpServer.Address) => address._tag === "TcpAddress" ? address.port : 0

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

const servers: Record<string, () => Promise<Server>> = {
  "raw": raw(false),
  "raw-buffer": raw(true),
  "better-sse": betterSse,
  "naive": naive,
  "holdfast": holdfast(true),
  "holdfast-portable": holdfast(false)
}

type Order =
  | { readonly _tag: "Publish"; readonly bursts: number; readonly size: number; readonly pause: number }
  | { readonly _tag: "Heap" }
  | { readonly _tag: "Drain" }
  | { readonly _tag: "Stats" }
  | { readonly _tag: "Stop" }

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const server = await servers[process.argv[2]]()
const text = "A person of some importance enters from the north, looks around, and says nothing at all."
let usage = process.cpuUsage()

process.on("message", async (order: Order) => {
  const reply = (value: object) => process.send!(value)
  switch (order._tag) {
    case "Publish": {
      usage = process.cpuUsage()
      let n = 0
      for (let burst = 0; burst < order.bursts; burst++) {
        for (let i = 0; i < order.size; i++) {
          server.publish({ _tag: "Said", n: ++n, text, at: performance.timeOrigin + performance.now() })
        }
        await sleep(order.pause)
      }
      return
    }
    case "Stats": {
      const { system, user } = process.cpuUsage(usage)
      return reply({ cpu: system + user, hub: await server.stats?.() })
    }
    case "Heap": {
      for (let i = 0; i < 5; i++) {
        globalThis.gc!()
        await sleep(20)
      }
      const { external, heapUsed, rss } = process.memoryUsage()
      return reply({ heap: heapUsed, external, rss, handles: process.getActiveResourcesInfo().length })
    }
    case "Drain": {
      const start = performance.now()
      await server.drain?.()
      return reply({ millis: performance.now() - start })
    }
    case "Stop":
      await Promise.race([Effect.runPromise(Scope.close(scope, Exit.void)), sleep(2000)])
      process.exit(0)
  }
})
process.send!({ port: server.port })

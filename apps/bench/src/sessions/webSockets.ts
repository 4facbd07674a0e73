/** Servers of WebSockets. */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as EventBus from "@holdfast/core/EventBus"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseHub from "@holdfast/http/SseHub"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Context, Effect, Layer, Scope } from "effect"
import * as Http from "node:http"
import type { WebSocket } from "ws"
import { WebSocketServer } from "ws"
import { listen, portOf, Said, scope } from "./shared.js"
import type { Server } from "./shared.js"

const textOf = (id: number, event: Said) =>
  JSON.stringify({ _tag: "event", id, at: Math.floor(event.at), topic: "all", event })

/** An unmasked text frame of 126 to 65,535 bytes (RFC 6455, 5.2). */
const frameOf = (text: string): Buffer => {
  const length = Buffer.byteLength(text)
  return Buffer.concat([Buffer.from([0x81, 126, length >> 8, length & 255]), Buffer.from(text)])
}

/** `ws` as its documentation shows it, or with one frame made for all and written past it. */
const plain = (prepared: boolean) => async (): Promise<Server> => {
  const http = Http.createServer()
  const sockets = new WebSocketServer({ server: http, perMessageDeflate: false })
  sockets.on("connection", (socket) => socket.on("error", () => {}))
  const port = await listen(http)
  let id = 0
  return {
    port,
    publish: (event) => {
      const text = textOf(++id, event)
      const frame = frameOf(text)
      for (const socket of sockets.clients) {
        if (prepared) {
          ;(socket as WebSocket & { readonly _socket: { write: (data: Buffer) => boolean } })._socket.write(frame)
        } else socket.send(text)
      }
    },
    drain: async () => {
      for (const socket of sockets.clients) socket.close(1001)
    }
  }
}

const holdfast = (): Promise<Server> =>
  Effect.gen(function*() {
    const bus = yield* EventBus.make({ name: "bench", schema: Said, topic: () => "all" })
    const hub = yield* SseHub.make({ source: SseHub.fromBus(bus) })
    const app = HttpRouter.empty.pipe(
      WebSocketRoute.mount("/events", { hub, topics: { authorize: () => Effect.void } })
    )
    const context = yield* Layer.build(
      HttpServer.serve(HttpErrors.handled(app)).pipe(Layer.provideMerge(NodeServer.layerServer({ port: 0 })))
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

export const webSockets: Record<string, () => Promise<Server>> = {
  "ws": plain(false),
  "ws, one frame for all": plain(true),
  "holdfast WebSocket": holdfast
}

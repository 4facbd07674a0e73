/**
 * One server of plain requests, chosen by the first argument, in a process of its own. `http.ts` counts its processor time
 * from outside.
 */
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { NodeServer } from "@holdfast/node"
import { Context, Effect, Exit, Layer, Schema, Scope } from "effect"
import * as Http from "node:http"

const Order = Schema.Struct({
  customer: Schema.String,
  items: Schema.Array(Schema.Struct({ sku: Schema.String, count: Schema.Number })),
  note: Schema.optional(Schema.String)
})

const answer = { id: 17, name: "a lamp", price: 12.5, tags: ["light", "brass"], stock: { here: 3, elsewhere: 20 } }

/** Between two turns nothing comes for longer than the usual five or ten seconds. Milliseconds. */
const timeouts = { keepAliveTimeout: 600_000, headersTimeout: 600_000, requestTimeout: 600_000 }

/** What a careful person writes without a library. */
const raw = () =>
  new Promise<number>((resolve) => {
    const send = (response: Http.ServerResponse, status: number, value: unknown) => {
      const body = JSON.stringify(value)
      response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
      response.end(body)
    }
    const server = Http.createServer(timeouts, (request, response) => {
      if (request.method === "GET" && request.url === "/thing") {
        return send(response, 200, answer)
      }
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => {
        const order = JSON.parse(Buffer.concat(chunks).toString()) as typeof Order.Type
        const valid = typeof order.customer === "string" && Array.isArray(order.items) &&
          order.items.every((item) => typeof item.sku === "string" && typeof item.count === "number")
        send(response, valid ? 200 : 400, { customer: order.customer, items: order.items.length })
      })
    })
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { readonly port: number }).port))
  })

const app = HttpRouter.empty.pipe(
  HttpRouter.get("/thing", HttpServerResponse.json(answer)),
  HttpRouter.post(
    "/orders",
    Effect.flatMap(
      HttpServerRequest.schemaBodyJson(Order),
      (order) => HttpServerResponse.json({ customer: order.customer, items: order.items.length })
    )
  )
)

const scope = Effect.runSync(Scope.make())

const served = <E>(layer: Layer.Layer<HttpServer.HttpServer, E>) =>
  Layer.build(HttpServer.serve(app).pipe(Layer.provideMerge(layer))).pipe(
    Effect.map((context) => {
      const { address } = Context.get(context, HttpServer.HttpServer)
      return address._tag === "TcpAddress" ? address.port : 0
    }),
    Scope.extend(scope),
    Effect.runPromise
  )

const servers: Record<string, () => Promise<number>> = {
  raw,
  platform: () => served(NodeHttpServer.layer(() => Http.createServer(timeouts), { port: 0, host: "127.0.0.1" })),
  NodeServer: () => served(NodeServer.layer({ port: 0, host: "127.0.0.1", ...timeouts }))
}

process.on("message", () => {
  const late = new Promise((resolve) => setTimeout(resolve, 1000))
  void Promise.race([Effect.runPromise(Scope.close(scope, Exit.void)), late]).then(() => process.exit(0))
})
const port = await servers[process.argv[2]!]!()
process.send!({ port })

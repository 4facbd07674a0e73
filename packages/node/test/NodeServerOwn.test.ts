// A server that the application makes: with TLS, with listeners of its own, or one that cannot be used.
import { HttpClient, HttpServer, HttpServerResponse } from "@effect/platform"
import { describe, it } from "@effect/vitest"
import { NodeServer } from "@holdfast/node"
import * as LeakCheck from "@holdfast/testing/LeakCheck"
import { Context, Effect, Layer } from "effect"
import assert from "node:assert"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"

const hello = HttpServerResponse.text("hello")

/** The key and the certificate of `localhost`, for tests alone: made by itself, for a hundred years. */
const pem = readFileSync(new URL("fixtures/localhost.pem", import.meta.url))
const tls = { key: pem, cert: pem }

const portOf = (address: HttpServer.Address) => address._tag === "TcpAddress" ? address.port : 0

/** The status, the body and the protocol of a GET over TLS. */
const get = (port: number, ca: Buffer, headers: Http.OutgoingHttpHeaders = {}) =>
  Effect.promise(async () => {
    const request = Https.get({ host: "127.0.0.1", servername: "localhost", port, ca, headers, agent: false })
    const [response] = await once(request, "response") as [Http.IncomingMessage]
    let text = ""
    for await (const chunk of response) text += String(chunk)
    const { socket } = response
    if (!socket.closed) {
      const closed = once(socket, "close")
      socket.destroy()
      await closed
    }
    return { status: response.statusCode, text }
  })

describe("a server of one's own", () => {
  it.scopedLive("answers over TLS, with the limits of the options", () =>
    Effect.gen(function*() {
      // Node tells of the end of a TLS socket when the garbage collector finds it.
      yield* LeakCheck.allow(/^socket/)
      const made: Array<Http.Server> = []
      const built = yield* Layer.build(NodeServer.layerServer({
        port: 0,
        maxHeaderBytes: 2000,
        server: (options) => {
          const server = Https.createServer({ ...options, ...tls })
          made.push(server)
          return server
        }
      }))
      const server = Context.get(built, HttpServer.HttpServer)
      yield* server.serve(hello)
      const port = portOf(server.address)
      assert.deepStrictEqual(yield* get(port, tls.cert), { status: 200, text: "hello" })
      assert.strictEqual((yield* get(port, tls.cert, { "x-long": "x".repeat(3000) })).status, 431)
      assert.strictEqual(made.length, 1)
      assert.strictEqual(made[0]!.listening, true)
    }))

  it.scopedLive("ends while somebody is in the middle of a handshake", () =>
    Effect.gen(function*() {
      // Node tells of the end of a TLS socket when the garbage collector finds it.
      yield* LeakCheck.allow(/^socket/)
      const silent = new Net.Socket()
      silent.on("error", () => {})
      yield* Effect.addFinalizer(() => Effect.sync(() => silent.destroy()))
      const closed = once(silent, "close")
      yield* Effect.scoped(Effect.gen(function*() {
        const built = yield* Layer.build(NodeServer.layerServer({
          port: 0,
          server: (options) => Https.createServer({ ...options, ...tls })
        }))
        const server = Context.get(built, HttpServer.HttpServer)
        yield* server.serve(hello)
        const port = portOf(server.address)
        silent.connect(port, "127.0.0.1")
        yield* Effect.promise(() => once(silent, "connect"))
        // The other connection came later, so the silent one has been accepted.
        assert.strictEqual((yield* get(port, tls.cert)).status, 200)
      }))
      yield* Effect.promise(() => closed)
    }))

  it.scopedLive("may have listeners for what is no request", () =>
    Effect.gen(function*() {
      let connections = 0
      const built = yield* Layer.build(NodeServer.layer({
        port: 0,
        server: (options) => Http.createServer(options).on("connection", () => connections++)
      }))
      const server = Context.get(built, HttpServer.HttpServer)
      yield* server.serve(hello)
      const text = yield* Effect.promise(async () =>
        (await fetch(`http://127.0.0.1:${portOf(server.address)}/`, { headers: { connection: "close" } })).text()
      )
      assert.strictEqual(text, "hello")
      assert.strictEqual(connections, 1)
    }))

  for (
    const [name, make] of [
      ["answers requests already", () => Http.createServer((_, response) => response.end())],
      ["listens already", () => Object.defineProperty(Http.createServer(), "listening", { value: true })]
    ] as const
  ) {
    it.scopedLive(`is refused when it ${name}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(NodeServer.make({ port: 0, server: make }))
        assert.strictEqual(error._tag, "InvalidOption")
        assert.match(error.message, /NodeServer\.server/)
      }))
  }

  it.scopedLive("layerTest has a client for it", () =>
    Effect.gen(function*() {
      yield* HttpServer.serveEffect(hello)
      const response = yield* HttpClient.get("/anything")
      assert.strictEqual(yield* response.text, "hello")
    }).pipe(Effect.provide(NodeServer.layerTest)))
})

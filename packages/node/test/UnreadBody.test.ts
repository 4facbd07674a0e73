import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Deferred, Effect, Stream } from "effect"
import * as Crypto from "node:crypto"
import { connect, type RawSocket } from "./support/rawSocket.js"
import { eventually, requests, serve } from "./support/serve.js"

const head = (path: string, length: number) => `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: ${length}\r\n\r\n`

describe("a body that nobody reads", () => {
  for (
    const [what, length, sent, leave] of [
      ["whole, and reset", 300_000, 300_000, "reset"],
      ["whole, and ended", 300_000, 300_000, "end"],
      ["in part, and reset", 900_000, 300_000, "reset"],
      ["in part, and ended", 900_000, 300_000, "end"],
      ["beyond the limit in all, and reset", 5_000_000, 600_000, "reset"]
    ] as const
  ) {
    it.scopedLive(`does not hide that its client leaves: ${what}`, () =>
      Effect.gen(function*() {
        const { port, server } = yield* serve(
          HttpErrors.handled(HttpRouter.empty.pipe(HttpRouter.post("/never", Effect.never))),
          { halfOpenTimeout: "50 millis", requestTimeout: "10 minutes" }
        )
        const raw = yield* connect(port)
        raw.write(head("/never", length))
        yield* Effect.async<void>((resume) => {
          raw.socket.write(Buffer.alloc(sent, "x"), () => resume(Effect.void))
        })
        yield* eventually(server.stats, ({ inFlight }) => inFlight === 1, 20_000)
        if (leave === "reset") {
          raw.socket.resetAndDestroy()
        } else {
          raw.socket.destroy()
        }
        const stats = yield* eventually(server.stats, ({ connections }) => connections === 0, 8000)
        assert.deepInclude(stats, { connections: 0, inFlight: 0, aborted: 1 })
        assert.deepStrictEqual(yield* requests, [])
      }))
  }

  for (const [what, leave] of [["reset", "reset"], ["ended", "end"], ["half-closed", "half"]] as const) {
    it.scopedLive(`beyond the limit, sent whole, does not hide for long that its client leaves: ${what}`, () =>
      Effect.gen(function*() {
        const { port, server } = yield* serve(
          HttpErrors.handled(HttpRouter.empty.pipe(HttpRouter.post("/never", Effect.never))),
          { halfOpenTimeout: "50 millis", bodyTimeout: "200 millis", requestTimeout: "10 minutes" }
        )
        const raw = yield* connect(port)
        raw.write(head("/never", 20_000_000))
        raw.write(Buffer.alloc(20_000_000, "x"))
        yield* eventually(server.stats, ({ inFlight }) => inFlight === 1, 20_000)
        if (leave === "reset") {
          raw.socket.resetAndDestroy()
        } else {
          // what is on its way comes first: only who reads past it sees the end
          raw.socket.end()
          if (leave === "end") raw.socket.destroySoon()
        }
        const stats = yield* eventually(server.stats, ({ connections }) => connections === 0, 15_000)
        assert.deepInclude(stats, { connections: 0, inFlight: 0, aborted: 1 })
        assert.deepStrictEqual(yield* requests, [])
      }))
  }

  it.scopedLive("is given up when nobody begins to read it in time: who comes later is told, with 408", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const late = <A>(read: Effect.Effect<A, unknown, HttpServerRequest.HttpServerRequest>) =>
        Effect.matchEffect(Effect.zipRight(Deferred.await(gate), read), {
          onFailure: (error) =>
            HttpServerResponse.json({ error: String((error as { cause?: unknown }).cause ?? error) }),
          onSuccess: () => HttpServerResponse.json({ read: true })
        })
      const raws = HttpServerRequest.HttpServerRequest
      const { port, server } = yield* serve(
        HttpErrors.handled(HttpRouter.empty.pipe(
          HttpRouter.post("/bytes", late(Effect.flatMap(raws, (request) => request.arrayBuffer))),
          HttpRouter.post("/parts", late(Effect.flatMap(raws, (request) => Stream.runDrain(request.multipartStream)))),
          HttpRouter.post(
            "/node",
            late(Effect.flatMap(raws, (request) =>
              Effect.tryPromise(async () => {
                for await (const _ of request.source as AsyncIterable<Uint8Array>);
              })))
          )
        )),
        { bodyTimeout: "200 millis", maxBodyBytes: 50_000_000 }
      )
      const body = Buffer.alloc(48_000_000, "x")
      const replies: Array<RawSocket> = []
      for (const path of ["/bytes", "/parts", "/node"]) {
        const raw = yield* connect(port)
        raw.write(
          `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: ${body.length}\r\n\r\n`
        )
        yield* Effect.async<void>((resume) => {
          // more than the buffers of the kernel hold: all of it goes out only when the server discards it
          raw.socket.write(body, () => resume(Effect.void))
        })
        replies.push(raw)
      }
      yield* eventually(server.stats, ({ inFlight }) => inFlight === 3, 20_000)
      yield* Deferred.succeed(gate, undefined)
      for (const raw of replies) {
        assert.isTrue(yield* raw.until(() => raw.replies().length === 1, 20_000), "an answer")
        assert.match(String(raw.replies()[0]!.json?.["error"]), /nobody had begun to read it 200 ms after/)
      }
    }))

  it.scopedLive("is kept for a reader that has begun, however slow it is", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      const { port } = yield* serve(
        HttpErrors.handled(HttpRouter.empty.pipe(HttpRouter.post(
          "/slow",
          Effect.gen(function*() {
            const request = yield* HttpServerRequest.HttpServerRequest
            let size = 0
            yield* Stream.runForEach(request.stream, (chunk) => {
              size += chunk.length
              return Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(gate))
            })
            return HttpServerResponse.unsafeJson({ size })
          }).pipe(HttpServerRequest.withMaxBodySize({ _tag: "Some", value: 100_000_000n } as never))
        ))),
        { bodyTimeout: "2 seconds", maxBodyBytes: 500_000 }
      )
      const raw = yield* connect(port)
      raw.write(head("/slow", 20_000_000))
      raw.write(Buffer.alloc(20_000_000, "x"))
      yield* Deferred.await(begun)
      // longer than an unread body is kept
      yield* Effect.sleep(3000)
      yield* Deferred.succeed(gate, undefined)
      assert.isTrue(yield* raw.until(() => raw.replies().length === 1, 20_000))
      assert.deepStrictEqual(raw.replies()[0]!.json, { size: 20_000_000 })
    }))

  it.scopedLive("is there for whoever reads it late, and beyond the limit the socket waits", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      let waiting = () => 0
      const { port, server } = yield* serve(
        HttpErrors.handled(HttpRouter.empty.pipe(HttpRouter.post(
          "/late",
          Effect.gen(function*() {
            const request = yield* HttpServerRequest.HttpServerRequest
            const source = request.source as { readonly readableLength: number }
            waiting = () => source.readableLength
            yield* Deferred.await(gate)
            const waited = source.readableLength
            const bytes = new Uint8Array(yield* request.arrayBuffer)
            return HttpServerResponse.unsafeJson({
              waited,
              hash: Crypto.createHash("sha256").update(bytes).digest("hex")
            })
          }).pipe(HttpServerRequest.withMaxBodySize({ _tag: "Some", value: 100_000_000n } as never))
        ))),
        { maxBodyBytes: 500_000 }
      )
      const body = Crypto.randomBytes(20_000_000)
      const raw = yield* connect(port)
      raw.write(head("/late", body.length))
      raw.write(body)
      yield* eventually(server.stats, ({ inFlight }) => inFlight === 1, 20_000)
      yield* eventually(Effect.sync(() => waiting()), (bytes) => bytes >= 500_000, 20_000)
      yield* Deferred.succeed(gate, void 0)
      assert.isTrue(yield* raw.until(() => raw.replies().length === 1, 20_000))
      const reply = raw.replies()[0].json as { readonly waited: number; readonly hash: string }
      assert.strictEqual(reply.hash, Crypto.createHash("sha256").update(body).digest("hex"))
      assert.isAtMost(reply.waited, 500_000 + 2 * 65_536)
    }))
})

import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Deferred, Effect } from "effect"
import * as Crypto from "node:crypto"
import { connect } from "./support/rawSocket.js"
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

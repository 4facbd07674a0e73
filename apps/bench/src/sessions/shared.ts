/** What the contenders of the session benches share: the event that all of them send, and what is asked of a server. */
import type * as HttpServer from "@effect/platform/HttpServer"
import { Effect, Schema, Scope } from "effect"
import type * as Http from "node:http"

export const Said = Schema.TaggedStruct("Said", { n: Schema.Number, text: Schema.String, at: Schema.Number })
export type Said = typeof Said.Type

export interface Server {
  readonly port: number
  readonly publish: (event: Said) => void
  readonly drain?: () => Promise<unknown>
  readonly stats?: () => Promise<object>
}

export const listen = (server: Http.Server) =>
  new Promise<number>((resolve) => {
    server.listen({ port: 0, host: "127.0.0.1", backlog: 2048 }, () => {
      const address = server.address()
      resolve(typeof address === "object" && address !== null ? address.port : 0)
    })
  })

/** Of all that is made with Effect. */
export const scope = Effect.runSync(Scope.make())

export const portOf = (address: HttpServer.Address) => address._tag === "TcpAddress" ? address.port : 0

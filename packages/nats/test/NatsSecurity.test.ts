import { assert, describe, it } from "@effect/vitest"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import { Effect, Redacted } from "effect"
import { fileURLToPath } from "node:url"
import { draft } from "./support/nodes.js"
import { missing, named, server } from "./support/server.js"

/** Made for these tests, for `localhost` and 127.0.0.1, until 2126. */
const file = (name: string) => fileURLToPath(new URL(`./support/tls/${name}.pem`, import.meta.url))

const secured = `tls { cert_file: "${file("cert")}", key_file: "${file("key")}" }`
const withPassword = `authorization { user: ada, password: "lovelace-1815" }`
const withToken = `authorization { token: "a-token-of-the-test" }`

const ada = (password: string) => ({ user: "ada", password: Redacted.make(password) })

/** What comes of an append over such a connection, or why there is none. */
const appended = (options: NatsConnection.Options) =>
  Effect.gen(function*() {
    const connection = yield* NatsConnection.make({ connectTimeout: "5 seconds", ...options })
    const { journal } = yield* Effect.provideService(
      NatsJournal.make({ name: "world" }),
      NatsConnection.NatsConnection,
      connection
    )
    const id = yield* journal.append([draft("hello")], { attempt: "a-1" })
    return `appended ${id}`
  }).pipe(
    Effect.catchTag(
      "NatsConnectError",
      (error) => Effect.succeed(`${error.reason}: ${error.details}; ${error.servers.join()}`)
    ),
    Effect.scoped
  )

describe.skipIf(missing)(named("who is let in, and over what"), () => {
  it.scoped("a name and a password, beside the address or in it", () =>
    Effect.gen(function*() {
      const { port, url } = yield* server({ config: withPassword })
      assert.strictEqual(yield* appended({ servers: [url], credentials: ada("lovelace-1815") }), "appended 1")
      assert.strictEqual(yield* appended({ servers: [`nats://ada:lovelace%2D1815@127.0.0.1:${port}`] }), "appended 1")
      const refused = yield* appended({ servers: [url], credentials: ada("babbage") })
      assert.match(refused, /^Denied: Authorization Violation/)
      const shown = yield* appended({ servers: [`nats://ada:babbage@127.0.0.1:${port}`] })
      assert.strictEqual(shown, refused)
    }), 60_000)

  it.scoped("a token", () =>
    Effect.gen(function*() {
      const { port, url } = yield* server({ config: withToken })
      const token = Redacted.make("a-token-of-the-test")
      assert.strictEqual(yield* appended({ servers: [url], credentials: { token } }), "appended 1")
      assert.strictEqual(yield* appended({ servers: [`nats://a-token-of-the-test@127.0.0.1:${port}`] }), "appended 1")
      assert.match(yield* appended({ servers: [url] }), /^Denied/)
    }), 60_000)

  it.scoped("a server with a certificate, by the authority that is named", () =>
    Effect.gen(function*() {
      const { port } = yield* server({ config: secured })
      const servers = [`tls://127.0.0.1:${port}`]
      assert.strictEqual(yield* appended({ servers, tls: { caFile: file("ca") } }), "appended 1")
      assert.match(yield* appended({ servers }), /^Unreachable: unable to verify the first certificate/)
      assert.match(yield* appended({ servers, tls: { caFile: file("none") } }), /^Unreachable: .*none\.pem/)
    }), 60_000)

  it.scoped("no server that speaks in the open, where the address asks for TLS", () =>
    Effect.gen(function*() {
      const { port } = yield* server()
      assert.match(
        yield* appended({ servers: [`tls://127.0.0.1:${port}`] }),
        /^Unreachable: server does not support 'tls'/
      )
    }), 60_000)
})

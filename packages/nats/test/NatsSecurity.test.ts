import { assert, describe, it } from "@effect/vitest"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import { nkeys } from "@nats-io/nats-core"
import { Effect, Redacted } from "effect"
import type { Scope } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
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

/** A file that goes with the scope. */
const temporary = (text: string): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-keys-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    ),
    (folder) => {
      const path = join(folder, "file")
      writeFileSync(path, text)
      return path
    }
  )

const seedOf = (pair: nkeys.KeyPair) => Buffer.from(pair.getSeed()).toString()
const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")

/** What `nsc` makes: who signs says this of whom. */
const signed = (signer: nkeys.KeyPair, subject: nkeys.KeyPair, type: string, claims: object) => {
  const text = `${base64({ typ: "JWT", alg: "ed25519-nkey" })}.${
    base64({
      jti: "made-for-a-test",
      iat: 1_700_000_000,
      iss: signer.getPublicKey(),
      name: type,
      sub: subject.getPublicKey(),
      nats: { ...claims, type, version: 2 }
    })
  }`
  return `${text}.${Buffer.from(signer.sign(Buffer.from(text))).toString("base64url")}`
}

const credsOf = (jwt: string, user: nkeys.KeyPair) =>
  `-----BEGIN NATS USER JWT-----
${jwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
${seedOf(user)}
------END USER NKEY SEED------
`

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

  it.scoped("an nkey, by its seed", () =>
    Effect.gen(function*() {
      const [known, stranger] = [nkeys.createUser(), nkeys.createUser()]
      const { url } = yield* server({ config: `authorization { users: [ { nkey: ${known.getPublicKey()} } ] }` })
      const by = (pair: nkeys.KeyPair) =>
        Effect.flatMap(
          temporary(`${seedOf(pair)}\n`),
          (nkeySeedFile) => appended({ servers: [url], credentials: { nkeySeedFile } })
        )
      assert.strictEqual(yield* by(known), "appended 1")
      assert.match(yield* by(stranger), /^Denied: Authorization Violation/)
    }), 60_000)

  it.scoped("a file of credentials, read again at every connect", () =>
    Effect.gen(function*() {
      const [operator, system, account, user, stranger] = [
        nkeys.createOperator(),
        nkeys.createAccount(),
        nkeys.createAccount(),
        nkeys.createUser(),
        nkeys.createAccount()
      ]
      const unlimited = {
        subs: -1,
        data: -1,
        payload: -1,
        imports: -1,
        exports: -1,
        wildcards: true,
        conn: -1,
        leaf: -1
      }
      const storage = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }
      const accountJwt = signed(operator, account, "account", { limits: { ...unlimited, ...storage } })
      const userJwt = (by: nkeys.KeyPair) => signed(by, user, "user", { subs: -1, data: -1, payload: -1 })
      const { url } = yield* server({
        config: `operator: ${signed(operator, operator, "operator", {})}
system_account: ${system.getPublicKey()}
resolver: MEMORY
resolver_preload: {
  ${system.getPublicKey()}: ${signed(operator, system, "account", { limits: unlimited })}
  ${account.getPublicKey()}: ${accountJwt}
}`
      })
      const path = yield* temporary(credsOf(userJwt(stranger), user))
      const credentials = { file: path }
      assert.match(yield* appended({ servers: [url], credentials }), /^Denied: Authorization Violation/)
      writeFileSync(path, credsOf(userJwt(account), user))
      assert.strictEqual(yield* appended({ servers: [url], credentials }), "appended 1")
    }), 60_000)

  it.scoped(
    "a certificate of the client, by the authority that the server names (daily)",
    () =>
      Effect.gen(function*() {
        const { port } = yield* server({
          config: `tls { cert_file: "${file("cert")}", key_file: "${file("key")}", ca_file: "${
            file("client-ca")
          }", verify: true }`
        })
        const servers = [`tls://127.0.0.1:${port}`]
        const by = (certFile: string, keyFile: string) =>
          appended({
            servers,
            connectTimeout: "1 second",
            tls: { caFile: file("ca"), certFile: file(certFile), keyFile: file(keyFile) }
          })
        assert.strictEqual(yield* by("client", "client-key"), "appended 1")
        assert.match(yield* by("cert", "key"), /^Unreachable: no answer in time; .* a certificate that it refuses/)
        const without = appended({ servers, connectTimeout: "1 second", tls: { caFile: file("ca") } })
        assert.match(yield* without, /^Unreachable: no answer in time/)
      }),
    60_000
  )
})

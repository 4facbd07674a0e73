import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Inspector from "@holdfast/http/Inspector"
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Context, Effect, Layer, Logger, LogLevel, Redacted, Schedule, Schema } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const token = "an-operators-token-0123"
const viewer = "a-viewers-token-4567890"

interface Row {
  readonly what: string
  readonly status: number
  readonly path?: string
  readonly post?: boolean
  readonly headers?: Record<string, string>
  /** Also what a proxy passes on. */
  readonly body?: string
}

const bearer = (value: string) => ({ authorization: `Bearer ${value}` })
const json = { "content-type": "application/json" }
const header = { [OperatorGuard.actHeader]: "1" }
/** What the page's own script sends; `HOST` is the authority that the client knows. */
const own = { ...json, ...header, origin: "http://HOST", "sec-fetch-site": "same-origin" }

const look = (what: string, status: number, headers: Record<string, string>, path = "/snapshot"): Row => ({
  what,
  status,
  path,
  headers
})
const press = (what: string, status: number, headers: Record<string, string>, path = "/shutdown"): Row => ({
  what,
  status,
  path,
  headers,
  post: true
})

/** As clients, browsers and proxies would send it, and what must come of it. */
const rows: ReadonlyArray<Row> = [
  // Without a token nothing is open, whatever else a request says of itself.
  look("from this machine", 401, {}),
  look("from this machine, by name", 401, { host: "localhost" }),
  look("through a bare proxy_pass: Host is the upstream's, and nothing tells", 401, { host: "127.0.0.1:7070" }),
  look("through a proxy that tells: X-Forwarded-For", 401, { "x-forwarded-for": "203.0.113.9" }),
  look("through a proxy that tells: a forged loopback", 401, { "x-forwarded-for": "127.0.0.1" }),
  look("through a proxy that tells: Forwarded", 401, { forwarded: "for=203.0.113.9;host=ops.example" }),
  look("through a proxy that tells: Via", 401, { via: "1.1 varnish" }),
  look("through a proxy that tells: X-Real-IP", 401, { "x-real-ip": "203.0.113.9" }),
  look("through a proxy that tells: X-Forwarded-Host", 401, { "x-forwarded-host": "ops.example" }),
  look("through a CDN: CF-Connecting-IP", 401, { "cf-connecting-ip": "203.0.113.9", "cdn-loop": "cloudflare" }),
  look("a page that rebound its name", 401, { host: "rebound.example", origin: "http://rebound.example" }),
  look("a page's own script without a token", 401, own),
  look("a cookie is no token", 401, { cookie: `token=${token}` }),
  look("the inspector", 401, {}, "/inspector"),
  look("the inspector's fibers", 401, { via: "1.1 nginx" }, "/inspector/fibers"),
  press("shutdown from this machine", 401, own),
  press("shutdown through a bare proxy_pass", 401, { ...json, host: "127.0.0.1:7070" }),
  press("shutdown by a form of another site", 401, {
    "content-type": "application/x-www-form-urlencoded",
    origin: "https://evil.example",
    "sec-fetch-site": "cross-site"
  }),
  // Tokens that are none.
  look("a wrong token", 401, bearer("not-the-right-token!!")),
  look("a token that is nearly right", 401, bearer(token.slice(0, -1))),
  look("a token that is longer", 401, bearer(`${token}x`)),
  look("an empty token", 401, { authorization: "Bearer " }),
  look("another scheme", 401, { authorization: `Basic ${token}` }),
  look("a wrong header beside the right query", 401, bearer("not-the-right-token!!"), `/snapshot?token=${token}`),
  look("a wrong query", 401, {}, "/snapshot?token=not-the-right-token!!"),
  // Looking.
  look("the operator", 200, bearer(token)),
  look("the operator, behind a proxy", 200, { ...bearer(token), "x-forwarded-for": "203.0.113.9" }),
  look("the operator, by an EventSource", 200, {}, `/snapshot?token=${token}`),
  look("the viewer", 200, bearer(viewer)),
  look("the viewer at the inspector", 200, bearer(viewer), "/inspector/cleanups"),
  // Acting.
  press("the page's own button", 200, { ...own, ...bearer(token) }),
  press("the page's own button, in an old browser", 200, {
    ...json,
    ...header,
    ...bearer(token),
    origin: "http://HOST"
  }),
  press("the page behind a proxy that ends TLS", 200, { ...own, ...bearer(token), origin: "https://HOST" }),
  press("the page at an origin that is listed", 200, {
    ...own,
    ...bearer(token),
    origin: "https://ops.example",
    "sec-fetch-site": "same-origin"
  }),
  press("the viewer", 403, { ...own, ...bearer(viewer) }),
  press("a token in the query", 401, own, `/shutdown?token=${token}`),
  press("without an origin", 403, { ...json, ...header, ...bearer(token) }),
  press("from another origin", 403, { ...own, ...bearer(token), origin: "https://evil.example" }),
  press("from a page of the same host on another port", 403, {
    ...own,
    ...bearer(token),
    origin: "http://127.0.0.1:1"
  }),
  press("from a sandboxed page", 403, { ...own, ...bearer(token), origin: "null" }),
  press("from another site, says the browser", 403, { ...own, ...bearer(token), "sec-fetch-site": "cross-site" }),
  press("from a sibling, says the browser", 403, { ...own, ...bearer(token), "sec-fetch-site": "same-site" }),
  press("by a navigation", 403, { ...own, ...bearer(token), "sec-fetch-site": "none" }),
  press("without the header that no form can send", 403, { ...json, ...bearer(token), origin: "http://HOST" }),
  press("as a form", 415, {
    ...own,
    ...bearer(token),
    "content-type": "application/x-www-form-urlencoded"
  }),
  press("as text", 415, { ...own, ...bearer(token), "content-type": "text/plain" }),
  { ...press("with a body that is none", 400, { ...own, ...bearer(token) }), body: "{" }
]

const send = (port: number, row: Row): Promise<number> =>
  new Promise((resolve, reject) => {
    const headers = Object.fromEntries(
      Object.entries(row.headers ?? {}).map(([name, value]) => [name, value.replace("HOST", `127.0.0.1:${port}`)])
    )
    const request = Http.request(
      { host: "127.0.0.1", port, path: row.path, method: row.post === true ? "POST" : "GET", headers, agent: false },
      (response) => {
        response.resume().on("end", () => resolve(response.statusCode!))
      }
    )
    request.on("error", reject)
    request.end(row.post === true ? row.body ?? "{}" : undefined)
  })

const serve = Effect.gen(function*() {
  let shutdowns = 0
  const guard = OperatorGuard.layer({
    token: Redacted.make(token),
    viewerToken: Redacted.make(viewer),
    origins: ["https://ops.example"],
    firstDelay: 0
  })
  const router = HttpRouter.empty.pipe(
    HttpRouter.get("/snapshot", OperatorGuard.protect(HttpServerResponse.json({ fibers: 7 }))),
    HttpRouter.post(
      "/shutdown",
      Effect.flatMap(
        OperatorGuard.OperatorGuard,
        (guard) =>
          guard.act("shutdown", Schema.Struct({}), () =>
            Effect.sync(() => {
              shutdowns++
              return HttpServerResponse.unsafeJson({})
            }))
      )
    ),
    HttpRouter.concat(Inspector.routes())
  )
  const context = yield* Layer.build(
    HttpServer.serve(HttpErrors.handled(router)).pipe(
      Layer.provideMerge(NodeServer.layerServer({ port: 0 })),
      Layer.provideMerge(guard),
      Layer.provide(Logger.minimumLogLevel(LogLevel.None))
    )
  )
  const { port } = Context.get(context, NodeServer.NodeServer).address as HttpServer.TcpAddress
  return { port, guard: Context.get(context, OperatorGuard.OperatorGuard), shutdowns: () => shutdowns }
})

const freePort = Effect.promise(() =>
  new Promise<number>((resolve) => {
    const server = Net.createServer()
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      server.close(() => resolve(port))
    })
  })
)

const hasNginx = (() => {
  try {
    execFileSync("nginx", ["-v"], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
})()

/** As most people write it: nothing but `proxy_pass`. */
const nginx = (upstream: number, location = "") =>
  Effect.gen(function*() {
    const port = yield* freePort
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "guard-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    writeFileSync(
      join(folder, "nginx.conf"),
      `daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log;
       events {}
       http {
         access_log off;
         client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
         uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
         server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${upstream}; ${location} } }
       }`
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => spawn("nginx", ["-c", join(folder, "nginx.conf"), "-p", folder], { stdio: "ignore" })),
      (child) =>
        Effect.async<void>((resume) => {
          child.on("exit", () => resume(Effect.void))
          child.kill("SIGTERM")
        })
    )
    yield* Effect.tryPromise(() => send(port, look("is it up?", 401, {}))).pipe(
      Effect.retry(Schedule.upTo(Schedule.spaced("20 millis"), "20 seconds")),
      Effect.orDie
    )
    return port
  })

describe("OperatorGuard", () => {
  it.scopedLive(`lets in who has the right token, and acts for its own page only: ${rows.length} requests`, () =>
    Effect.gen(function*() {
      const { guard, port, shutdowns } = yield* serve
      for (const row of rows) {
        const before = shutdowns()
        const status = yield* Effect.promise(() => send(port, row))
        assert.strictEqual(status, row.status, row.what)
        assert.strictEqual(shutdowns() - before, row.post === true && row.status === 200 ? 1 : 0, row.what)
      }
      const acts = yield* guard.acts
      assert.strictEqual(acts.filter(({ result }) => result === "done").length, shutdowns())
      // What was refused to a known token is on record, too.
      assert.strictEqual(
        acts.filter(({ result }) => result === "refused").length,
        rows.filter(({ post, status }) => post === true && status !== 200 && status !== 401).length
      )
    }))

  it.scopedLive.skipIf(!hasNginx)("is as closed behind nginx with a bare proxy_pass", () =>
    Effect.gen(function*() {
      const { port, shutdowns } = yield* serve
      const front = yield* nginx(port)
      for (const row of rows) {
        const before = shutdowns()
        const status = yield* Effect.promise(() => send(front, row))
        // The Host of the upstream is not that of the page: it may look and, unless its origin is listed, not act.
        const passes = row.post !== true || row.status === 401 || row.headers!["origin"] === "https://ops.example"
        assert.strictEqual(status, passes ? row.status : 403, row.what)
        assert.strictEqual(shutdowns() - before, status === 200 && row.post === true ? 1 : 0, row.what)
      }
    }))

  it.scopedLive.skipIf(!hasNginx)(
    "works behind nginx that passes the Host on, with the client's address on record",
    () =>
      Effect.gen(function*() {
        const { guard, port, shutdowns } = yield* serve
        const front = yield* nginx(
          port,
          "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        )
        for (const row of rows) {
          assert.strictEqual(yield* Effect.promise(() => send(front, row)), row.status, row.what)
        }
        assert.isAbove(shutdowns(), 0)
        assert.strictEqual((yield* guard.acts)[0].forwardedFor, "x-forwarded-for: 127.0.0.1")
      })
  )
})

/**
 * The static files of the page, read once and kept: with an entity tag, a strict content policy, and nothing else.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { fileURLToPath } from "node:url"

const file = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))

/** The narration is compiled from the same source as that of the terminal client. */
const files: ReadonlyArray<readonly [route: `/${string}`, path: string, type: string]> = [
  ["/", "public/index.html", "text/html; charset=utf-8"],
  ["/style.css", "public/style.css", "text/css; charset=utf-8"],
  ["/favicon.svg", "public/favicon.svg", "image/svg+xml"],
  ["/player.js", "public/player.js", "text/javascript; charset=utf-8"],
  ["/log.js", "public/log.js", "text/javascript; charset=utf-8"],
  ["/around.js", "public/around.js", "text/javascript; charset=utf-8"],
  ["/stream.js", "public/stream.js", "text/javascript; charset=utf-8"],
  ["/narration.js", "dist/client/Narration.js", "text/javascript; charset=utf-8"]
]

const security = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer"
}

const serve = (content: Uint8Array, type: string) => {
  const etag = `"${createHash("sha256").update(content).digest("base64url").slice(0, 22)}"`
  const headers = { ...security, etag, "cache-control": "no-cache" }
  const whole = HttpServerResponse.uint8Array(content, { contentType: type, headers })
  const unchanged = HttpServerResponse.empty({ status: 304, headers })
  return Effect.map(
    HttpServerRequest.HttpServerRequest,
    (request) => request.headers["if-none-match"] === etag ? unchanged : whole
  )
}

/**
 * Adds the pages to a router.
 *
 * @since 0.1.0
 * @category routes
 */
export const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  let router: HttpRouter.HttpRouter = HttpRouter.empty
  for (const [route, path, type] of files) {
    const content = yield* fs.readFile(file(path))
    router = HttpRouter.get(router, route, serve(content, type))
  }
  return router
})

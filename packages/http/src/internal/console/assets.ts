/** The files of the page, which stand as they are in the package. */
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { InvalidOption } from "@holdfast/core/InvalidOption"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"

const files = {
  "index.html": "text/html; charset=utf-8",
  "style.css": "text/css; charset=utf-8",
  "icon.svg": "image/svg+xml",
  "console.js": "text/javascript; charset=utf-8",
  "feed.js": "text/javascript; charset=utf-8",
  "format.js": "text/javascript; charset=utf-8",
  "graph.js": "text/javascript; charset=utf-8",
  "history.js": "text/javascript; charset=utf-8",
  "picture.js": "text/javascript; charset=utf-8",
  "rows.js": "text/javascript; charset=utf-8",
  "acts.js": "text/javascript; charset=utf-8"
} as const

const security = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ].join("; "),
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cache-control": "no-cache"
}

export type Asset = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest.HttpServerRequest
>

/** `file:///C:/x` is `C:/x` on Windows. */
const pathOf = (url: URL): string => decodeURIComponent(url.pathname).replace(/^\/([a-z]:\/)/i, "$1")

/** Reads them once: from the package, or from beside a bundle. */
export const read = (
  folder: string | undefined
): Effect.Effect<ReadonlyMap<string, Asset>, InvalidOption, FileSystem.FileSystem> =>
  folder !== undefined ? readFrom(folder) : Effect.orElse(
    readFrom(pathOf(new URL("../../../assets/console", import.meta.url))),
    () => readFrom(pathOf(new URL("./assets/console", import.meta.url)))
  )

const readFrom = (folder: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const assets = new Map<string, Asset>()
    for (const [name, type] of Object.entries(files)) {
      const content = yield* Effect.mapError(
        fs.readFile(`${folder}/${name}`),
        () =>
          new InvalidOption({
            option: "Console.assets",
            given: folder,
            expected:
              `a folder with ${name}: that of @holdfast/http is assets/console; beside a bundle, a copy under that name`
          })
      )
      assets.set(name, serve(content, type))
    }
    return assets
  })

/** Made in one step, since nothing else of a start waits for the world outside. */
const serve = (content: Uint8Array, type: string): Asset => {
  const etag = `"${content.length.toString(36)}-${(Hash.array(Array.from(content)) >>> 0).toString(36)}"`
  const headers = { ...security, etag }
  const whole = HttpServerResponse.uint8Array(content, { contentType: type, headers })
  const unchanged = HttpServerResponse.empty({ status: 304, headers })
  return Effect.map(
    HttpServerRequest.HttpServerRequest,
    (request) => request.headers["if-none-match"] === etag ? unchanged : whole
  )
}

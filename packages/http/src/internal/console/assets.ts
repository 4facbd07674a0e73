/** The files of the page, which stand as they are in the package. */
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { InvalidOption } from "@holdfast/core/InvalidOption"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"

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

/** Reads them once. */
export const read = (
  folder: string | undefined
): Effect.Effect<ReadonlyMap<string, Asset>, InvalidOption, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const from = folder ?? pathOf(new URL("../../../assets/console", import.meta.url))
    const assets = new Map<string, Asset>()
    for (const [name, type] of Object.entries(files)) {
      const content = yield* Effect.mapError(
        fs.readFile(`${from}/${name}`),
        () =>
          new InvalidOption({
            option: "Console.assets",
            given: from,
            expected: `a folder with ${name}: that of @holdfast/http is assets/console; copy it beside a bundle`
          })
      )
      assets.set(name, yield* serve(content, type))
    }
    return assets
  })

const serve = (content: Uint8Array, type: string): Effect.Effect<Asset> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.digest("SHA-256", content as Uint8Array<ArrayBuffer>)),
    (digest) => {
      const etag = `"${Encoding.encodeBase64Url(new Uint8Array(digest)).slice(0, 22)}"`
      const headers = { ...security, etag }
      const whole = HttpServerResponse.uint8Array(content, { contentType: type, headers })
      const unchanged = HttpServerResponse.empty({ status: 304, headers })
      return Effect.map(
        HttpServerRequest.HttpServerRequest,
        (request) => request.headers["if-none-match"] === etag ? unchanged : whole
      )
    }
  )

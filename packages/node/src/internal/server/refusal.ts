/**
 * What `NodeServer` answers by itself, without asking the application: the shape is that of `HttpErrors`.
 */
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Http from "node:http"
import type * as Net from "node:net"

/**
 * 503, come back in a second.
 */
export const unavailable = (message: string): HttpErrors.HttpError =>
  HttpErrors.make("Unavailable", message, {}, { headers: { "retry-after": "1" } })

/**
 * 417: only `100-continue` is known.
 */
export const expectationFailed = HttpErrors.make(
  "ExpectationFailed",
  "the expectation cannot be met",
  { field: "expect", expected: "100-continue" },
  { status: 417 }
)

/**
 * 405 for `CONNECT`.
 */
export const noProxy = HttpErrors.make("MethodNotAllowed", "this server is not a proxy", {}, {
  headers: { allow: "GET, HEAD, POST" }
})

/**
 * What the parser lets through and no handler should see.
 */
export const malformed = (request: Http.IncomingMessage): HttpErrors.HttpError | undefined => {
  const url = request.url ?? ""
  const { host } = request.headers
  if (host === undefined && request.httpVersionMinor > 0) {
    return HttpErrors.make("BadRequest", "the request has no host header", { field: "host", expected: "a host" })
  }
  // RFC 9112, 3.2: a proxy in front may have decided by the other one.
  if (host !== undefined && (!validHost.test(host) || hasTwoHosts(request.rawHeaders))) {
    return HttpErrors.make("BadRequest", "the host header is not one valid host", {
      field: "host",
      expected: "one host"
    })
  }
  if (url === "*" ? request.method !== "OPTIONS" : !url.startsWith("/") && !/^https?:\/\/[^/?#]/i.test(url)) {
    return HttpErrors.make("BadRequest", "the request target is not a path", { expected: "a path" })
  }
  if (url.includes("%")) {
    try {
      decodeURIComponent(url.split("?", 1)[0])
    } catch {
      return HttpErrors.make("BadRequest", "the path is not well encoded", { expected: "percent-encoded UTF-8" })
    }
  }
  return undefined
}

/** RFC 3986, 3.2.2 and 3.2.3, without what a name cannot be made of. */
const validHost = /^(?:\[[\da-f:.]+\]|(?:[\w\-.~!$&'()*+,;=]|%[\da-f]{2})*)(?::\d*)?$/i

const hasTwoHosts = (rawHeaders: ReadonlyArray<string>): boolean => {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name.length === 4 && name.toLowerCase() === "host") {
      hosts++
    }
  }
  return hosts > 1
}

/**
 * What the parser did not let through.
 */
export const parseProblem = (error: Error & { readonly code?: string }): HttpErrors.HttpError => {
  switch (error.code) {
    case "HPE_HEADER_OVERFLOW":
      return HttpErrors.make("HeadersTooLarge", "the headers are too large")
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return HttpErrors.make("BodyTooLarge", "the chunk extensions are too large")
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return HttpErrors.make("RequestTimeout", "the request did not arrive in time")
    default:
      return HttpErrors.make("BadRequest", `the request is not HTTP: ${error.message}`)
  }
}

/**
 * Answers on a bare socket, then reads on for a while: closing at once would reset it and might lose the answer.
 */
export const refuseSocket = (socket: Net.Socket, error: HttpErrors.HttpError, lingerTimeout: number): void => {
  const { body, headers, status } = error.problem
  const json = JSON.stringify(body)
  const lines = [
    `HTTP/1.1 ${status} ${Http.STATUS_CODES[status] ?? "Error"}`,
    `date: ${new Date().toUTCString()}`,
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(json)}`,
    "cache-control: no-store",
    "connection: close",
    ...Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${value}`)
  ]
  const timer = setTimeout(() => socket.destroy(), lingerTimeout)
  socket.on("close", () => clearTimeout(timer))
  socket.end(`${lines.join("\r\n")}\r\n\r\n${json}`)
}

/**
 * Is a body on its way? Only the headers tell: `complete` is still false while a request without one is being emitted.
 */
export const declaresBody = (request: Http.IncomingMessage): boolean =>
  Number(request.headers["content-length"] ?? 0) > 0 || request.headers["transfer-encoding"] !== undefined

/**
 * Who asks for a WebSocket waits for the answer before it sends more (RFC 6455, 4.1).
 */
export const tooEarly = (limit: number): HttpErrors.HttpError =>
  HttpErrors.make("BadRequest", `more than ${limit} bytes came before the upgrade was answered`, { field: "upgrade" })

/**
 * The platform's request over an exchange. It differs from the platform's own where a server that must drain needs it to:
 * its body is read as `exchange.ts` says, and it can be upgraded by `WebSocketRoute` and by `HttpServerRequest.upgrade`.
 */
import * as NodeMultipart from "@effect/platform-node/NodeMultipart"
import * as Cookies from "@effect/platform/Cookies"
import type * as Headers from "@effect/platform/Headers"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import type { HttpMethod } from "@effect/platform/HttpMethod"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Multipart from "@effect/platform/Multipart"
import type * as Socket from "@effect/platform/Socket"
import * as UrlParams from "@effect/platform/UrlParams"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SessionSink from "@holdfast/http/SessionSink"
import * as WebSocketTransport from "@holdfast/http/WebSocketTransport"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Http from "node:http"
import type { Exchange } from "./exchange.js"
import * as WebSocket from "./webSocket.js"

export class NodeRequest extends Inspectable.Class implements HttpServerRequest.HttpServerRequest {
  readonly [HttpServerRequest.TypeId]: HttpServerRequest.TypeId = HttpServerRequest.TypeId
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly source: Http.IncomingMessage
  private parsedCookies: Readonly<Record<string, string>> | undefined

  constructor(
    readonly exchange: Exchange,
    readonly url: string = pathOf(exchange.request.url!),
    private readonly headersOverride: Headers.Headers | undefined = headersOf(exchange.request),
    private readonly remoteAddressOverride?: string
  ) {
    super()
    this.source = exchange.request
  }

  /** Read by `NodeHttpServerRequest.toServerResponse`. */
  get response(): Http.ServerResponse {
    return this.exchange.response
  }

  get method(): HttpMethod {
    return this.source.method!.toUpperCase() as HttpMethod
  }

  get originalUrl(): string {
    return this.source.url!
  }

  get headers(): Headers.Headers {
    return this.headersOverride ?? (this.source.headers as Headers.Headers)
  }

  get remoteAddress(): Option.Option<string> {
    return Option.fromNullable(this.remoteAddressOverride ?? this.source.socket.remoteAddress)
  }

  get cookies(): Readonly<Record<string, string>> {
    return this.parsedCookies ??= Cookies.parseHeader(this.headers.cookie ?? "")
  }

  get text(): Effect.Effect<string, HttpServerError.RequestError> {
    return Effect.map(this.bytes, decode)
  }

  get json(): Effect.Effect<unknown, HttpServerError.RequestError> {
    return Effect.tryMap(this.text, {
      try: (text) => text === "" ? null : JSON.parse(text) as unknown,
      catch: this.failed("Decode")
    })
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpServerError.RequestError> {
    return Effect.map(this.text, (text) => UrlParams.fromInput(new URLSearchParams(text)))
  }

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpServerError.RequestError> {
    return Effect.map(this.bytes, (bytes) => new Uint8Array(bytes).buffer)
  }

  get stream(): Stream.Stream<Uint8Array, HttpServerError.RequestError> {
    return Stream.unwrap(
      Effect.map(maxBodySize, (limit) => Stream.mapError(this.exchange.chunks(limit), this.failed("Transport")))
    )
  }

  get multipart(): HttpServerRequest.HttpServerRequest["multipart"] {
    return Effect.suspend(() =>
      Effect.zipRight(this.hasParts, NodeMultipart.persisted(this.source, this.source.headers))
    )
  }

  get multipartStream(): HttpServerRequest.HttpServerRequest["multipartStream"] {
    return Stream.unwrap(Effect.map(this.hasParts, () => NodeMultipart.stream(this.source, this.source.headers)))
  }

  private get hasParts(): Effect.Effect<void, Multipart.MultipartError> {
    return Effect.suspend(() => {
      const { unreadable } = this.exchange
      return unreadable !== undefined
        ? Effect.fail(new Multipart.MultipartError({ reason: "Parse", cause: unreadable }))
        : hasBoundary(this.source)
        ? Effect.void
        : Effect.fail(noBoundary)
    })
  }

  get upgrade(): Effect.Effect<Socket.Socket, HttpServerError.RequestError> {
    const upgrade = this.exchange.upgradable
    return upgrade === undefined
      ? Effect.fail(this.failed("Transport")(noHandshake))
      : Effect.zipRight(
        Effect.mapError(WebSocketTransport.checkHandshake(this), this.failed("Transport")),
        WebSocket.toSocket({
          ...upgrade,
          onUpgraded: () => {
            upgrade.onUpgraded()
            this.exchange.hasSocket = true
          }
        }, this.exchange.limits.webSocket)
      )
  }

  [WebSocketTransport.accept](
    options: WebSocketTransport.AcceptOptions
  ): Effect.Effect<WebSocketTransport.Peer, HttpErrors.HttpError> {
    return Effect.suspend(() => {
      const upgrade = this.exchange.upgradable
      return upgrade === undefined ? noHandshake : Effect.succeed(
        new WebSocket.Peer(upgrade, options, (name, until, finish) => handOver(this, name, until, finish))
      )
    })
  }

  [SessionSink.onStop](f: () => void): void {
    this.exchange.onStop(f)
  }

  modify(options: Parameters<HttpServerRequest.HttpServerRequest["modify"]>[0]): NodeRequest {
    return new NodeRequest(
      this.exchange,
      options.url ?? this.url,
      options.headers ?? this.headersOverride,
      options.remoteAddress ?? this.remoteAddressOverride
    )
  }

  private get bytes(): Effect.Effect<Uint8Array, HttpServerError.RequestError> {
    return Effect.mapError(
      Effect.flatMap(maxBodySize, (limit) => this.exchange.bytes(limit)),
      this.failed("Transport")
    )
  }

  private failed(reason: "Decode" | "Transport") {
    return (cause: unknown) => new HttpServerError.RequestError({ request: this, reason, cause })
  }

  override toString(): string {
    return `NodeRequest(${this.method} ${this.url})`
  }

  toJSON(): unknown {
    return {
      _id: "@holdfast/node/NodeRequest",
      method: this.method,
      url: this.originalUrl,
      headers: Inspectable.redact(this.headers),
      remoteAddress: this.remoteAddress.toJSON()
    }
  }
}

/**
 * Goes on with an answer in a fiber of its own, and lets the fiber of the request end with everything on its stack: an open
 * event stream then costs half the memory. The new fiber waits for `until`, then runs `finish`, also when it was
 * interrupted, and takes the place of the old one in every respect: it is in the census, it is interrupted when the
 * client leaves or the server stops, and a drain waits for it.
 *
 * False, and nothing happens, when the request is not one of a `NodeServer`.
 */
export const handOver = (
  request: HttpServerRequest.HttpServerRequest,
  name: string,
  until: Effect.Effect<unknown>,
  finish: (exit: Exit.Exit<unknown>) => Effect.Effect<void>
): boolean => {
  const exchange = request instanceof NodeRequest ? request.exchange : undefined
  if (exchange?.fork === undefined) {
    return false
  }
  exchange.longLived = true
  const end = <A>(exit: Exit.Exit<A>) =>
    Effect.zipRight(finish(exit), Effect.flatMap(Effect.suspend(() => exchange.awaitFlush()), () => exit))
  // Few frames: this is the stack of an idle connection. `onExit` would do the same with twice as many.
  const fiber = exchange.fork(
    Effect.matchCauseEffect(Effect.interruptible(until), {
      onFailure: (cause) => end(Exit.failCause(cause)),
      onSuccess: (value) => end(Exit.succeed(value))
    }),
    name
  )
  exchange.successor = fiber
  exchange.fiber = fiber
  return true
}

/** The platform's parser throws without one. */
const hasBoundary = (request: Http.IncomingMessage): boolean =>
  /^multipart\/.*;\s*boundary=/i.test(request.headers["content-type"] ?? "")

const noBoundary = new Multipart.MultipartError({
  reason: "Parse",
  cause: new Error("the content type is not multipart, or names no boundary")
})

const authority = /^https?:\/\/([^/?#]*)/i

/** The absolute form is for proxies, and a server takes it, too (RFC 9112, 3.2.2). */
const pathOf = (url: string): string => {
  if (url.startsWith("/") || url === "*") {
    return url
  }
  const path = url.replace(authority, "")
  return path.startsWith("/") ? path : `/${path}`
}

/** The host of an absolute form takes the place of the header's. */
const headersOf = (request: Http.IncomingMessage): Headers.Headers | undefined => {
  const host = request.url!.startsWith("/") ? undefined : authority.exec(request.url!)?.[1]
  return host === undefined ? undefined : { ...request.headers, host } as unknown as Headers.Headers
}

const decoder = new TextDecoder()

const decode = (bytes: Uint8Array): string => decoder.decode(bytes)

const noHandshake = HttpErrors.make("UpgradeRequired", "this is a plain request, not a WebSocket handshake")

const maxBodySize = Effect.map(
  HttpServerRequest.MaxBodySize,
  Option.match({ onNone: () => Number.POSITIVE_INFINITY, onSome: Number })
)

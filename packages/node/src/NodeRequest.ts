/**
 * The server's side of one HTTP exchange on Node.js: a request whose body is read within a size and a time.
 *
 * It differs from the platform's request where a server that must drain needs it to:
 * - too large a body, or one that stops arriving, is a typed failure and the connection stays writable, so that the
 *   client reads its 413 or 408 (the platform destroys the socket with the stream);
 * - `100 Continue` is sent when the body is first wanted, so that a refusal costs no upload;
 * - it can be upgraded: `WebSocketRoute` and the platform's `HttpServerRequest.upgrade` find what they need on it.
 *
 * `NodeHttpServerRequest.toIncomingMessage` and `toServerResponse` work on it; `raw` gives both.
 *
 * @since 0.1.0
 */
import * as NodeMultipart from "@effect/platform-node/NodeMultipart"
import * as Cookies from "@effect/platform/Cookies"
import type * as Headers from "@effect/platform/Headers"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import type { HttpMethod } from "@effect/platform/HttpMethod"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as Socket from "@effect/platform/Socket"
import * as UrlParams from "@effect/platform/UrlParams"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as WebSocketTransport from "@holdfast/http/WebSocketTransport"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Http from "node:http"
import * as NodeWebSocket from "./internal/server/webSocket.js"

/**
 * What the server keeps of one request until its fiber has ended and its response is flushed or lost.
 *
 * @since 0.1.0
 * @category models
 */
export class Exchange {
  /** The fiber that answers. */
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** The fiber that took the exchange over, see `handOver`. */
  successor: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** Starts a fiber of the server's, with the server's services alone. */
  fork: ((effect: Effect.Effect<unknown>, name: string) => Fiber.RuntimeFiber<unknown, unknown>) | undefined
  /** The client, or the server, gave the connection up. */
  closed = false
  /** The server ended this request because its time to drain was over. */
  cut = false
  /** An answer without an end of its own: an event stream or an upgraded connection. */
  longLived = false
  /** The response was handed over to the kernel. */
  flushed = false
  /** The connection speaks another protocol now, and no response is due. */
  upgraded = false
  /** The client waits for `100 Continue`. */
  expectsContinue = false
  /** The response must be the last one of its connection. */
  last = false
  /** The wall clock at the start, milliseconds. */
  readonly startedAt = Date.now()
  private bodyFailure: HttpErrors.HttpError | undefined
  private onBodyFailure: ((error: HttpErrors.HttpError) => void) | undefined
  // Made when needed: thousands of these are idle event streams.
  private onClosed: Set<() => void> | undefined
  private cachedBytes: Effect.Effect<Uint8Array, HttpErrors.HttpError> | undefined
  private cachedResponse: Http.ServerResponse | undefined

  constructor(
    readonly request: Http.IncomingMessage,
    private readonly evaluateResponse: () => Http.ServerResponse,
    /** Milliseconds. */
    readonly limits: { readonly bodyTimeout: number; readonly lingerTimeout: number },
    /** The first bytes after a request to upgrade the connection, undefined for any other request. */
    readonly upgradeHead?: Buffer
  ) {}

  get response(): Http.ServerResponse {
    return this.cachedResponse ??= this.evaluateResponse()
  }

  /** What a WebSocket is made from, where the request asked for one. */
  get upgradable(): NodeWebSocket.Upgrade | undefined {
    return this.upgradeHead === undefined || this.upgraded ? undefined : {
      request: this.request,
      socket: this.request.socket,
      head: this.upgradeHead,
      onUpgraded: () => {
        this.upgraded = true
        this.longLived = true
        this.flushed = true
      }
    }
  }

  /** Was a response begun? */
  get responded(): boolean {
    return this.cachedResponse !== undefined && this.cachedResponse.headersSent
  }

  /** Calls back once, now or later, when the connection is gone. Returns what takes the callback back. */
  whenClosed(f: () => void): () => void {
    if (this.closed) {
      f()
      return () => {}
    }
    const callbacks = this.onClosed ??= new Set()
    callbacks.add(f)
    return () => callbacks.delete(f)
  }

  /** Waits until the response is flushed or the connection is gone. */
  awaitFlush(): Effect.Effect<void> {
    return Effect.async((resume) => {
      const { response } = this
      if (this.closed || this.flushed || response.destroyed) {
        return resume(Effect.void)
      }
      let forget = () => {}
      const done = () => {
        response.off("finish", done).off("close", done)
        forget()
        resume(Effect.void)
      }
      response.on("finish", done).on("close", done)
      forget = this.whenClosed(done)
    })
  }

  /** Marks the connection as gone. */
  close(): void {
    if (!this.closed) {
      this.closed = true
      this.onClosed?.forEach((f) => f())
      this.onClosed = undefined
    }
  }

  /** Fails the reading of the body, now or when it begins. */
  failBody(error: HttpErrors.HttpError): void {
    this.bodyFailure ??= error
    this.onBodyFailure?.(error)
  }

  /** The whole body, read once. */
  bytes(limit: number): Effect.Effect<Uint8Array, HttpErrors.HttpError> {
    return this.cachedBytes ??= Effect.runSync(
      Effect.cached(Effect.map(Stream.runCollect(this.chunks(limit)), (chunks) => Buffer.concat([...chunks])))
    )
  }

  /** The body as it arrives, with back-pressure. */
  chunks(limit: number): Stream.Stream<Uint8Array, HttpErrors.HttpError> {
    return Stream.suspend(() => {
      let size = 0
      const declared = Number(this.request.headers["content-length"] ?? 0)
      if (declared > limit) {
        return Stream.fail(HttpErrors.bodyTooLarge(limit))
      }
      if (this.expectsContinue) {
        this.expectsContinue = false
        this.response.writeContinue()
      }
      return Stream.repeatEffectOption(
        Effect.flatMap(this.pull(), (chunk) => {
          size += chunk.length
          return size > limit ? Effect.fail(Option.some(HttpErrors.bodyTooLarge(limit))) : Effect.succeed(chunk)
        })
      )
    })
  }

  /** The next piece of the body. One reader at a time. */
  private pull(): Effect.Effect<Uint8Array, Option.Option<HttpErrors.HttpError>> {
    return Effect.async((resume) => {
      const request = this.request
      if (this.bodyFailure !== undefined) {
        return resume(Effect.fail(Option.some(this.bodyFailure)))
      }
      const take = () => {
        const chunk: Uint8Array | null = request.read()
        if (chunk !== null) {
          settle(Effect.succeed(chunk))
        } else if (request.readableEnded) {
          settle(Effect.fail(Option.none()))
        } else if (request.destroyed || this.closed) {
          settle(Effect.fail(Option.some(HttpErrors.make("BadRequest", "the connection ended before the body did"))))
        }
      }
      const fail = (error: HttpErrors.HttpError) => settle(Effect.fail(Option.some(error)))
      const late = () =>
        this.failBody(HttpErrors.make("RequestTimeout", `the body stopped arriving for ${this.limits.bodyTimeout} ms`))
      let settled = false
      let timer: NodeJS.Timeout | undefined
      const stop = () => {
        settled = true
        clearTimeout(timer)
        request.off("readable", take).off("end", take).off("error", take).off("close", take)
        this.onBodyFailure = undefined
      }
      const settle = (effect: Effect.Effect<Uint8Array, Option.Option<HttpErrors.HttpError>>) => {
        if (!settled) {
          stop()
          resume(effect)
        }
      }
      take()
      if (settled) {
        return
      }
      timer = setTimeout(late, this.limits.bodyTimeout)
      request.on("readable", take).on("end", take).on("error", take).on("close", take)
      this.onBodyFailure = fail
      return Effect.sync(stop)
    })
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export class NodeRequest extends Inspectable.Class implements HttpServerRequest.HttpServerRequest {
  readonly [HttpServerRequest.TypeId]: HttpServerRequest.TypeId = HttpServerRequest.TypeId
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly source: Http.IncomingMessage
  private parsedCookies: Readonly<Record<string, string>> | undefined

  constructor(
    readonly exchange: Exchange,
    readonly url: string = exchange.request.url!,
    private readonly headersOverride?: Headers.Headers,
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
    return Effect.map(this.bytes, (bytes) => new TextDecoder().decode(bytes))
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
    return NodeMultipart.persisted(this.source, this.source.headers)
  }

  get multipartStream(): HttpServerRequest.HttpServerRequest["multipartStream"] {
    return NodeMultipart.stream(this.source, this.source.headers)
  }

  get upgrade(): Effect.Effect<Socket.Socket, HttpServerError.RequestError> {
    const upgrade = this.exchange.upgradable
    return upgrade === undefined
      ? Effect.fail(this.failed("Transport")(noHandshake))
      : NodeWebSocket.toSocket(upgrade, { maxMessageBytes: 1024 * 1024, protocols: [], closeTimeout: 2000 })
  }

  [WebSocketTransport.accept](
    options: WebSocketTransport.AcceptOptions
  ): Effect.Effect<WebSocketTransport.Peer, HttpErrors.HttpError> {
    return Effect.suspend(() => {
      const upgrade = this.exchange.upgradable
      return upgrade === undefined ? noHandshake : Effect.succeed(NodeWebSocket.peer(upgrade, options))
    })
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
 * Node's own request and response, for a handler that writes for itself. It may write and end the response as it likes;
 * what it returns afterwards is not sent, and a response that it left open is ended.
 *
 * @since 0.1.0
 * @category accessors
 */
export const raw = (
  request: HttpServerRequest.HttpServerRequest
): Option.Option<{ readonly request: Http.IncomingMessage; readonly response: Http.ServerResponse }> =>
  request instanceof NodeRequest
    ? Option.some({ request: request.source, response: request.response })
    : Option.none()

/**
 * Says that this answer has no end of its own, so that a server without a lifecycle does not wait for it when it closes.
 * Event streams and upgraded connections are recognised without it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const markLongLived = (request: HttpServerRequest.HttpServerRequest): void => {
  if (request instanceof NodeRequest) {
    request.exchange.longLived = true
  }
}

const noHandshake = HttpErrors.make("UpgradeRequired", "this is a plain request, not a WebSocket handshake")

/**
 * Goes on with an answer in a fiber of its own, and lets the fiber of the request end with everything on its stack: an open
 * event stream then costs half the memory. The new fiber waits for `until`, then runs `finish`, also when it was
 * interrupted, and takes the place of the old one in every respect: it is in the census, it is interrupted when the
 * client leaves or the server stops, and a drain waits for it.
 *
 * False, and nothing happens, when the request is not one of a `NodeServer`.
 *
 * @since 0.1.0
 * @category accessors
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
  const fiber = exchange.fork(
    // few frames: this is the stack of an idle connection
    Effect.onExit(until, (exit) => Effect.zipRight(finish(exit), Effect.suspend(() => exchange.awaitFlush()))),
    name
  )
  exchange.successor = fiber
  exchange.fiber = fiber
  return true
}

const maxBodySize = Effect.map(
  HttpServerRequest.MaxBodySize,
  Option.match({ onNone: () => Number.POSITIVE_INFINITY, onSome: Number })
)

/**
 * The server's side of one HTTP exchange on Node.js: a request whose body is read within a size and a time, and a
 * response writer that always ends.
 *
 * It differs from the platform's request where a server that must drain needs it to:
 * - too large a body, or one that stops arriving, is a typed failure and the connection stays writable, so that the
 *   client reads its 413 or 408 (the platform destroys the socket with the stream);
 * - `100 Continue` is sent when the body is first wanted, so that a refusal costs no upload;
 * - a writer never waits for a socket that has gone: every wait also ends when the connection does.
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
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as Socket from "@effect/platform/Socket"
import * as UrlParams from "@effect/platform/UrlParams"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as WebSocketTransport from "@holdfast/http/WebSocketTransport"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Http from "node:http"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import * as NodeWebSocket from "./NodeWebSocket.js"

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
  private readonly onBodyFailure = new Set<(error: HttpErrors.HttpError) => void>()
  private readonly onClosed = new Set<() => void>()
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
    this.onClosed.add(f)
    return () => this.onClosed.delete(f)
  }

  /** Marks the connection as gone. */
  close(): void {
    if (!this.closed) {
      this.closed = true
      this.onClosed.forEach((f) => f())
      this.onClosed.clear()
    }
  }

  /** Fails the reading of the body, now or when it begins. */
  failBody(error: HttpErrors.HttpError): void {
    this.bodyFailure ??= error
    this.onBodyFailure.forEach((f) => f(error))
    this.onBodyFailure.clear()
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
        Effect.flatMap(this.pull, (chunk) => {
          size += chunk.length
          return size > limit ? Effect.fail(Option.some(HttpErrors.bodyTooLarge(limit))) : Effect.succeed(chunk)
        })
      )
    })
  }

  private readonly pull: Effect.Effect<Uint8Array, Option.Option<HttpErrors.HttpError>> = Effect.async((resume) => {
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
      this.onBodyFailure.delete(fail)
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
    this.onBodyFailure.add(fail)
    return Effect.sync(stop)
  })
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
    Effect.onExit(until, (exit) => Effect.zipRight(finish(exit), Effect.suspend(() => flushed(exchange)))),
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

/**
 * Writes a response and waits until it is flushed or the connection is gone.
 *
 * @since 0.1.0
 * @category responses
 */
export const respond = (
  request: HttpServerRequest.HttpServerRequest,
  answer: HttpServerResponse.HttpServerResponse
): Effect.Effect<void, HttpServerError.ResponseError> =>
  Effect.suspend(() => {
    const exchange = (request as NodeRequest).exchange
    if (exchange.upgraded || exchange.successor !== undefined) {
      return Effect.void
    }
    const response = exchange.response
    if (exchange.closed || response.writableEnded || response.destroyed) {
      return flushed(exchange)
    }
    if (response.headersSent) {
      response.end()
      return flushed(exchange)
    }
    const body = exchange.cut && answer.body._tag === "Empty" && answer.status >= 500 ? cutBody : answer.body
    const headers = headersOf(answer, body)
    const unread = bodyUnread(exchange.request)
    if (exchange.last || exchange.expectsContinue || (unread && answer.status >= 400)) {
      headers["connection"] = "close"
    }
    if (String(headers["content-type"] ?? "").startsWith("text/event-stream")) {
      exchange.longLived = true
    }
    const write = exchange.request.method === "HEAD" ? undefined : body
    switch (write?._tag) {
      case undefined:
      case "Empty":
        return simple(exchange, answer.status, headers, undefined, unread)
      case "Uint8Array":
        return simple(exchange, answer.status, headers, write.body, unread)
      case "Raw": {
        const source = write.body
        if (source instanceof Readable) {
          response.writeHead(answer.status, headers)
          return Effect.ensuring(piped(exchange, request, answer, source), resumed(exchange))
        }
        return simple(exchange, answer.status, headers, source as string | Uint8Array, unread)
      }
      case "FormData": {
        const encoded = new Response(write.formData)
        encoded.headers.forEach((value, name) => {
          headers[name] = value
        })
        response.writeHead(answer.status, headers)
        return piped(exchange, request, answer, Readable.fromWeb(encoded.body as never))
      }
      case "Stream": {
        response.writeHead(answer.status, headers)
        response.flushHeaders()
        return Effect.ensuring(streamed(exchange, write.stream), resumed(exchange))
      }
    }
  })

const cutBody = HttpErrors.toResponse(
  HttpErrors.make("ShuttingDown", "the server is shutting down and did not finish this request").problem
).body

const headersOf = (
  answer: HttpServerResponse.HttpServerResponse,
  body: HttpServerResponse.HttpServerResponse["body"]
): Record<string, string | Array<string>> => {
  const headers: Record<string, string | Array<string>> = { ...answer.headers }
  if (body !== answer.body) {
    headers["content-type"] = "application/json"
    headers["content-length"] = String((body as { readonly contentLength?: number }).contentLength ?? 0)
  }
  if (!Cookies.isEmpty(answer.cookies)) {
    const cookies = Cookies.toSetCookieHeaders(answer.cookies)
    const own = headers["set-cookie"]
    headers["set-cookie"] = own === undefined ? cookies : cookies.concat(own)
  }
  return headers
}

/** Only what the headers declare counts: `complete` is still false while a request without a body is being emitted. */
const bodyUnread = (request: Http.IncomingMessage): boolean =>
  !request.complete &&
  (Number(request.headers["content-length"] ?? 0) > 0 || request.headers["transfer-encoding"] !== undefined)

const simple = (
  exchange: Exchange,
  status: number,
  headers: Record<string, string | Array<string>>,
  body: string | Uint8Array | undefined,
  unread: boolean
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const response = exchange.response
    if (!unread || status < 400) {
      response.writeHead(status, headers)
      response.end(body)
      exchange.request.resume()
      return flushed(exchange)
    }
    // A socket closed with unread bytes is reset, and the reset may overtake the refusal: the client must be able to
    // read it, so the rest of the upload is discarded for a while first (RFC 9112, 9.6).
    if (exchange.request.method !== "HEAD" && status !== 204 && status !== 304) {
      headers["content-length"] = String(body === undefined ? 0 : Buffer.byteLength(body))
    }
    response.writeHead(status, headers)
    if (body === undefined) {
      response.flushHeaders()
    } else {
      response.write(body)
    }
    return Effect.flatMap(discarded(exchange), () => {
      response.end()
      return flushed(exchange)
    })
  })

const discarded = (exchange: Exchange): Effect.Effect<void> =>
  Effect.async((resume) => {
    const request = exchange.request
    const done = () => {
      clearTimeout(timer)
      request.off("end", done).off("close", done).off("error", done)
      forget()
      resume(Effect.void)
    }
    const timer = setTimeout(done, exchange.limits.lingerTimeout)
    request.on("end", done).on("close", done).on("error", done)
    let forget = () => {}
    forget = exchange.whenClosed(done)
    request.resume()
  })

const resumed = (exchange: Exchange) => Effect.sync(() => exchange.request.resume())

const flushed = (exchange: Exchange): Effect.Effect<void> =>
  Effect.async((resume) => {
    const response = exchange.response
    if (exchange.closed || exchange.flushed || response.destroyed) {
      return resume(Effect.void)
    }
    let forget = () => {}
    const done = () => {
      response.off("finish", done).off("close", done)
      forget()
      resume(Effect.void)
    }
    response.on("finish", done).on("close", done)
    forget = exchange.whenClosed(done)
  })

const piped = (
  exchange: Exchange,
  request: HttpServerRequest.HttpServerRequest,
  response: HttpServerResponse.HttpServerResponse,
  source: Readable
): Effect.Effect<void, HttpServerError.ResponseError> =>
  Effect.interruptible(
    Effect.tryPromise({
      try: (signal) => {
        const forget = exchange.whenClosed(() => source.destroy())
        return pipeline(source, exchange.response, { signal }).finally(forget)
      },
      catch: (cause) => new HttpServerError.ResponseError({ request, response, reason: "Decode", cause })
    })
  )

/** Ends by interruption when the connection goes. A body that fails half way must not look complete, so its connection is destroyed instead of ended. */
const streamed = <E>(exchange: Exchange, stream: Stream.Stream<Uint8Array, E>): Effect.Effect<void> => {
  const response = exchange.response
  const writable = Effect.async<void>((resume) => {
    if (response.destroyed || response.socket?.destroyed === true) {
      // The interruption is on its way. Writing on would starve the very event that brings it.
      return
    }
    if (!response.writableNeedDrain) {
      return resume(Effect.void)
    }
    const drained = () => resume(Effect.void)
    response.once("drain", drained)
    return Effect.sync(() => response.off("drain", drained))
  })
  return Stream.runForEachChunk(stream, (chunk) => {
    let ready = true
    for (const part of chunk) {
      ready = response.write(part)
    }
    return ready || Chunk.isEmpty(chunk) ? Effect.void : writable
  }).pipe(
    Effect.interruptible,
    Effect.matchCauseEffect({
      onSuccess: () => {
        response.end()
        return flushed(exchange)
      },
      onFailure: (cause) => {
        if (Cause.isInterruptedOnly(cause)) {
          response.destroy()
        } else {
          response.socket?.destroySoon()
        }
        return Effect.failCause(Cause.flatMap(cause, (error) => Cause.die(error)))
      }
    })
  )
}

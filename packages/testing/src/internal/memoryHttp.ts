/** The request that an app sees and the response that a client sees, with nothing but memory between them. */
import * as Cookies from "@effect/platform/Cookies"
import * as Headers from "@effect/platform/Headers"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import type { HttpMethod } from "@effect/platform/HttpMethod"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as Socket from "@effect/platform/Socket"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

const decoder = new TextDecoder()

const concat = (chunks: Chunk.Chunk<Uint8Array>): Uint8Array => {
  let length = 0
  for (const chunk of chunks) length += chunk.length
  const bytes = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

const toArrayBuffer = (bytes: Uint8Array): ArrayBuffer =>
  bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer

interface Overrides {
  readonly url?: string
  readonly headers?: Headers.Headers
  readonly remoteAddress?: string
}

export class MemoryRequest extends Inspectable.Class implements HttpServerRequest.HttpServerRequest {
  readonly [HttpServerRequest.TypeId]: HttpServerRequest.TypeId = HttpServerRequest.TypeId
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly headers: Headers.Headers
  readonly url: string
  readonly remoteAddress: Option.Option<string>
  /** identifies the exchange; the request itself is copied by `modify` */
  readonly source: object

  constructor(
    readonly client: HttpClientRequest.HttpClientRequest,
    private readonly target: URL,
    address: string,
    private readonly upgraded: Effect.Effect<Socket.Socket, HttpServerError.RequestError> | undefined,
    overrides: Overrides = {},
    source: object = {}
  ) {
    super()
    this.source = source
    this.url = overrides.url ?? `${target.pathname}${target.search}`
    this.remoteAddress = Option.some(overrides.remoteAddress ?? address)
    const { body, headers } = client
    const length = body._tag === "Uint8Array" ? { "content-length": String(body.body.length) } : {}
    const type = body._tag === "Empty" || body.contentType === undefined ? {} : { "content-type": body.contentType }
    this.headers = overrides.headers ?? Headers.fromInput({ host: target.host, ...type, ...length, ...headers })
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "@effect/platform/HttpServerRequest",
      method: this.method,
      url: this.url
    })
  }

  modify(overrides: Overrides): MemoryRequest {
    return new MemoryRequest(this.client, this.target, "", this.upgraded, {
      url: overrides.url ?? this.url,
      headers: overrides.headers ?? this.headers,
      remoteAddress: overrides.remoteAddress ?? Option.getOrElse(this.remoteAddress, () => "")
    }, this.source)
  }

  get method(): HttpMethod {
    return this.client.method
  }

  get originalUrl(): string {
    return `${this.target.pathname}${this.target.search}`
  }

  get cookies() {
    return Cookies.parseHeader(this.headers.cookie ?? "")
  }

  private fail(reason: "Decode" | "Transport", cause: unknown) {
    return new HttpServerError.RequestError({ request: this, reason, cause })
  }

  get upgrade(): Effect.Effect<Socket.Socket, HttpServerError.RequestError> {
    return this.upgraded ?? new HttpServerError.RequestError({
      request: this,
      reason: "Decode",
      description: "Not an upgradeable ServerRequest"
    })
  }

  get stream(): Stream.Stream<Uint8Array, HttpServerError.RequestError> {
    const { body } = this.client
    switch (body._tag) {
      case "Empty":
        return Stream.empty
      case "Uint8Array":
        return Stream.make(body.body)
      case "Raw":
        return Stream.make(
          body.body instanceof Uint8Array ? body.body : new TextEncoder().encode(String(body.body))
        )
      case "FormData":
        return Stream.unwrap(Effect.map(
          Effect.promise(() => new Response(body.formData).arrayBuffer()),
          (buffer) => Stream.make(new Uint8Array(buffer))
        ))
      case "Stream":
        return Stream.mapError(body.stream, (cause) => this.fail("Transport", cause))
    }
  }

  private get bytes(): Effect.Effect<Uint8Array, HttpServerError.RequestError> {
    return Effect.flatMap(
      HttpIncomingMessage.MaxBodySize,
      (limit) =>
        Stream.runFoldEffect(this.stream, Chunk.empty<Uint8Array>(), (all, chunk) => {
          const next = Chunk.append(all, chunk)
          return Option.isSome(limit) && Chunk.reduce(next, 0, (n, part) => n + part.length) > Number(limit.value)
            ? Effect.fail(this.fail("Decode", new Error("maxBytes exceeded")))
            : Effect.succeed(next)
        }).pipe(Effect.map(concat))
    )
  }

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpServerError.RequestError> {
    return Effect.map(this.bytes, toArrayBuffer)
  }

  get text(): Effect.Effect<string, HttpServerError.RequestError> {
    return Effect.map(this.bytes, (bytes) => decoder.decode(bytes))
  }

  get json(): Effect.Effect<unknown, HttpServerError.RequestError> {
    return Effect.tryMap(this.text, {
      try: (text) => text === "" ? null : JSON.parse(text) as unknown,
      catch: (cause) => this.fail("Decode", cause)
    })
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpServerError.RequestError> {
    return Effect.map(this.text, (text) => UrlParams.fromInput(new URLSearchParams(text)))
  }

  private get web() {
    const body = Effect.map(this.arrayBuffer, (buffer) => {
      const request = new Request(this.target, {
        method: this.method,
        headers: this.headers,
        ...(buffer.byteLength === 0 ? {} : { body: buffer })
      })
      return HttpServerRequest.fromWeb(request)
    })
    return Effect.orDie(body)
  }

  get multipart() {
    return Effect.flatMap(this.web, (web) => web.multipart)
  }

  get multipartStream() {
    return Stream.unwrap(Effect.map(this.web, (web) => web.multipartStream))
  }
}

export class MemoryResponse extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpClientResponse.TypeId]: HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly remoteAddress = Option.some("127.0.0.1")
  readonly status: number
  readonly headers: Headers.Headers
  readonly cookies: Cookies.Cookies

  constructor(
    readonly request: HttpClientRequest.HttpClientRequest,
    response: HttpServerResponse.HttpServerResponse,
    private readonly body: Uint8Array | Stream.Stream<Uint8Array, unknown> | undefined
  ) {
    super()
    this.status = response.status
    this.cookies = response.cookies
    const { contentLength, contentType } = response.body
    this.headers = Headers.fromInput({
      ...(contentType === undefined ? {} : { "content-type": contentType }),
      ...(contentLength === undefined ? {} : { "content-length": String(contentLength) }),
      ...response.headers
    })
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, { _id: "@effect/platform/HttpClientResponse", status: this.status })
  }

  private fail(reason: "Decode" | "EmptyBody", cause?: unknown) {
    return new HttpClientError.ResponseError({ request: this.request, response: this, reason, cause })
  }

  get stream(): Stream.Stream<Uint8Array, HttpClientError.ResponseError> {
    return this.body === undefined
      ? Stream.fail(this.fail("EmptyBody"))
      : this.body instanceof Uint8Array
      ? Stream.make(this.body)
      : Stream.mapError(this.body, (cause) => this.fail("Decode", cause))
  }

  private get bytes(): Effect.Effect<Uint8Array, HttpClientError.ResponseError> {
    return this.body === undefined
      ? Effect.succeed(new Uint8Array(0))
      : this.body instanceof Uint8Array
      ? Effect.succeed(this.body)
      : Effect.map(Stream.runCollect(this.stream), concat)
  }

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpClientError.ResponseError> {
    return Effect.map(this.bytes, toArrayBuffer)
  }

  get text(): Effect.Effect<string, HttpClientError.ResponseError> {
    return Effect.map(this.bytes, (bytes) => decoder.decode(bytes))
  }

  get json(): Effect.Effect<unknown, HttpClientError.ResponseError> {
    return Effect.tryMap(this.text, {
      try: (text) => text === "" ? null : JSON.parse(text) as unknown,
      catch: (cause) => this.fail("Decode", cause)
    })
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpClientError.ResponseError> {
    return Effect.map(this.text, (text) => UrlParams.fromInput(new URLSearchParams(text)))
  }

  get formData(): Effect.Effect<FormData, HttpClientError.ResponseError> {
    return Effect.flatMap(this.arrayBuffer, (buffer) =>
      Effect.tryPromise({
        try: () => new Response(buffer, { headers: this.headers }).formData(),
        catch: (cause) => this.fail("Decode", cause)
      }))
  }
}

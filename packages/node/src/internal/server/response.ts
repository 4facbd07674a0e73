/**
 * Writes a platform's response to Node's, so that the writer always ends.
 *
 * - Every wait ends when the connection does, also that of a response which is queued behind others on its connection.
 * - A refusal of an upload that is still arriving can be read by its client: see `lingerTimeout` of `NodeServer`.
 * - A stream that fails half way does not look complete: its connection ends without the last chunk.
 * - A request that the server cut off, before anything was sent, is answered 503 with a JSON body.
 */
import * as Cookies from "@effect/platform/Cookies"
import * as HttpServerError from "@effect/platform/HttpServerError"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Http from "node:http"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import type { Exchange } from "./exchange.js"
import { declaresBody } from "./refusal.js"
import type { NodeRequest } from "./request.js"

/**
 * Writes a response and waits until it is flushed or the connection is gone.
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
      return exchange.awaitFlush()
    }
    if (response.headersSent) {
      response.end()
      return exchange.awaitFlush()
    }
    const body = exchange.cut && answer.body._tag === "Empty" && answer.status >= 500 ? cutBody : answer.body
    const headers = headersOf(answer, body)
    const unread = !exchange.allRead && bodyUnread(exchange.request)
    if (
      exchange.last || exchange.expectsContinue || exchange.mayHaveLostMore?.() === true ||
      (unread && answer.status >= 400)
    ) {
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
        if (exchange.longLived) {
          discardUnread(exchange.request)
        }
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

const bodyUnread = (request: Http.IncomingMessage): boolean => !request.complete && declaresBody(request)

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
      end(response, body)
      if (declaresBody(exchange.request)) {
        exchange.request.resume()
      }
      exchange.taken = isTaken(response)
      return exchange.taken ? Effect.void : exchange.awaitFlush()
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
      return exchange.awaitFlush()
    })
  })

/** Head and body go out as one string where the body is small, without a buffer for either. */
const end = (response: Http.ServerResponse, body: string | Uint8Array | undefined): void => {
  if (body instanceof Uint8Array && body.length <= maxJoined) {
    response.end(Buffer.from(body.buffer, body.byteOffset, body.length).toString("latin1"), "latin1")
  } else {
    response.end(body)
  }
}

/** Bytes. */
const maxJoined = 16 * 1024

/** Has the kernel taken all of it at once? Then no fiber needs to be suspended until the news comes. */
const isTaken = ({ socket }: Http.ServerResponse): boolean =>
  socket !== null && !socket.destroyed && socket.writableLength === 0

const discarded = (exchange: Exchange): Effect.Effect<void> =>
  Effect.async((resume) => {
    const request = exchange.request
    const { socket } = request
    if (socket.readableEnded) {
      // The client broke its upload off: nothing more comes.
      return resume(Effect.void)
    }
    const done = () => {
      clearTimeout(timer)
      request.off("end", done).off("close", done).off("error", done)
      socket.off("end", done)
      forget()
      resume(Effect.void)
    }
    const timer = setTimeout(done, exchange.limits.lingerTimeout)
    request.on("end", done).on("close", done).on("error", done)
    socket.on("end", done)
    let forget = () => {}
    forget = exchange.whenClosed(done)
    request.resume()
  })

/** A body that nobody reads stops the socket, and with it the news that the client has left. */
export const discardUnread = (request: Http.IncomingMessage): void => {
  if (bodyUnread(request) && request.listenerCount("readable") === 0 && request.listenerCount("data") === 0) {
    request.resume()
  }
}

const resumed = (exchange: Exchange) => Effect.sync(() => exchange.request.resume())

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
        return exchange.awaitFlush()
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

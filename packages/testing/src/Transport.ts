/**
 * HTTP without a socket: `layer` is an `HttpServer` for the app and an `HttpClient` for the test, joined in memory.
 * Requests run as on a real server: in a fiber of their own under the scope that serves, interrupted when the client goes
 * away, uninterruptible where the platform makes them so. Bodies are streams with back pressure: a client that does not
 * read stalls the server after `capacity` chunks, as a full socket does. WebSockets are upgraded in memory, too.
 *
 * **Not for** what is about bytes on a wire: header parsing, keep-alive, malformed input. Those are tested on a real port.
 *
 * **Guarantees.** A failure becomes the response that `HttpErrors.toHandled` makes of it, as in `NodeServer`, and bodies have its
 * limit. Under `Explore`, a request takes part in the interleaving like any other fiber. When the scope of the layer closes, or the `Lifecycle` that it is built with drains, new requests are refused, those in flight may finish for
 * `drainBudget`, and what is left is interrupted, with as long to clean up: clients see their streams end with an error.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Headers from "@effect/platform/Headers"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as Socket from "@effect/platform/Socket"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Race from "@holdfast/core/Race"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Channel } from "./internal/channel.js"
import { MemoryRequest, MemoryResponse } from "./internal/memoryHttp.js"
import * as MemorySocket from "./internal/memorySocket.js"
import * as Check from "./internal/options.js"
import type { InvalidOption } from "./InvalidOption.js"

/**
 * How much a connection holds before its writer waits.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** chunks of a response body, or messages of a socket, that are in flight before the writer waits. Default 16. */
  readonly capacity?: number | undefined
  /** the address that clients seem to have. Default `127.0.0.1`. */
  readonly remoteAddress?: string | undefined
  /** time that requests have to finish when the server drains, by the `Clock`. Default 1 second. */
  readonly drainBudget?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  capacity: 16,
  remoteAddress: "127.0.0.1",
  drainBudget: Duration.seconds(1),
  maxBodyBytes: 1024 * 1024
} as const

/**
 * The server answered an upgrade with an ordinary response.
 *
 * @since 0.1.0
 * @category errors
 */
export class UpgradeRefused extends Data.TaggedError("UpgradeRefused")<{
  readonly status: number
  readonly body: string
}> {
  override get message() {
    return `the upgrade was refused with status ${this.status}: ${this.body}`
  }
}

/**
 * Requests and WebSockets without a socket.
 *
 * @since 0.1.0
 * @category tags
 */
export class Transport extends Context.Tag("@holdfast/testing/Transport")<Transport, {
  /** Opens a WebSocket; it is closed with the scope. */
  readonly webSocket: (
    path: string,
    options?: { readonly headers?: Headers.Input }
  ) => Effect.Effect<Socket.Socket, UpgradeRefused | HttpClientError.HttpClientError, Scope.Scope>
  /** requests that the server has not finished with, upgraded ones included */
  readonly open: Effect.Effect<number>
}>() {}

type Answer =
  | { readonly _tag: "Response"; readonly response: HttpServerResponse.HttpServerResponse; readonly body: Body }
  | { readonly _tag: "Upgraded"; readonly socket: Socket.Socket }

interface Exchange {
  readonly answer: Deferred.Deferred<Answer, HttpClientError.HttpClientError>
}

type Body = Uint8Array | Stream.Stream<Uint8Array, unknown> | undefined

type Handler = (
  request: MemoryRequest,
  exchange: Exchange
) => Effect.Effect<Fiber.RuntimeFiber<void>, HttpClientError.RequestError>

const base = "http://127.0.0.1:80"

/**
 * The pair of server and client.
 *
 * @example
 * ```ts
 * import { HttpClient, HttpServer, HttpServerResponse } from "@effect/platform"
 * import * as Transport from "@holdfast/testing/Transport"
 * import { Effect, Layer } from "effect"
 * import assert from "node:assert"
 *
 * const app = HttpServer.serve(HttpServerResponse.text("hello")).pipe(Layer.provideMerge(Transport.layer()))
 *
 * const test = Effect.gen(function*() {
 *   const response = yield* HttpClient.get("http://127.0.0.1/")
 *   assert.strictEqual(yield* response.text, "hello")
 * })
 *
 * await Effect.runPromise(Effect.scoped(Effect.provide(test, app)))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<HttpServer.HttpServer | HttpClient.HttpClient | Transport, InvalidOption> =>
  Layer.scopedContext(Effect.gen(function*() {
    const { remoteAddress = defaults.remoteAddress } = options
    const capacity = yield* Check.whole("Transport.capacity", options.capacity ?? defaults.capacity, 1)
    const drainBudget = yield* Check.finite("Transport.drainBudget", options.drainBudget ?? defaults.drainBudget)
    const handlers: Handlers = yield* Ref.make<ReadonlyArray<Handler>>([])
    const requests = yield* makeRequests(drainBudget)
    const start: Start = (request, url, upgrade) =>
      Effect.gen(function*() {
        const [handler] = yield* Ref.get(handlers)
        if (handler === undefined) {
          return yield* gone(request, "no server listens: HttpServer.serve has not run, or its scope is closed")
        }
        const exchange: Exchange = { answer: yield* Deferred.make<Answer, HttpClientError.HttpClientError>() }
        const incoming = new MemoryRequest(request, url, remoteAddress, upgrade?.(exchange))
        const fiber = yield* handler(incoming, exchange)
        return { exchange, fiber }
      })
    const serve = serveWith(handlers, requests, capacity)
    return Context.make(
      HttpServer.HttpServer,
      HttpServer.make({ serve, address: { _tag: "TcpAddress", hostname: "127.0.0.1", port: 80 } })
    ).pipe(
      Context.add(HttpClient.HttpClient, clientOf(start)),
      Context.add(Transport, {
        webSocket: webSocketOf(start, capacity),
        open: Effect.sync(() => requests.open.size)
      })
    )
  }))

type Handlers = Ref.Ref<ReadonlyArray<Handler>>

type Start = (
  request: HttpClientRequest.HttpClientRequest,
  url: URL,
  upgrade?: (exchange: Exchange) => Effect.Effect<Socket.Socket, HttpServerError.RequestError>
) => Effect.Effect<
  { readonly exchange: Exchange; readonly fiber: Fiber.RuntimeFiber<void> },
  HttpClientError.RequestError
>

interface Requests {
  /** Those that have not ended. */
  readonly open: ReadonlySet<Fiber.RuntimeFiber<void>>
  readonly isDraining: () => boolean
  readonly add: (fiber: Fiber.RuntimeFiber<void>) => void
}

/** The requests in flight, which the end of the scope and the lifecycle's phase `draining` wait for. */
const makeRequests = (drainBudget: Duration.DurationInput): Effect.Effect<Requests, never, Scope.Scope> =>
  Effect.gen(function*() {
    const open = new Set<Fiber.RuntimeFiber<void>>()
    const wakeWhenIdle = new Set<() => void>()
    let draining = false
    const idle = Effect.async<void>((resume) => {
      if (open.size === 0) return resume(Effect.void)
      const wake = () => resume(Effect.void)
      wakeWhenIdle.add(wake)
      return Effect.sync(() => wakeWhenIdle.delete(wake))
    })
    const settled = Race.timeoutOption(Effect.interruptible(idle), drainBudget)
    const drain = Effect.uninterruptible(Effect.gen(function*() {
      draining = true
      yield* settled
      for (const fiber of open) fiber.unsafeInterruptAsFork(FiberId.none)
      yield* settled
    }))
    yield* Effect.addFinalizer(() => drain)
    yield* Lifecycle.onPhaseIfPresent("draining", { label: "http server" }, drain)
    return {
      open,
      isDraining: () => draining,
      add: (fiber) => {
        open.add(fiber)
        fiber.addObserver(() => {
          open.delete(fiber)
          if (open.size === 0) {
            for (const wake of wakeWhenIdle) wake()
            wakeWhenIdle.clear()
          }
        })
      }
    }
  })

const serveWith = (
  handlers: Handlers,
  requests: Requests,
  capacity: number
): Parameters<typeof HttpServer.make>[0]["serve"] =>
(app, middleware) =>
  Effect.gen(function*() {
    const exchanges = new WeakMap<object, Exchange>()
    const scope = yield* Effect.scope
    // A request has nothing of the client's fiber.
    const runtime = yield* Effect.runtime<never>()
    const respond = (
      request: HttpServerRequest.HttpServerRequest,
      response: HttpServerResponse.HttpServerResponse
    ) => {
      const exchange = exchanges.get(request.source as object)
      return exchange === undefined ? Effect.void : send(exchange, request, response, capacity)
    }
    const handled = HttpErrors.toHandled(app, respond, middleware)
    const limited = runtime.context.unsafeMap.has(HttpServerRequest.MaxBodySize.key)
      ? handled
      : HttpServerRequest.withMaxBodySize(handled, Option.some(FileSystem.Size(defaults.maxBodyBytes)))
    const handler: Handler = (request, exchange) => {
      exchanges.set(request.source as object, exchange)
      const task = Effect.provideService(limited, HttpServerRequest.HttpServerRequest, request)
      const tracked = FiberRegistry.track({ name: `${request.method} ${request.url}`, kind: "request" })(task)
      // Admitted and counted in one step; and answered even when it is interrupted before it begins.
      return Effect.suspend(() => {
        if (requests.isDraining()) return gone(request.client, "the server drains")
        const fiber = Runtime.runFork(runtime)(tracked, { scope, immediate: false })
        requests.add(fiber)
        fiber.addObserver(() =>
          Deferred.unsafeDone(exchange.answer, gone(request.client, "the server ended before it responded"))
        )
        return Effect.succeed(fiber)
      })
    }
    yield* Effect.acquireRelease(
      Ref.update(handlers, (all) => [handler, ...all]),
      () => Ref.update(handlers, (all) => all.filter((other) => other !== handler))
    )
  })

const clientOf = (start: Start): HttpClient.HttpClient =>
  HttpClient.make((request, url, signal) =>
    // A request that has begun is answered, or aborted.
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const { exchange, fiber } = yield* start(request, url)
        const onAbort = () => fiber.unsafeInterruptAsFork(HttpServerError.clientAbortFiberId)
        if (signal.aborted) onAbort()
        else signal.addEventListener("abort", onAbort, { once: true })
        const answer = yield* restore(Deferred.await(exchange.answer)).pipe(Effect.onInterrupt(() => abort(fiber)))
        if (answer._tag === "Upgraded") return yield* gone(request, "upgraded without being asked")
        const body = answer.body === undefined || answer.body instanceof Uint8Array
          ? answer.body
          : Stream.ensuring(answer.body, abort(fiber))
        return new MemoryResponse(request, answer.response, request.method === "HEAD" ? undefined : body)
      })
    )
  ).pipe(
    HttpClient.mapRequest((request) =>
      request.url.startsWith("/") ? HttpClientRequest.setUrl(request, `${base}${request.url}`) : request
    )
  )

const webSocketOf = (start: Start, capacity: number): Context.Tag.Service<Transport>["webSocket"] => (path, options) =>
  Effect.gen(function*() {
    const request = HttpClientRequest.get(`${base}${path}`, {
      headers: Headers.merge(Headers.fromInput(options?.headers), {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "aG9sZGZhc3QgdGVzdGluZw=="
      } as unknown as Headers.Headers)
    })
    const [near, far] = MemorySocket.makePair(capacity)
    const upgrade = (exchange: Exchange) =>
      Effect.as(Deferred.succeed(exchange.answer, { _tag: "Upgraded", socket: near.socket }), far.socket)
    const { exchange, fiber } = yield* Effect.acquireRelease(
      start(request, new URL(request.url), upgrade),
      ({ fiber }) => Effect.zipRight(near.close(1001), abort(fiber))
    )
    yield* Effect.forkScoped(Effect.zipRight(Fiber.await(fiber), far.close(1006)))
    const answer = yield* Deferred.await(exchange.answer)
    if (answer._tag === "Upgraded") return answer.socket
    const text = yield* new MemoryResponse(request, answer.response, answer.body).text
    return yield* new UpgradeRefused({ status: answer.response.status, body: text })
  })

const abort = (fiber: Fiber.RuntimeFiber<void>) => fiber.interruptAsFork(HttpServerError.clientAbortFiberId)

const gone = (request: HttpClientRequest.HttpClientRequest, description: string) =>
  new HttpClientError.RequestError({ request, reason: "Transport", description })

/** Hands the response to the client; for a stream, stays until the client has it all. */
const send = (
  exchange: Exchange,
  request: HttpServerRequest.HttpServerRequest,
  response: HttpServerResponse.HttpServerResponse,
  capacity: number
): Effect.Effect<unknown, unknown> => {
  const answer = (body: Body) => Deferred.succeed(exchange.answer, { _tag: "Response", response, body })
  const { body } = response
  switch (body._tag) {
    case "Empty":
      return answer(undefined)
    case "Uint8Array":
      return answer(body.body)
    case "Raw":
      return body.body instanceof Uint8Array
        ? answer(body.body)
        : typeof body.body === "string"
        ? answer(encoder.encode(body.body))
        : Effect.dieMessage("a raw body that only a real server can send: give the test a real port")
    case "FormData":
      return Effect.flatMap(
        Effect.promise(() => new Response(body.formData).arrayBuffer()),
        (bytes) => answer(new Uint8Array(bytes))
      )
    case "Stream": {
      if (request.method === "HEAD") return answer(undefined)
      return Effect.gen(function*() {
        const channel = new Channel<Uint8Array, unknown>(capacity)
        yield* answer(channel.stream)
        yield* body.stream.pipe(
          Stream.runForEach(channel.offer),
          Effect.interruptible,
          Effect.matchCauseEffect({
            onSuccess: () => channel.end,
            // a broken connection, for the client
            onFailure: (cause) => Effect.zipRight(channel.done(Exit.fail(Cause.squash(cause))), Effect.failCause(cause))
          })
        )
      })
    }
  }
}

const encoder = new TextEncoder()

/**
 * The request side of `SseHub`: from an HTTP request to a session.
 *
 * In this order: method and CORS preflight, `Accept` (406), where to resume (`Last-Event-ID` header, else the
 * `lastEventId` query, which is what a page can set on its first connection), authorisation, topics by query with an
 * authorisation each, admission by the hub (503 or 429 with `Retry-After`). Only then does the response begin, and it
 * sends at once: a `retry` and a comment, so that proxies and clients know that the stream is open.
 *
 * - Middleware has its say: what it adds to a response (CORS, cookies, headers) is on the head of the stream, too.
 * - Failures of your hooks stay typed and are yours to answer; `HttpErrors.HttpError` is answered as it is.
 * - `HEAD` answers the headers and opens no session. HTTP/1.0 gets a body that ends with the connection.
 * - The session, and what `authorize` acquires, live in a scope of the session. A client that leaves at any moment, also
 *   before the body begins, leaves nothing behind.
 *
 * Browsers treat any answer but 200 as final: an `EventSource` that is refused with 429 or 503 does not come back by
 * itself. 204 tells it so on purpose, see `Options.authorize`.
 *
 * @since 0.1.0
 */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Admission from "./Admission.js"
import * as HttpErrors from "./HttpErrors.js"
import { fromHandler, type Made } from "./internal/layerRoutes.js"
import type { Format } from "./SessionSink.js"
import { Transport, whenStopped } from "./SessionSink.js"
import * as Sse from "./Sse.js"
import * as SseFormat from "./SseFormat.js"
import type * as SseHub from "./SseHub.js"

/**
 * Which origins may read the stream.
 *
 * @since 0.1.0
 * @category options
 */
export interface Cors {
  /** Origins as browsers send them, or a predicate. `"*"` is every origin, and is refused with credentials. */
  readonly origins: "*" | ReadonlyArray<string> | ((origin: string) => boolean)
  /** For an `EventSource` with `withCredentials`. Default false. */
  readonly credentials?: boolean | undefined
  /** Request headers that a page may send. Default: `last-event-id`, `cache-control` and `authorization`. */
  readonly allowedHeaders?: ReadonlyArray<string> | undefined
  /** Response headers that a page may read. Default: `retry-after`. */
  readonly exposedHeaders?: ReadonlyArray<string> | undefined
  /** How long browsers keep the answer to a preflight. Default 10 minutes. */
  readonly maxAge?: Duration.DurationInput | undefined
}

/**
 * The hub that is served, who is let in, and the headers.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<E = never, R = never, E2 = never, R2 = never> extends Admission.Options<E, R, E2, R2> {
  readonly hub: SseHub.Service
  /** Default: `SseFormat.make()`. */
  readonly format?: Format<SseFormat.Envelope<never>> | undefined
  readonly cors?: Cors | undefined
  /** Added to the response, in any case. They take the place of the route's own, but `vary` is added to it. */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/**
 * What holds where the options say nothing.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  cors: {
    credentials: false,
    allowedHeaders: ["last-event-id", "cache-control", "authorization"],
    exposedHeaders: ["retry-after"],
    maxAge: "10 minutes"
  }
} as const

/**
 * The handler of a route, for `HttpRouter.all`: it answers `GET`, `HEAD` and `OPTIONS`, and 405 to the rest. Throws
 * `InvalidOption` for an option that makes no sense.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E = never, R = never, E2 = never, R2 = never>(
  options: Options<E, R, E2, R2>
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  HttpErrors.HttpError | E | E2,
  HttpServerRequest.HttpServerRequest | Scope.Scope | R | R2
> => {
  const format = (options.format ?? SseFormat.make()) as Format<never>
  Admission.unsafeCheck(options)
  const cors = options.cors === undefined ? () => ({}) : corsHeaders(options.cors)
  const own: Record<string, string> = {
    "content-type": Sse.contentType,
    // no-transform: a proxy that compresses, buffers
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff"
  }
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    own[name.toLowerCase()] = value
  }

  const answer = (request: HttpServerRequest.HttpServerRequest, allowed: Readonly<Record<string, string>>) => {
    switch (request.method) {
      case "OPTIONS":
        return Effect.succeed(preflight(request, options.cors, allowed))
      case "GET":
      case "HEAD":
        break
      default:
        return HttpErrors.make("MethodNotAllowed", "an event stream is read with GET", { expected: "GET, HEAD" }, {
          headers: { allow: "GET, HEAD, OPTIONS" }
        })
    }
    if (!accepts(request.headers["accept"])) {
      return HttpErrors.make("NotAcceptable", "this is an event stream", {
        field: "accept",
        expected: Sse.contentType
      })
    }
    // The session has a scope of its own, because it may outlive the fiber of the request. Until the transport has taken
    // it over, it ends with whatever happens here.
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        Scope.make(),
        (scope) =>
          restore(Scope.extend(prepare(request, options, format, own, scope), scope)).pipe(
            Effect.onExit((exit) => exit._tag === "Failure" ? Scope.close(scope, exit) : Effect.void),
            Effect.flatten
          )
      )
    )
  }

  return Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const allowed = cors(request.headers["origin"])
    // on whatever the answer is: without these a page cannot even see which error it was
    return options.cors === undefined ? answer(request, allowed) : Effect.zipRight(
      HttpApp.appendPreResponseHandler((_request, response) => Effect.succeed(withCors(response, allowed))),
      answer(request, allowed)
    )
  })
}

/**
 * Adds the route to a router.
 *
 * @since 0.1.0
 * @category combinators
 */
export const mount =
  <E = never, R = never, E2 = never, R2 = never>(path: HttpRouter.PathInput, options: Options<E, R, E2, R2>) =>
  <RE, RR>(router: HttpRouter.HttpRouter<RE, RR>) => HttpRouter.all(router, path, make(options))

/**
 * The route as a Layer for `HttpLayerRouter`. The options may be an effect, for those that come from a service: it runs
 * once, while the layer is built.
 *
 * @example
 * ```ts
 * import { SseHub, SseRoute } from "@holdfast/http"
 * import { Effect } from "effect"
 *
 * const Events = SseRoute.layer("/events", Effect.map(SseHub.SseHub, (hub) => ({ hub })))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E = never, R = never, E2 = never, R2 = never, EX = never, RX = never>(
  path: HttpRouter.PathInput,
  options: Made<Options<E, R, E2, R2>, EX, RX>
) => fromHandler("*", path, options, make)

type Response = Effect.Effect<HttpServerResponse.HttpServerResponse, never, Scope.Scope>

/** Everything up to an open session. What it answers is the rest, which must not fail. */
const prepare = <E, R, E2, R2>(
  request: HttpServerRequest.HttpServerRequest,
  options: Options<E, R, E2, R2>,
  format: Format<never>,
  headers: Readonly<Record<string, string>>,
  scope: Scope.CloseableScope
): Effect.Effect<Response, HttpErrors.HttpError | E | E2, R | R2 | Scope.Scope> =>
  Effect.gen(function*() {
    const { grant, ...incoming } = yield* Admission.admit(request, options, options.hub.epoch)
    if (request.method === "HEAD") {
      yield* Effect.mapError(
        options.hub.check({ principal: grant.principal, address: incoming.address }),
        Admission.toHttpError
      )
      return Effect.as(Scope.close(scope, Exit.void), HttpServerResponse.empty({ status: 200, headers }))
    }
    const transport = yield* Transport
    const connection = yield* transport.connect(request, { headers })
    // not the whole handle, which would live as long as the session
    const { awaitEnd, end, id } = yield* Effect.mapError(
      options.hub.open({
        sink: connection.sink,
        format,
        ...incoming,
        principal: grant.principal,
        policy: grant.policy,
        capacity: grant.capacity
      }),
      Admission.toHttpError
    )
    whenStopped(request, ending(end))
    return connection.respond({ id, awaitEnd, scope })
  })

/** In a function of its own: what stays with an open session has nothing else of its opening in reach. */
const ending = (end: SseHub.Session["end"]) => () => Effect.runSync(end("drained"))

// -- the request

const accepts = (accept: string | undefined): boolean =>
  accept === undefined || accept.trim() === "" ||
  accept.split(",").some((range) => {
    const [type, ...parameters] = range.split(";").map((part) => part.trim().toLowerCase())
    return (type === Sse.contentType || type === "text/*" || type === "*/*") &&
      !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))
  })

// -- CORS

const corsHeaders = (cors: Cors) => {
  const { credentials = defaults.cors.credentials, exposedHeaders = defaults.cors.exposedHeaders, origins } = cors
  if (origins === "*" && credentials) {
    throw new InvalidOption.InvalidOption({
      option: "SseRoute.cors.origins",
      given: "\"*\" with credentials",
      expected: "a list of origins: browsers refuse \"*\" with credentials"
    })
  }
  InvalidOption.unsafeDuration("SseRoute.cors.maxAge", cors.maxAge ?? defaults.cors.maxAge, { zero: true })
  const known = typeof origins === "function"
    ? origins
    : (origin: string) => origins === "*" || origins.includes(origin)
  const exposed: Record<string, string> = exposedHeaders.length === 0
    ? {}
    : { "access-control-expose-headers": exposedHeaders.join(", ") }
  return (origin: string | undefined): Readonly<Record<string, string>> => {
    if (origins === "*") {
      return { "access-control-allow-origin": "*", ...exposed }
    }
    if (origin === undefined || !known(origin)) {
      return { vary: "origin" }
    }
    return {
      "access-control-allow-origin": origin,
      vary: "origin",
      ...exposed,
      ...(credentials ? { "access-control-allow-credentials": "true" } : {})
    }
  }
}

/** What the response has already, from middleware or from the application, stays; `vary` is added to. */
const withCors = (
  response: HttpServerResponse.HttpServerResponse,
  allowed: Readonly<Record<string, string>>
): HttpServerResponse.HttpServerResponse => {
  const headers: Record<string, string> = {}
  const { vary } = response.headers
  const settled = response.headers["access-control-allow-origin"] !== undefined
  for (const [name, value] of Object.entries(allowed)) {
    if (name === "vary") {
      const known = (vary ?? "").split(",").map((part) => part.trim().toLowerCase())
      if (!known.includes("*") && !known.includes(value)) {
        headers.vary = vary === undefined || vary.trim() === "" ? value : `${vary}, ${value}`
      }
    } else if (!settled) {
      headers[name] = value
    }
  }
  return HttpServerResponse.setHeaders(response, headers)
}

const preflight = (
  request: HttpServerRequest.HttpServerRequest,
  cors: Cors | undefined,
  allowed: Readonly<Record<string, string>>
) => {
  const asked = request.headers["access-control-request-method"] !== undefined
  return HttpServerResponse.empty({
    status: 204,
    headers: {
      allow: "GET, HEAD, OPTIONS",
      ...allowed,
      ...(cors !== undefined && asked && "access-control-allow-origin" in allowed
        ? {
          "access-control-allow-methods": "GET, HEAD",
          "access-control-allow-headers": (cors.allowedHeaders ?? defaults.cors.allowedHeaders).join(", "),
          "access-control-max-age": String(Math.round(Duration.toSeconds(cors.maxAge ?? defaults.cors.maxAge)))
        }
        : {})
    }
  })
}
